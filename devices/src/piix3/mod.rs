//! The ISA bridge of Intel's PIIX3 (82371SB, datasheet 290550), without what it bridges to: routing of PCI interrupts to ISA lines, and the reset control
//! register.

use crate::pci::{ConfigSpace, FunctionSetup, Identity, PciDevice, PciFunction, PciIrqRouter, PirqRouter};
use crate::sync::{Arc, AtomicU32, OnceLock, Ordering};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Power, PowerRequest, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Routing registers of the four requests.
const PIRQRC: usize = 0x60;
/// How many requests there are.
const REQUESTS: u32 = 4;
/// Reset control: a change to 1 resets the machine.
const RESET: u64 = 0x04;
/// Reset control: what of it stays, whether the reset is a hard one.
const KEPT: u64 = 0x02;

/// The ISA bridge. Exports `reset-control` (map it at port 0xcf9, over the address port, with priority 1), and drives the ISA
/// lines `isa`, 0 to 15.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Piix3 {
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
    power: Power,
    _reset: Region,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    reset_control: AtomicU32,
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x7000, revision: 0, class: 0x0601, interface: 0, subsystem: (0, 0) };

/// Registers of the bridge's own as they are after power on.
fn power_on(config: &mut ConfigSpace) {
    config.set(0x40, &[0; 0xc0]);
    config.set_byte(0x4c, 0x4d);
    config.set_byte(0x4e, 0x03);
    config.set(PIRQRC, &[0x80; 4]);
    config.set_byte(0x69, 0x02);
    config.set_byte(0x70, 0x80);
    config.set(0x76, &[0x0c, 0x0c, 0x02]);
    config.set_byte(0xa0, 0x08);
    config.set_byte(0xa8, 0x0f);
}

impl Piix3 {
    fn route_requests(&self) {
        if let Some(wiring) = self.wiring.get() {
            let routes = || self.pci.look(|config| config.long(PIRQRC).to_le_bytes().to_vec());
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

/// The four pins of slot 1, the bridge's own, are requests A to D; each slot after it begins with the next one.
impl PciIrqRouter for Piix3 {
    fn route(&self, devfn: u8, pin: u8) -> u32 {
        (u32::from(pin) + u32::from(devfn >> 3) + REQUESTS - 1) % REQUESTS
    }

    fn set_irq(&self, irq: u32, level: bool) {
        if let Some(wiring) = self.wiring.get() {
            wiring.pirq.set_request(irq, level);
        }
    }
}

impl PciDevice for Piix3 {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn config_written(&self, offset: usize, width: Width) {
        if offset < PIRQRC + 4 && PIRQRC < offset + width.len() {
            self.route_requests();
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "piix3")]
impl Device for Piix3 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let reset = Methods::new(&self, Self::read_reset, Self::write_reset);
        let reset =
            ctx.memory().mmio("piix3-reset-control", 1u64, rules, reset).owner(ctx.owner()).build()?;
        ctx.export("reset-control", &reset);
        let pirq = PirqRouter::new(ctx.outputs("isa", crate::pci::ISA_LINES));
        let power = ctx.host().power.clone();
        let mut setup = FunctionSetup::new(IDENTITY).multifunction();
        setup.config().set_word(crate::pci::registers::STATUS, 0x0200);
        power_on(setup.config());
        let _ = self.wiring.set(Wiring { pirq, power, _reset: reset });
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
        let routes = self.pci.look(|config| config.long(PIRQRC).to_le_bytes());
        for (name, route) in ["PIRQA", "PIRQB", "PIRQC", "PIRQD"].into_iter().zip(routes) {
            out.register(name, route.into());
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "piix3",
        about: "ISA bridge of the PIIX3: PCI interrupts to ISA lines, reset control",
        properties: &[],
        example: "{}",
    }
}

#[cfg(test)]
mod tests;
