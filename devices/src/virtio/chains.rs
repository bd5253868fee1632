//! The buffers of a queue, as a device works them off.

use memory_core::LogSlice;
use memory_dispatch::DmaMemory;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};

/// A buffer that the specification forbids: the driver is wrong, and the device needs a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the driver gave a malformed buffer")]
pub struct Malformed;

/// Buffers that a driver has made available in a queue, the first first.
pub struct Chains<'a> {
    queue: &'a mut Queue,
    memory: &'a DmaMemory,
    /// How many may be taken still: a driver that keeps up must not keep the device for ever.
    left: u16,
    used: bool,
}

/// One buffer: descriptors that the device may read, and then such that it may write.
pub struct Chain<'a> {
    head: u16,
    /// What the driver says.
    pub reader: Reader<'a, LogSlice<'a>>,
    /// What the device answers.
    pub writer: Writer<'a, LogSlice<'a>>,
}

impl<'a> Chains<'a> {
    /// The buffers of `queue`, whose rings and descriptors are in `memory`: at most as many as the queue has descriptors.
    /// Transports make this for [`VirtioDevice::serve`](super::VirtioDevice::serve), and tests that have none.
    pub fn new(queue: &'a mut Queue, memory: &'a DmaMemory) -> Self {
        let left = queue.size();
        Self { queue, memory, left, used: false }
    }

    /// The next buffer, which has to be given back by [`Chains::give_back`] before the one after it is taken.
    ///
    /// # Errors
    /// Rings or descriptors that are out of memory, in a loop or of the wrong direction.
    pub fn take(&mut self) -> Result<Option<Chain<'a>>, Malformed> {
        while self.left > 0 {
            let mut available = self.queue.iter(self.memory).map_err(|_| Malformed)?;
            if let Some(chain) = available.next() {
                self.left -= 1;
                return self.chain(chain).map(Some);
            }
            if !self.ask_for_notification()? {
                return Ok(None);
            }
            // a driver that plays with its index is not followed for ever
            self.left -= 1;
        }
        Ok(None)
    }

    /// Has the driver tell of the next buffer. Whether one came before it could know that.
    fn ask_for_notification(&mut self) -> Result<bool, Malformed> {
        // a driver without event indexes tells of each
        let asks = self.queue.event_idx_enabled();
        if asks { self.queue.enable_notification(self.memory).map_err(|_| Malformed) } else { Ok(false) }
    }

    fn chain(&self, chain: DescriptorChain<&'a DmaMemory>) -> Result<Chain<'a>, Malformed> {
        let head = chain.head_index();
        // what the device reads comes before what it writes, and the last descriptor has no next one: the walk ends
        // after as many as the queue has, or where one is not in memory
        let (mut written, mut ended) = (false, false);
        for descriptor in chain.clone() {
            if written && !descriptor.is_write_only() {
                return Err(Malformed);
            }
            written = descriptor.is_write_only();
            ended = !descriptor.has_next();
        }
        if !ended {
            return Err(Malformed);
        }
        let reader = Reader::new(self.memory, chain.clone()).map_err(|_| Malformed)?;
        let writer = Writer::new(self.memory, chain).map_err(|_| Malformed)?;
        Ok(Chain { head, reader, writer })
    }

    /// Hands a buffer back to the driver, with `written` bytes from its start that the device has written.
    ///
    /// # Errors
    /// A used ring that cannot be written.
    pub fn give_back(&mut self, chain: Chain<'_>, written: usize) -> Result<(), Malformed> {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue.add_used(self.memory, chain.head, written).map_err(|_| Malformed)?;
        self.used = true;
        Ok(())
    }

    /// Whether buffers were left because there were too many for one turn.
    pub(super) fn has_more(&self) -> bool {
        self.left == 0
    }

    /// Whether the driver wants to be interrupted for what was handed back.
    pub(super) fn wants_interrupt(&mut self) -> bool {
        self.used && self.queue.needs_notification(self.memory).unwrap_or(true)
    }
}
