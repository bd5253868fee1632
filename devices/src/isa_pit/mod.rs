//! The 8254: a PC's interval timer, with the port of its speaker.

mod counter;
mod counting;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Realize, ResetType, Timer};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use registers::PORTS;
use serde::{Deserialize, Serialize};
use state::State;

/// An 8254 with the clock of a PC: three counters of six modes. The output of the first is the interrupt line `irq`; the
/// third is the speaker's, whose gate and output are at port 0x61. The regions `regs` and `speaker` lie at ports 0x40 and
/// 0x61. QEMU's names are the same, and `isa-pcspk`.
///
/// A count that is written while a counter runs in mode 2 or 3 is loaded when its period is over.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IsaPit {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the line and the timer are set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    irq: IrqLine,
    timer: Timer,
    _ports: [Region; 2],
}

impl IsaPit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the line and the timer in line with the state. Who listens to edges hears of one, however many there were.
    fn update(&self, state: &mut State) {
        let Some(wiring) = self.wiring.get() else { return };
        let (risen, level) = state.timer_output();
        if risen {
            wiring.irq.set(false);
            wiring.irq.set(true);
        }
        wiring.irq.set(level);
        match state.deadline() {
            Some(deadline) => wiring.timer.set(deadline),
            None => wiring.timer.cancel(),
        }
    }

    /// The timer's callback.
    fn fire(&self) {
        self.update(&mut self.state());
    }

    fn read(&self, port: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().read(port).into())
    }

    fn write(&self, port: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        let mut state = self.state();
        // edges until now
        self.update(&mut state);
        state.write(port, value);
        self.update(&mut state);
        Ok(())
    }

    fn read_speaker(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().read_speaker().into())
    }

    fn write_speaker(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.state().write_speaker(value);
        Ok(())
    }
}

#[typetag::serde(name = "isa-pit")]
impl Device for IsaPit {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = || AccessRules::new().implements(Width::W1..=Width::W1);
        let (memory, owner) = (ctx.memory().clone(), ctx.owner().clone());
        let regs = Methods::new(&self, Self::read, Self::write);
        let regs = memory.mmio("pit", PORTS, rules(), regs).owner(&owner).build()?;
        let speaker = Methods::new(&self, Self::read_speaker, Self::write_speaker);
        let speaker = memory.mmio("pcspk", 1u64, rules(), speaker).owner(&owner).build()?;
        ctx.export("regs", &regs);
        ctx.export("speaker", &speaker);
        let (irq, timer) = (ctx.output("irq"), ctx.timer(&self, Self::fire));
        let _ = self.wiring.set(Wiring { irq, timer, _ports: [regs, speaker] });
        let mut state = self.state();
        state.run(&ctx.host().clock);
        self.update(&mut state);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut state = self.state();
        state.reset();
        self.update(&mut state);
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        for (name, counter) in ["counter 0", "counter 1", "counter 2"].into_iter().zip(state.counters()) {
            let (mode, reload) = counter.summary();
            out.field(name, format_args!("{mode:?}, {reload} clocks"));
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "isa-pit",
        about: "8254 interval timer of a PC: three counters, output `irq` of the first, and the speaker's port",
        properties: &[],
        example: "{}",
    }
}
