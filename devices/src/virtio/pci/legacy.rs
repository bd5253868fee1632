//! The legacy interface: registers in ports, queues in one piece, no agreement on features.

use super::registers::*;
use super::{F_VERSION_1, State, VirtioPci};
use memory_core::Width;

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

impl VirtioPci {
    /// Where the configuration of the device begins.
    fn legacy_config(&self) -> u64 {
        if self.pci.msix_enabled() { LEGACY_CONFIG_MSIX } else { LEGACY_CONFIG }
    }

    pub(super) fn read_legacy(&self, offset: u64, width: Width) -> u64 {
        let config = self.legacy_config();
        if offset >= config {
            return self.read_config(offset - config, width);
        }
        if offset == ISR {
            return self.take_interrupts();
        }
        let mut state = self.state();
        match offset {
            HOST_FEATURES => self.features() & 0xffff_ffff,
            GUEST_FEATURES => state.driver_features & 0xffff_ffff,
            QUEUE_PFN => state.selected().map_or(0, |queue| (queue.descriptors / LEGACY_PAGE) & 0xffff_ffff),
            QUEUE_NUM => self.most(state.queue_sel).unwrap_or_default().into(),
            QUEUE_SEL => state.queue_sel.into(),
            STATUS => state.status.into(),
            CONFIG_VECTOR => Self::vector(&state, false),
            QUEUE_VECTOR => Self::vector(&state, true),
            _ => width.mask(),
        }
    }

    pub(super) fn write_legacy(&self, offset: u64, width: Width, value: u64) {
        if offset >= self.legacy_config() {
            // no device here has configuration that can be written
            return self.log_once(offset, "writes what cannot be written");
        }
        match offset {
            GUEST_FEATURES => {
                self.state().driver_features = value & self.features() & 0xffff_ffff & !F_VERSION_1
            }
            QUEUE_PFN if value == 0 => self.power_on(),
            QUEUE_PFN => self.place_queue(value),
            QUEUE_SEL if self.most(value as u32).is_some() => self.state().queue_sel = value as u32,
            QUEUE_SEL => {}
            QUEUE_NOTIFY => self.notify(value & 0xffff),
            STATUS => self.write_status(value as u8, true),
            CONFIG_VECTOR | QUEUE_VECTOR => {
                self.set_vector(&mut self.state(), offset == QUEUE_VECTOR, value);
            }
            _ => self.log_once(offset | width.bytes() << 32, "writes a register that cannot be written"),
        }
    }

    /// Puts the queue that is selected where the driver says: descriptors, then what the driver offers, then on the next page
    /// what the device has used.
    fn place_queue(&self, page: u64) {
        let state: &mut State = &mut self.state();
        let Some(queue) = state.selected() else { return };
        let size = u64::from(queue.size);
        queue.descriptors = (page & 0xffff_ffff) * LEGACY_PAGE;
        queue.driver = queue.descriptors + DESCRIPTOR * size;
        queue.device = (queue.driver + 6 + 2 * size).next_multiple_of(LEGACY_PAGE);
        (queue.next_available, queue.next_used, queue.ready) = (0, 0, true);
    }
}
