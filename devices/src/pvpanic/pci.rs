//! The same on PCI.

use super::register::{Register, default_events};
use crate::pci::{BarKind, FunctionSetup, Identity, PciDevice, PciFunction};
use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// A function whose base address register 0 shows the register of events, in two bytes of memory. QEMU's name is the same.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PvpanicPci {
    /// What the register reads as.
    #[serde(default = "default_events")]
    events: u8,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    #[serde(default)]
    pci: PciFunction,
}

#[derive(Debug)]
struct Wiring {
    register: Register,
    /// Held for their drop only.
    _regions: [Region; 2],
}

const IDENTITY: Identity =
    Identity { vendor: 0x1b36, device: 0x0011, revision: 1, class: 0x0880, interface: 0, subsystem: (0, 0) };

/// Bytes of the register, and the fewest that a base address register can say.
const SIZE: u64 = 2;
const BAR_SIZE: u64 = 0x10;

impl PvpanicPci {
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

impl PciDevice for PvpanicPci {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "pvpanic-pci")]
impl Device for PvpanicPci {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let register = Register::new(self.events, &ctx.host().power)?;
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("pvpanic", SIZE, rules, callbacks).owner(ctx.owner()).build()?;
        let bar = ctx.memory().container("pvpanic-pci", BAR_SIZE).owner(ctx.owner()).build()?;
        bar.map(0, &regs)?;
        let setup = FunctionSetup::new(IDENTITY).bar(0, BarKind::Memory32 { prefetchable: false }, &bar)?;
        let _ = self.wiring.set(Wiring { register, _regions: [regs, bar] });
        self.pci.realize(ctx, &self, setup)
    }

    fn reset(&self, _kind: ResetType) {
        self.pci.reset(|_| ());
    }

    fn inspect(&self, out: &mut Inspector) {
        out.field("events", format_args!("{:#x}", self.events));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pvpanic-pci",
        about: "PCI function by which a guest tells that its kernel has panicked",
        properties: &[Property {
            name: "events",
            kind: "u8",
            default: Some("3"),
            about: "the events that a guest is told of: 1 panic, 2 crash kernel loaded, 4 shutdown",
        }],
        example: "{}",
    }
}
