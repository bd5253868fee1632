//! Power management of Intel's PIIX4 (82371AB, datasheet 290562, function 3), as far as firmware and kernels of a 440FX machine
//! use it: the ports at PMBA, the ports of commands, general-purpose events.

#[cfg(test)]
mod tests;

use crate::acpi::{Gpe, Pm1, Pm1Event, Write};
use crate::pci::{ConfigSpace, FunctionSetup, Identity, PciDevice, PciFunction};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Clock, Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest};
use crate::{Property, Realize, ResetType, Timer};
use memory_core::{AccessRules, BusFault, Methods, Region, RegionRef, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Where the ports are.
const PMBA: usize = 0x40;
/// Whether they are there: bit 0.
const PMREGMISC: usize = 0x80;
/// Device activity: bit 25, of its highest byte bit 1, has the port of commands call the guest's firmware.
const DEVACTB: usize = 0x58;
const APMC_EN: u8 = 1 << 1;

/// Bytes of the ports at PMBA.
const SIZE: u64 = 0x40;
/// Where general-purpose events show, as on QEMU's machines: two bytes of what has happened, two of what interrupts.
const GPE: u64 = 0xafe0;

/// Commands of firmware's interface: ACPI takes over, or gives back.
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;

/// The function. Its ports show in `io`, where the guest says, general-purpose events at 0xafe0 of it; `apm` is to be mapped at
/// port 0xb2. `irq` is the system control interrupt, which a PC leads to ISA line 9; `smi` is pulsed when the guest's
/// firmware is to be called for system management; the inputs `power-button` and `gpe`, 0 to 15, are events of ACPI.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Piix4Pm {
    /// The region that the ports are mapped into.
    #[serde(default = "default_io")]
    io: String,
    /// Processors have system management mode. Without this firmware finds it set up, and leaves it alone.
    #[serde(default = "default_smm")]
    smm: bool,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the map follows the registers. Lock order: before the function's and the writers' lock.
    #[serde(skip)]
    mapping: Mutex<()>,

    #[serde(default)]
    pci: PciFunction,
    /// Held while the interrupt is set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    pm1: Pm1,
    gpe: Gpe,
    apm_control: u8,
    apm_status: u8,
}

#[derive(Debug)]
struct Wiring {
    io: RegionRef,
    ports: Region,
    /// Held for their drop only.
    _regions: [Region; 2],
    clock: Clock,
    timer: Timer,
    irq: IrqLine,
    smi: IrqLine,
    power: Power,
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x7113, revision: 3, class: 0x0680, interface: 0, subsystem: (0, 0) };

fn default_io() -> String {
    "io".to_owned()
}

fn default_smm() -> bool {
    true
}

/// Registers of the function's own as they are after power on, and what of them can be written.
fn power_on(config: &mut ConfigSpace, smm: bool) {
    config.set_long(PMBA, 1);
    config.set_writable(PMBA, &[0xc0, 0xff, 0, 0]);
    config.set_long(DEVACTB, 0);
    if !smm {
        config.set_byte(DEVACTB + 3, APMC_EN);
    }
    config.set_byte(PMREGMISC, 0);
}

/// The place of an event's bits in the registers of [`Gpe`], of which half are here: those of 16 events each, one behind the
/// other.
fn gpe_offset(offset: u64) -> u64 {
    if offset < 2 { offset } else { offset + 6 }
}

