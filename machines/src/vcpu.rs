//! What the machine asks of a virtual CPU, whichever runs its instructions.

use crate::rv64::HartLines;
use crate::sync::Arc;

/// Why a virtual CPU came back from [`Vcpu::run`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VcpuExit {
    /// A stop was requested through its lines.
    Stopped,
}

/// One virtual CPU. A thread of its own runs it; other threads reach it through its [`HartLines`].
pub trait Vcpu: Send {
    /// Says where the CPU starts and what it finds in `a0` (its hart id) and `a1` (the address of the device tree),
    /// and resets it.
    fn set_boot(&mut self, pc: u64, a0: u64, a1: u64);

    /// Puts the CPU in its power-on state, at the place of the last [`Vcpu::set_boot`]. The levels of its
    /// lines belong to whoever drives them and stay; what a line latched in the CPU is cleared.
    fn reset(&mut self);

    /// Runs the guest until a stop is requested, and returns at once if one already is. While the guest waits for
    /// an interrupt the thread sleeps.
    fn run(&mut self) -> VcpuExit;

    /// The lines of this CPU, for other threads.
    fn lines(&self) -> Arc<HartLines>;

    /// Instructions retired since the CPU was made.
    fn retired(&self) -> u64;
}
