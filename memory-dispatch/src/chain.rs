//! The chain of devices that an access has gone through on this thread.
//!
//! Re-entry is judged by the chain and not by a flag of the device: device A, reached again from inside its own callback,
//! through any number of others, gets an access error, while two threads in one device are none of each other's
//! business. Timers and deferred work enter through the same guard as accesses.
//!
//! Nothing of a device runs with the writers' lock held: inside a transaction no device is entered.

use crate::sync::thread_local;
use memory_core::BusFault;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

/// The most devices that one chain may go through.
pub const MAX_CHAIN: usize = 16;

struct Chain {
    /// How many devices the thread is inside, in units of [`WRITERS`] how many machines' writers' locks it has, and in units of
    /// [`LOCK`] how many locks of `Locked` adapters: 0 is what nearly every access finds.
    busy: Cell<usize>,
    /// Something waits until the thread is inside no device.
    after: Cell<bool>,
    /// Where the present chain begins: a drain of queued writes is one of its own, on top of another.
    base: Cell<usize>,
    /// Of all chains on this thread: none of these devices may be entered again.
    guards: [Cell<u64>; 2 * MAX_CHAIN],
}

/// One machine's writers' lock, in [`Chain::busy`].
const WRITERS: usize = 1 << 8;
/// One lock of an adapter, in [`Chain::busy`]: above all else, so that one comparison finds it.
const LOCK: usize = 1 << 24;

const _: () = assert!(2 * MAX_CHAIN < WRITERS, "devices are counted below");

thread_local! {
    static CHAIN: Chain = const {
        Chain {
            busy: Cell::new(0),
            after: Cell::new(false),
            base: Cell::new(0),
            guards: [const { Cell::new(0) }; 2 * MAX_CHAIN],
        }
    };
    static AFTER: RefCell<Vec<(usize, After)>> = const { RefCell::new(Vec::new()) };
}

/// What waits until a thread is inside no device.
type After = Box<dyn FnOnce()>;

/// This thread is inside a device until the link is dropped. It belongs to its thread.
#[must_use = "the device counts as left when this is dropped"]
#[derive(Debug)]
pub struct ChainLink {
    thread: PhantomData<*const ()>,
}

/// Enters the device that `guard` stands for (the number of its owner, see `Target::guard`).
///
/// # Errors
/// An access error if the chain is in that device already and `reentry` does not allow it, if the chain is
/// [`MAX_CHAIN`] devices long, inside a transaction or a listener, or if this thread holds the lock of a
/// [`Locked`](crate::Locked) device.
#[inline]
pub fn enter(guard: u64, reentry: bool) -> Result<ChainLink, BusFault> {
    // in small steps, each of which goes into the code of the caller
    if CHAIN.with(|chain| chain.busy.get()) != 0 {
        return enter_further(guard, reentry);
    }
    // a guest's access, and not a device's: nobody is there to be met again
    CHAIN.with(move |chain| {
        let [first, ..] = &chain.guards;
        first.set(guard);
        chain.busy.set(1);
    });
    Ok(ChainLink { thread: PhantomData })
}

/// Enters a device from inside another one; with a lock held, none.
#[cold]
fn enter_further(guard: u64, reentry: bool) -> Result<ChainLink, BusFault> {
    CHAIN.with(|chain| {
        let depth = chain.depth();
        let is_full = depth.saturating_sub(chain.base.get()) >= MAX_CHAIN;
        if chain.busy.get() >= WRITERS || is_full || (!reentry && chain.is_inside(guard)) {
            return Err(BusFault::ACCESS);
        }
        chain.guards.get(depth).ok_or(BusFault::ACCESS)?.set(guard);
        chain.busy.set(chain.busy.get() + 1);
        Ok(ChainLink { thread: PhantomData })
    })
}

impl Chain {
    fn depth(&self) -> usize {
        self.busy.get() % WRITERS
    }

    /// The devices that the thread is inside.
    fn inside(&self) -> &[Cell<u64>] {
        self.guards.get(..self.depth()).unwrap_or(&[])
    }

    fn is_inside(&self, guard: u64) -> bool {
        self.inside().iter().any(|inside| inside.get() == guard)
    }
}

impl Drop for ChainLink {
    #[inline]
    fn drop(&mut self) {
        CHAIN.with(|chain| chain.busy.set(chain.busy.get() - 1));
        if CHAIN.with(|chain| chain.after.get()) {
            run_after();
        }
    }
}

/// Nothing, if the thread is inside a device still.
#[cold]
fn run_after() {
    if CHAIN.with(|chain| chain.depth() == 0 && chain.after.replace(false)) {
        AFTER.with(RefCell::take).into_iter().for_each(|(_, after)| after());
    }
}

/// Runs `after` when this thread is inside no device any more; it is inside one now. Nothing, if something waits there
/// already for `whom`, an address that what waits keeps in use.
pub(crate) fn after(whom: usize, after: impl FnOnce() + 'static) {
    AFTER.with(|waiting| {
        let mut waiting = waiting.borrow_mut();
        if waiting.iter().all(|(other, _)| *other != whom) {
            waiting.push((whom, Box::new(after)));
        }
    });
    CHAIN.with(|chain| chain.after.set(true));
}

