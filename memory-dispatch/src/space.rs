//! Address spaces.

use crate::access::{Access, Found, plain};
use crate::chain;
use crate::handle::{HandleShared, VcpuHandle};
use crate::map::{BOUNCE_BUDGET, Bounce};
use crate::sync::{Arc, ArcSwap, AtomicU64, Guard, Mutex, Ordering, PoisonError, ViewArc, Weak, fence};
use crate::system::{MemorySystem, SystemInner};
use memory_core::fence::{light, reaches_all_threads};
use memory_core::{BusFault, ByteOrder, Endian, HostPage, RegionRef, SpaceId, TxAttrs, Width};
use memory_flatview::View;
use std::fmt;
use std::ops::Deref;

/// What an access gets where nobody answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Unassigned {
    /// Reads give 0, writes are dropped, the result is a decode error: memory.
    #[default]
    DecodeError,
    /// Reads give all ones, writes are dropped, there is no error: ports, PCI.
    AllOnes,
}

/// What an address space is besides its root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpaceConfig {
    /// The byte order of typed accesses to RAM, and of devices that say native.
    pub order: ByteOrder,
    /// What unassigned addresses and refused accesses give.
    pub unassigned: Unassigned,
    /// Bytes of bounce buffers at a time, [`BOUNCE_BUDGET`] by default; with 0 what is no memory cannot be mapped. QEMU's
    /// name: `max_bounce_buffer_size`.
    pub bounce_budget: usize,
}

impl Default for SpaceConfig {
    fn default() -> Self {
        let (order, unassigned) = Default::default();
        Self { order, unassigned, bounce_budget: BOUNCE_BUDGET }
    }
}

/// What a bus master sees: the rendering of a root region, published for any number of threads.
///
/// Accesses take no lock. An access that begins after a commit has returned sees the new map; one in flight
/// finishes on the old one. Threads with many accesses take a [`VcpuHandle`]. Inside a transaction, of any machine, a thread
/// reaches host memory only: devices and IOMMUs give an access error.
///
/// ```
/// use memory_core::{RamBlock, Size, TxAttrs, Width};
/// use memory_dispatch::{MemorySystem, SpaceConfig};
/// let system = MemorySystem::new();
/// let root = system.memory().container("system", Size::FULL).build()?;
/// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
/// root.map(0x8000_0000, &ram)?;
/// let space = system.address_space("memory", &root, SpaceConfig::default())?;
/// space.store(0x8000_0010, Width::W4, 7, TxAttrs::default())?;
/// assert_eq!(space.load(0x8000_0010, Width::W4, TxAttrs::default()), Ok(7));
/// assert!(space.load(0, Width::W4, TxAttrs::default()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AddressSpace {
    id: SpaceId,
    name: Arc<str>,
    root: RegionRef,
    config: SpaceConfig,
    published: ArcSwap<View>,
    /// Generation of the published view, set after it: what a reader that caches pages compares.
    generation: AtomicU64,
    /// Held to list handles, never while one is kicked.
    handles: Mutex<Vec<Weak<HandleShared>>>,
    /// Held to count, never while a device or a waiter runs.
    bounce: Mutex<Bounce>,
    /// Whether who leaves a view has to take a fence, since who waits for that has no way to do so for all threads.
    fences: bool,
    system: Arc<SystemInner>,
}

impl AddressSpace {
    pub(crate) fn new(
        id: SpaceId,
        name: Arc<str>,
        root: RegionRef,
        config: SpaceConfig,
        view: ViewArc<View>,
        system: Arc<SystemInner>,
    ) -> Self {
        let generation = AtomicU64::new(view.generation());
        let published = ArcSwap::new(view);
        let (handles, bounce) = Default::default();
        let fences = !reaches_all_threads();
        Self { id, name, root, config, published, generation, handles, bounce, fences, system }
    }

    /// The id, by which IOMMUs name the space.
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// The system that the space belongs to.
    pub fn memory_system(&self) -> MemorySystem {
        MemorySystem::from_inner(self.system.clone())
    }

    /// The name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root region.
    pub fn root(&self) -> &RegionRef {
        &self.root
    }

    /// What the space is besides its root.
    #[inline]
    pub fn config(&self) -> SpaceConfig {
        self.config
    }

    /// The generation of the published view: one atomic load. It changes with every change of the map.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks at the published view. It stays published or at least alive meanwhile: do not take long.
    pub fn with_view<R>(&self, look: impl FnOnce(&View) -> R) -> R {
        look(&self.look())
    }

    /// Looks at the published view, as a thread without a handle does.
    #[inline]
    pub(crate) fn look(&self) -> Look<&Self> {
        Look::new(self)
    }

    pub(crate) fn published(&self) -> &ArcSwap<View> {
        &self.published
    }

