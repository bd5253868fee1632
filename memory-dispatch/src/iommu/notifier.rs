//! Announcements of IOMMUs, and who wants to hear them.

use crate::chain;
use crate::entry::{EntryKind, PinnedLink};
use crate::listener::Refusal;
use crate::section::Pin;
use crate::space::AddressSpace;
use crate::sync::{Arc, Condvar, DashMap, Mutex, MutexGuard, PoisonError, Weak, thread, thread_local};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{
    AddrRange, Backing, Iommu, IommuEntry, IommuEvents, MemoryError, RegionId, RegionRef, Target,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

/// Why nobody is told of an IOMMU's changes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IommuError {
    /// The region is none of an IOMMU, or its device is gone.
    #[error("region `{0}` is no IOMMU")]
    NoIommu(Arc<str>),
    /// The IOMMU has fewer translations.
    #[error("IOMMU `{region}` has no translation {index}")]
    NoIndex {
        /// The region.
        region: Arc<str>,
        /// The number of the translation.
        index: usize,
    },
    /// The IOMMU cannot say what is mapped.
    #[error("IOMMU `{0}` cannot replay what it maps")]
    NoReplay(Arc<str>),
    /// The IOMMU cannot announce what is wanted.
    #[error("IOMMU `{region}` refused: {reason}")]
    Refused {
        /// The region.
        region: Arc<str>,
        /// What it says.
        reason: Box<dyn Error + Send + Sync>,
    },
    /// This thread is inside the IOMMU or a transaction, or holds the lock of a [`Locked`](crate::Locked) device.
    #[error("IOMMU `{0}` is asked inside itself, a transaction or a lock")]
    Inside(Arc<str>),
    /// The region cannot be looked at.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Something that an IOMMU announces, cut to the range that is listened to. QEMU's name: `IOMMUTLBEvent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IommuNotice {
    /// What happened: one event.
    pub event: IommuEvents,
    /// The translation.
    pub index: usize,
    /// The addresses, in bytes from the region's start.
    pub range: AddrRange,
    /// Where the first of them leads to now, if something was mapped. Its mask is the page's; a range that is cut
    /// begins inside of it.
    pub entry: Option<IommuEntry>,
}

impl IommuNotice {
    /// The part in `range`, if there is one.
    fn cut(&self, range: AddrRange) -> Option<Self> {
        let cut = self.range.intersection(range)?;
        let ahead = cut.start() - self.range.start();
        let entry =
            self.entry.map(|entry| IommuEntry { translated: entry.translated.wrapping_add(ahead), ..entry });
        Some(Self { range: cut, entry, ..*self })
    }
}

#[derive(Default)]
struct Calls {
    /// The guard is gone: nobody is called any more.
    over: bool,
    /// Threads that are inside the callback.
    running: Vec<thread::ThreadId>,
}

/// Somebody who wants to hear an IOMMU.
struct Notifier {
    index: usize,
    range: AddrRange,
    events: IommuEvents,
    tell: Box<dyn Fn(&IommuNotice) + Send + Sync>,
    /// Held to count, never while `tell` runs.
    calls: Mutex<Calls>,
    done: Condvar,
}

impl Notifier {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, notice: &IommuNotice) {
        let wanted = self.index == notice.index && self.events.contains(notice.event);
        let Some(notice) = notice.cut(self.range).filter(|_| wanted) else { return };
        let me = thread::current().id();
        {
            let mut calls = self.calls();
            if calls.over {
                return;
            }
            calls.running.push(me);
        }
        let _hearing = Hearing { notifier: self, me };
        (self.tell)(&notice);
    }

    /// Nobody is called from here on. Waits for other threads that are.
    fn end(&self) {
        let me = thread::current().id();
        let mut calls = self.calls();
        calls.over = true;
        while calls.running.iter().any(|thread| *thread != me) {
            calls = self.done.wait(calls).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// This thread is inside a notifier's callback until this is dropped, by a panic too.
struct Hearing<'a> {
    notifier: &'a Notifier,
    me: thread::ThreadId,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        let mut calls = self.notifier.calls();
        if let Some(at) = calls.running.iter().position(|thread| *thread == self.me) {
            calls.running.swap_remove(at);
        }
        drop(calls);
        self.notifier.done.notify_all();
    }
}

