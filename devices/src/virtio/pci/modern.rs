//! The modern interface: structures in memory, which capabilities tell of.

use super::registers::*;
use super::{FEATURES_OK, VirtioPci};
use crate::virtio::state::set_half;
use memory_core::Width;

impl VirtioPci {
    /// Reads from one of the structures, by its place in their base address register.
    pub(super) fn read_modern(&self, at: u64, width: Width) -> u64 {
        let offset = at % STRUCTURE;
        match at - offset {
            COMMON => self.read_common(offset),
            ISR_STATUS if offset == 0 => self.take_interrupts(),
            DEVICE => self.read_config(offset, width),
            _ => 0,
        }
    }

    /// Writes to one of the structures.
    pub(super) fn write_modern(&self, at: u64, width: Width, value: u64) {
        let offset = at % STRUCTURE;
        match at - offset {
            COMMON => self.write_common(offset, value & width.mask()),
            NOTIFY => self.notify(offset / u64::from(NOTIFY_MULTIPLIER)),
            _ => self.log_once(at, "writes what cannot be written"),
        }
    }

    fn read_common(&self, offset: u64) -> u64 {
        let mut state = self.state();
        let half = |features: u64, select: u32| match select {
            0 => features & 0xffff_ffff,
            1 => features >> 32,
            _ => 0,
        };
        match offset {
            DEVICE_FEATURE_SELECT => state.device_features_sel.into(),
            DEVICE_FEATURE => half(self.features(), state.device_features_sel),
            DRIVER_FEATURE_SELECT => state.driver_features_sel.into(),
            DRIVER_FEATURE => half(state.driver_features, state.driver_features_sel),
            CONFIG_MSIX_VECTOR => Self::vector(&state, false),
            NUM_QUEUES => self.sizes().len() as u64,
            DEVICE_STATUS => state.status.into(),
            CONFIG_GENERATION => state.config_generation.into(),
            QUEUE_SELECT => state.queue_sel.into(),
            QUEUE_MSIX_VECTOR => Self::vector(&state, true),
            QUEUE_NOTIFY_OFF => state.queue_sel.into(),
            _ => {
                let Some(queue) = state.selected() else { return 0 };
                match offset {
                    QUEUE_SIZE => queue.size.into(),
                    QUEUE_ENABLE => queue.ready.into(),
                    QUEUE_DESC => queue.descriptors & 0xffff_ffff,
                    QUEUE_DRIVER => queue.driver & 0xffff_ffff,
                    QUEUE_DEVICE => queue.device & 0xffff_ffff,
                    _ if offset == QUEUE_DESC + 4 => queue.descriptors >> 32,
                    _ if offset == QUEUE_DRIVER + 4 => queue.driver >> 32,
                    _ if offset == QUEUE_DEVICE + 4 => queue.device >> 32,
                    _ => 0,
                }
            }
        }
    }

    fn write_common(&self, offset: u64, value: u64) {
        match offset {
            DEVICE_STATUS => self.write_status(value as u8, false),
            QUEUE_ENABLE if value == 1 => self.enable_queue(),
            QUEUE_ENABLE => {
                self.log_once(offset, "enables a queue with a value that is not 1");
                self.need_reset();
            }
            _ => self.write_common_register(offset, value),
        }
    }

    fn write_common_register(&self, offset: u64, value: u64) {
        let state = &mut *self.state();
        let negotiated = state.status & FEATURES_OK != 0;
        match offset {
            DEVICE_FEATURE_SELECT => state.device_features_sel = value as u32,
            DRIVER_FEATURE_SELECT => state.driver_features_sel = value as u32,
            DRIVER_FEATURE if negotiated => self.log_once(offset, "changes features that were agreed on"),
            DRIVER_FEATURE => match state.driver_features_sel {
                0 => set_half(&mut state.driver_features, false, value),
                1 => set_half(&mut state.driver_features, true, value),
                _ => {}
            },
            CONFIG_MSIX_VECTOR | QUEUE_MSIX_VECTOR => {
                self.set_vector(state, offset == QUEUE_MSIX_VECTOR, value);
            }
            QUEUE_SELECT => state.queue_sel = value as u32 & 0xffff,
            QUEUE_SIZE | QUEUE_DESC..COMMON_END => {
                let Some(queue) = state.selected().filter(|queue| !queue.ready) else {
                    return self.log_once(offset, "changes a queue that is in use, or not there");
                };
                let high = offset & 4 != 0;
                match offset & !7 {
                    QUEUE_SIZE if offset == QUEUE_SIZE => queue.size = value as u16,
                    QUEUE_DESC => set_half(&mut queue.descriptors, high, value),
                    QUEUE_DRIVER => set_half(&mut queue.driver, high, value),
                    QUEUE_DEVICE => set_half(&mut queue.device, high, value),
                    _ => {}
                }
            }
            _ => self.log_once(offset, "writes a register that cannot be written"),
        }
    }

    /// Where an access to configuration space goes that is one to the window of the capability for that, if it is: a place in the
    /// structures, and how many bytes.
    pub(super) fn config_access(&self, offset: usize, width: Width) -> Option<(u64, Width)> {
        let data = CONFIG_ACCESS_DATA..CONFIG_ACCESS_DATA + 4;
        if offset >= data.end || offset + width.len() <= data.start {
            return None;
        }
        let (at, len) =
            self.pci.look(|config| (config.long(CONFIG_ACCESS_OFFSET), config.long(CONFIG_ACCESS_LENGTH)));
        let width = Width::new(len.into()).filter(|width| *width != Width::W8)?;
        let at = u64::from(at);
        (width.aligned(at) && at < MODERN_SIZE).then_some((at, width))
    }
}
