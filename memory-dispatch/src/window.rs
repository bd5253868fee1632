//! Windows: a fixed range of guest memory that is looked up once.

use crate::access::{Found, direct};
use crate::map::Direction;
use crate::section::Pin;
use crate::space::AddressSpace;
use crate::sync::Arc;
use memory_core::{AddrRange, BusFault, ByteOrder, Endian, RamSpan, TxAttrs, Width};
use std::fmt;
use std::hint::cold_path;

/// Host memory at the start of a window.
struct Cached {
    span: RamSpan,
    /// Keeps the memory's owner alive, too.
    _pin: Pin,
}

impl Cached {
    /// What `direction` sees directly at the start of `range`.
    fn find(space: &AddressSpace, range: AddrRange, direction: Direction) -> Option<Self> {
        space.with_view(|view| {
            let found = Found::at(view, range.start())?;
            let (part, offset) = direct(&found, direction)?;
            let inside = found.range.range().intersection(range)?;
            let block = part.target().block()?;
            let len = u64::try_from(inside.size().bytes()).unwrap_or(u64::MAX);
            Some(Self { span: block.span(offset, len)?, _pin: Pin::new(part.target()) })
        })
    }
}

/// A fixed range of an address space that is read and written often, a ring for example: memory at its start is reached
/// without a look-up, all else as through the space. QEMU's name: `MemoryRegionCache`.
///
/// Offsets are bytes from the window's start, and are checked, always. Memory stays what it was when the window was made:
/// neither a change of the map nor a region that becomes read-only revokes it; [`Window::is_stale`] tells.
pub struct Window {
    space: Arc<AddressSpace>,
    range: AddrRange,
    attrs: TxAttrs,
    order: ByteOrder,
    generation: u64,
    read: Option<Cached>,
    write: Option<Cached>,
}

impl Window {
    /// The addresses.
    pub fn range(&self) -> AddrRange {
        self.range
    }

    /// Whether the map has changed since the window was made.
    pub fn is_stale(&self) -> bool {
        self.space.generation() != self.generation
    }

    /// The address of `width` bytes at `offset`.
    fn address(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        let last = offset.checked_add(width.bytes() - 1).ok_or(BusFault::ACCESS)?;
        let inside = last <= self.range.last() - self.range.start();
        if inside { Ok(self.range.start() + offset) } else { Err(BusFault::ACCESS) }
    }

    /// Reads `width` bytes at `offset`, in the space's byte order.
    ///
    /// # Errors
    /// An access error out of bounds, or the fault of the access.
    #[inline]
    pub fn load(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        if let Some(cached) = &self.read
            && let Some(value) = cached.span.load_aligned(offset, width)
        {
            return Ok(self.ordered(width, value));
        }
        self.load_any(offset, width)
    }

    /// As [`Window::load`], wherever it leads.
    #[cold]
    fn load_any(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        match self.read.as_ref().and_then(|cached| cached.span.load(offset, width)) {
            Some(value) => Ok(self.ordered(width, value)),
            None => self.space.load(self.address(offset, width)?, width, self.attrs),
        }
    }

    /// Writes `width` bytes at `offset`, in the space's byte order.
    ///
    /// # Errors
    /// An access error out of bounds, or the fault of the access.
    #[inline]
    pub fn store(&self, offset: u64, width: Width, value: u64) -> Result<(), BusFault> {
        if let Some(cached) = &self.write
            && cached.span.store(offset, width, self.ordered(width, value))
        {
            return Ok(());
        }
        self.store_beyond(offset, width, value)
    }

    /// A store to what is no memory at the window's start.
    #[cold]
    fn store_beyond(&self, offset: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.space.store(self.address(offset, width)?, width, value, self.attrs)
    }

    /// As [`Window::load`], with the value in the byte order that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn load_as(&self, offset: u64, width: Width, endian: Endian) -> Result<u64, BusFault> {
        self.load(offset, width).map(|value| self.space.reordered(width, value, endian))
    }

    /// As [`Window::store`], with the value in the byte order that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn store_as(&self, offset: u64, width: Width, value: u64, endian: Endian) -> Result<(), BusFault> {
        self.store(offset, width, self.space.reordered(width, value, endian))
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
    /// A window onto `range`, whose accesses carry `attrs`.
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
        // before the look-ups: should the map change in between, the window counts as stale
        let generation = self.generation();
        // an initiator that wants memory only must not be lent a ROM device's: each access is looked at
        let find =
            |direction| if attrs.is_memory_only() { None } else { Cached::find(self, range, direction) };
        let [read, write] = [Direction::Read, Direction::Write].map(find);
        let order = self.config().order;
        Window { space: self.clone(), range, attrs, order, generation, read, write }
    }
}
