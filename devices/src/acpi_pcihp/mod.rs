//! PCI hot plug by ACPI, as on QEMU's PC of the 440FX: ports by which firmware's methods learn which slots of the root bus have
//! something new or something to go, and by which they let it go.

#[cfg(test)]
mod tests;

use crate::pci::{PciBus, PciHotplug};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest, Property};
use crate::{Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Slots with something new; reading forgets them.
const UP: u64 = 0x00;
/// Slots with something that is to go.
const DOWN: u64 = 0x04;
/// Written with the slots that are let go of.
const EJECT: u64 = 0x08;
/// Slots whose functions can go at all.
const REMOVABLE: u64 = 0x0c;
/// The bus that the other ports are about: 0 is the root bus, and there is no other.
const SELECT: u64 = 0x10;
/// Bytes of ports.
const SIZE: u64 = 0x14;

/// The ports, for the root bus that the key `bus` names, or else the machine's first. `gpe` is pulsed when there is news: event 1
/// of a PC's general-purpose events.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AcpiPcihp {
    /// The slots whose functions can go, a bit for each.
    #[serde(default = "default_removable")]
    removable: u32,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held for an instant.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    up: u32,
    down: u32,
    select: u32,
}

#[derive(Debug)]
struct Wiring {
    _regs: Region,
    bus: Weak<PciBus>,
    gpe: IrqLine,
    power: Power,
}

/// Without the host bridge and the bridge to ISA.
fn default_removable() -> u32 {
    !3
}

fn bit(slot: u8) -> u32 {
    1u32.checked_shl(slot.into()).unwrap_or(0)
}

impl AcpiPcihp {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let state = &mut *self.state();
        let value = match offset {
            SELECT => state.select,
            _ if state.select != 0 => 0,
            UP => std::mem::take(&mut state.up),
            DOWN => state.down,
            REMOVABLE => self.removable,
            _ => 0,
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let value = (value & width.mask()) as u32;
        {
            let state = &mut *self.state();
            match offset {
                SELECT => state.select = value,
                EJECT if state.select == 0 => {
                    state.up &= !value;
                    state.down &= !value;
                }
                _ => {}
            }
            if offset != EJECT || state.select != 0 {
                return Ok(());
            }
        }
        self.let_go(value & self.removable);
        Ok(())
    }

    /// The machine is asked to take the functions of `slots` out.
    fn let_go(&self, slots: u32) {
        let Some(wiring) = self.wiring.get().filter(|_| slots != 0) else { return };
        if let Some(bus) = wiring.bus.upgrade() {
            bus.eject(slots);
            wiring.power.request(PowerRequest::Ejected);
        }
    }

    /// There is news for the guest.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        if let Some(wiring) = self.wiring.get() {
            wiring.gpe.set(true);
            wiring.gpe.set(false);
        }
    }
}

impl PciHotplug for AcpiPcihp {
    fn came(&self, slot: u8) {
        self.tell(|state| state.up |= bit(slot));
    }

    fn ask_to_go(&self, slot: u8) {
        self.tell(|state| state.down |= bit(slot));
    }

    fn is_asked(&self, slot: u8) -> bool {
        self.state().down & bit(slot) != 0
    }
}

#[typetag::serde(name = "acpi-pcihp")]
impl Device for AcpiPcihp {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let bus = ctx.root_bus()?;
        let rules = AccessRules::new().implements(Width::W4..=Width::W4);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs =
            ctx.memory().mmio("acpi-pci-hotplug", SIZE, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let (gpe, power) = (ctx.output("gpe"), ctx.host().power.clone());
        let _ = self.wiring.set(Wiring { _regs: regs, bus: Arc::downgrade(&bus), gpe, power });
        bus.set_hotplug(&self);
        Ok(())
    }

    /// Firmware begins anew and knows nothing of what it was asked: what was to go goes.
    fn reset(&self, _kind: ResetType) {
        let before = std::mem::take(&mut *self.state());
        self.let_go(before.down & self.removable);
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("UP", state.up.into()).register("DOWN", state.down.into());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "acpi-pcihp",
        about: "ports by which firmware learns of PCI functions that come and are to go",
        properties: &[Property {
            name: "removable",
            kind: "u32",
            default: Some("0xfffffffc"),
            about: "the slots whose functions can go, a bit for each",
        }],
        example: "{}",
    }
}
