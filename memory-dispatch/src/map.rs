//! Guest memory as the host's: mapped where it can be, bounced where it cannot.

use crate::access::{Access, Found, Reached, Way, What, direct, is_memory};
use crate::chain;
use crate::hints;
use crate::section::Pin;
use crate::space::AddressSpace;
use crate::sync::{Arc, MutexGuard, PoisonError, Weak};
use memory_core::{Backing, BusFault, LogSlice, RamBlock, Target, TxAttrs};
use memory_flatview::{FlatRange, Part, RangeFlags, View};
use std::collections::VecDeque;
use std::fmt;
use vm_memory::VolatileSlice;

/// Bytes of bounce buffers that an address space has at a time, unless its [`SpaceConfig`](crate::SpaceConfig) says otherwise.
pub const BOUNCE_BUDGET: usize = 4096;

/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The host reads what the guest has.
    Read,
    /// The host writes what the guest gets.
    Write,
}

impl Direction {
    /// How many of `len` bytes that are mapped may be written.
    #[inline]
    fn writes(self, len: usize) -> usize {
        match self {
            Self::Read => 0,
            Self::Write => len,
        }
    }
}

/// Why memory cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MapError {
    /// The guest's address is the reason: nothing is there, it cannot be read or written, or the device there failed.
    #[error("{0}")]
    Fault(BusFault),
    /// All bounce buffers are in use; see [`AddressSpace::when_bounce_is_free`].
    #[error("all bounce buffers of the address space are in use")]
    Busy,
    /// The caller says that it wrote more than was mapped.
    #[error("{written} bytes written, {mapped} were mapped")]
    TooLong {
        /// What the caller says.
        written: usize,
        /// The length of the mapping.
        mapped: usize,
    },
}

impl From<BusFault> for MapError {
    fn from(fault: BusFault) -> Self {
        Self::Fault(fault)
    }
}

type Waiter = Box<dyn FnOnce() + Send>;

/// The bounce buffers of an address space.
#[derive(Default)]
pub(crate) struct Bounce {
    used: usize,
    waiters: VecDeque<Waiter>,
}

enum Memory {
    /// The block's own bytes from an offset on.
    Direct {
        pin: Pin,
        offset: u64,
    },
    Bounced(Box<Bounced>),
}

/// What few mappings have; apart, so that a guard is as small as can be.
struct Rare {
    /// The IOMMUs that led here.
    way: Way,
    /// Of the other regions that show some of direct memory.
    _further: Vec<Pin>,
}

/// A copy of what cannot be lent.
struct Bounced {
    /// Of its own, so that it is lent as memory of the guest is.
    block: Arc<RamBlock>,
    len: usize,
    /// Where it came from, and goes back to.
    place: Reached,
    attrs: TxAttrs,
    /// Whose buffers it is of. Weak: a device may keep a guard, and is kept by what spaces show.
    space: Weak<AddressSpace>,
}

impl Bounced {
    /// Has the copy be what `read` reads.
    fn fill(&self, read: impl FnOnce(&mut [u8]) -> Result<(), BusFault>) -> Result<(), BusFault> {
        let mut bytes = vec![0; self.len];
        read(&mut bytes)?;
        if self.block.write(0, &bytes) { Ok(()) } else { Err(BusFault::ERROR) }
    }

    /// Writes the first `written` bytes back.
    fn write_back(&self, written: usize) -> Result<(), BusFault> {
        let mut bytes = vec![0; written];
        if !self.block.read(0, &mut bytes) {
            return Err(BusFault::ERROR);
        }
        let space = self.space.upgrade().and_then(|space| space.system().space(self.place.space));
        let (space, target) = space.zip(self.place.pin.target()).ok_or(BusFault::DECODE)?;
        let Reached { offset, address, .. } = self.place;
        space.access(self.attrs, |access| access.write_pinned(target, offset, address, &bytes))
    }
}

impl Drop for Bounced {
    fn drop(&mut self) {
        if let Some(space) = self.space.upgrade() {
            space.give_bounce_back(self.len);
        }
    }
}

