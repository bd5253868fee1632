//! The watchdog of IBM's and iBASE's IB700 single-board computers.

#[cfg(test)]
mod tests;

use crate::countdown::Countdown;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, PlugInfo, PortPlace, Power, PowerRequest};
use crate::{Realize, ResetType, Timer};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// A watchdog that is started, or fed, with a number of seconds, and tells the machine when these have passed. What
/// follows is the machine's choice.
///
/// The region `regs` lies at port 0x441. A write to either of its first two ports stops the watchdog; one to the
/// others starts it with 30 seconds less twice the number in the low four bits of the value. Ports cannot be read.
/// Source: the board's manual, as Linux's `ib700wdt` uses it.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ib700 {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the timer is set; never while the machine is told.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    /// Until it bites.
    left: Countdown,
}

#[derive(Debug)]
struct Wiring {
    timer: Timer,
    power: Power,
    _regs: Region,
}

/// Ports, from 0x441.
const PORTS: u64 = 4;
/// Offsets from here on start the watchdog.
const START: u64 = 2;
const SECOND: u64 = 1_000_000_000;

impl Ib700 {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the timer in line with the state.
    fn update(&self, state: &State) {
        let Some(wiring) = self.wiring.get() else { return };
        match state.left.deadline() {
            Some(deadline) => wiring.timer.set(deadline),
            None => wiring.timer.cancel(),
        }
    }

    fn read(&self, _offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(width.mask())
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(()) };
        let mut state = self.state();
        if offset < START {
            state.left.stop();
        } else {
            state.left.start(wiring.timer.clock(), (30 - 2 * (value & 0xf)) * SECOND);
        }
        self.update(&state);
        Ok(())
    }

    /// The timer's callback.
    fn expire(&self) {
        // fed or stopped meanwhile
        if !self.state().left.take_elapsed() {
            return;
        }
        if let Some(wiring) = self.wiring.get() {
            wiring.power.request(PowerRequest::Watchdog);
        }
    }
}

#[typetag::serde(name = "ib700")]
impl Device for Ib700 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let regs = ctx.mmio("regs", PORTS, rules, &self, (Self::read, Self::write))?;
        let (timer, power) = (ctx.timer(&self, Self::expire), ctx.host().power.clone());
        let _ = self.wiring.set(Wiring { timer, power, _regs: regs });
        let mut state = self.state();
        state.left.run(&ctx.host().clock);
        self.update(&state);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut state = self.state();
        *state = State::default();
        self.update(&state);
    }

    fn inspect(&self, out: &mut Inspector) {
        match self.state().left.left() {
            Some(left) => out.field("bites in (ns)", left),
            None => out.field("bites in (ns)", "never: stopped"),
        };
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ib700",
        about: "watchdog of the IB700 boards: two ports, up to 30 seconds",
        properties: &[],
        example: "{}",
    }
}

inventory::submit! {
    PlugInfo {
        name: "ib700",
        tag: "ib700",
        preset: "",
        ports: &[PortPlace { region: "regs", at: 0x441, option: None }],
        memory: &[],
        options: &[],
        wires: &[],
    }
}