    pub(crate) fn bounce_lock(&self) -> &Mutex<Bounce> {
        &self.bounce
    }

    pub(crate) fn system(&self) -> &Arc<SystemInner> {
        &self.system
    }

    /// Publishes a view and returns the one before.
    pub(crate) fn publish(&self, view: ViewArc<View>) -> ViewArc<View> {
        let generation = view.generation();
        let old = self.published.swap(view);
        self.generation.store(generation, Ordering::Release);
        old
    }

    /// Runs an access on the published view, unless this thread holds the lock of a `Locked` device.
    #[inline(always)]
    pub(crate) fn access<R>(
        &self,
        attrs: TxAttrs,
        run: impl FnOnce(&Access<'_>) -> Result<R, BusFault>,
    ) -> Result<R, BusFault> {
        chain::check_unlocked()?;
        let view = self.look();
        run(&Access::new(self, &view, attrs))
    }

    /// Reads `width` bytes at `address` in the space's byte order, as one access to one region.
    ///
    /// # Errors
    /// The fault; the value counts as 0 then.
    pub fn load(&self, address: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        chain::check_unlocked()?;
        let view = self.look();
        let found = Found::at(&view, address);
        match plain::load(found.as_ref(), width, attrs, self.config.order) {
            Some(done) => done,
            None => Access::new(self, &view, attrs).load(found, address, width),
        }
    }

    /// Writes the low `width` bytes of `value` at `address` in the space's byte order, as one access to one region.
    ///
    /// # Errors
    /// The fault; nothing was written then, except by a device that failed half-way.
    pub fn store(&self, address: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        chain::check_unlocked()?;
        let view = self.look();
        let found = Found::at(&view, address);
        match plain::store(found.as_ref(), width, value, attrs, self.config.order) {
            Some(done) => done,
            None => Access::new(self, &view, attrs).store(found, address, width, value),
        }
    }

    /// As [`AddressSpace::load`], with the value in the byte order that is asked for; native is the space's own. QEMU's
    /// names: `address_space_ldl_le`, `_be` and the like.
    ///
    /// ```
    /// use memory_core::{Endian, RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// space.store_as(0, Width::W4, 0x1122_3344, Endian::Big, TxAttrs::default())?;
    /// assert_eq!(space.load(0, Width::W1, TxAttrs::default()), Ok(0x11));
    /// assert_eq!(space.load_as(0, Width::W2, Endian::Big, TxAttrs::default()), Ok(0x1122));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn load_as(
        &self,
        address: u64,
        width: Width,
        endian: Endian,
        attrs: TxAttrs,
    ) -> Result<u64, BusFault> {
        self.load(address, width, attrs).map(|value| self.reordered(width, value, endian))
    }

    /// As [`AddressSpace::store`], with the value in the byte order that is asked for.
    ///
    /// # Errors
    /// As there.
    pub fn store_as(
        &self,
        address: u64,
        width: Width,
        value: u64,
        endian: Endian,
        attrs: TxAttrs,
    ) -> Result<(), BusFault> {
        self.store(address, width, self.reordered(width, value, endian), attrs)
    }

    /// A value of the space's byte order in another one, and back.
    pub(crate) fn reordered(&self, width: Width, value: u64, endian: Endian) -> u64 {
        let order = self.config.order;
        if endian.on(order) == order { value } else { width.swap_bytes(value) }
    }

    /// Reads any number of bytes, cut into pieces as regions and rules have it. Where a piece fails its bytes are 0
    /// and the rest goes on.
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn read(&self, address: u64, bytes: &mut [u8], attrs: TxAttrs) -> Result<(), BusFault> {
        let result = self.access(attrs, |access| Ok(access.read(address, bytes)));
        result.unwrap_or_else(|fault| {
            bytes.fill(0);
            Err(fault)
        })
    }

    /// Writes any number of bytes, cut into pieces as regions and rules have it. Where a piece fails the rest goes
    /// on.
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn write(&self, address: u64, bytes: &[u8], attrs: TxAttrs) -> Result<(), BusFault> {
        self.access(attrs, |access| access.write(address, bytes))
    }

