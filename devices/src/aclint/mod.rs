//! RISC-V's ACLINT: software interrupts and timers of the harts.
//!
//! The "RISC-V Advanced Core Local Interruptor Specification", version 1.0, cuts the older CLINT into three devices
//! that may stand anywhere: [`Mswi`] and [`Sswi`] raise software interrupts, [`Mtimer`] counts and compares.
//! [`Clint`] is the older block, with the first and the last in one region, for software that knows nothing else.
//!
//! Hart *i* is register *i* of each device and line *i* of its output.

mod clint;
mod msip;
mod mswi;
mod mtime;
mod mtimer;
mod registers;
mod sswi;
#[cfg(test)]
mod tests;

pub use clint::Clint;
pub use mswi::Mswi;
pub use mtimer::Mtimer;
pub use sswi::Sswi;

use crate::sync::{AtomicBool, Ordering};
use crate::{Cell, FdtValue};

/// `interrupts-extended` of a device that drives the interrupts `numbers` of each hart.
fn harts_interrupts(harts: u32, numbers: &[u32]) -> FdtValue {
    let of_hart = |hart| {
        numbers.iter().flat_map(move |number| [Cell::Phandle(format!("cpu{hart}")), Cell::Number(*number)])
    };
    FdtValue::Cells((0..harts).flat_map(of_hart).collect())
}

/// Tells once that software uses registers which are not there; a guest must not fill the log.
#[derive(Default, Debug)]
struct Reserved(AtomicBool);

impl Reserved {
    fn note(&self, device: &str, offset: u64) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::debug!(device, offset, "no such register: reads are 0, writes are ignored");
        }
    }
}
