//! Threads that stay on one core each.

use core_affinity::CoreId;

/// The cores that this process may use, in the order of their numbers.
pub struct Cores(Vec<CoreId>);

impl Cores {
    /// Asks the host. One core of unknown number, if it does not say: threads are not pinned then.
    pub fn of_host() -> Self {
        let mut cores = core_affinity::get_core_ids().unwrap_or_default();
        cores.sort_by_key(|core| core.id);
        Self(cores)
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// The counts of threads that figures about threads are measured with: 1, 2 and 4, as far as there are cores.
    pub fn thread_counts(&self) -> Vec<usize> {
        [1, 2, 4].into_iter().filter(|threads| *threads <= self.count()).collect()
    }

    /// Whether the host lets threads be pinned.
    pub fn can_pin(&self) -> bool {
        std::thread::scope(|scope| scope.spawn(|| self.pin(0)).join()).unwrap_or(false)
    }

    /// Pins the calling thread to core number `index`; false if the host does not let it.
    pub fn pin(&self, index: usize) -> bool {
        let cores = self.0.len().max(1);
        self.0.get(index % cores).is_some_and(|core| core_affinity::set_for_current(*core))
    }
}
