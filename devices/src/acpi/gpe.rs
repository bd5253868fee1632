//! General-purpose events.

use super::{Write, part};
use memory_core::Width;
use serde::{Deserialize, Serialize};

/// A block of general-purpose events: two registers of 32 bits that say what has happened, and two that say what of it
/// raises the interrupt.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Gpe {
    status: [u32; 2],
    enable: [u32; 2],
}

impl Gpe {
    /// Reads at most 4 aligned bytes of the 16.
    pub(crate) fn read(&self, offset: u64, width: Width) -> u64 {
        let [a, b] = self.status;
        let [c, d] = self.enable;
        let register = match offset & !3 {
            0 => a,
            4 => b,
            8 => c,
            12 => d,
            _ => 0,
        };
        part(register, offset, width)
    }

    /// Writes; ones clear what has happened.
    pub(crate) fn write(&mut self, write: Write) {
        let [a, b] = &mut self.status;
        let [c, d] = &mut self.enable;
        match write.register {
            0 => *a &= !write.value,
            4 => *b &= !write.value,
            8 => *c = write.merged(*c),
            12 => *d = write.merged(*d),
            _ => {}
        }
    }

    /// Notes that event number `event`, below 64, has happened.
    pub(crate) fn raise(&mut self, event: u32) {
        let [a, b] = &mut self.status;
        let register = if event < 32 { a } else { b };
        *register |= 1 << (event & 31);
    }

    /// Whether an event that is enabled has happened.
    pub(crate) fn wants_sci(&self) -> bool {
        self.status.iter().zip(&self.enable).any(|(status, enable)| status & enable != 0)
    }
}
