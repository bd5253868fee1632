//! The embedded CPU: an RV64IMAC hart with M-, S- and U-mode, Sv39 and PMP.
//!
//! A [`Hart`] runs against a [`Bus`] and is told of interrupts through its [`HartLines`]. What it offers:
//!
//! - RV64I, M, A, C, Zicsr, Zifencei; no floating point. Unaligned loads and stores work, unaligned atomics trap.
//! - Traps with delegation, vectored or not; WFI, TVM, TW, TSR, MPRV, SUM, MXR; counters with their enables.
//! - Sv39 that sets A and D itself, atomically; no ASIDs, so that a write to `satp` forgets every translation.
//! - 16 PMP entries with a grain of four bytes.
//!
//! Loads and stores of memory are host atomics of their width, AMO and LR/SC are atomic between harts, and FENCE is a
//! fence of the host. The hart goes to memory through host pages that it keeps as long as the map's generation stands,
//! and keeps instructions decoded, by physical page, until FENCE.I or a change of the map.

mod amo;
mod bench;
mod bus;
mod code;
mod compressed;
mod core;
mod counter;
mod csr;
mod decode;
mod exec;
mod hart;
mod lines;
mod memory;
mod mmu;
mod pmp;
mod status;
mod system;
#[cfg(test)]
mod tests;
mod tlb;
mod trap;

pub use self::bench::{BENCH_DATA, BENCH_TURN, bench_loop};
pub use self::bus::Bus;
pub use self::core::TimeSource;
pub use self::hart::{Hart, Pause};
pub use self::lines::{HartLines, Irq};
pub use self::status::Mode;
