//! Windows: a fixed range of guest memory that is looked up once.

mod stretch;

use crate::access::{Access, Way};
use crate::map::Direction;
use crate::space::AddressSpace;
use crate::sync::{Arc, Weak};
use memory_core::{AddrRange, BusFault, ByteOrder, Endian, RamSpan, TxAttrs, Width};
use std::fmt;
use std::hint::cold_path;
use stretch::Stretches;

/// A fixed range of an address space that is read and written often, a ring for example: memory in it is reached without a
/// look-up, and what begins at its start the fastest; all else as through the space. QEMU's name: `MemoryRegionCache`.
///
/// Offsets are bytes from the window's start, and are checked, always. Memory is what it was when the window was made:
/// neither a move, a region that becomes read-only nor an IOMMU's invalidation revokes it, and what could not be written then
/// is refused for as long as the window lives; [`Window::is_stale`] tells. What is no memory goes by the map as it is at each
/// access, and is unassigned when the space is gone.
///
/// Behind an IOMMU it is the same for the first 4096 pages whose translations are announced ([`Iommu::announces`]); what an IOMMU
/// refused, or gives without announcing, it is asked for at each access.
///
/// It holds the pins of the memory that it shows, and its space weakly.
///
/// [`Iommu::announces`]: memory_core::Iommu::announces
pub struct Window {
    /// Host memory at the window's start that is read, and that is written.
    read: Option<RamSpan>,
    write: Option<RamSpan>,
    order: ByteOrder,
    range: AddrRange,
    attrs: TxAttrs,
    generation: u64,
    // these pin what the spans are of, and are dropped after those
    reads: Stretches,
    writes: Stretches,
    way: Way,
    /// Weak: a device may keep a window, and is kept by what spaces show.
    space: Weak<AddressSpace>,
}

impl Window {
    /// The addresses.
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// Whether the map has changed since the window was made, that of a space behind an IOMMU which led to its memory, or such an
    /// IOMMU may have. It has when the space is gone.
    pub fn is_stale(&self) -> bool {
        self.space
            .upgrade()
            .is_none_or(|space| space.generation() != self.generation || self.way.is_stale(space.system()))
    }

    /// The address of `len` bytes at `offset`.
    fn address(&self, offset: u64, len: usize) -> Result<u64, BusFault> {
        let last = offset.checked_add((len as u64).saturating_sub(1)).ok_or(BusFault::ACCESS)?;
        let inside = last <= self.range.last() - self.range.start();
        if inside { Ok(self.range.start() + offset) } else { Err(BusFault::ACCESS) }
    }

    /// Where accesses go on that are no memory of the window's.
    fn space(&self) -> Result<Arc<AddressSpace>, BusFault> {
        self.space.upgrade().ok_or(BusFault::DECODE)
    }

    /// Reads `width` bytes at `offset`, in the space's byte order.
    ///
    /// # Errors
    /// An access error out of bounds, or the fault of the access.
    #[inline]
    pub fn load(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        if let Some(span) = &self.read
            && let Some(value) = span.load_aligned(offset, width)
        {
            return Ok(self.ordered(width, value));
        }
        self.load_any(offset, width)
    }

