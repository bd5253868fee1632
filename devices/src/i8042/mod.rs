//! The 8042: a PC's keyboard controller, with a keyboard and a mouse.

mod controller;
mod keyboard;
mod mouse;
mod queue;
mod registers;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest, Realize, ResetType};
use controller::Controller;
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// The keyboard controller of a PC, as far as firmware and kernels ask it: self tests, command byte, gate A20 (output `a20`),
/// the reset line, and a keyboard and a mouse that answer and that nobody touches. Outputs `kbd` and `mouse` are the
/// interrupt lines 1 and 12; the regions `data` and `cmd` lie at ports 0x60 and 0x64. QEMU's name is the same.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct I8042 {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the lines are set; never while the machine is told.
    #[serde(default)]
    state: Mutex<Controller>,
}

#[derive(Debug)]
struct Wiring {
    kbd: IrqLine,
    mouse: IrqLine,
    a20: IrqLine,
    power: Power,
    _ports: [Region; 2],
}

impl I8042 {
    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the lines in line with the state.
    fn update(&self, controller: &Controller) {
        let Some(wiring) = self.wiring.get() else { return };
        let (kbd, mouse) = controller.interrupts();
        wiring.kbd.set(kbd);
        wiring.mouse.set(mouse);
        wiring.a20.set(controller.a20());
    }

    /// Changes the state by a write, and resets the machine if that is what the write does.
    fn change(&self, change: impl FnOnce(&mut Controller) -> bool) {
        let mut controller = self.controller();
        let resets = change(&mut controller);
        self.update(&controller);
        drop(controller);
        if let Some(wiring) = self.wiring.get().filter(|_| resets) {
            wiring.power.request(PowerRequest::Reset);
        }
    }

    fn read_data(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let mut controller = self.controller();
        let data = controller.read_data();
        // interrupts are edges: each byte has its own
        self.update(&controller);
        controller.fetch();
        self.update(&controller);
        Ok(data.into())
    }

    fn write_data(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.change(|controller| controller.write_data(value));
        Ok(())
    }

    fn read_status(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.controller().status().into())
    }

    fn write_command(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.change(|controller| controller.write_command(value));
        Ok(())
    }
}

#[typetag::serde(name = "i8042")]
impl Device for I8042 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = || AccessRules::new().implements(Width::W1..=Width::W1);
        let (memory, owner) = (ctx.memory().clone(), ctx.owner().clone());
        let data = Methods::new(&self, Self::read_data, Self::write_data);
        let data = memory.mmio("i8042-data", 1u64, rules(), data).owner(&owner).build()?;
        let cmd = Methods::new(&self, Self::read_status, Self::write_command);
        let cmd = memory.mmio("i8042-cmd", 1u64, rules(), cmd).owner(&owner).build()?;
        ctx.export("data", &data);
        ctx.export("cmd", &cmd);
        let (kbd, mouse, a20) = (ctx.output("kbd"), ctx.output("mouse"), ctx.output("a20"));
        let power = ctx.host().power.clone();
        let _ = self.wiring.set(Wiring { kbd, mouse, a20, power, _ports: [data, cmd] });
        self.update(&self.controller());
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut controller = self.controller();
        *controller = Controller::default();
        self.update(&controller);
    }

    fn inspect(&self, out: &mut Inspector) {
        let controller = self.controller();
        out.field("status", format_args!("{:#04x}", controller.status()));
        out.field("command byte", format_args!("{:#04x}", controller.mode())).field("A20", controller.a20());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "i8042",
        about: "keyboard controller of a PC, with a keyboard and a mouse that firmware finds and nobody touches",
        properties: &[],
        example: "{}",
    }
}