thread_local! {
    /// What this thread has announced inside a transaction, and who is to hear it.
    static LATE: RefCell<VecDeque<(Arc<Notifier>, IommuNotice)>> = const { RefCell::new(VecDeque::new()) };
}

/// Has heard what this thread has announced inside a transaction, unless it is inside one still.
pub(crate) fn hear_late() {
    // one by one: whoever hears may announce something himself
    while !chain::has_writers_lock()
        && let Some((notifier, notice)) = LATE.with(|late| late.borrow_mut().pop_front())
    {
        notifier.hear(&notice);
    }
}

/// Who wants to hear which IOMMU.
#[derive(Default)]
pub(crate) struct Notifiers {
    by_region: DashMap<RegionId, Vec<Arc<Notifier>>>,
    /// The thread that tells an IOMMU what is wanted of it. Held to change it, never while an IOMMU runs.
    telling: Mutex<Option<thread::ThreadId>>,
    told: Condvar,
}

/// This thread tells an IOMMU what is wanted until this is dropped.
struct Telling<'a> {
    notifiers: &'a Notifiers,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        *self.notifiers.telling() = None;
        self.notifiers.told.notify_all();
    }
}

impl Notifiers {
    fn of(&self, region: RegionId) -> Vec<Arc<Notifier>> {
        self.by_region.get(&region).map(|notifiers| notifiers.clone()).unwrap_or_default()
    }

    /// All events that are wanted of a translation.
    fn wanted(&self, region: RegionId, index: usize) -> IommuEvents {
        let of_index = self.of(region).into_iter().filter(|notifier| notifier.index == index);
        of_index.fold(IommuEvents::empty(), |all, notifier| all | notifier.events)
    }

    fn telling(&self) -> MutexGuard<'_, Option<thread::ThreadId>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other thread tells an IOMMU anything. `None` if this one does, further down.
    fn begin_telling(&self) -> Option<Telling<'_>> {
        let me = thread::current().id();
        let mut telling = self.telling();
        while let Some(other) = *telling {
            if other == me {
                return None;
            }
            telling = self.told.wait(telling).unwrap_or_else(PoisonError::into_inner);
        }
        *telling = Some(me);
        Some(Telling { notifiers: self })
    }

    fn remove(&self, region: RegionId, notifier: &Arc<Notifier>) {
        if let Some(mut notifiers) = self.by_region.get_mut(&region) {
            notifiers.retain(|other| !Arc::ptr_eq(other, notifier));
        }
        self.by_region.remove_if(&region, |_, notifiers| notifiers.is_empty());
    }
}

/// Keeps somebody told of an IOMMU's changes. When its drop returns he is called no more, unless he drops it himself in
/// his callback. The IOMMU hears then what is still wanted of it, or, if the drop is where it cannot be entered, when what was
/// replaced is reclaimed next.
#[must_use = "nobody is told any more when this is dropped"]
pub struct IommuNotifierGuard {
    system: Arc<SystemInner>,
    region: RegionRef,
    notifier: Arc<Notifier>,
}

impl Drop for IommuNotifierGuard {
    fn drop(&mut self) {
        self.system.notifiers().remove(self.region.id(), &self.notifier);
        self.notifier.end();
        let index = self.notifier.index;
        if !self.system.tell_less(&self.region, index) {
            let (system, region) = (Arc::downgrade(&self.system), self.region.clone());
            self.system.when_idle(move || {
                let system = system.upgrade();
                system.inspect(|system| _ = system.tell_less(&region, index));
            });
        }
    }
}

impl fmt::Debug for IommuNotifierGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IommuNotifierGuard").field("region", &self.region).finish_non_exhaustive()
    }
}

/// What an IOMMU announces its changes by. It holds nothing. Those who listen are told by the announcing thread at once, and
/// if it is inside a transaction at the end of that.
#[derive(Clone, Debug)]
pub struct IommuPort {
    system: Weak<SystemInner>,
    region: RegionId,
}

