//! Removal of a device, and waiting until nobody is inside it.
//!
//! A thread is inside a device in one of two ways. Accesses are on a view that shows the device: each view that was
//! replaced is listed for reclaim until nobody is on it, so the proof is that sole ownership of every listed view that
//! shows the device could be taken. Everything else (timers, deferred work, handlers) has been let in by the
//! device's door, which counts it.
//!
//! # How no wake-up is lost
//!
//! Waiter: counts itself in `waiting`; fence; tries to take the views; sleeps if one is still in use. Reader: lets go of
//! its view; fence; looks whether the view was replaced, and at `waiting`. One of the two fences is first: either the reader
//! sees the waiter, or the waiter takes the view. In between, `events` tells a waiter that has looked but does not sleep yet
//! that it has to look again. Threads without a handle leave a view at the end of each access, so the waiter pays
//! for both fences where it can; see ADR 005. Who is told that there is something to reclaim may miss a view that such a
//! thread leaves, but none that shows a device which was removed: the removal pays for that fence, too.

use crate::chain;
use crate::entry::{Door, EntryKind};
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, PoisonError, fence as full_fence};
use crate::system::MemorySystem;
use memory_core::{OwnerId, Plug, fence};
use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

/// Threads that wait until somebody has left a device.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: AtomicUsize,
    /// How often somebody has left something while there were waiters. Held for an instant.
    events: Mutex<u64>,
    happened: Condvar,
}

impl Waiters {
    fn events(&self) -> MutexGuard<'_, u64> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by whoever has left something that may be waited for.
    pub(crate) fn wake(&self) {
        full_fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            *self.events() += 1;
            self.happened.notify_all();
        }
    }

    fn join(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { waiters: self }
    }

    /// Waits until more than `seen` events have happened, or the deadline is there.
    fn wait_past(&self, seen: u64, deadline: Instant) {
        let mut events = self.events();
        while *events == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.happened.wait_timeout(events, left);
            (events, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thread counts as waiting until this is dropped.
struct Waiting<'a> {
    waiters: &'a Waiters,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who was still inside a device at the deadline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Laggard {
    /// A transaction of another thread is in the way: the device is still on the map, or on that of an address space
    /// which is going.
    Transaction,
    /// The handle of that name is on a map that shows the device: it was kicked, and has neither parked nor made an
    /// access since.
    Handle(Arc<str>),
    /// A thread without a handle, or one that came through an IOMMU, is on a map that shows the device.
    Access,
    /// Something that is no access is inside.
    Entry(EntryKind),
}

impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction => f.write_str("a transaction of another thread"),
            Self::Handle(name) => write!(f, "handle `{name}`"),
            Self::Access => f.write_str("an access without a handle"),
            Self::Entry(kind) => kind.fmt(f),
        }
    }
}

/// Why [`Detached::wait`] gave up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// This thread is inside an access, a timer, deferred work, a transaction or a listener: it might wait for itself, or
    /// for a thread that waits for it.
    #[error("`{device}` is waited for inside an access, a callback, a transaction or a listener")]
    Inside {
        /// The device's path.
        device: Arc<str>,
    },
    /// Somebody was still inside at the deadline. The device is off the map all the same, and [`Detached::wait`] may be
    /// called again.
    #[error("`{device}` is still used by {}", list(laggards))]
    Deadline {
        /// The device's path.
        device: Arc<str>,
        /// Who.
        laggards: Vec<Laggard>,
    },
}

fn list(laggards: &[Laggard]) -> String {
    laggards.iter().map(Laggard::to_string).collect::<Vec<_>>().join(", ")
}

/// A device that was taken off the map, see [`MemorySystem::detach`].
#[derive(Clone)]
pub struct Detached {
    system: MemorySystem,
    owner: OwnerId,
    path: Arc<str>,
    door: Arc<Door>,
}