    /// As [`Window::load`], wherever it leads.
    #[cold]
    fn load_any(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        let address = self.address(offset, width.len())?;
        let Some(stretch) = self.reads.at(address) else {
            return self.space()?.load(address, width, self.attrs);
        };
        if stretch.holds(address, width) {
            return stretch.load(address, width).map(|value| self.ordered(width, value));
        }
        // memory, and something else behind it: each as it is
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width.len()).ok_or(BusFault::ERROR)?;
        self.read(offset, bytes)?;
        Ok(self.order.decode(bytes))
    }

    /// Writes `width` bytes at `offset`, in the space's byte order.
    ///
    /// # Errors
    /// An access error out of bounds, a decode error where the memory could not be written when the window was made, or the
    /// fault of the access.
    #[inline]
    pub fn store(&self, offset: u64, width: Width, value: u64) -> Result<(), BusFault> {
        if let Some(span) = &self.write
            && span.store(offset, width, self.ordered(width, value))
        {
            return Ok(());
        }
        self.store_beyond(offset, width, value)
    }

    /// A store to what is no memory at the window's start.
    #[cold]
    fn store_beyond(&self, offset: u64, width: Width, value: u64) -> Result<(), BusFault> {
        let address = self.address(offset, width.len())?;
        let Some(stretch) = self.writes.at(address) else {
            return self.space()?.store(address, width, value, self.attrs);
        };
        if stretch.holds(address, width) {
            return stretch.store(address, width, self.ordered(width, value));
        }
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width.len()).ok_or(BusFault::ERROR)?;
        self.order.encode(value, bytes);
        self.write(offset, bytes)
    }

    /// Reads bytes from `offset` on, each part as what is there has it. Where one fails its bytes are 0 and the rest goes
    /// on. QEMU's name: `address_space_read_cached`.
    ///
    /// # Errors
    /// An access error out of bounds, where all are 0, or the faults of all parts, OR-ed.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BusFault> {
        let mut at = self.address(offset, bytes.len()).inspect_err(|_| bytes.fill(0))?;
        let (mut rest, mut result) = (bytes, Ok(()));
        while !rest.is_empty() {
            let (stretch, len) = self.reads.next(at, rest.len());
            let (part, later) = std::mem::take(&mut rest).split_at_mut(len);
            let read = match stretch {
                Some(stretch) => stretch.read(at, part),
                None => match self.space() {
                    Ok(space) => space.read(at, part, self.attrs),
                    Err(fault) => {
                        part.fill(0);
                        Err(fault)
                    }
                },
            };
            result = BusFault::both(result, read);
            (rest, at) = (later, at.wrapping_add(len as u64));
        }
        result
    }

    /// Writes bytes from `offset` on, each part as what is there has it. Where one fails the rest goes on. QEMU's name:
    /// `address_space_write_cached`.
    ///
    /// # Errors
    /// An access error out of bounds, where nothing is done, or the faults of all parts, OR-ed.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), BusFault> {
        let mut at = self.address(offset, bytes.len())?;
        let (mut rest, mut result) = (bytes, Ok(()));
        while !rest.is_empty() {
            let (stretch, len) = self.writes.next(at, rest.len());
            let (part, later) = rest.split_at(len);
            let written = match stretch {
                Some(stretch) => stretch.write(at, part),
                None => self.space().and_then(|space| space.write(at, part, self.attrs)),
            };
            result = BusFault::both(result, written);
            (rest, at) = (later, at.wrapping_add(len as u64));
        }
        result
    }

    /// As [`Window::load`], with the value in the byte order that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn load_as(&self, offset: u64, width: Width, endian: Endian) -> Result<u64, BusFault> {
        self.load(offset, width).map(|value| self.reordered(width, value, endian))
    }

    /// As [`Window::store`], with the value in the byte order that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn store_as(&self, offset: u64, width: Width, value: u64, endian: Endian) -> Result<(), BusFault> {
        self.store(offset, width, self.reordered(width, value, endian))
    }

    fn reordered(&self, width: Width, value: u64, endian: Endian) -> u64 {
        if endian.on(self.order) == self.order { value } else { width.swap_bytes(value) }
    }

    #[inline]
    fn ordered(&self, width: Width, value: u64) -> u64 {
        match self.order {
            ByteOrder::Little => value & width.mask(),
            ByteOrder::Big => {
                // a branch, which is foreseen: what is loaded does not wait for the order of the space
                cold_path();
                width.swap_bytes(value)
            }
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("range", &self.range)
            .field("stale", &self.is_stale())
            .finish_non_exhaustive()
    }
}

impl AddressSpace {
    /// A window onto `range`, whose accesses carry `attrs`. It looks at each part of the map there once, and asks IOMMUs for each
    /// page; no lock is held.
    ///
    /// ```
    /// use memory_core::{AddrRange, BusFault, RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let ring = space.window(AddrRange::new(0x100, 0x1ff).expect("a range"), TxAttrs::default());
    /// ring.store(0xfc, Width::W4, 9)?;
    /// assert_eq!((ring.load(0xfc, Width::W4), ring.load(0x100, Width::W1)), (Ok(9), Err(BusFault::ACCESS)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn window(self: &Arc<Self>, range: AddrRange, attrs: TxAttrs) -> Window {
        let view = self.look();
        let access = Access::new(self, &view, attrs);
        let mut way = Way::default();
        let mut find = |direction| Stretches::find(&access, range, direction, &mut way);
        let (reads, writes) = (find(Direction::Read), find(Direction::Write));
        Window {
            read: reads.span_at(range.start()),
            write: writes.span_at(range.start()),
            order: self.config().order,
            range,
            attrs,
            generation: view.generation(),
            reads,
            writes,
            way,
            space: Arc::downgrade(self),
        }
    }
}
