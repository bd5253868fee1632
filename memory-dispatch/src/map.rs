//! Guest memory as the host's: mapped where it can be, bounced where it cannot.

use crate::access::{Access, Found, direct, is_memory};
use crate::hints;
use crate::section::Pin;
use crate::space::AddressSpace;
use crate::sync::{Arc, MutexGuard, PoisonError};
use memory_core::{Backing, BusFault, Target, TxAttrs};
use memory_flatview::{FlatRange, Part, RangeFlags, View};
use std::collections::VecDeque;
use std::fmt;

/// Bytes of bounce buffers that an address space has at a time.
pub const BOUNCE_BUDGET: usize = 4096;

/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The host reads what the guest has.
    Read,
    /// The host writes what the guest gets.
    Write,
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
    Direct { pin: Pin, offset: u64 },
    /// A copy, out of the buffers of a space, which takes it back.
    Bounced { copy: Vec<u8>, space: Arc<AddressSpace>, attrs: TxAttrs },
}

/// Guest memory that the host may read and write until it is unmapped. QEMU's name: `address_space_map`.
///
/// Direct memory stays what it was when it was mapped: a later change of the map, read-only included, revokes nothing,
/// and the memory's owner lives as long as the guard. A bounced mapping is a copy, written back by
/// [`MapGuard::unmap`]; dropped without, it writes nothing.
///
/// Of direct memory it holds a [`Pin`] and nothing else: a reference to the space as well would be one that all threads
/// count which map anything at all.
pub struct MapGuard {
    address: u64,
    len: usize,
    direction: Direction,
    generation: u64,
    /// How often IOMMUs had invalidated something when one led here.
    invalidations: Option<u64>,
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

    /// Whether the map of `space`, which this is a mapping of, has changed since, or an IOMMU that led here may have. Of
    /// any other space it is stale.
    pub fn is_stale(&self, space: &AddressSpace) -> bool {
        let is_invalidated = |before| before != space.system().iotlb().invalidations();
        space.generation() != self.generation || self.invalidations.is_some_and(is_invalidated)
    }