impl Piix4Pm {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and brings interrupt and timer in line with it.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state);
        if let Some(wiring) = self.wiring.get() {
            wiring.irq.set(state.pm1.wants_sci() || state.gpe.wants_sci());
            match state.pm1.deadline() {
                Some(deadline) => wiring.timer.set(deadline),
                None => wiring.timer.cancel(),
            }
        }
        result
    }

    /// The timer's callback.
    fn update(&self) {
        self.change(|_| ());
    }

    fn read_pm(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().pm1.read(offset, width))
    }

    fn write_pm(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let sleep = self.change(|state| state.pm1.write(Write::new(offset, width, value)));
        if let (Some(sleep), Some(wiring)) = (sleep, self.wiring.get()) {
            if sleep.is_off() {
                wiring.power.request(PowerRequest::Off { code: 0 });
            } else {
                tracing::debug!(
                    kind = sleep.0,
                    "a sleep from which there is no waking up; the guest runs on"
                );
            }
        }
        Ok(())
    }

    fn read_gpe(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().gpe.read(gpe_offset(offset), width))
    }

    fn write_gpe(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.change(|state| state.gpe.write(Write::new(gpe_offset(offset), width, value)));
        Ok(())
    }

    fn read_apm(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let state = self.state();
        Ok(if offset == 0 { state.apm_control } else { state.apm_status }.into())
    }

    fn write_apm(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        let takes_over = matches!(value, ACPI_ENABLE | ACPI_DISABLE);
        self.change(|state| {
            if offset != 0 {
                state.apm_status = value;
                return;
            }
            state.apm_control = value;
            if takes_over {
                state.pm1.set_sci_enabled(value == ACPI_ENABLE);
            }
        });
        let enabled = self.pci.look(|config| config.byte(DEVACTB + 3)) & APMC_EN != 0;
        if let Some(wiring) = self.wiring.get().filter(|_| offset == 0 && !takes_over && enabled) {
            wiring.smi.set(true);
            wiring.smi.set(false);
        }
        Ok(())
    }

    fn press_power_button(&self, _: u32, level: bool) {
        if level {
            self.change(|state| state.pm1.raise(Pm1Event::POWER_BUTTON));
        }
    }

    fn raise_gpe(&self, event: u32, level: bool) {
        if level {
            self.change(|state| state.gpe.raise(event));
        }
    }

    /// Makes the map what the registers say.
    fn follow_config(&self) {
        let Some(wiring) = self.wiring.get() else { return };
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let (base, misc) = self.pci.look(|config| (config.word(PMBA) & 0xffc0, config.byte(PMREGMISC)));
        let wanted = (misc & 1 != 0 && base != 0).then_some(u64::from(base));
        let mapped = wiring.ports.memory().transaction(|_| {
            if wiring.ports.address()? == wanted {
                return Ok(());
            }
            wiring.ports.unmap()?;
            wanted.map_or(Ok(()), |base| wiring.io.map_overlap(base, &wiring.ports, 0))
        });
        if let Err(error) = mapped {
            tracing::warn!(%error, "ports of the PIIX4 stay where they were");
        }
    }
}

impl PciDevice for Piix4Pm {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn config_written(&self, offset: usize, width: Width) {
        let touches = |at: usize, len: usize| offset < at + len && at < offset + width.len();
        if touches(PMBA, 4) || touches(PMREGMISC, 1) {
            self.follow_config();
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "piix4-pm")]
impl Device for Piix4Pm {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let io = ctx.region("io", &self.io)?;
        let bytes = || AccessRules::new().implements(Width::W1..=Width::W1);
        let apm = Methods::new(&self, Self::read_apm, Self::write_apm);
        let apm = ctx.memory().mmio("apm-io", 2_u64, bytes(), apm).owner(ctx.owner()).build()?;
        ctx.export("apm", &apm);
        let ports = Methods::new(&self, Self::read_pm, Self::write_pm);
        let ports =
            ctx.memory().mmio("piix4-pm", SIZE, AccessRules::new(), ports).owner(ctx.owner()).build()?;
        let gpe = Methods::new(&self, Self::read_gpe, Self::write_gpe);
        let gpe = ctx.memory().mmio("acpi-gpe0", 4_u64, bytes(), gpe).owner(ctx.owner()).build()?;
        io.map_overlap(GPE, &gpe, 0)?;
        ctx.inputs("power-button", 1, &self, Self::press_power_button);
        ctx.inputs("gpe", 16, &self, Self::raise_gpe);
        let (clock, power) = (ctx.host().clock.clone(), ctx.host().power.clone());
        let (timer, irq, smi) = (ctx.timer(&self, Self::update), ctx.output("irq"), ctx.output("smi"));
        let wiring = Wiring { io, ports, _regions: [apm, gpe], clock, timer, irq, smi, power };
        let clock = self.wiring.get_or_init(|| wiring).clock.clone();
        let mut setup = FunctionSetup::new(IDENTITY).interrupt_pin(1);
        setup.config().set_word(crate::pci::registers::STATUS, 0x0280);
        power_on(setup.config(), self.smm);
        self.pci.realize(ctx, &self, setup)?;
        self.change(|state| state.pm1.run(&clock));
        self.follow_config();
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.pci.reset(|config| power_on(config, self.smm));
        self.change(|state| {
            let State { pm1, gpe, apm_control, apm_status } = state;
            pm1.reset();
            *gpe = Gpe::default();
            (*apm_control, *apm_status) = (0, 0);
        });
        self.follow_config();
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("PM1_STS", state.pm1.read(0, Width::W2))
            .register("PM1_EN", state.pm1.read(2, Width::W2))
            .register("PM1_CNT", state.pm1.read(4, Width::W2));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "piix4-pm",
        about: "power management of the PIIX4: ACPI events, the timer, the ports of commands",
        properties: &[
            Property {
                name: "io",
                kind: "region",
                default: Some("io"),
                about: "where the ports are mapped",
            },
            Property {
                name: "smm",
                kind: "bool",
                default: Some("true"),
                about: "whether processors have system management mode; if not, firmware finds it set up",
            },
        ],
        example: "{}",
    }
}
