//! One turn of a device at a queue, whatever the transport.

use super::VirtioDevice;
use super::chains::Chains;
use super::state::State;
use crate::DmaPort;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use virtio_queue::QueueT;

/// What a turn has come to.
pub(super) struct Served {
    /// The driver is to be interrupted for buffers that it gets back.
    pub(super) interrupts: bool,
    /// There are more buffers than one turn takes.
    pub(super) more: bool,
    /// The driver gave a buffer that is forbidden.
    pub(super) malformed: bool,
}

/// Works off what the driver has put into queue `index`, with no lock held but the one that the transport holds while it
/// serves. `None` if there is nothing to do, or a reset came in between; else the state, locked, with the queue moved on.
pub(super) fn work_off<'s>(
    backend: &dyn VirtioDevice,
    state: &'s Mutex<State>,
    dma: &DmaPort,
    index: usize,
) -> Option<(MutexGuard<'s, State>, Served)> {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let (queue, epoch) = {
        let state = lock();
        let most = backend.queues().get(index).copied().unwrap_or_default();
        (state.queue(index, most).filter(|queue| state.is_live() && queue.ready()), state.epoch)
    };
    let (mut queue, memory) = queue.zip(dma.memory())?;
    let mut chains = Chains::new(&mut queue, &memory);
    let malformed = backend.serve(index, &mut chains).is_err();
    let served = Served { interrupts: chains.wants_interrupt(), more: chains.has_more(), malformed };
    let mut state = lock();
    if state.epoch != epoch {
        return None;
    }
    if let Some(registers) = state.queues.get_mut(index) {
        registers.next_available = queue.next_avail();
        registers.next_used = queue.next_used();
    }
    Some((state, served))
}
