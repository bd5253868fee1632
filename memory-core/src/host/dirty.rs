//! Which pages of a RAM block were written.
//!
//! Every way to write a block marks what it wrote, by itself: typed stores, compare-exchange, bulk writes and fills (and so
//! vCPUs, DMA, loaders, debuggers, map guards, cached windows and a flash device's own writes), the embedded CPU's
//! [`HostPage`](super::HostPage)s, and the slices that are lent to `vm-memory`. What an accelerator's guest writes
//! without us is pulled by its listener.
//!
//! A page is marked after its data is written, by an atomic OR that does not look first: to look would lose a write that
//! comes between somebody's look at the page and his clearing of the bit. Clearing takes a whole word at once, before
//! the data is looked at. So a write is either seen with the data, or its bit is still there for the next look.

use super::fence;
use crate::sync::{AtomicU8, AtomicU64, Mutex, OnceLock, Ordering, PoisonError, fence as full_fence};
use bitflags::bitflags;
use std::fmt;
use std::ops::Range;

bitflags! {
    /// Who wants to know of writes. QEMU's names: `DIRTY_MEMORY_VGA`, `_CODE`, `_MIGRATION`.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
    pub struct DirtyClients: u8 {
        /// Displays, which draw what changed.
        const DISPLAY = 1;
        /// Translators of code, which translate again what changed.
        const CODE = 2;
        /// Migration, which sends again what changed.
        const MIGRATION = 4;
    }
}

/// Clients there are.
const CLIENTS: usize = 3;

/// In the mask: writers have to take a real fence.
const SYMMETRIC: u8 = 0x80;

/// Which pages of a block were written, for each client that asked. All methods but [`DirtyLog::start`] and
/// [`DirtyLog::stop`] take no lock. Offsets and lengths are bytes of the block; what lies beyond its end is ignored.
///
/// ```
/// use memory_core::{DirtyClients, RamBlock, Width};
/// let block = RamBlock::anonymous(0x10000u64)?;
/// let log = block.dirty();
/// log.start(DirtyClients::DISPLAY);
/// assert!(block.store(0x2004, Width::W4, 7));
/// let changed = log.snapshot_and_clear(DirtyClients::DISPLAY, 0, 0x10000);
/// assert!(changed.is_dirty(0x2000, 1) && !changed.is_dirty(0, 0x2000));
/// assert!(!log.is_dirty(DirtyClients::DISPLAY, 0, 0x10000));
/// # Ok::<(), memory_core::HostMemoryError>(())
/// ```
pub struct DirtyLog {
    /// The clients that have started, and [`SYMMETRIC`]. Writers look at it after they have written.
    mask: AtomicU8,
    pages: usize,
    page_size: u64,
    /// By client, made at its first start. A set bit is a page that was written.
    bitmaps: [OnceLock<Box<[AtomicU64]>>; CLIENTS],
    /// How often each client has started: several regions may share the block. Held while a start is under way, which
    /// may take as long as a system call.
    started: Mutex<[usize; CLIENTS]>,
}

impl DirtyLog {
    pub(super) fn new(len: u64) -> Self {
        let page_size = super::host_page_size();
        Self {
            mask: AtomicU8::new(if fence::reaches_all_threads() { 0 } else { SYMMETRIC }),
            pages: usize::try_from(len.div_ceil(page_size)).unwrap_or(usize::MAX),
            page_size,
            bitmaps: Default::default(),
            started: Mutex::default(),
        }
    }

    /// Bytes that one bit stands for: a page of the host.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The clients that have started and not stopped.
    pub fn clients(&self) -> DirtyClients {
        DirtyClients::from_bits_truncate(self.mask.load(Ordering::Acquire))
    }

