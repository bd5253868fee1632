//! Port 92, "system control port A" of the PS/2: gate A20, and the fast reset.

#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Power, PowerRequest, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Any write is what the next read gives. Bit 1 is the output `a20`; setting bit 0 resets the machine. QEMU's name is the
/// same.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port92 {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the line is set; never while the machine is told.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    port: u8,
}

#[derive(Debug)]
struct Wiring {
    a20: IrqLine,
    power: Power,
    _regs: Region,
}

/// A change from 0 to 1 resets the processor.
const INIT_NOW: u8 = 0x01;
/// Address line 20 is what the processor says, not always 0.
const A20_GATE: u8 = 0x02;

impl Port92 {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, state: State) {
        if let Some(wiring) = self.wiring.get() {
            wiring.a20.set(state.port & A20_GATE != 0);
        }
    }

    fn read(&self, _offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().port.into())
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        let mut state = self.state();
        let resets = value & !state.port & INIT_NOW != 0;
        state.port = value;
        self.update(*state);
        drop(state);
        if let Some(wiring) = self.wiring.get().filter(|_| resets) {
            wiring.power.request(PowerRequest::Reset);
        }
        Ok(())
    }
}

#[typetag::serde(name = "port92")]
impl Device for Port92 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("port92", 1u64, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ =
            self.wiring.set(Wiring { a20: ctx.output("a20"), power: ctx.host().power.clone(), _regs: regs });
        self.update(*self.state());
        Ok(())
    }

    /// The gate stays where it is, so that a guest which has put it there is not surprised.
    fn reset(&self, kind: ResetType) {
        let mut state = self.state();
        state.port = match kind {
            ResetType::Cold => 0,
            ResetType::Warm => state.port & !INIT_NOW,
        };
        self.update(*state);
    }

    fn inspect(&self, out: &mut Inspector) {
        out.field("value", format_args!("{:#04x}", self.state().port));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "port92",
        about: "system control port A of a PC: gate A20 (output `a20`) and fast reset, at port 0x92",
        properties: &[],
        example: "{}",
    }
}
