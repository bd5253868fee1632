//! The interrupt wires of a PC's board: from devices to both interrupt controllers.

#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, IrqLine, Realize, ResetType};
use serde::{Deserialize, Serialize};

/// Inputs `irq` 0 to 23 lead to the outputs `ioapic` of the same numbers, and 0 to 15 to the outputs `pic` too. Any number
/// of lines may lead to one input: it is high while one of them is, as PCI's shared lines are.
///
/// It has no state: lines that are high say so when they are connected.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PcGsi {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// How many lines are high, by input. Held while outputs are set, so that these follow in order; before the locks of the
    /// controllers.
    #[serde(skip)]
    high: Mutex<[u32; INPUTS]>,
}

#[derive(Debug)]
struct Wiring {
    pic: Vec<IrqLine>,
    ioapic: Vec<IrqLine>,
}

const INPUTS: usize = 24;
const PIC_INPUTS: u32 = 16;

impl PcGsi {
    fn set_input(&self, input: u32, level: bool) {
        let Some(wiring) = self.wiring.get() else { return };
        let input = usize::try_from(input).unwrap_or(INPUTS);
        let mut high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = high.get_mut(input) else { return };
        // a line tells of changes only, so each that is high has been counted once
        *count = if level { count.saturating_add(1) } else { count.saturating_sub(1) };
        let level = *count > 0;
        for outputs in [&wiring.pic, &wiring.ioapic] {
            if let Some(output) = outputs.get(input) {
                output.set(level);
            }
        }
    }
}

#[typetag::serde(name = "pc-gsi")]
impl Device for PcGsi {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let inputs = INPUTS as u32;
        let (pic, ioapic) = (ctx.outputs("pic", PIC_INPUTS), ctx.outputs("ioapic", inputs));
        let _ = self.wiring.set(Wiring { pic, ioapic });
        ctx.inputs("irq", inputs, &self, Self::set_input);
        Ok(())
    }

    /// Wires have no memory.
    fn reset(&self, _kind: ResetType) {}
}

inventory::submit! {
    DeviceInfo {
        tag: "pc-gsi",
        about: "interrupt wires of a PC: inputs `irq` 0 to 23, shared by any number of lines, to outputs `pic` and `ioapic`",
        properties: &[],
        example: "{}",
    }
}
