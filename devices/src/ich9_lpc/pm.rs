//! Power management of the ICH9 (datasheet 316972, sections 13.8 and 13.9): the block of ports at PMBASE, the ports by which the
//! guest asks firmware for something, the chipset configuration registers at RCBA.
//!
//! | ports from PMBASE | |
//! |---|---|
//! | 0x00-0x0b | PM1 events and control, the power management timer |
//! | 0x20-0x2f | general-purpose events |
//! | 0x30-0x37 | system management interrupts: what raises them, what has |
//! | 0x60-0x7f | the watchdog (TCO) |

use super::Ich9Lpc;
use super::chip_config::{self, ChipConfig};
use super::tco::Tco;
use crate::acpi::{Gpe, Pm1, Pm1Event, Sleep, Write, part};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::{Clock, DeviceError, IrqLine, Power, PowerRequest, Realize, ResetType, Timer};
use memory_core::{AccessRules, BusFault, MemoryError, Methods, Region, RegionRef, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Where the ports of power management are, in configuration space.
pub(super) const PMBASE: usize = 0x40;
/// Whether they are there, and which interrupt they raise.
pub(super) const ACPI_CNTL: usize = 0x44;
/// General power management, whose bit 4 locks [`GBL_SMI_EN`].
pub(super) const GEN_PMCON_1: usize = 0xa0;
/// Where the chipset configuration registers are, and whether they are.
pub(super) const RCBA: usize = 0xf0;

/// ACPI_CNTL: the ports are there.
const ACPI_EN: u8 = 1 << 7;
/// GEN_PMCON_1.
const SMI_LOCK: u8 = 1 << 4;
/// RCBA: the registers are there.
const RCBA_ENABLE: u32 = 1;

/// Bytes of the block at PMBASE.
const SIZE: u64 = 0x80;
const GPE: u64 = 0x20;
const SMI_EN: u64 = 0x30;
const SMI_STS: u64 = 0x34;
const TCO: u64 = 0x60;

/// SMI_EN: any system management interrupt.
const GBL_SMI_EN: u32 = 1 << 0;
/// SMI_EN, SMI_STS: a write to the port of commands.
const APM: u32 = 1 << 5;
/// SMI_EN, SMI_STS: the watchdog's logic.
const TCO_EN: u32 = 1 << 13;

/// Commands of firmware's interface: ACPI takes over, or gives back.
const ACPI_ENABLE: u8 = 2;
const ACPI_DISABLE: u8 = 3;

/// State of power management.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PmState {
    pm1: Pm1,
    gpe: Gpe,
    smi_enable: u32,
    smi_status: u32,
    tco: Tco,
    apm_control: u8,
    apm_status: u8,
    chip_config: ChipConfig,
}

/// What follows from an access, done with no lock held.
#[derive(Clone, Copy, Debug, Default)]
struct Effects {
    smi: bool,
    power: Option<PowerRequest>,
}

#[derive(Debug)]
pub(super) struct PmWiring {
    /// Where the ports are mapped.
    io: RegionRef,
    /// Where the chipset configuration registers are.
    system: RegionRef,
    ports: Region,
    chip_config: Region,
    _apm: Region,
    clock: Clock,
    timer: Timer,
    smi: IrqLine,
    power: Power,
    /// Held while the map follows the registers. Lock order: before the function's and the writers' lock.
    mapping: Mutex<()>,
}

impl PmState {
    fn wants_sci(&self) -> bool {
        self.pm1.wants_sci() || self.gpe.wants_sci()
    }

    fn deadline(&self) -> Option<u64> {
        self.pm1.deadline().into_iter().chain(self.tco.deadline()).min()
    }

    /// Notes why the guest's firmware should be called, and says whether it is.
    fn raise_smi(&mut self, reason: u32) -> bool {
        self.smi_status |= reason;
        self.smi_enable & reason != 0 && self.smi_enable & GBL_SMI_EN != 0
    }

