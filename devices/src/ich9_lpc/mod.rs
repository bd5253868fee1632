//! The LPC bridge of Intel's ICH9 (datasheet 316972), as far as it is PCI: routing of PCI interrupts, and the reset control register.

use crate::pci::{ConfigSpace, FunctionSetup, Identity, PciDevice, PciFunction, PciIrqRouter, PirqRouter};
use crate::sync::{Arc, AtomicU32, OnceLock, Ordering};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Routing registers of requests A to D, and of E to H.
const PIRQ_ROUT: [usize; 2] = [0x60, 0x68];
/// How many requests there are.
const REQUESTS: u32 = 8;
/// The first slot of those whose pins the chipset configuration registers lead to requests.
const FIRST_INTERNAL_SLOT: u8 = 25;
/// The slot of the PCI bridge, which they leave out.
const BRIDGE_SLOT: u8 = 30;
/// Reset control: a change to 1 resets the machine.
const RESET: u64 = 0x04;
/// Reset control: what of it stays, whether the reset is a hard or a full one.
const KEPT: u64 = 0x0a;

/// The LPC bridge. Exports `reset-control` (map it at port 0xcf9, over the address port, with priority 1), and drives the ISA
/// lines `isa`, 0 to 15, and the inputs of an I/O APIC `pirq`, one for each of the requests A to H.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ich9Lpc {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    #[serde(default)]
    pci: PciFunction,
    #[serde(default)]
    state: State,
}

#[derive(Debug)]
struct Wiring {
    pirq: PirqRouter,
    apic: Vec<IrqLine>,
    power: Power,
    _reset: Region,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    reset_control: AtomicU32,
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x2918, revision: 2, class: 0x0601, interface: 0, subsystem: (0, 0) };

/// Registers of the bridge's own as they are after power on.
fn power_on(config: &mut ConfigSpace) {
    for registers in PIRQ_ROUT {
        config.set(registers, &[0x80; 4]);
    }
}

impl Ich9Lpc {
    fn route_requests(&self) {
        if let Some(wiring) = self.wiring.get() {
            let routes =
                || self.pci.look(|config| PIRQ_ROUT.map(|at| config.long(at).to_le_bytes()).concat());
            wiring.pirq.set_routes(routes);
        }
    }

    fn read_reset(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state.reset_control.load(Ordering::Relaxed).into())
    }

    fn write_reset(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        if value & RESET == 0 {
            self.state.reset_control.store((value & KEPT) as u32, Ordering::Relaxed);
        } else if let Some(wiring) = self.wiring.get() {
            wiring.power.request(PowerRequest::Reset);
        }
        Ok(())
    }
}

/// Pins of slots that are outside of the chipset lead to requests E to H, each slot beginning with the next one; those of its own to A to
/// D, as the chipset configuration registers have it after power on.
impl PciIrqRouter for Ich9Lpc {
    fn route(&self, devfn: u8, pin: u8) -> u32 {
        let slot = devfn >> 3;
        match slot {
            BRIDGE_SLOT => u32::from(pin) + 4,
            FIRST_INTERNAL_SLOT.. => pin.into(),
            _ => u32::from((slot + pin) % 4) + 4,
        }
    }

    fn set_irq(&self, irq: u32, level: bool) {
        let Some(wiring) = self.wiring.get() else { return };
        wiring.pirq.set_request(irq, level);
        let line = usize::try_from(irq).ok().and_then(|irq| wiring.apic.get(irq));
        line.into_iter().for_each(|line| line.set(level));
    }
}

impl PciDevice for Ich9Lpc {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn config_written(&self, offset: usize, width: Width) {
        if PIRQ_ROUT.iter().any(|at| offset < at + 4 && *at < offset + width.len()) {
            self.route_requests();
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "ich9-lpc")]
impl Device for Ich9Lpc {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let reset = ctx.mmio("reset-control", 1u64, rules, &self, (Self::read_reset, Self::write_reset))?;
        let pirq = PirqRouter::new(ctx.outputs("isa", crate::pci::ISA_LINES));
        let apic = ctx.outputs("pirq", REQUESTS);
        let power = ctx.host().power.clone();
        let mut setup = FunctionSetup::new(IDENTITY).multifunction();
        power_on(setup.config());
        let _ = self.wiring.set(Wiring { pirq, apic, power, _reset: reset });
        self.pci.realize(ctx, &self, setup)?;
        self.pci.bus().into_iter().for_each(|bus| _ = bus.set_router(&self));
        self.route_requests();
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.pci.reset(power_on);
        self.state.reset_control.store(0, Ordering::Relaxed);
        self.route_requests();
    }

    fn inspect(&self, out: &mut Inspector) {
        let routes = self.pci.look(|config| PIRQ_ROUT.map(|at| config.long(at).to_le_bytes()).concat());
        for (name, route) in ('A'..).zip(routes) {
            out.register(format!("PIRQ{name}"), route.into());
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ich9-lpc",
        about: "LPC bridge of the ICH9: PCI interrupts to ISA lines and an I/O APIC, reset control",
        properties: &[],
        example: "{}",
    }
}

#[cfg(test)]
mod tests;
