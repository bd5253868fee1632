//! A vCPU thread's way into an address space.

mod ram;

use crate::access::{Access, Found, page, plain};
use crate::chain;
use crate::hints::Hints;
use crate::space::AddressSpace;
use crate::sync::{Arc, ArcSwap, AtomicU64, Cache, Ordering, ViewArc, fence};
use memory_core::{BusFault, Endian, HostPage, TxAttrs, Width};
use memory_flatview::View;
use ram::RamAtHand;
use std::fmt;
use std::ops::Deref;

/// No generation: the handle is about to take up some view.
const LOOKING: u64 = u64::MAX;

/// What other threads may know of a handle.
pub(crate) struct HandleShared {
    /// Generation of the view that the handle is on, 0 while it is parked, [`LOOKING`] while it takes up a view.
    on: AtomicU64,
    name: Arc<str>,
    kick: Box<dyn Fn() + Send + Sync>,
}

impl HandleShared {
    pub(crate) fn new(name: Arc<str>, kick: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on: AtomicU64::new(0), name, kick: Box::new(kick) }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the handle is on the view of `generation`, or is taking up some view.
    pub(crate) fn may_be_on(&self, generation: u64) -> bool {
        let on = self.on.load(Ordering::SeqCst);
        on == generation || on == LOOKING
    }

    /// Kicks the handle unless it is parked or on the view of `generation`.
    pub(crate) fn kick_unless_on(&self, generation: u64) {
        // after publishing, before looking: either this sees that a handle takes up a view, or it takes up the new one
        fence(Ordering::SeqCst);
        let on = self.on.load(Ordering::SeqCst);
        if on != 0 && on != generation {
            (self.kick)();
        }
    }
}

/// `arc_swap::Cache` wants something that is the `ArcSwap`.
struct Publisher(Arc<AddressSpace>);

impl Deref for Publisher {
    type Target = ArcSwap<View>;

    fn deref(&self) -> &ArcSwap<View> {
        self.0.published()
    }
}

type ViewCache = Cache<Publisher, ViewArc<View>>;

/// One vCPU thread's handle of an address space: accesses without a lock, an atomic write or a reference count.
///
/// The handle keeps the view that it saw last until its next access. A thread that is about to block, or that
/// leaves for guest code for an unknown time, calls [`VcpuHandle::park`], so that what was unplugged can go.
pub struct VcpuHandle {
    space: Arc<AddressSpace>,
    /// None while it is parked.
    cache: Option<ViewCache>,
    /// Generation that `shared.on` says.
    on: u64,
    hints: Hints,
    ram: RamAtHand,
    shared: Arc<HandleShared>,
}

impl VcpuHandle {
    pub(crate) fn new(space: Arc<AddressSpace>, shared: Arc<HandleShared>) -> Self {
        Self { space, cache: None, on: 0, hints: Hints::new(), ram: RamAtHand::NONE, shared }
    }