    /// Copies mapped bytes from `offset` on; false if they are not all mapped.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        match &self.memory {
            Memory::Direct { pin, offset: start } => {
                let block = pin.target().and_then(Target::block);
                block.is_some_and(|block| block.read(start.wrapping_add(offset as u64), bytes))
            }
            Memory::Bounced { copy, .. } => copy.get(offset..offset + bytes.len()).is_some_and(|from| {
                bytes.copy_from_slice(from);
                true
            }),
        }
    }

    /// Copies to mapped bytes from `offset` on; false, and nothing done, if they are not all mapped, or mapped to be read.
    #[must_use]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) || self.direction == Direction::Read {
            return false;
        }
        match &mut self.memory {
            Memory::Direct { pin, offset: start } => {
                let block = pin.target().and_then(Target::block);
                block.is_some_and(|block| block.write(start.wrapping_add(offset as u64), bytes))
            }
            Memory::Bounced { copy, .. } => copy.get_mut(offset..offset + bytes.len()).is_some_and(|to| {
                to.copy_from_slice(bytes);
                true
            }),
        }
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Ends the mapping. The first `written` bytes of a copy go to the guest.
    ///
    /// # Errors
    /// More bytes than were mapped: nothing is written back then. Or the fault of the write.
    pub fn unmap(self, written: usize) -> Result<(), MapError> {
        if written > self.len {
            return Err(MapError::TooLong { written, mapped: self.len });
        }
        match &self.memory {
            Memory::Bounced { copy, space, attrs } if self.direction == Direction::Write => {
                let written = copy.get(..written).unwrap_or(copy);
                Ok(space.write(self.address, written, *attrs)?)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for MapGuard {
    fn drop(&mut self) {
        if let Memory::Bounced { copy, space, .. } = &self.memory {
            space.give_bounce_back(copy.len());
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

/// How many of `len` bytes from `address` on are one stretch of host memory, of which `found` is the first range: neighbours
/// that go on in the same block count.
#[inline]
fn direct_len(view: &View, found: &FlatRange, address: u64, len: usize, direction: Direction) -> usize {
    let rest = found.range().last() - address;
    if rest >= len as u64 - 1 { len } else { direct_len_on(view, found, address, len, direction) }
}

/// As above, beyond the end of the first range.
#[cold]
fn direct_len_on(view: &View, found: &FlatRange, address: u64, len: usize, direction: Direction) -> usize {
    let block = |range| {
        let (part, offset) = direct(&Found::inside(range, range.range().start()), direction)?;
        Some((Arc::as_ptr(part.target().block()?), offset))
    };
    let Some((first, start)) = block(found) else { return 0 };
    let mut end = found.range().last();
    // the distance from the range's start is that in the block, for as long as neighbours go on
    while let Some(next) = end.checked_add(1).and_then(|next| view.find(next)) {
        let distance = next.range().start() - found.range().start();
        let goes_on = block(next)
            .is_some_and(|(block, offset)| block == first && start.checked_add(distance) == Some(offset));
        if !goes_on || end - address >= len as u64 {
            break;
        }
        end = next.range().last();
    }
    at_most(end - address, len)
}

/// `rest` and one more byte, but at most `len`.
fn at_most(rest: u64, len: usize) -> usize {
    usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len))
}

/// How a range can be mapped.
enum Plan {
    Direct(Pin, u64, usize),
    /// Behind an IOMMU, up to so many bytes.
    Behind(usize),
    Bounce(usize),
}

impl Plan {
    #[inline]
    fn new(
        view: &View,
        address: u64,
        len: usize,
        direction: Direction,
        attrs: TxAttrs,
    ) -> Result<Self, BusFault> {
        let range = hints::find(view, address).filter(|_| len > 0).ok_or(BusFault::DECODE)?;
        let part = match direction {
            Direction::Read => range.read(),
            Direction::Write => range.write(),
        };
        let part = part.ok_or(BusFault::DECODE)?;
        if is_refused(range, part, direction) {
            return Err(BusFault::DECODE);
        }
        if attrs.is_memory_only() && !is_memory(part.target()) {
            return Err(BusFault::ACCESS);
        }
        if let Some((part, offset)) = direct(&Found::inside(range, address), direction) {
            let len = direct_len(view, range, address, len, direction);
            return Ok(Self::Direct(Pin::new(part.target()), offset, len));
        }
        let most = at_most(range.range().last() - address, len);
        let is_translated = matches!(part.target().backing(), Backing::Iommu(_));
        Ok(if is_translated { Self::Behind(most) } else { Self::Bounce(most) })
    }
}

impl AddressSpace {
    /// Maps up to `len` bytes at `address` for the host. Memory is mapped directly, as far as it is one stretch of host
    /// memory, and behind an IOMMU to the end of the page; registers are bounced, up to [`BOUNCE_BUDGET`] bytes for all such mappings of the
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
    /// A length of 0 or a hole (a decode error), ROM or a read-only range that is to be written (a decode error), what is no memory for an initiator that
    /// wants memory only (an access error), a device that does not let itself be read, or no bounce buffer left.
    pub fn map(
        self: &Arc<Self>,
        address: u64,
        len: usize,
        direction: Direction,
        attrs: TxAttrs,
    ) -> Result<MapGuard, MapError> {
        let (generation, plan) = {
            let view = self.look();
            (view.generation(), Plan::new(&view, address, len, direction, attrs)?)
        };
        let guard = |memory, len, invalidations| MapGuard {
            address,
            len,
            direction,
            generation,
            invalidations,
            memory,
        };
        let (wanted, invalidations) = match plan {
            Plan::Direct(pin, offset, len) => return Ok(guard(Memory::Direct { pin, offset }, len, None)),
            Plan::Bounce(wanted) => (wanted, None),
            Plan::Behind(most) => {
                let invalidations = Some(self.system().iotlb().invalidations());
                // an IOMMU is a device: it is asked with the view that was looked at let go of
                let view = self.look();
                let lent = Access::new(self, &view, attrs).lend(address, most, direction)?;
                if let Some((target, offset, len)) = lent {
                    let pin = Pin::from(target);
                    return Ok(guard(Memory::Direct { pin, offset }, len, invalidations));
                }
                (most, invalidations)
            }
        };
        let len = self.take_bounce(wanted).ok_or(MapError::Busy)?;
        // from here on the guard gives the buffer back, whatever happens
        let copy = Memory::Bounced { copy: vec![0; len], space: self.clone(), attrs };
        let mut guard = guard(copy, len, invalidations);
        if let (Direction::Read, Memory::Bounced { copy, .. }) = (direction, &mut guard.memory) {
            self.read(address, copy, attrs)?;
        }
        Ok(guard)
    }

    fn bounce(&self) -> MutexGuard<'_, Bounce> {
        self.bounce_lock().lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_bounce(&self, wanted: usize) -> Option<usize> {
        let mut bounce = self.bounce();
        let len = wanted.min(BOUNCE_BUDGET - bounce.used);
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
    /// [`MapError::Busy`] misses nothing.
    ///
    /// `wake` is called inside whatever gives the buffer back, another device's callback perhaps: a device schedules
    /// deferred work there, and maps in that.
    pub fn when_bounce_is_free(&self, wake: impl FnOnce() + Send + 'static) {
        let mut bounce = self.bounce();
        if bounce.used < BOUNCE_BUDGET {
            drop(bounce);
            return wake();
        }
        bounce.waiters.push_back(Box::new(wake));
    }
}
