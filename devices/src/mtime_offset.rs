//! How far the machine's timer is ahead of its clock.

use crate::sync::{Arc, AtomicU64, Ordering};
use std::fmt;

/// The ticks, modulo 2^64, that the guest's time counter (`mtime` on RISC-V) is ahead of those of the machine's clock.
/// The timer sets it when the guest writes the counter; whatever shows the same time, as the `time` register of a hart
/// does, adds it. Clones are the same offset.
#[derive(Clone, Default)]
pub struct MtimeOffset {
    ticks: Arc<AtomicU64>,
}

impl MtimeOffset {
    /// The offset in ticks; 0 until somebody sets it.
    pub fn get(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    /// Sets the offset.
    pub fn set(&self, ticks: u64) {
        self.ticks.store(ticks, Ordering::Release);
    }
}

impl fmt::Debug for MtimeOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MtimeOffset({})", self.get())
    }
}