/// Guest memory that the host may read and write until it is unmapped. QEMU's name: `address_space_map`.
///
/// Direct memory stays what it was when it was mapped: a later change of the map, read-only included, revokes nothing,
/// and the memory's owner lives as long as the guard. A bounced mapping is a copy, which [`MapGuard::unmap`] writes back
/// to the registers that were mapped, wherever they are by then; dropped without, it writes nothing.
///
/// What is written by [`MapGuard::write`] or through a slice is marked in dirty logs at once. A pointer into the memory may have
/// been written unseen, so direct memory that was mapped to be written is marked when the guard goes: as many bytes as
/// [`MapGuard::unmap`] is told, or all of them if it is dropped.
///
/// It holds a [`Pin`] of each region that it covers and nothing else: a reference to the space as well would be one that all
/// threads count which map anything at all.
pub struct MapGuard {
    address: u64,
    len: usize,
    direction: Direction,
    generation: u64,
    rare: Option<Box<Rare>>,
    /// Bytes that count as written when the guard goes.
    written: usize,
    memory: Memory,
}

impl MapGuard {
    /// The first address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The bytes that are mapped, at least 1; maybe fewer than were asked for.
    #[expect(clippy::len_without_is_empty, reason = "a mapping has at least one byte")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether these are the guest's own bytes, and no copy.
    pub fn is_direct(&self) -> bool {
        matches!(self.memory, Memory::Direct { .. })
    }

    /// Whether the map of `space`, which this is a mapping of, has changed since, that of a space behind an IOMMU which led here,
    /// or such an IOMMU may have. Of any other space it is stale.
    pub fn is_stale(&self, space: &AddressSpace) -> bool {
        space.generation() != self.generation
            || self.rare.as_ref().is_some_and(|rare| rare.way.is_stale(space.system()))
    }

    /// The block that has the bytes, and the offset of the first one.
    fn block(&self) -> Option<(&RamBlock, u64)> {
        match &self.memory {
            Memory::Direct { pin, offset } => Some((pin.target()?.block()?, *offset)),
            Memory::Bounced(copy) => Some((&copy.block, 0)),
        }
    }

    /// The mapped bytes as `vm-memory`'s type, for what fills or empties host memory: a file, a socket, another process. Of a
    /// mapping that is a copy these are the copy's. `None` for a block that has no memory.
    ///
    /// Nothing keeps one from writing through a slice: of a mapping to be read it is to be read only.
    ///
    /// ```
    /// use memory_core::{RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{Direction, MemorySystem, SpaceConfig};
    /// use vm_memory::ReadVolatile;
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let guard = space.map(0x10, 4, Direction::Write, TxAttrs::default())?;
    /// let mut disk: &[u8] = &[1, 2, 3, 4];
    /// disk.read_exact_volatile(&mut guard.slice().expect("memory"))?;
    /// guard.unmap(4)?;
    /// assert_eq!(space.load(0x10, Width::W4, TxAttrs::default()), Ok(0x0403_0201));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slice(&self) -> Option<VolatileSlice<'_, LogSlice<'_>>> {
        let (block, start) = self.block()?;
        block.slice(start, self.len)
    }

    /// Copies mapped bytes from `offset` on; false if they are not all mapped.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let block = self.block().filter(|_| self.holds(offset, bytes.len()));
        block.is_some_and(|(block, start)| block.read(start.wrapping_add(offset as u64), bytes))
    }

    /// Copies to mapped bytes from `offset` on; false, and nothing done, if they are not all mapped, or mapped to be read.
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let may = self.holds(offset, bytes.len()) && self.direction == Direction::Write;
        let block = self.block().filter(|_| may);
        block.is_some_and(|(block, start)| block.write(start.wrapping_add(offset as u64), bytes))
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Ends the mapping, of which the first `written` bytes were written. Those of direct memory are marked in dirty logs; those of
    /// a copy go to the registers that were mapped, also if these have moved or been covered since, and their callbacks run
    /// here.
    ///
    /// # Errors
    /// More bytes than were mapped: nothing is written back then, and all of direct memory is marked. Or the fault of
    /// the write: an access error if the device
    /// was unplugged, a decode error if the space is gone.
    pub fn unmap(mut self, written: usize) -> Result<(), MapError> {
        if written > self.len {
            return Err(MapError::TooLong { written, mapped: self.len });
        }
        // nothing of what was mapped to be read
        self.written = written.min(self.written);
        match &self.memory {
            Memory::Bounced(copy) if self.direction == Direction::Write => Ok(copy.write_back(written)?),
            _ => Ok(()),
        }
    }
}