    fn read(&self, offset: u64, width: Width) -> u64 {
        match offset {
            0..0x0c => self.pm1.read(offset, width),
            GPE..SMI_EN => self.gpe.read(offset - GPE, width),
            SMI_EN..SMI_STS => part(self.smi_enable, offset, width),
            SMI_STS..0x38 => part(self.smi_status, offset, width),
            TCO..SIZE => self.tco.read(offset - TCO, width),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, clock: &Clock) -> Effects {
        let write = |from: u64| Write::new(offset - from, width, value);
        let mut effects = Effects::default();
        match offset {
            0..0x0c => {
                let sleep = self.pm1.write(write(0));
                effects.power = sleep.and_then(power_request);
            }
            GPE..SMI_EN => self.gpe.write(write(GPE)),
            SMI_EN..SMI_STS => {
                let locked = if self.tco.is_locked() { TCO_EN } else { 0 };
                self.smi_enable = self.smi_enable & locked | write(SMI_EN).merged(self.smi_enable) & !locked;
            }
            SMI_STS..0x38 => self.smi_status &= !write(SMI_STS).value,
            TCO..SIZE => {
                let outcome = self.tco.write(write(TCO), clock);
                effects.smi = outcome.smi && self.raise_smi(TCO_EN);
            }
            _ => {}
        }
        effects
    }

    /// What time has brought.
    fn advance(&mut self, clock: &Clock, strapped: bool) -> Effects {
        let no_reboot = strapped || self.chip_config.no_reboot();
        let outcome = self.tco.expire(clock, no_reboot);
        let smi = outcome.smi && self.raise_smi(TCO_EN);
        Effects { smi, power: outcome.bites.then_some(PowerRequest::Watchdog) }
    }

    /// Where there is no system management mode, commands seem to lead to it already: what firmware goes by.
    fn set_up(&mut self, smm: bool) {
        if !smm {
            self.smi_enable |= APM;
        }
    }

    fn reset(&mut self, kind: ResetType) {
        let Self { pm1, gpe, smi_enable, smi_status, tco, apm_control, apm_status, chip_config } = self;
        pm1.reset();
        match kind {
            ResetType::Cold => *tco = Tco::default(),
            ResetType::Warm => tco.warm_reset(),
        }
        (*gpe, *chip_config) = Default::default();
        (*smi_enable, *smi_status, *apm_control, *apm_status) = Default::default();
    }
}

fn power_request(sleep: Sleep) -> Option<PowerRequest> {
    if sleep.is_off() {
        return Some(PowerRequest::Off { code: 0 });
    }
    tracing::debug!(kind = sleep.0, "the guest wants a sleep from which there is no waking up; it runs on");
    None
}

/// The registers of configuration space as they are after power on, and what of them can be written.
pub(super) fn power_on(config: &mut crate::pci::ConfigSpace) {
    config.set_long(PMBASE, 1);
    config.set_writable(PMBASE, &[0x80, 0xff, 0, 0]);
    config.set_byte(ACPI_CNTL, 0);
    config.set_writable(ACPI_CNTL, &[ACPI_EN | 7]);
    config.set(GEN_PMCON_1, &[0; 8]);
    config.set_writable(GEN_PMCON_1, &[0xff; 8]);
    config.set_long(RCBA, 0);
    config.set_writable(RCBA, &[0x01, 0xc0, 0xff, 0xff]);
}

impl Ich9Lpc {
    fn pm(&self) -> MutexGuard<'_, PmState> {
        self.state.pm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pm_wiring(&self) -> Option<&PmWiring> {
        self.wiring.get().map(|wiring| &wiring.pm)
    }

    /// Brings interrupt and timer in line with the state.
    fn update_pm(&self, state: &PmState) {
        let Some(wiring) = self.wiring.get() else { return };
        let select = self.pci.look(|config| config.byte(ACPI_CNTL)) & 7;
        wiring.route_sci(select, state.wants_sci());
        match state.deadline() {
            Some(deadline) => wiring.pm.timer.set(deadline),
            None => wiring.pm.timer.cancel(),
        }
    }

    /// Changes the state, and does what follows when it is unlocked again.
    fn change_pm(&self, change: impl FnOnce(&mut PmState, &Clock) -> Effects) {
        let Some(wiring) = self.pm_wiring() else { return };
        let effects = {
            let mut state = self.pm();
            let effects = change(&mut state, &wiring.clock);
            self.update_pm(&state);
            effects
        };
        if effects.smi {
            wiring.smi.set(true);
            wiring.smi.set(false);
        }
        effects.power.into_iter().for_each(|request| wiring.power.request(request));
    }

    /// The timer's callback.
    fn advance_pm(&self) {
        self.change_pm(|state, clock| state.advance(clock, self.noreboot));
    }

    fn read_pm(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.pm().read(offset, width))
    }

    fn write_pm(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let locked = self.pci.look(|config| config.byte(GEN_PMCON_1)) & SMI_LOCK != 0;
        self.change_pm(|state, clock| {
            let kept = if locked { state.smi_enable & GBL_SMI_EN } else { 0 };
            let effects = state.write(offset, width, value, clock);
            if locked {
                state.smi_enable = state.smi_enable & !GBL_SMI_EN | kept;
            }
            effects
        });
        Ok(())
    }

    fn read_apm(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let state = self.pm();
        Ok(if offset == 0 { state.apm_control } else { state.apm_status }.into())
    }

    fn write_apm(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.change_pm(|state, _| {
            if offset != 0 {
                state.apm_status = value;
                return Effects::default();
            }
            state.apm_control = value;
            let takes_over = matches!(value, ACPI_ENABLE | ACPI_DISABLE);
            if takes_over {
                state.pm1.set_sci_enabled(value == ACPI_ENABLE);
            }
            Effects { smi: !takes_over && state.raise_smi(APM), power: None }
        });
        Ok(())
    }