impl IommuPort {
    /// Announces that `range`, in bytes from the region's start, is mapped by translation `index` and leads to `entry` from
    /// its first byte on.
    pub fn map(&self, index: usize, range: AddrRange, entry: IommuEntry) {
        self.announce(&IommuNotice { event: IommuEvents::MAP, index, range, entry: Some(entry) });
    }

    /// Announces that translation `index` has changed in `range`: whatever was kept is forgotten when this returns.
    /// Accesses that are under way finish as they began.
    pub fn unmap(&self, index: usize, range: AddrRange) {
        self.announce(&IommuNotice { event: IommuEvents::UNMAP, index, range, entry: None });
        self.announce(&IommuNotice { event: IommuEvents::DEVICE_IOTLB_UNMAP, index, range, entry: None });
    }

    fn announce(&self, notice: &IommuNotice) {
        let Some(system) = self.system.upgrade() else { return };
        if notice.event == IommuEvents::UNMAP {
            system.iotlb().invalidate(self.region, notice.index, notice.range);
        }
        let notifiers = system.notifiers().of(self.region);
        // with no lock held: they may do what they like
        if chain::has_writers_lock() {
            LATE.with(|late| {
                late.borrow_mut().extend(notifiers.into_iter().map(|notifier| (notifier, *notice)))
            });
        } else {
            notifiers.iter().for_each(|notifier| notifier.hear(notice));
        }
    }
}

impl AddressSpace {
    /// What the IOMMU behind `region`, of the same machine, announces its changes by.
    pub fn iommu_port(&self, region: &RegionRef) -> IommuPort {
        IommuPort { system: Arc::downgrade(self.system()), region: region.id() }
    }
}

impl MemorySystem {
    /// What the IOMMU behind `region` announces its changes by.
    ///
    /// ```
    /// use memory_core::{AddrRange, Iommu, IommuEntry, Permissions, RamBlock, Size, SpaceId, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// /// Leads its first page to one of another space, and says when that changes.
    /// struct OnePage(SpaceId, AtomicU64);
    /// impl Iommu for OnePage {
    ///     fn translate(&self, address: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
    ///         let translated = self.1.load(Ordering::SeqCst);
    ///         let (space, permissions) = (self.0, Permissions::READ | Permissions::WRITE);
    ///         (address <= 0xfff).then_some(IommuEntry { space, translated, mask: 0xfff, permissions })
    ///     }
    ///     fn announces(&self) -> bool {
    ///         true
    ///     }
    /// }
    ///
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x2000u64)?).build()?;
    /// root.map(0x8000, &ram)?;
    /// let memory = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let iommu = Arc::new(OnePage(memory.id(), AtomicU64::new(0x8000)));
    /// let region = system.memory().iommu("iommu", Size::FULL, Arc::downgrade(&iommu)).build()?;
    /// let bus = system.address_space("bus", &region, SpaceConfig::default())?;
    /// let port = system.iommu_port(&region);
    /// bus.store(0x10, Width::W4, 7, TxAttrs::default())?;
    /// assert_eq!(memory.load(0x8010, Width::W4, TxAttrs::default()), Ok(7));
    /// // the translation was kept: it has to be said that it has changed
    /// iommu.1.store(0x9000, Ordering::SeqCst);
    /// port.unmap(0, AddrRange::new(0, 0xfff).expect("a page"));
    /// assert_eq!(bus.load(0x10, Width::W4, TxAttrs::default()), Ok(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iommu_port(&self, region: &RegionRef) -> IommuPort {
        IommuPort { system: Arc::downgrade(self.inner()), region: region.id() }
    }

    /// Tells `tell` what translation `index` of an IOMMU changes in `range` of its region, as far as `events` has it, cut to
    /// the range, on the thread that announces it and with no lock held. With `replay` it is first told of what is mapped
    /// there, inside the IOMMU, which cannot be reached meanwhile. QEMU's name: `memory_region_register_iommu_notifier`,
    /// `memory_region_iommu_replay`.
    ///
    /// # Errors
    /// If the region is no IOMMU or has no such translation, if the IOMMU cannot announce the events or replay, inside the
    /// IOMMU's own callback, a transaction or the lock of a [`Locked`](crate::Locked) device, or from a listener.
    pub fn notify_iommu(
        &self,
        region: &RegionRef,
        (index, range): (usize, AddrRange),
        (events, replay): (IommuEvents, bool),
        tell: impl Fn(&IommuNotice) + Send + Sync + 'static,
    ) -> Result<IommuNotifierGuard, IommuError> {
        let system = self.inner().clone();
        let none = || IommuError::NoIommu(region.name().clone());
        let target = self.memory().read(|tree| tree.bind(region.id()))?.ok_or_else(none)?;
        // the last reference is nothing for whoever calls this inside an access
        let pin = Pin::from(target);
        let target = pin.target().ok_or_else(none)?;
        let Backing::Iommu(iommu) = target.backing() else { return Err(none()) };
        if index >= iommu.indexes() {
            return Err(IommuError::NoIndex { region: region.name().clone(), index });
        }
        // it is no access that has come here, so this is what a removal waits for
        let inside = system.enter_iommu(target, region)?;
        let (calls, done) = Default::default();
        let notifier = Arc::new(Notifier { index, range, events, tell: Box::new(tell), calls, done });
        system.notifiers().by_region.entry(region.id()).or_default().push(notifier.clone());
        // from here on the guard takes it back
        let guard = IommuNotifierGuard { system: system.clone(), region: region.clone(), notifier };
        let begun = system.begin_hearing(&guard, &**iommu, replay);
        // before the guard, which enters on its own if it goes
        drop(inside);
        begun.map(|()| guard)
    }
}

