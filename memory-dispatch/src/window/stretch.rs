//! What of a window is memory, and whose.

use crate::access::{Access, Found, Reached, Way, What};
use crate::map::Direction;
use crate::section::Pin;
use crate::sync::Arc;
use memory_core::{AddrRange, BusFault, RamBlock, RamSpan, Target, Width};

/// Pages that an IOMMU is asked for when a window is made, at most, each way: a window may be as large as a space.
const MOST_PAGES: usize = 4096;

/// Addresses of a window that lead to one stretch of memory.
pub(super) struct Stretch {
    range: AddrRange,
    pin: Pin,
    /// Of the first byte in the block.
    offset: u64,
    /// It was not to be written when the window was made.
    is_refused: bool,
}

impl Stretch {
    /// Whether `width` bytes at `address`, which is in it, are all in it.
    pub(super) fn holds(&self, address: u64, width: Width) -> bool {
        self.range.last() - address >= width.bytes() - 1
    }

    /// The block and the offset in it of `address`, if it may be accessed.
    fn place(&self, address: u64) -> Result<(&Arc<RamBlock>, u64), BusFault> {
        if self.is_refused {
            return Err(BusFault::DECODE);
        }
        let block = self.pin.target().and_then(Target::block).ok_or(BusFault::ERROR)?;
        Ok((block, self.offset.wrapping_add(address - self.range.start())))
    }

    /// Reads at `address`, as the block has it.
    pub(super) fn load(&self, address: u64, width: Width) -> Result<u64, BusFault> {
        let (block, offset) = self.place(address)?;
        block.load(offset, width).ok_or(BusFault::ERROR)
    }

    /// Writes at `address`, as the block has it.
    pub(super) fn store(&self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        let (block, offset) = self.place(address)?;
        if block.store(offset, width, value) { Ok(()) } else { Err(BusFault::ERROR) }
    }

    /// Reads all of `bytes`, or makes them 0.
    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), BusFault> {
        let (block, offset) = self.place(address).inspect_err(|_| bytes.fill(0))?;
        if block.read(offset, bytes) {
            return Ok(());
        }
        bytes.fill(0);
        Err(BusFault::ERROR)
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        let (block, offset) = self.place(address)?;
        if block.write(offset, bytes) { Ok(()) } else { Err(BusFault::ERROR) }
    }

    /// Whether `next` goes on where this ends.
    fn goes_on(&self, next: &Self) -> bool {
        let distance = next.range.start() - self.range.start();
        let is_same = |a: &Target, b: &Target| std::ptr::eq(a, b);
        self.range.last().checked_add(1) == Some(next.range.start())
            && self.pin.target().zip(next.pin.target()).is_some_and(|(a, b)| is_same(a, b))
            && self.offset.checked_add(distance) == Some(next.offset)
            && self.is_refused == next.is_refused
    }
}

/// The memory of a window, one way: ascending, with gaps where there is none.
pub(super) struct Stretches(Vec<Stretch>);

impl Stretches {
    /// What `range` leads to.
    pub(super) fn find(access: &Access<'_>, range: AddrRange, direction: Direction, way: &mut Way) -> Self {
        let mut stretches = Self(Vec::new());
        let (mut next, mut pages) = (Some(range.start()), 0);
        while let Some(at) = next.filter(|at| *at <= range.last()) {
            let Some(found) = access.view.find(at).or_else(|| access.view.next_from(at)) else { break };
            let Some(part) = found.range().intersection(range) else {
                break;
            };
            let at = at.max(part.start());
            let last = match Found::inside(found, at).iommu_page(direction) {
                // as far as it is known to lead to one place
                Some(_) if pages == MOST_PAGES => part.last(),
                Some(page) => {
                    pages += 1;
                    stretches.add(access, (at, part.last()), direction, way).unwrap_or(page.min(part.last()))
                }
                None => {
                    stretches.add(access, (at, part.last()), direction, way);
                    part.last()
                }
            };
            next = last.checked_add(1);
        }
        stretches
    }

    /// Adds what is at `first`, and to `last` at most, if it is memory. Returns the last address that it was known of.
    fn add(
        &mut self,
        access: &Access<'_>,
        (first, last): (u64, u64),
        direction: Direction,
        way: &mut Way,
    ) -> Option<u64> {
        let most = usize::try_from(last - first).map_or(usize::MAX, |rest| rest.saturating_add(1));
        let Reached { pin, offset, len, what, is_announced, .. } =
            access.reach(first, most, direction, way).ok()?;
        let range = AddrRange::from_len(first, len)?;
        let is_memory = pin.target().is_some_and(|target| target.block().is_some());
        let is_refused = what == What::Refused;
        // a debugger's writes reach what is refused to others
        let is_kept = match what {
            What::Memory => true,
            What::Refused => is_memory && !access.attrs.is_debug(),
            What::Copy => false,
        };
        if is_kept && is_announced {
            let stretch = Stretch { range, pin, offset, is_refused };
            match self.0.last_mut() {
                Some(before) if before.goes_on(&stretch) => before.range = before.range.hull(range),
                _ => self.0.push(stretch),
            }
        }
        Some(range.last())
    }

    /// The first stretch that ends at `address` or above.
    fn from(&self, address: u64) -> Option<&Stretch> {
        self.0.get(self.0.partition_point(|stretch| stretch.range.last() < address))
    }

    /// The stretch at `address`.
    pub(super) fn at(&self, address: u64) -> Option<&Stretch> {
        self.from(address).filter(|stretch| stretch.range.contains(address))
    }

    /// The stretch at `address`, or none, and how many of `len` bytes there are of that; `len` is at least 1.
    pub(super) fn next(&self, address: u64, len: usize) -> (Option<&Stretch>, usize) {
        let most = |bytes: u64| usize::try_from(bytes).unwrap_or(len).min(len);
        match self.from(address) {
            Some(stretch) if stretch.range.contains(address) => {
                (Some(stretch), most((stretch.range.last() - address).saturating_add(1)))
            }
            Some(stretch) => (None, most(stretch.range.start() - address)),
            None => (None, len),
        }
    }

    /// The memory at `address`, where the window starts, for those that come back to it often.
    pub(super) fn span_at(&self, address: u64) -> Option<RamSpan> {
        let stretch = self.0.first().filter(|stretch| stretch.range.start() == address)?;
        let (block, offset) = stretch.place(address).ok()?;
        let len = u64::try_from(stretch.range.size().bytes()).unwrap_or(u64::MAX);
        block.span(offset, len)
    }
}
