//! The architectural state of a transport, as a snapshot has it.

use super::registers::{DRIVER_OK, F_EVENT_IDX, NEEDS_RESET};
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueT};

/// Registers of a transport, and its queues.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct State {
    pub(super) device_features_sel: u32,
    pub(super) driver_features_sel: u32,
    pub(super) driver_features: u64,
    pub(super) queue_sel: u32,
    pub(super) status: u8,
    pub(super) interrupt_status: u32,
    pub(super) config_generation: u32,
    pub(super) queues: Vec<QueueRegisters>,
    /// MSI-X vectors, of changes of the configuration first, of the queues then; none of a transport without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) vectors: Vec<u16>,
    /// Rises with each reset: what a worker began before it counts no more.
    #[serde(skip)]
    pub(super) epoch: u64,
}

/// One queue.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct QueueRegisters {
    pub(super) size: u16,
    pub(super) ready: bool,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    pub(super) next_available: u16,
    pub(super) next_used: u16,
}

impl State {
    /// As after power on, with a queue for each of `sizes`.
    pub(super) fn new(sizes: &[u16], epoch: u64) -> Self {
        let queue = |size: &u16| QueueRegisters { size: *size, ..QueueRegisters::default() };
        Self { queues: sizes.iter().map(queue).collect(), epoch, ..Self::default() }
    }

    /// Whether a driver works with the device.
    pub(super) fn is_live(&self) -> bool {
        self.status & DRIVER_OK != 0 && self.status & NEEDS_RESET == 0
    }

    /// The queue that the registers are about.
    pub(super) fn selected(&mut self) -> Option<&mut QueueRegisters> {
        self.queues.get_mut(usize::try_from(self.queue_sel).ok()?)
    }

    /// A queue to work with.
    pub(super) fn queue(&self, index: usize, most: u16) -> Option<Queue> {
        self.queues.get(index)?.queue(most, self.driver_features & F_EVENT_IDX != 0)
    }
}

impl QueueRegisters {
    pub(super) fn queue(&self, most: u16, event_idx: bool) -> Option<Queue> {
        let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
        let mut queue = Queue::new(most).ok()?;
        queue.try_set_size(self.size).ok()?;
        let (low, high) = halves(self.descriptors);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(self.driver);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(self.device);
        queue.set_used_ring_address(low, high);
        queue.set_event_idx(event_idx);
        queue.set_next_avail(self.next_available);
        queue.set_next_used(self.next_used);
        queue.set_ready(self.ready);
        // misaligned addresses are not taken
        let taken = (queue.desc_table(), queue.avail_ring(), queue.used_ring());
        (taken == (self.descriptors, self.driver, self.device)).then_some(queue)
    }
}

/// Replaces the low or the high half of an address.
pub(super) fn set_half(address: &mut u64, high: bool, value: u64) {
    let half = value & 0xffff_ffff;
    *address = if high { *address & 0xffff_ffff | half << 32 } else { *address & !0xffff_ffff | half };
}
