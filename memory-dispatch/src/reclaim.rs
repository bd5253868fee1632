//! What was replaced or let go of, and waits for a place where destructors may run.
//!
//! A reader may still be on a view that has been replaced. The writer keeps one reference to every such view here, so
//! that no reader's is the last one and no destructor runs inside an access. Sole ownership is taken by
//! `Arc::into_inner` alone, never judged by a count.

use crate::chain;
use crate::sync::{Arc, AtomicUsize, Mutex, OnceLock, Ordering, PoisonError, SegQueue, fence};
use memory_core::Memory;
use memory_flatview::View;
use std::any::Any;

type Notify = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Reclaim {
    /// Replaced views. The mutex is held to move entries in or out, never while one is dropped.
    views: Mutex<Vec<Arc<View>>>,
    /// How many replaced views there may be; see [`Reclaim::signal`].
    pending: AtomicUsize,
    /// Last pins, unplugged devices, views that were made for nothing.
    rest: SegQueue<Box<dyn Any + Send>>,
    notify: OnceLock<Notify>,
}

impl Reclaim {
    pub(crate) fn retire_view(&self, view: Arc<View>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if !views.iter().any(|known| Arc::ptr_eq(known, &view)) {
            views.push(view);
            self.pending.store(views.len(), Ordering::Relaxed);
        }
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

    /// Runs where destructors may run. Elsewhere (a commit of a device, inside its own callback) somebody has to be told:
    /// a guest that switches banks all day must not fill the list.
    pub(crate) fn settle(&self, memory: &Memory) {
        if chain::is_idle() {
            self.run(memory);
        } else {
            self.signal();
        }
    }

    /// Drops what nobody uses any more, if this thread is where destructors may run. Returns how many replaced views
    /// are still in use.
    pub(crate) fn run(&self, memory: &Memory) -> usize {
        if !chain::is_idle() || memory.is_inside_transaction() {
            return self.views.lock().unwrap_or_else(PoisonError::into_inner).len();
        }
        // some of it holds views
        self.drop_rest();
        let mut replaced = std::mem::take(&mut *self.views.lock().unwrap_or_else(PoisonError::into_inner));
        // a view that is retired while another thread is here may be listed twice, and two entries would hold each other
        // for ever
        replaced.sort_unstable_by_key(Arc::as_ptr);
        replaced.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let (mut dead, mut used) = (Vec::new(), Vec::new());
        fence(Ordering::SeqCst);
        for view in replaced {
            match Arc::try_unwrap(view) {
                Ok(view) => dead.push(view),
                Err(view) => used.push(view),
            }
        }
        let left = used.len();
        {
            let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            views.append(&mut used);
            self.pending.store(views.len(), Ordering::Relaxed);
        }
        drop(dead);
        self.drop_rest();
        left
    }

    fn drop_rest(&self) {
        while let Some(last) = self.rest.pop() {
            drop(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_is_listed_twice_is_let_go_of() {
        let memory = Memory::new();
        let reclaim = Reclaim::default();
        let view = Arc::new(View::empty(1));
        let weak = Arc::downgrade(&view);
        reclaim.views.lock().unwrap().extend([view.clone(), view.clone()]);
        assert_eq!(reclaim.run(&memory), 1, "in use, and counted once");
        drop(view);
        assert_eq!((reclaim.run(&memory), weak.strong_count()), (0, 0));
    }
}
