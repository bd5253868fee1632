//! A port on which firmware writes its log.

#[cfg(test)]
mod tests;

use crate::chardev::{Backend, Chardev};
use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, Inspector, PlugInfo, PortPlace, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The debug port of Bochs: each byte that is written is output, and a known value is read, so that firmware finds it.
/// SeaBIOS writes to port 0x402, others to 0xe9. It has no state. QEMU's name is the same.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IsaDebugcon {
    /// Where the output goes.
    #[serde(default)]
    backend: Backend,
    /// What the port reads as.
    #[serde(default = "default_readback")]
    readback: u8,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

struct Wiring {
    backend: Arc<dyn Chardev>,
    _regs: Region,
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring").finish_non_exhaustive()
    }
}

const fn default_readback() -> u8 {
    0xe9
}

impl IsaDebugcon {
    fn read(&self, _offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.readback.into())
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [byte, ..] = value.to_le_bytes();
        if let Some(wiring) = self.wiring.get() {
            wiring.backend.write(&[byte]);
        }
        Ok(())
    }
}

#[typetag::serde(name = "isa-debugcon")]
impl Device for IsaDebugcon {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let backend = self.backend.open(ctx.host())?;
        let rules = AccessRules::new().valid(Width::W1..=Width::W1).implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("isa-debugcon", 1u64, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ = self.wiring.set(Wiring { backend, _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    fn inspect(&self, out: &mut Inspector) {
        out.field("backend", format_args!("{:?}", self.backend));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "isa-debugcon",
        about: "debug port of a PC's firmware, usually at 0x402 or 0xe9: what is written there is output",
        properties: &[
            Property {
                name: "backend",
                kind: "\"none\" | \"stdio\" | { file = path } | { socket = ... }",
                default: Some("\"none\""),
                about: "where the output goes",
            },
            Property {
                name: "readback",
                kind: "u8",
                default: Some("0xe9"),
                about: "what the port reads as, by which firmware knows that it is there",
            },
        ],
        example: "{}",
    }
}

inventory::submit! {
    PlugInfo {
        name: "isa-debugcon",
        tag: "isa-debugcon",
        preset: "",
        ports: &[PortPlace { region: "regs", at: 0xe9, option: Some("iobase") }],
        memory: &[],
        options: &[],
        wires: &[],
    }
}
