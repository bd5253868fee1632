//! What was replaced or let go of, and waits for a place where destructors may run.
//!
//! A reader may still be on a view that has been replaced. The writer keeps one reference to every such view here, so
//! that no reader's is the last one and no destructor runs inside an access. Sole ownership is taken by
//! `Arc::try_unwrap` alone, never judged by a count.

use crate::chain;
use crate::sync::{
    AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, SegQueue, ViewArc, fence, thread_local,
};
use memory_core::{Memory, OwnerId};
use memory_flatview::{Part, View};
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;

type Notify = Box<dyn Fn() + Send + Sync>;

thread_local! {
    /// The addresses of the lists that this thread is emptying, which are alive meanwhile.
    static RUNNING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// This thread empties the list at an address, until this is dropped, by a destructor's panic too.
struct Running(usize);

impl Running {
    fn new(address: usize) -> Self {
        RUNNING.with(|running| running.borrow_mut().push(address));
        Self(address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // the last of its address: an explicit reclaim may be inside a destructor
        let at = |running: &Vec<usize>| running.iter().rposition(|address| *address == self.0);
        RUNNING.with(|running| {
            let mut running = running.borrow_mut();
            at(&running).map(|at| running.remove(at))
        });
    }
}

#[derive(Default)]
pub(crate) struct Reclaim {
    /// Replaced views, each once. The mutex is held to look through the entries and to move them in or out, never while
    /// one is dropped.
    views: Mutex<Vec<ViewArc<View>>>,
    /// How many replaced views there may be; see [`Reclaim::signal`].
    pending: AtomicUsize,
    /// Last pins, unplugged devices, views that were made for nothing.
    rest: SegQueue<Box<dyn Any + Send>>,
    notify: OnceLock<Notify>,
}

impl Reclaim {
    fn lock(&self) -> MutexGuard<'_, Vec<ViewArc<View>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a view that nobody shows any more, once: two entries would hold each other for ever.
    pub(crate) fn retire_view(&self, view: ViewArc<View>) {
        let mut views = self.lock();
        debug_assert!(!views.iter().any(|known| ViewArc::ptr_eq(known, &view)), "a view is retired twice");
        views.push(view);
        self.pending.store(views.len(), Ordering::Relaxed);
    }

    pub(crate) fn retire(&self, last: Box<dyn Any + Send>) {
        self.rest.push(last);
    }

    pub(crate) fn set_notify(&self, notify: Notify) -> bool {
        self.notify.set(notify).is_ok()
    }

    /// Tells whoever asked to be told that [`Reclaim::run`] may find something to do. Called by a reader after it has let
    /// go of a view.
    ///
    /// The writer notes a replaced view in `pending` and then looks whether it is still in use; the reader lets go of
    /// it and then looks at `pending`. The fences between make sure that not both of them miss the other.
    pub(crate) fn signal(&self) {
        fence(Ordering::SeqCst);
        if (self.pending.load(Ordering::Relaxed) > 0 || !self.rest.is_empty())
            && let Some(notify) = self.notify.get()
        {
            notify();
        }
    }

    /// Whether this thread is dropping what was listed here: a destructor asks. Whatever it lists is dropped when it has
    /// returned, so that destructors which let go of further devices take no more of the stack than one does.
    pub(crate) fn is_running_here(&self) -> bool {
        RUNNING.with(|running| running.borrow().contains(&self.address()))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Drops what nobody uses any more, if this thread is where destructors may run. Returns how many replaced views
    /// are still in use, and whether anything was dropped.
    pub(crate) fn run(&self, memory: &Memory) -> (usize, bool) {
        if !chain::is_idle() || memory.is_inside_transaction() {
            return (self.lock().len(), false);
        }
        let _running = Running::new(self.address());
        // first, since there may be references to views among it
        let mut dropped = self.drop_rest();
        loop {
            let (dead, left) = self.take_unused();
            dropped |= !dead.is_empty();
            drop(dead);
            if !self.drop_rest() {
                return (left, dropped);
            }
            // another thread may have found a view in use by what was just dropped, and nobody else looks again
            dropped = true;
        }
    }

    fn drop_rest(&self) -> bool {
        let mut any = false;
        while let Some(last) = self.rest.pop() {
            drop(last);
            any = true;
        }
        any
    }

    /// Takes sole ownership of the replaced views that nobody is on, and counts the others. The list is locked meanwhile: a
    /// view that is used is on it at any time.
    fn take_unused(&self) -> (Vec<View>, usize) {
        let mut views = self.lock();
        let mut dead = Vec::new();
        fence(Ordering::SeqCst);
        for view in std::mem::take(&mut *views) {
            match ViewArc::try_unwrap(view) {
                Ok(view) => dead.push(view),
                Err(view) => views.push(view),
            }
        }
        self.pending.store(views.len(), Ordering::Relaxed);
        (dead, views.len())
    }

    /// The generations of the listed views that show a region of `owner`. `known` remembers which do.
    pub(crate) fn showing(&self, owner: OwnerId, known: &mut HashMap<u64, bool>) -> Vec<u64> {
        let shows = |view: &View| {
            let is_owned =
                |part: Option<&Part>| part.is_some_and(|part| part.target().owner() == Some(owner));
            view.ranges().any(|range| is_owned(range.read()) || is_owned(range.write()))
        };
        let views = self.lock();
        let shown =
            views.iter().filter(|view| *known.entry(view.generation()).or_insert_with(|| shows(view)));
        shown.map(|view| view.generation()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_is_used_stays_listed_until_it_is_not() {
        let memory = Memory::new();
        let reclaim = Reclaim::default();
        let view = ViewArc::new(View::empty(1));
        let weak = ViewArc::downgrade(&view);
        reclaim.retire_view(view.clone());
        assert_eq!(reclaim.run(&memory), (1, false), "in use");
        drop(view);
        assert_eq!((reclaim.run(&memory), weak.strong_count()), ((0, true), 0));
    }

    #[test]
    fn what_holds_a_view_among_the_rest_is_dropped_before_the_view() {
        let memory = Memory::new();
        let reclaim = Reclaim::default();
        let view = ViewArc::new(View::empty(1));
        reclaim.retire(Box::new(view.clone()));
        reclaim.retire_view(view);
        assert_eq!(reclaim.run(&memory), (0, true));
    }
}
