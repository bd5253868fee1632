//! The LPC bridge of Intel's ICH9 (datasheet 316972): routing of PCI interrupts, the reset control register, power management
//! with its watchdog, the chipset configuration registers.

mod chip_config;
mod pm;
mod tco;

use crate::pci::{ConfigSpace, FunctionSetup, Identity, PciDevice, PciFunction, PciIrqRouter, PirqRouter};
use crate::sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering, PoisonError};
use crate::{
    Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest, Property, Realize, ResetType,
};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use pm::{PmState, PmWiring};
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
///
/// The ports of power management show in `io` and the chipset configuration registers in `system`, where the guest says;
/// `apm` is to be mapped at port 0xb2. `smi` is pulsed when the guest's firmware is to be called for system management; the inputs `power-button`
/// and `gpe`, 0 to 63, are events of ACPI. A watchdog that runs out twice tells the machine, unless the guest or `noreboot`
/// keeps it from that.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ich9Lpc {
    /// The region that the ports of power management are mapped into.
    #[serde(default = "default_io")]
    io: String,
    /// The region that the chipset configuration registers are mapped into.
    #[serde(default = "default_system")]
    system: String,
    /// The board keeps the watchdog from resetting anything, whatever the guest says.
    #[serde(default)]
    noreboot: bool,
    /// Processors have system management mode. Without this firmware finds it set up, and leaves it alone.
    #[serde(default = "default_smm")]
    smm: bool,

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
    /// What holds each of the APIC's inputs high. Lock order: after those of functions and buses.
    requests: Mutex<Requests>,
    pm: PmWiring,
    power: Power,
    _reset: Region,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    reset_control: AtomicU32,
    /// Held while interrupts are set and configuration space is looked at; never while dispatching. Lock order: before the
    /// function's.
    pm: Mutex<PmState>,
}

/// Inputs of the APIC that are high, a bit each.
#[derive(Debug, Default)]
struct Requests {
    /// For functions.
    pci: u32,
    /// For power management.
    sci: u32,
}

fn default_io() -> String {
    "io".to_owned()
}

fn default_system() -> String {
    "system".to_owned()
}

impl Wiring {
    fn change_requests(&self, change: impl FnOnce(&mut Requests)) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut requests);
        let high = requests.pci | requests.sci;
        for (number, line) in self.apic.iter().enumerate() {
            line.set(high >> number & 1 != 0);
        }
    }

    /// Sets the system control interrupt, which the low three bits of ACPI_CNTL lead to an ISA line or to an input of the APIC,
    /// 20 or 21.
    fn route_sci(&self, select: u8, level: bool) {
        for (number, line) in [(0, 9), (1, 10), (2, 11)] {
            self.pirq.hold(line, level && select == number);
        }
        let sci = match select {
            4 if level => 1 << 4,
            5 if level => 1 << 5,
            _ => 0,
        };
        self.change_requests(|requests| requests.sci = sci);
    }
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x2918, revision: 2, class: 0x0601, interface: 0, subsystem: (0, 0) };

/// Registers of the bridge's own as they are after power on.
fn power_on(config: &mut ConfigSpace) {
    for registers in PIRQ_ROUT {
        config.set(registers, &[0x80; 4]);
    }
    pm::power_on(config);
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
        let bit = 1_u32.checked_shl(irq).unwrap_or_default();
        wiring.change_requests(|requests| {
            requests.pci = if level { requests.pci | bit } else { requests.pci & !bit };
        });
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
        let touches = |at: usize, len: usize| offset < at + len && at < offset + width.len();
        if touches(pm::PMBASE, 5) || touches(pm::GEN_PMCON_1, 1) || touches(pm::RCBA, 4) {
            self.follow_config();
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

fn default_smm() -> bool {
    true
}

#[typetag::serde(name = "ich9-lpc")]
impl Device for Ich9Lpc {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let reset = Methods::new(&self, Self::read_reset, Self::write_reset);
        let reset = ctx.memory().mmio("lpc-reset-control", 1u64, rules, reset).owner(ctx.owner()).build()?;
        ctx.export("reset-control", &reset);
        let pirq = PirqRouter::new(ctx.outputs("isa", crate::pci::ISA_LINES));
        let apic = ctx.outputs("pirq", REQUESTS);
        let power = ctx.host().power.clone();
        let mut setup = FunctionSetup::new(IDENTITY).multifunction();
        power_on(setup.config());
        let (pm, requests) = (self.make_pm(ctx)?, Mutex::default());
        let _ = self.wiring.set(Wiring { pirq, apic, requests, pm, power, _reset: reset });
        self.pci.realize(ctx, &self, setup)?;
        self.pci.bus().into_iter().for_each(|bus| _ = bus.set_router(&self));
        self.route_requests();
        self.run_pm();
        Ok(())
    }

    fn reset(&self, kind: ResetType) {
        self.pci.reset(power_on);
        self.state.reset_control.store(0, Ordering::Relaxed);
        self.route_requests();
        self.reset_pm(kind);
    }

    fn inspect(&self, out: &mut Inspector) {
        let routes = self.pci.look(|config| PIRQ_ROUT.map(|at| config.long(at).to_le_bytes()).concat());
        for (name, route) in ('A'..).zip(routes) {
            out.register(format!("PIRQ{name}"), route.into());
        }
        self.inspect_pm(out);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ich9-lpc",
        about: "LPC bridge of the ICH9: PCI interrupts to ISA lines and an I/O APIC, reset control, power management, watchdog",
        properties: &[
            Property {
                name: "io",
                kind: "region",
                default: Some("io"),
                about: "where the ports of power management are mapped",
            },
            Property {
                name: "system",
                kind: "region",
                default: Some("system"),
                about: "where the chipset configuration registers are mapped",
            },
            Property {
                name: "smm",
                kind: "bool",
                default: Some("true"),
                about: "whether processors have system management mode; if not, firmware finds it set up",
            },
            Property {
                name: "noreboot",
                kind: "bool",
                default: Some("false"),
                about: "whether the board keeps the watchdog from resetting anything",
            },
        ],
        example: "{}",
    }
}

#[cfg(test)]
mod pm_tests;
#[cfg(test)]
mod tests;