    fn read_chip_config(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.pm().chip_config.read(offset, width))
    }

    fn write_chip_config(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.pm().chip_config.write(Write::new(offset, width, value));
        Ok(())
    }

    /// The power button was pressed, or let go.
    fn press_power_button(&self, _: u32, level: bool) {
        if level {
            self.change_pm(|state, _| {
                state.pm1.raise(Pm1Event::POWER_BUTTON);
                Effects::default()
            });
        }
    }

    /// Something that is a general-purpose event has happened.
    fn raise_gpe(&self, event: u32, level: bool) {
        if level {
            self.change_pm(|state, _| {
                state.gpe.raise(event);
                Effects::default()
            });
        }
    }

    pub(super) fn make_pm(self: &Arc<Self>, ctx: &mut Realize<'_>) -> Result<PmWiring, DeviceError> {
        let io = ctx.region("io", &self.io)?;
        let system = ctx.region("system", &self.system)?;
        let bytes = AccessRules::new().implements(Width::W1..=Width::W1);
        let apm = Methods::new(self, Self::read_apm, Self::write_apm);
        let apm = ctx.memory().mmio("apm-io", 2u64, bytes, apm).owner(ctx.owner()).build()?;
        ctx.export("apm", &apm);
        let ports = Methods::new(self, Self::read_pm, Self::write_pm);
        let ports =
            ctx.memory().mmio("ich9-pm", SIZE, AccessRules::new(), ports).owner(ctx.owner()).build()?;
        let config = Methods::new(self, Self::read_chip_config, Self::write_chip_config);
        let config = ctx.memory().mmio("lpc-rcrb-mmio", chip_config::SIZE, AccessRules::new(), config);
        let chip_config = config.owner(ctx.owner()).build()?;
        ctx.inputs("power-button", 1, self, Self::press_power_button);
        ctx.inputs("gpe", 64, self, Self::raise_gpe);
        let (clock, power) = (ctx.host().clock.clone(), ctx.host().power.clone());
        let (timer, smi) = (ctx.timer(self, Self::advance_pm), ctx.output("smi"));
        let mapping = Mutex::default();
        Ok(PmWiring { io, system, ports, chip_config, _apm: apm, clock, timer, smi, power, mapping })
    }

    /// Lets what was restored go on.
    pub(super) fn run_pm(&self) {
        self.change_pm(|state, clock| {
            state.pm1.run(clock);
            state.tco.run(clock);
            state.set_up(self.smm);
            Effects::default()
        });
        self.follow_config();
    }

    pub(super) fn reset_pm(&self, kind: ResetType) {
        self.change_pm(|state, _| {
            state.reset(kind);
            state.set_up(self.smm);
            Effects::default()
        });
        self.follow_config();
    }

    /// Makes the map, the interrupt and the locks what configuration space says.
    pub(super) fn follow_config(&self) {
        let Some(wiring) = self.pm_wiring() else { return };
        {
            let _mapping = wiring.mapping.lock().unwrap_or_else(PoisonError::into_inner);
            let (base, control, lock, root) = self.pci.look(|config| {
                (config.word(PMBASE), config.byte(ACPI_CNTL), config.byte(GEN_PMCON_1), config.long(RCBA))
            });
            let base = u64::from(base & 0xff80);
            let ports = (control & ACPI_EN != 0 && base != 0).then_some(base);
            let root = (root & RCBA_ENABLE != 0).then_some(u64::from(root & 0xffff_c000));
            let mapped = wiring.ports.memory().transaction(|_| {
                place(&wiring.ports, &wiring.io, ports, 0)?;
                place(&wiring.chip_config, &wiring.system, root, 1)
            });
            if let Err(error) = mapped {
                tracing::warn!(%error, "registers of the ICH9 stay where they were");
            }
            if lock & SMI_LOCK != 0 {
                self.pci.config(|config| config.set_writable(GEN_PMCON_1, &[!SMI_LOCK]));
            }
        }
        self.update_pm(&self.pm());
    }

    pub(super) fn inspect_pm(&self, out: &mut crate::Inspector) {
        let state = self.pm();
        out.register("SMI_EN", state.smi_enable.into())
            .register("SMI_STS", state.smi_status.into())
            .register("TCO_RLD", state.tco.read(0, Width::W2))
            .register("TCO1_STS", state.tco.read(4, Width::W2))
            .register("TCO2_STS", state.tco.read(6, Width::W2));
    }
}

/// Shows a region at an address, or nowhere.
fn place(region: &Region, parent: &RegionRef, at: Option<u64>, priority: i32) -> Result<(), MemoryError> {
    if region.address()? == at {
        return Ok(());
    }
    region.unmap()?;
    match at {
        Some(at) => parent.map_overlap(at, region, priority),
        None => Ok(()),
    }
}
