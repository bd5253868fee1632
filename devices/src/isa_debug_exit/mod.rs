//! A port by which a guest that tests something ends the machine.

#[cfg(test)]
mod tests;

use crate::sync::{Arc, OnceLock};
use crate::{
    Device, DeviceError, DeviceInfo, PlugInfo, PortPlace, Power, PowerRequest, Property, Realize, ResetType,
};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// A write of *n* ends the process with the code 2*n* + 1, as far as the host's codes go. It has no state. QEMU's name is
/// the same.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IsaDebugExit {
    /// How many ports there are.
    #[serde(default = "default_iosize")]
    iosize: u64,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

#[derive(Debug)]
struct Wiring {
    power: Power,
    _regs: Region,
}

/// The most ports that a register of 32 bits can have any use of.
const MOST: u64 = 4;

const fn default_iosize() -> u64 {
    2
}

impl IsaDebugExit {
    fn read(&self, _offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        if let Some(wiring) = self.wiring.get() {
            wiring.power.request(PowerRequest::Off { code: 2 * (value & 0x7f) + 1 });
        }
        Ok(())
    }
}

#[typetag::serde(name = "isa-debug-exit")]
impl Device for IsaDebugExit {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        if !(1..=MOST).contains(&self.iosize) {
            let reason = format!("{} is out of range (1 to {MOST})", self.iosize);
            return Err(DeviceError::Property { property: "iosize", reason });
        }
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("isa-debug-exit", self.iosize, AccessRules::new(), callbacks);
        let regs = regs.owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ = self.wiring.set(Wiring { power: ctx.host().power.clone(), _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}
}

inventory::submit! {
    DeviceInfo {
        tag: "isa-debug-exit",
        about: "port by which a guest ends the machine with an exit code, usually at 0x501 or 0xf4",
        properties: &[Property {
            name: "iosize",
            kind: "u64",
            default: Some("2"),
            about: "how many ports it takes, up to 4",
        }],
        example: "{}",
    }
}

inventory::submit! {
    PlugInfo {
        name: "isa-debug-exit",
        tag: "isa-debug-exit",
        preset: "",
        ports: &[PortPlace { region: "regs", at: 0x501, option: Some("iobase") }],
        memory: &[],
        options: &[],
        wires: &[],
    }
}