impl Drop for MapGuard {
    #[inline]
    fn drop(&mut self) {
        if self.written > 0
            && let Memory::Direct { pin, offset } = &self.memory
            && let Some(block) = pin.target().and_then(Target::block)
        {
            block.dirty().written(*offset, self.written as u64);
        }
    }
}

impl fmt::Debug for MapGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapGuard")
            .field("address", &self.address)
            .field("len", &self.len)
            .field("direct", &self.is_direct())
            .finish_non_exhaustive()
    }
}

/// Whether writes can only be lost.
pub(crate) fn is_refused(range: &FlatRange, part: &Part, direction: Direction) -> bool {
    let read_only = match part.target().backing() {
        Backing::Rom(_) => true,
        Backing::Ram(block) | Backing::RamDevice(block) => block.is_read_only(),
        _ => false,
    };
    direction == Direction::Write && (read_only || range.flags().contains(RangeFlags::READ_ONLY))
}

/// Memory that is lent: who shows its first byte, the offset of that in the block, the bytes.
type Lent = (Pin, u64, usize, Option<Box<Rare>>);

/// Memory at `address` in a view, up to `len` bytes of it; `None` if there is none that is lent as it is.
#[inline]
fn lend(view: &View, address: u64, len: usize, direction: Direction, attrs: TxAttrs) -> Option<Lent> {
    let range = hints::find(view, address).filter(|_| len > 0)?;
    let (part, offset) = direct(&Found::inside(range, address), direction)?;
    if is_refused(range, part, direction) || (attrs.is_memory_only() && !is_memory(part.target())) {
        return None;
    }
    let pin = Pin::new(part.target());
    let rest = range.range().last() - address;
    if rest >= len as u64 - 1 {
        return Some((pin, offset, len, None));
    }
    let (len, further) = goes_on(view, range, address, len, direction);
    let are_several = !further.is_empty();
    Some((pin, offset, len, are_several.then(|| Box::new(Rare { way: Way::default(), _further: further }))))
}

/// How many of `len` bytes from `address` on, which is in `first`, are one stretch of host memory: neighbours that go on in the
/// same block count. And who shows those, if it is another region.
#[cold]
fn goes_on(
    view: &View,
    first: &FlatRange,
    address: u64,
    len: usize,
    direction: Direction,
) -> (usize, Vec<Pin>) {
    let direct = |range| direct(&Found::inside(range, range.range().start()), direction);
    let (mut end, mut further) = (first.range().last(), Vec::new());
    let Some((part, start)) = direct(first) else { return (at_most(end - address, len), further) };
    let mut pinned = part.target();
    while let Some(next) = end.checked_add(1).and_then(|next| view.find(next)) {
        // the distance from the range's start is that in the block, for as long as neighbours go on
        let distance = next.range().start() - first.range().start();
        let Some((part, offset)) = direct(next) else { break };
        let is_same = part.target().block().map(Arc::as_ptr) == pinned.block().map(Arc::as_ptr);
        if !is_same || start.checked_add(distance) != Some(offset) || end - address >= len as u64 {
            break;
        }
        if !Arc::ptr_eq(part.target(), pinned) {
            pinned = part.target();
            further.push(Pin::new(pinned));
        }
        end = next.range().last();
    }
    (at_most(end - address, len), further)
}

/// `rest` and one more byte, but at most `len`.
fn at_most(rest: u64, len: usize) -> usize {
    usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len))
}