    /// Begins to note writes for `clients`, as often as it is called; the first start of a client forgets what it noted
    /// before. Whatever is written after this has returned is noted; what was written before can be read.
    pub fn start(&self, clients: DirtyClients) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, client) in indexes(clients) {
            let Some(count) = started.get_mut(index) else { continue };
            *count += 1;
            if *count > 1 {
                continue;
            }
            if let Some(bitmap) = self.bitmaps.get(index) {
                let words = self.pages.div_ceil(64);
                let bitmap = bitmap.get_or_init(|| (0..words).map(|_| AtomicU64::new(0)).collect());
                bitmap.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
            self.mask.fetch_or(client.bits(), Ordering::SeqCst);
        }
        // under the lock: whoever finds a client started already must not be ahead of its fence
        fence::heavy();
    }

    /// Ends what as many calls of [`DirtyLog::start`] began. The last one leaves what was noted to be read.
    pub fn stop(&self, clients: DirtyClients) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, client) in indexes(clients) {
            let Some(count) = started.get_mut(index).filter(|count| **count > 0) else { continue };
            *count -= 1;
            if *count == 0 {
                self.mask.fetch_and(!client.bits(), Ordering::SeqCst);
            }
        }
    }

    /// `len` bytes at `offset` have been written: called by every writer after the data is there. All ways to write the block
    /// do it by themselves; it is for who was lent a pointer.
    #[inline(always)]
    pub fn written(&self, offset: u64, len: u64) {
        fence::light();
        if self.mask.load(Ordering::Relaxed) != 0 {
            self.note(offset, len);
        }
    }

    #[cold]
    #[inline(never)]
    fn note(&self, offset: u64, len: u64) {
        if self.mask.load(Ordering::Relaxed) & SYMMETRIC != 0 {
            full_fence(Ordering::SeqCst);
        }
        let clients = DirtyClients::from_bits_truncate(self.mask.load(Ordering::Relaxed));
        self.mark(clients, offset, len);
    }

    /// Marks the pages of `len` bytes at `offset` for `clients`, whether they have started or not: for what was written
    /// without us, by an accelerator's guest.
    pub fn mark(&self, clients: DirtyClients, offset: u64, len: u64) {
        for (index, _) in indexes(clients) {
            let Some(bitmap) = self.bitmaps.get(index).and_then(OnceLock::get) else { continue };
            for (word, bits) in words(self.pages(offset, len)) {
                if let Some(word) = bitmap.get(word) {
                    // after the data, and told with it to whoever takes the bit
                    word.fetch_or(bits, Ordering::Release);
                }
            }
        }
    }

    /// Whether a page of `len` bytes at `offset` is marked for one of `clients`.
    pub fn is_dirty(&self, clients: DirtyClients, offset: u64, len: u64) -> bool {
        indexes(clients).filter_map(|(index, _)| self.bitmaps.get(index)?.get()).any(|bitmap| {
            words(self.pages(offset, len)).any(|(word, bits)| {
                bitmap.get(word).is_some_and(|word| word.load(Ordering::Acquire) & bits != 0)
            })
        })
    }

    /// Clears the marks of `len` bytes at `offset`; whoever wants the data of before must have read it.
    pub fn clear(&self, clients: DirtyClients, offset: u64, len: u64) {
        for (index, _) in indexes(clients) {
            let Some(bitmap) = self.bitmaps.get(index).and_then(OnceLock::get) else { continue };
            for (word, bits) in words(self.pages(offset, len)) {
                if let Some(word) = bitmap.get(word) {
                    word.fetch_and(!bits, Ordering::AcqRel);
                }
            }
        }
    }

    /// Takes the marks of `len` bytes at `offset` for one of `clients`, and clears them, atomically for each page: look at
    /// the data after this, and no write is lost.
    pub fn snapshot_and_clear(&self, clients: DirtyClients, offset: u64, len: u64) -> DirtySnapshot {
        let pages = self.pages(offset, len);
        let first_word = pages.start / 64;
        let mut snapshot = DirtySnapshot {
            first_word,
            words: vec![0; words(pages.clone()).count()],
            pages,
            page_size: self.page_size,
        };
        for (index, _) in indexes(clients) {
            let Some(bitmap) = self.bitmaps.get(index).and_then(OnceLock::get) else { continue };
            for (index, bits) in words(snapshot.pages.clone()) {
                if let (Some(word), Some(taken)) =
                    (bitmap.get(index), snapshot.words.get_mut(index - first_word))
                {
                    *taken |= word.fetch_and(!bits, Ordering::AcqRel) & bits;
                }
            }
        }
        snapshot
    }

    /// The pages that have a byte of `len` at `offset`.
    fn pages(&self, offset: u64, len: u64) -> Range<usize> {
        pages(self.page_size, offset, len, 0..self.pages)
    }
}

impl fmt::Debug for DirtyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyLog").field("clients", &self.clients()).finish_non_exhaustive()
    }
}

/// The pages of `len` bytes at `offset` that are among `all`.
fn pages(page_size: u64, offset: u64, len: u64, all: Range<usize>) -> Range<usize> {
    let page = |offset: u64| usize::try_from(offset / page_size).unwrap_or(usize::MAX);
    let Some(last) = len.checked_sub(1).map(|rest| offset.saturating_add(rest)) else { return 0..0 };
    let (first, end) = (page(offset).max(all.start), page(last).saturating_add(1).min(all.end));
    if first < end { first..end } else { 0..0 }
}

/// The words of a bitmap that hold `pages`, with the bits that are theirs.
fn words(pages: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, end) = (pages.start / 64, pages.end.div_ceil(64));
    (first..end.max(first)).map(move |word| {
        let low = u64::MAX << pages.start.saturating_sub(word * 64).min(63);
        let beyond = (word * 64 + 64).saturating_sub(pages.end).min(63);
        (word, low & (u64::MAX >> beyond))
    })
}

/// The clients one by one, with their indexes.
fn indexes(clients: DirtyClients) -> impl Iterator<Item = (usize, DirtyClients)> {
    clients.iter().map(|client| (client.bits().trailing_zeros() as usize, client))
}

/// Marks that were taken from a log. Offsets and lengths are bytes of the block.
#[derive(Clone, Debug)]
pub struct DirtySnapshot {
    pages: Range<usize>,
    page_size: u64,
    first_word: usize,
    words: Vec<u64>,
}

impl DirtySnapshot {
    /// Whether a page of `len` bytes at `offset` was marked. What is outside of the snapshot was not.
    pub fn is_dirty(&self, offset: u64, len: u64) -> bool {
        words(pages(self.page_size, offset, len, self.pages.clone()))
            .any(|(word, bits)| self.words.get(word - self.first_word).is_some_and(|word| word & bits != 0))
    }

    /// The number of marked pages.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The offsets of the marked pages, ascending.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        let words = self.words.iter().enumerate();
        let bits = words.flat_map(|(index, word)| {
            (0..64usize).filter(move |bit| word >> bit & 1 != 0).map(move |bit| (index, bit))
        });
        bits.map(|(index, bit)| ((self.first_word + index) * 64 + bit) as u64 * self.page_size)
    }
}

#[cfg(test)]
mod tests;