    /// Writes `len` times `byte`, as [`AddressSpace::write`] does: beyond 2^64 there is nothing.
    ///
    /// ```
    /// use memory_core::{RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// space.fill(0x10, 0x20, 0xaa, TxAttrs::default())?;
    /// assert_eq!(space.load(0x2e, Width::W4, TxAttrs::default()), Ok(0xaaaa));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn fill(&self, address: u64, len: usize, byte: u8, attrs: TxAttrs) -> Result<(), BusFault> {
        self.access(attrs, |access| access.fill(address, len, byte))
    }

    /// Writes bytes as a loader does: ROM, ROM devices and read-only ranges take them too, devices do not. Where reads and
    /// writes have different targets they go to what is read.
    ///
    /// ```
    /// use memory_core::{RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let rom = system.memory().rom("bios", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0xf_0000, &rom)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// assert!(space.write(0xf_0000, &[0x55, 0xaa], TxAttrs::default()).is_err());
    /// space.write_rom(0xf_0000, &[0x55, 0xaa])?;
    /// assert_eq!(space.load(0xf_0000, Width::W2, TxAttrs::default()), Ok(0xaa55));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An access error where there is no host memory; all that could be written was.
    pub fn write_rom(&self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.write(address, bytes, TxAttrs::DEBUG)
    }

    /// Replaces `width` bytes of RAM at `address` by `new` if they equal `current`, atomically. The inner result holds
    /// the old value: `Ok` if it was replaced, `Err` if not.
    ///
    /// ```
    /// use memory_core::{RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x1000u64)?).build()?;
    /// root.map(0, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// assert_eq!(space.compare_exchange(8, Width::W4, 0, 7, TxAttrs::default())?, Ok(0), "replaced");
    /// assert_eq!(space.compare_exchange(8, Width::W4, 0, 9, TxAttrs::default())?, Err(7), "it was 7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An access error unless the place is aligned to `width` and inside one range of writable RAM.
    pub fn compare_exchange(
        &self,
        address: u64,
        width: Width,
        current: u64,
        new: u64,
        attrs: TxAttrs,
    ) -> Result<Result<u64, u64>, BusFault> {
        self.access(attrs, |access| access.compare_exchange(address, width, current, new))
    }

    /// The page of host memory at `address` (a multiple of the page's size), if all of it is one range of RAM, or for
    /// reads ROM or a ROM device in ROMD mode.
    pub fn page(&self, address: u64, write: bool) -> Option<HostPage> {
        crate::access::page(Found::at(&self.look(), address)?, address, write)
    }

    /// A handle for one vCPU thread. `kick` makes that thread look at its handle soon, by leaving guest code or
    /// returning from a wait; it is called from any thread and must not block.
    pub fn handle(self: &Arc<Self>, kick: impl Fn() + Send + Sync + 'static) -> VcpuHandle {
        self.handle_named(self.name.clone(), kick)
    }

    /// As [`AddressSpace::handle`], with a name for people who want to know what a removal waits for. Without one it is that
    /// of the space.
    pub fn handle_named(
        self: &Arc<Self>,
        name: impl Into<Arc<str>>,
        kick: impl Fn() + Send + Sync + 'static,
    ) -> VcpuHandle {
        let shared = Arc::new(HandleShared::new(name.into(), kick));
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| handle.strong_count() > 0);
        handles.push(Arc::downgrade(&shared));
        VcpuHandle::new(self.clone(), shared)
    }

    /// Kicks the handles that are neither parked nor on the published view.
    pub(crate) fn kick_laggards(&self) {
        let generation = self.generation();
        self.live_handles().iter().for_each(|handle| handle.kick_unless_on(generation));
    }

    /// The names of the handles that are on the view of `generation`, or may be.
    pub(crate) fn handles_on(&self, generation: u64) -> Vec<Arc<str>> {
        let on = |handle: &Arc<HandleShared>| handle.may_be_on(generation).then(|| handle.name().clone());
        self.live_handles().iter().filter_map(on).collect()
    }

    fn live_handles(&self) -> Vec<Arc<HandleShared>> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The view of a space that a thread without a handle is on. When it lets go of one that has been replaced meanwhile, it says
/// so.
pub(crate) struct Look<S: Deref<Target = AddressSpace>> {
    // dropped first: `Leave` speaks of a view that was let go of
    view: Guard<ViewArc<View>>,
    leave: Leave<S>,
}

impl<S: Deref<Target = AddressSpace>> Look<S> {
    #[inline]
    pub(crate) fn new(space: S) -> Self {
        let view = space.published.load();
        let generation = view.generation();
        Self { view, leave: Leave { space, generation } }
    }

    pub(crate) fn space(&self) -> &AddressSpace {
        &self.leave.space
    }
}

impl<S: Deref<Target = AddressSpace>> Deref for Look<S> {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.view
    }
}

struct Leave<S: Deref<Target = AddressSpace>> {
    space: S,
    generation: u64,
}

impl<S: Deref<Target = AddressSpace>> Drop for Leave<S> {
    #[inline]
    fn drop(&mut self) {
        // between letting go of the view and looking whether it was replaced; see `removal`
        if self.space.fences {
            fence(Ordering::SeqCst);
        } else {
            light();
        }
        if self.space.generation.load(Ordering::Relaxed) != self.generation {
            self.space.system.left_view();
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // the view may be the last to hold devices, whose destructors must not run just anywhere
        let view = self.published.swap(self.system.empty_view());
        self.system.forget(self.id, view);
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressSpace").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