impl Detached {
    /// The owner that the device was to its regions.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// The device's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Waits until no thread can be inside the device any more: no callback, no timer, no deferred work, no handler of an
    /// event. Replaced maps are reclaimed meanwhile, so destructors run here.
    ///
    /// Handles that are parked hold nothing up; the others were kicked when the device was taken off the map, and let
    /// go of it when they park or at their next access. A thread that has a handle itself parks it first. Pins (map
    /// guards, windows, sections) keep the device alive, but nobody is inside for that.
    ///
    /// # Errors
    /// [`WaitError::Inside`] where waiting might never end, and [`WaitError::Deadline`] with who is still inside; a
    /// deadline that has passed makes this a question.
    pub fn wait(&self, deadline: Instant) -> Result<(), WaitError> {
        if !chain::is_idle() || self.system.memory().is_inside_transaction() {
            return Err(WaitError::Inside { device: self.path.clone() });
        }
        let waiters = self.system.inner().waiters();
        let _waiting = waiters.join();
        // the fence of the protocol, once for all attempts: `waiting` stands until the end
        fence::heavy();
        if !self.door.is_closed() {
            // a removal that a listener panicked at is still to be done, and nobody else need come to do it
            self.system.memory().when_free(|| ());
        }
        let mut shown = HashMap::new();
        loop {
            let seen = *waiters.events();
            self.system.reclaim();
            let laggards = self.laggards(&mut shown);
            if laggards.is_empty() {
                return Ok(());
            }
            if deadline <= Instant::now() {
                return Err(WaitError::Deadline { device: self.path.clone(), laggards });
            }
            waiters.wait_past(seen, deadline);
        }
    }

    /// Who is inside. `shown` remembers which views show the device, by generation.
    fn laggards(&self, shown: &mut HashMap<u64, bool>) -> Vec<Laggard> {
        let system = self.system.inner();
        if !self.door.is_closed() || system.is_space_going() {
            return vec![Laggard::Transaction];
        }
        let mut laggards: Vec<_> = self.door.inside().into_iter().map(Laggard::Entry).collect();
        for generation in system.reclaim().showing(self.owner, shown) {
            let mut on: Vec<_> = system.handles_on(generation).into_iter().map(Laggard::Handle).collect();
            if on.is_empty() {
                on.push(Laggard::Access);
            }
            laggards.append(&mut on);
        }
        laggards.sort_unstable();
        laggards.dedup();
        laggards
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MemorySystem {
    /// Unplugs a device: takes all its regions off the map in one transaction, and returns at once. Inside a
    /// transaction, or while another thread is in one, it is done at its end. From any thread, inside the device too; what
    /// comes of the result is up to the caller, and nothing need.
    ///
    /// ```
    /// use memory_core::{AccessRules, BusFault, Methods, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig, WaitError};
    /// use std::sync::{Arc, Weak};
    /// use std::time::Instant;
    ///
    /// struct Uart;
    /// impl Uart {
    ///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(42) }
    ///     fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> { Ok(()) }
    /// }
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// let uart = Arc::new(Uart);
    /// let weak: Weak<Uart> = Arc::downgrade(&uart);
    /// let owner = system.memory().owner("/machine/uart", weak);
    /// let callbacks = Methods::new(&uart, Uart::read, Uart::write);
    /// let regs = system.memory().mmio("regs", 8u64, AccessRules::new(), callbacks).owner(&owner).build()?;
    /// root.map(0x1000, &regs)?;
    /// let plug = system.memory().plug(&owner, uart);
    ///
    /// let mut vcpu = space.handle_named("vcpu 0", || ());
    /// assert_eq!(vcpu.load(0x1000, Width::W4, TxAttrs::default()), Ok(42));
    /// let detached = system.detach(plug);
    /// // the handle may be inside for all that anybody knows
    /// let error = detached.wait(Instant::now()).expect_err("a laggard");
    /// assert_eq!(error.to_string(), "`/machine/uart` is still used by handle `vcpu 0`");
    /// vcpu.park();
    /// detached.wait(Instant::now())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach<T: ?Sized + Send + Sync + 'static>(&self, plug: Plug<T>) -> Detached {
        let (owner, path) = (plug.owner(), plug.path().clone());
        // before the plug is dropped, or else the door that is closed then were another one
        let door = self.inner().door(owner);
        drop(plug);
        Detached { system: self.clone(), owner, path, door }
    }
}
