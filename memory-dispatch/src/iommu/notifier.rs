//! Announcements of IOMMUs, and who wants to hear them.

use crate::listener::Refusal;
use crate::space::AddressSpace;
use crate::sync::{Arc, Condvar, DashMap, Mutex, MutexGuard, PoisonError, Weak, thread};
use crate::system::{MemorySystem, SystemInner};
use memory_core::{AddrRange, Backing, Iommu, IommuEntry, IommuEvents, MemoryError, RegionId, RegionRef};
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
/// his callback.
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
        // an IOMMU that announces less than before has nothing to refuse
        let _less = self.system.tell_wanted(&self.region, self.notifier.index);
    }
}

impl fmt::Debug for IommuNotifierGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IommuNotifierGuard").field("region", &self.region).finish_non_exhaustive()
    }
}

/// What an IOMMU announces its changes by. It holds nothing.
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
        // with no lock held: they may do what they like
        system.notifiers().of(self.region).iter().for_each(|notifier| notifier.hear(notice));
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
    pub fn iommu_port(&self, region: &RegionRef) -> IommuPort {
        IommuPort { system: Arc::downgrade(self.inner()), region: region.id() }
    }

    /// Tells `tell` what translation `index` of an IOMMU changes in `range` of its region, as far as `events` has it, cut to
    /// the range, on the thread that announces it and with no lock held. With `replay` it is first told of what is mapped
    /// there. QEMU's name: `memory_region_register_iommu_notifier`, `memory_region_iommu_replay`.
    ///
    /// # Errors
    /// If the region is no IOMMU or has no such translation, if the IOMMU cannot announce the events or replay, or from
    /// a listener.
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
        let keeper = crate::section::Pin::new(&target);
        let Backing::Iommu(iommu) = target.backing() else { return Err(none()) };
        if index >= iommu.indexes() {
            return Err(IommuError::NoIndex { region: region.name().clone(), index });
        }
        let (calls, done) = Default::default();
        let notifier = Arc::new(Notifier { index, range, events, tell: Box::new(tell), calls, done });
        system.notifiers().by_region.entry(region.id()).or_default().push(notifier.clone());
        // from here on the guard takes it back
        let guard = IommuNotifierGuard { system: system.clone(), region: region.clone(), notifier };
        system.tell_wanted(region, index)?;
        if replay {
            let event = IommuEvents::MAP;
            let mut visit = |page: AddrRange, entry: IommuEntry| {
                guard.notifier.hear(&IommuNotice { event, index, range: page, entry: Some(entry) });
            };
            if !iommu.replay(index, range, &mut visit) {
                return Err(IommuError::NoReplay(region.name().clone()));
            }
        }
        drop(target);
        drop(keeper);
        Ok(guard)
    }
}

impl SystemInner {
    /// Tells an IOMMU what is wanted of one of its translations.
    fn tell_wanted(&self, region: &RegionRef, index: usize) -> Result<(), IommuError> {
        let target = self.memory().read(|tree| tree.bind(region.id()))?;
        let Some(target) = target else { return Ok(()) };
        let result = match target.backing() {
            Backing::Iommu(iommu) => self.tell_what_is_wanted(&**iommu, region.id(), index),
            _ => Ok(()),
        };
        if let Some(last) = Arc::into_inner(target) {
            self.reclaim().retire(Box::new(last));
        }
        result.map_err(|reason| IommuError::Refused { region: region.name().clone(), reason })
    }

    /// What an IOMMU hears last is what is wanted, whoever comes and goes meanwhile: one thread at a time tells, and tells
    /// again if it is not true any more. Who has the writers' lock waits for nobody who may want it.
    fn tell_what_is_wanted(&self, iommu: &dyn Iommu, region: RegionId, index: usize) -> Result<(), Refusal> {
        let notifiers = self.notifiers();
        let waits = !self.memory().is_inside_transaction();
        let _telling = if waits { notifiers.begin_telling() } else { None };
        loop {
            let wanted = notifiers.wanted(region, index);
            let result = iommu.events_wanted(index, wanted);
            if notifiers.wanted(region, index) == wanted {
                return result;
            }
        }
    }
}