    /// The address space.
    pub fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// The name, for people.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The generation of the published map: one atomic load. Whoever keeps [`HostPage`]s compares it at each use.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.space.generation()
    }

    /// Lets go of the view: the handle holds up nobody until its next access. Costs a reference count now and at
    /// that access.
    pub fn park(&mut self) {
        if self.on != 0 {
            self.space.system().flush_coalesced();
            // the last reference is with the publisher or the reclaim list, so this drops no device
            self.ram.leave();
            self.cache = None;
            self.on = 0;
            self.shared.on.store(0, Ordering::SeqCst);
            self.space.system().left_view();
        }
    }

    /// Begins an access: on the published view.
    #[inline(always)]
    fn look(&mut self) -> Result<Looking<'_>, BusFault> {
        chain::check_unlocked()?;
        let Self { space, cache, on, hints, ram, shared } = self;
        let cache = match cache {
            Some(cache) => cache,
            None => cache.insert(take_up(space, shared)),
        };
        let view = cache.load();
        if view.generation() != *on {
            *on = view.generation();
            ram.leave();
            hints.suit(view);
            moved_on(space, shared, *on);
        }
        Ok(Looking { space, view, hints, ram })
    }

    /// As [`AddressSpace::load`].
    ///
    /// # Errors
    /// The fault.
    #[inline]
    pub fn load(&mut self, address: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        let mut looking = self.look()?;
        let order = looking.space.config().order;
        if let Some(value) = looking.ram.load(address, width) {
            return Ok(plain::ordered(order, width, value));
        }
        let found = looking.find(address);
        match plain::load(found.as_ref(), width, attrs, order) {
            Some(done) => done,
            None => looking.access(attrs).load(found, address, width),
        }
    }

    /// As [`AddressSpace::store`].
    ///
    /// # Errors
    /// The fault.
    #[inline]
    pub fn store(&mut self, address: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        let mut looking = self.look()?;
        let order = looking.space.config().order;
        if looking.ram.store(address, width, plain::ordered(order, width, value)) {
            return Ok(());
        }
        let found = looking.find(address);
        match plain::store(found.as_ref(), width, value, attrs, order) {
            Some(done) => done,
            None => looking.access(attrs).store(found, address, width, value),
        }
    }

    /// As [`AddressSpace::read`].
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn read(&mut self, address: u64, bytes: &mut [u8], attrs: TxAttrs) -> Result<(), BusFault> {
        match self.look() {
            Ok(mut looking) => match looking.read_plain(address, bytes, attrs) {
                Some(done) => done,
                None => looking.access(attrs).read(address, bytes),
            },
            Err(fault) => {
                bytes.fill(0);
                Err(fault)
            }
        }
    }

    /// As [`AddressSpace::write`].
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn write(&mut self, address: u64, bytes: &[u8], attrs: TxAttrs) -> Result<(), BusFault> {
        let mut looking = self.look()?;
        match looking.write_plain(address, bytes, attrs) {
            Some(done) => done,
            None => looking.access(attrs).write(address, bytes),
        }
    }

    /// As [`AddressSpace::load_as`].
    ///
    /// # Errors
    /// As there.
    pub fn load_as(
        &mut self,
        address: u64,
        width: Width,
        endian: Endian,
        attrs: TxAttrs,
    ) -> Result<u64, BusFault> {
        let value = self.load(address, width, attrs)?;
        Ok(self.space.reordered(width, value, endian))
    }

    /// As [`AddressSpace::store_as`].
    ///
    /// # Errors
    /// As there.
    pub fn store_as(
        &mut self,
        address: u64,
        width: Width,
        value: u64,
        endian: Endian,
        attrs: TxAttrs,
    ) -> Result<(), BusFault> {
        let value = self.space.reordered(width, value, endian);
        self.store(address, width, value, attrs)
    }

    /// As [`AddressSpace::compare_exchange`].
    ///
    /// # Errors
    /// An access error unless the place is aligned to `width` and inside one range of writable RAM.
    pub fn compare_exchange(
        &mut self,
        address: u64,
        width: Width,
        current: u64,
        new: u64,
        attrs: TxAttrs,
    ) -> Result<Result<u64, u64>, BusFault> {
        self.look()?.access(attrs).compare_exchange(address, width, current, new)
    }

    /// As [`AddressSpace::page`].
    pub fn page(&mut self, address: u64, write: bool) -> Option<HostPage> {
        page(self.look().ok()?.find(address)?, address, write)
    }
}

/// A handle in an access.
struct Looking<'a> {
    space: &'a AddressSpace,
    view: &'a View,
    hints: &'a mut Hints,
    ram: &'a mut RamAtHand,
}

impl<'a> Looking<'a> {
    /// What is found at `address`, which is no RAM at hand.
    #[inline(always)]
    fn find(&mut self, address: u64) -> Option<Found<'a>> {
        let found = self.hints.find(self.view, address).map(|range| Found::inside(range, address));
        self.ram.note(found.as_ref());
        found
    }

    /// A transfer that is one piece, and that a plain one: what an accelerator's exits are.
    #[inline(always)]
    fn read_plain(&mut self, address: u64, bytes: &mut [u8], attrs: TxAttrs) -> Option<Result<(), BusFault>> {
        let (width, order) = (plain::piece(address, bytes.len())?, self.space.config().order);
        let result = plain::load(self.find(address).as_ref(), width, attrs, order)?;
        order.encode(result.unwrap_or(0), bytes);
        Some(result.map(|_| ()))
    }

    /// As [`Looking::read_plain`].
    #[inline(always)]
    fn write_plain(&mut self, address: u64, bytes: &[u8], attrs: TxAttrs) -> Option<Result<(), BusFault>> {
        let (width, order) = (plain::piece(address, bytes.len())?, self.space.config().order);
        plain::store(self.find(address).as_ref(), width, order.decode(bytes), attrs, order)
    }

    fn access(&self, attrs: TxAttrs) -> Access<'a> {
        Access::new(self.space, self.view, attrs)
    }
}

/// The handle is parked, and takes up a view.
#[cold]
fn take_up(space: &Arc<AddressSpace>, shared: &HandleShared) -> ViewCache {
    // said before the view is loaded: a commit in between would take the handle for parked, and not kick it
    shared.on.store(LOOKING, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    Cache::new(Publisher(space.clone()))
}

/// The handle has let go of another view, of one maybe that it took up a moment ago, and is on that of `generation`.
#[cold]
fn moved_on(space: &AddressSpace, shared: &HandleShared, generation: u64) {
    shared.on.store(generation, Ordering::SeqCst);
    space.system().left_view();
}

impl Drop for VcpuHandle {
    fn drop(&mut self) {
        self.park();
    }
}

impl fmt::Debug for VcpuHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VcpuHandle").field("space", &self.space).field("on", &self.on).finish_non_exhaustive()
    }
}
