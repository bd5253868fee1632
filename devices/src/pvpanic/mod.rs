//! The devices by which a guest says that its kernel has panicked: on ISA, and on PCI.

mod pci;
mod register;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, Inspector, PlugInfo, PortPlace, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
pub use pci::PvpanicPci;
pub use register::{CRASH_LOADED, PANICKED, SHUTDOWN};
use register::{Register, default_events};
use serde::{Deserialize, Serialize};

/// One port, usually 0x505: reads tell which events the device knows, writes tell of events. It has no state: what is
/// written is told at once. QEMU's name is the same; the source is the specification that comes with it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pvpanic {
    /// What the port reads as.
    #[serde(default = "default_events")]
    events: u8,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

#[derive(Debug)]
struct Wiring {
    register: Register,
    _regs: Region,
}

impl Pvpanic {
    fn read(&self, _offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.wiring.get().map_or(0, |wiring| wiring.register.read()))
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        if let Some(wiring) = self.wiring.get() {
            wiring.register.write(value);
        }
        Ok(())
    }
}

#[typetag::serde(name = "pvpanic")]
impl Device for Pvpanic {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let register = Register::new(self.events, &ctx.host().power)?;
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("pvpanic", 1u64, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ = self.wiring.set(Wiring { register, _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    fn inspect(&self, out: &mut Inspector) {
        out.field("events", format_args!("{:#x}", self.events));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pvpanic",
        about: "ISA device by which a guest tells that its kernel has panicked, usually at port 0x505",
        properties: &[Property {
            name: "events",
            kind: "u8",
            default: Some("3"),
            about: "the events that a guest is told of: 1 panic, 2 crash kernel loaded, 4 shutdown",
        }],
        example: "{}",
    }
}

inventory::submit! {
    PlugInfo {
        name: "pvpanic",
        tag: "pvpanic",
        preset: "",
        ports: &[PortPlace { region: "regs", at: 0x505, option: Some("ioport") }],
        memory: &[],
        options: &[],
        wires: &[],
    }
}