impl SystemInner {
    fn enter_iommu(self: &Arc<Self>, target: &Target, region: &RegionRef) -> Result<PinnedLink, IommuError> {
        self.enter_pinned(target, EntryKind::Translation, false).map_err(|_| {
            let why = if target.is_unplugged() { IommuError::NoIommu } else { IommuError::Inside };
            why(region.name().clone())
        })
    }

    /// Has an IOMMU, which this thread is inside, announce and replay what the notifier of `guard` wants.
    fn begin_hearing(
        &self,
        guard: &IommuNotifierGuard,
        iommu: &dyn Iommu,
        replay: bool,
    ) -> Result<(), IommuError> {
        let IommuNotifierGuard { region, notifier, .. } = guard;
        let (index, name) = (notifier.index, region.name());
        self.tell_what_is_wanted(iommu, region.id(), index)
            .map_err(|reason| IommuError::Refused { region: name.clone(), reason })?;
        let event = IommuEvents::MAP;
        let mut visit = |page: AddrRange, entry: IommuEntry| {
            notifier.hear(&IommuNotice { event, index, range: page, entry: Some(entry) });
        };
        if replay && !iommu.replay(index, notifier.range, &mut visit) {
            return Err(IommuError::NoReplay(name.clone()));
        }
        Ok(())
    }

    /// Tells an IOMMU what is still wanted of one of its translations, which it has no reason to refuse. False if it cannot
    /// be entered here, though it is there.
    fn tell_less(self: &Arc<Self>, region: &RegionRef, index: usize) -> bool {
        if chain::check_enters().is_err() {
            return false;
        }
        let Ok(Some(target)) = self.memory().read(|tree| tree.bind(region.id())) else { return true };
        let pin = Pin::from(target);
        let Some(target) = pin.target() else { return true };
        let Backing::Iommu(iommu) = target.backing() else { return true };
        match self.enter_iommu(target, region) {
            Ok(_inside) => {
                let _less = self.tell_what_is_wanted(&**iommu, region.id(), index);
                true
            }
            Err(error) => !matches!(error, IommuError::Inside(_)),
        }
    }

    /// What an IOMMU hears last is what is wanted, whoever comes and goes meanwhile: one thread at a time tells, and tells
    /// again if it is not true any more.
    fn tell_what_is_wanted(&self, iommu: &dyn Iommu, region: RegionId, index: usize) -> Result<(), Refusal> {
        let notifiers = self.notifiers();
        let _telling = notifiers.begin_telling();
        loop {
            let wanted = notifiers.wanted(region, index);
            let result = iommu.events_wanted(index, wanted);
            if notifiers.wanted(region, index) == wanted {
                return result;
            }
        }
    }
}
