//! What a processor asks of the controller at its interrupt pin.

/// An interrupt controller with one line to a processor, which tells which interrupt it is when the processor
/// acknowledges it. Whoever runs the processor connects the controller's output, and calls this once for each interrupt
/// that the processor takes.
///
/// Called from any thread, with no lock of a device held; it takes the controller's own lock for an instant, and may set its
/// lines.
pub trait InterruptController: Send + Sync {
    /// The acknowledge cycle (INTA): the vector of the interrupt with the highest priority, which is in service from now on.
    /// If there is none any more, it is that of a spurious interrupt.
    fn acknowledge(&self) -> u8;
}