impl AddressSpace {
    /// Maps up to `len` bytes at `address` for the host. Memory is mapped directly, as far as it is one stretch of host
    /// memory, and behind an IOMMU to the end of the page; registers are bounced, up to
    /// [`SpaceConfig::bounce_budget`](crate::SpaceConfig::bounce_budget) bytes for all such mappings of the
    /// space together, and read at once if the direction is to read.
    ///
    /// ```
    /// use memory_core::{RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{Direction, MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let mut guard = space.map(0x10, 4, Direction::Write, TxAttrs::default())?;
    /// assert!(guard.write(0, &[1, 2, 3, 4]));
    /// guard.unmap(4)?;
    /// assert_eq!(space.load(0x10, Width::W4, TxAttrs::default()), Ok(0x0403_0201));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A length of 0 or a hole (a decode error), ROM or a read-only range that is to be written (a decode error),
    /// what is no memory for an initiator that
    /// wants memory only (an access error), a device that does not let itself be read, no bounce buffer left, or no
    /// memory of the host's for one (an error).
    pub fn map(
        self: &Arc<Self>,
        address: u64,
        len: usize,
        direction: Direction,
        attrs: TxAttrs,
    ) -> Result<MapGuard, MapError> {
        let (generation, lent) = {
            let view = self.look();
            (view.generation(), lend(&view, address, len, direction, attrs))
        };
        let Some((pin, offset, len, rare)) = lent else {
            return self.map_further(address, len, direction, attrs);
        };
        let memory = Memory::Direct { pin, offset };
        let written = direction.writes(len);
        Ok(MapGuard { address, len, direction, generation, rare, written, memory })
    }

    /// Maps what is behind an IOMMU, or is no memory, or is refused.
    #[cold]
    fn map_further(
        self: &Arc<Self>,
        address: u64,
        len: usize,
        direction: Direction,
        attrs: TxAttrs,
    ) -> Result<MapGuard, MapError> {
        chain::check_unlocked()?;
        let view = self.look();
        let generation = view.generation();
        let access = Access::new(self, &view, attrs);
        let mut way = Way::default();
        let place = access.reach(address, len, direction, &mut way)?;
        let rare = way.is_translated().then(|| Box::new(Rare { way, _further: Vec::new() }));
        let guard = |memory, len| {
            let written = direction.writes(len);
            MapGuard { address, len, direction, generation, rare, written, memory }
        };
        match place.what {
            What::Memory => {
                let Reached { pin, offset, len, .. } = place;
                return Ok(guard(Memory::Direct { pin, offset }, len));
            }
            What::Refused => return Err(BusFault::DECODE.into()),
            What::Copy => {}
        }
        let len = self.take_bounce(place.len).ok_or(MapError::Busy)?;
        // the copy gives itself back, whatever happens
        let space = Arc::downgrade(self);
        let block = RamBlock::anonymous(len as u64);
        let copy = block.map(|block| Box::new(Bounced { block, len, place, attrs, space }));
        let Ok(copy) = copy else {
            drop(view);
            self.give_bounce_back(len);
            return Err(BusFault::ERROR.into());
        };
        let read = match direction {
            Direction::Read => copy.fill(|bytes| access.read(address, bytes)),
            Direction::Write => Ok(()),
        };
        // who waits for a buffer is woken on no view
        drop(view);
        read?;
        Ok(guard(Memory::Bounced(copy), len))
    }

    fn bounce(&self) -> MutexGuard<'_, Bounce> {
        self.bounce_lock().lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_bounce(&self, wanted: usize) -> Option<usize> {
        let mut bounce = self.bounce();
        let len = wanted.min(self.config().bounce_budget.saturating_sub(bounce.used));
        bounce.used += len;
        (len > 0).then_some(len)
    }

    fn give_bounce_back(&self, len: usize) {
        let waiters = {
            let mut bounce = self.bounce();
            bounce.used -= len.min(bounce.used);
            std::mem::take(&mut bounce.waiters)
        };
        // with no lock held: a waiter may map at once
        waiters.into_iter().for_each(|wake| wake());
    }

    /// Calls `wake` once, when a bounce buffer has come free: at once if there is room now. Whoever registers after
    /// [`MapError::Busy`] misses nothing, and in a space without any waits for ever.
    ///
    /// `wake` is called inside whatever gives the buffer back, another device's callback perhaps: a device schedules
    /// deferred work there, and maps in that.
    pub fn when_bounce_is_free(&self, wake: impl FnOnce() + Send + 'static) {
        let mut bounce = self.bounce();
        if bounce.used < self.config().bounce_budget {
            drop(bounce);
            return wake();
        }
        bounce.waiters.push_back(Box::new(wake));
    }
}