/// Whether this thread is inside a device.
pub(crate) fn is_inside_any() -> bool {
    CHAIN.with(|chain| chain.depth() > 0)
}

/// Whether this thread is inside the device that `guard` stands for.
pub(crate) fn is_inside(guard: u64) -> bool {
    CHAIN.with(|chain| chain.is_inside(guard))
}

/// A chain of its own begins, as long as any, until this is dropped. Devices that the thread is inside stay out of reach.
pub(crate) struct Fresh {
    base: usize,
    thread: PhantomData<*const ()>,
}

pub(crate) fn fresh() -> Fresh {
    CHAIN.with(|chain| Fresh { base: chain.base.replace(chain.depth()), thread: PhantomData })
}

impl Drop for Fresh {
    fn drop(&mut self) {
        CHAIN.with(|chain| chain.base.set(self.base));
    }
}

/// Whether this thread is inside no device and no transaction, and holds no adapter's lock: destructors may run.
pub fn is_idle() -> bool {
    CHAIN.with(|chain| chain.busy.get() == 0)
}

/// Refuses dispatch while this thread holds the lock of an adapter.
#[inline]
pub(crate) fn check_unlocked() -> Result<(), BusFault> {
    CHAIN.with(|chain| if chain.busy.get() < LOCK { Ok(()) } else { Err(BusFault::ACCESS) })
}

/// Refuses to enter any device with a lock held, of writers or an adapter.
pub(crate) fn check_enters() -> Result<(), BusFault> {
    CHAIN.with(|chain| if chain.busy.get() < WRITERS { Ok(()) } else { Err(BusFault::ACCESS) })
}

/// Whether this thread is inside a transaction or a commit, of any machine.
pub(crate) fn has_writers_lock() -> bool {
    CHAIN.with(|chain| chain.busy.get() % LOCK >= WRITERS)
}

/// This thread holds a lock until this is dropped.
pub(crate) struct Mark<const UNIT: usize> {
    thread: PhantomData<*const ()>,
}

/// An adapter's lock.
pub(crate) type LockMark = Mark<LOCK>;
/// The writers' lock of a machine.
pub(crate) type WritersMark = Mark<WRITERS>;

impl<const UNIT: usize> Mark<UNIT> {
    pub(crate) fn new() -> Self {
        CHAIN.with(|chain| chain.busy.set(chain.busy.get() + UNIT));
        Self { thread: PhantomData }
    }
}

impl<const UNIT: usize> Drop for Mark<UNIT> {
    fn drop(&mut self) {
        CHAIN.with(|chain| chain.busy.set(chain.busy.get() - UNIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_entered_once_in_a_chain_unless_it_allows_more() {
        let first = enter(1, false).unwrap();
        let second = enter(2, false).unwrap();
        assert_eq!(enter(1, false).unwrap_err(), BusFault::ACCESS);
        assert!(enter(1, true).is_ok());
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(enter(1, false).is_ok(), "another thread is another chain"));
        });
        drop((second, first));
        assert!(is_idle() && enter(1, false).is_ok());
    }

    #[test]
    fn what_waits_for_the_end_of_a_chain_waits_once() {
        let runs = std::rc::Rc::new(RefCell::new(Vec::new()));
        let later = |whom: usize| {
            let runs = runs.clone();
            after(whom, move || runs.borrow_mut().push(whom));
        };
        let (first, second) = (enter(1, false).unwrap(), enter(2, false).unwrap());
        (0..3).for_each(|_| [7, 8].into_iter().for_each(later));
        drop(second);
        assert!(runs.borrow().is_empty());
        drop(first);
        assert_eq!(*runs.borrow(), [7, 8]);
        let again = enter(1, false).unwrap();
        later(7);
        drop(again);
        assert_eq!(*runs.borrow(), [7, 8, 7]);
    }

    #[test]
    fn no_device_is_entered_with_a_lock_held() {
        let writers = WritersMark::new();
        assert_eq!(enter(1, true).unwrap_err(), BusFault::ACCESS);
        assert!(check_unlocked().is_ok() && check_enters().is_err() && !is_idle());
        let lock = LockMark::new();
        assert!(check_unlocked().is_err());
        drop(writers);
        assert_eq!(enter(1, true).unwrap_err(), BusFault::ACCESS);
        drop(lock);
        assert!(check_enters().is_ok() && enter(1, false).is_ok() && is_idle());
    }

    #[test]
    fn a_chain_is_bounded() {
        let links: Vec<_> = (0..MAX_CHAIN as u64).map(|guard| enter(guard + 1, false).unwrap()).collect();
        assert_eq!(enter(99, true).unwrap_err(), BusFault::ACCESS);
        drop(links);
        assert!(enter(99, false).is_ok());
    }
}
