//! The MC146818: a PC's real-time clock, with the RAM that its battery keeps.

mod base;
mod calendar;
mod cmos;
mod contents;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Clock, Device, DeviceError, DeviceInfo, Inspector, IrqLine, Property};
use crate::{Realize, ResetType, Timer};
pub use base::{BadBase, Base, Source};
use contents::Contents;
pub use contents::{BadBootOrder, BootOrder};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use registers::{INDEX, INDEX_MASK, NMI_MASK, PORTS, REG_A, REG_B, REG_C};
use serde::{Deserialize, Serialize};
use state::State;

/// An MC146818 as a PC has it: two ports, 128 bytes, an interrupt (output `irq`), and the mask of the board's non-maskable
/// interrupts (output `nmi-mask`). QEMU's name is the same.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mc146818Rtc {
    /// The time when the machine starts.
    #[serde(default)]
    base: Base,
    /// What the time moves with.
    #[serde(default)]
    clock: Source,
    /// What the machine has, if this does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_below_4g: Option<u64>,
    /// What the machine has, if this does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_above_4g: Option<u64>,
    /// As many as the machine has, if this does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus: Option<u32>,
    #[serde(default)]
    boot: BootOrder,
    /// Until the first reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_once: Option<BootOrder>,
    #[serde(default = "default_floppy_check")]
    floppy_check: bool,
    /// Index and value.
    #[serde(default)]
    bytes: Vec<(u8, u8)>,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    /// Held while the lines and the timer are set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    irq: IrqLine,
    nmi_mask: IrqLine,
    timer: Timer,
    _ports: [Region; 2],
}

const fn default_floppy_check() -> bool {
    true
}

impl Mc146818Rtc {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the lines and the timer in line with the state.
    fn update(&self, state: &State) {
        let Some(wiring) = self.wiring.get() else { return };
        match state.deadline() {
            Some(deadline) => wiring.timer.set(deadline),
            None => wiring.timer.cancel(),
        }
        wiring.irq.set(state.interrupts());
        wiring.nmi_mask.set(state.nmi_masked);
    }

    /// The timer's callback.
    fn fire(&self) {
        let mut state = self.state();
        state.advance();
        self.update(&state);
    }

    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        if offset == INDEX {
            return Ok(0xff);
        }
        let mut state = self.state();
        state.advance();
        let value = state.read();
        self.update(&state);
        Ok(value.into())
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        let mut state = self.state();
        if offset == INDEX {
            state.index = value & INDEX_MASK;
            state.nmi_masked = value & NMI_MASK != 0;
        } else {
            state.advance();
            state.write(value);
        }
        self.update(&state);
        Ok(())
    }
}

#[typetag::serde(name = "mc146818rtc")]
impl Device for Mc146818Rtc {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = || AccessRules::new().implements(Width::W1..=Width::W1);
        let (memory, owner) = (ctx.memory().clone(), ctx.owner().clone());
        let ports = Methods::new(&self, Self::read, Self::write);
        let ports = memory.mmio("rtc", PORTS, rules(), ports).owner(&owner).build()?;
        // the index port is a region of its own, as in QEMU's maps; an access of both ports starts there
        let index = Methods::new(&self, Self::read, Self::write);
        let index = memory.mmio("rtc-index", 1u64, rules(), index).owner(&owner).build()?;
        ports.map(INDEX, &index)?;
        ctx.export("regs", &ports);
        let clock = match self.clock {
            // goes on while the machine is stopped, or stepped by hand
            Source::Host => Clock::real(),
            Source::Vm => ctx.host().clock.clone(),
        };
        let timer = clock.timer(ctx.entry(), &self, Self::fire);
        let (irq, nmi_mask) = (ctx.output("irq"), ctx.output("nmi-mask"));
        let _ = self.wiring.set(Wiring { irq, nmi_mask, timer, _ports: [ports, index] });
        let ram = ctx.host().ram();
        let contents = Contents {
            below_4g: self.memory_below_4g.unwrap_or(ram.below_4g),
            above_4g: self.memory_above_4g.unwrap_or(ram.above_4g),
            cpus: self.cpus.unwrap_or(ctx.host().harts),
            boot: self.boot_once.unwrap_or(self.boot),
            floppy_check: self.floppy_check,
            bytes: &self.bytes,
        };
        let mut state = self.state();
        let mut is_first = false;
        state.run(self.base, &clock, |cmos| {
            contents.fill(cmos);
            is_first = true;
        });
        state.boots_once |= is_first && self.boot_once.is_some();
        self.update(&state);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut state = self.state();
        state.advance();
        state.reset();
        if std::mem::take(&mut state.boots_once) {
            self.boot.fill(state.cmos(), self.floppy_check);
        }
        self.update(&state);
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        let (second, _) = state.second();
        out.field("time (s since 1970)", second);
        for (name, register) in [("register A", REG_A), ("register B", REG_B), ("register C", REG_C)] {
            out.field(name, format_args!("{:#04x}", state.peek(register)));
        }
        out.field("index", state.index).field("NMI masked", state.nmi_masked);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "mc146818rtc",
        about: "MC146818 real-time clock of a PC: time, alarm, periodic interrupt, and 114 bytes of RAM",
        properties: &[
            Property {
                name: "base",
                kind: "\"utc\" | \"localtime\" | date",
                default: Some("\"utc\""),
                about: "the time when the machine starts: the host's, or that of a date like 2006-06-17T16:01:21",
            },
            Property {
                name: "clock",
                kind: "\"vm\" | \"host\"",
                default: Some("\"vm\""),
                about: "what the time moves with: the machine's clock, which may be stepped by hand, or the host's",
            },
            Property {
                name: "memory-below-4g",
                kind: "size",
                default: Some("the machine\'s"),
                about: "bytes of RAM below 4 GiB, for firmware to find at 0x15 to 0x18, 0x30, 0x31, 0x34 and 0x35",
            },
            Property {
                name: "memory-above-4g",
                kind: "size",
                default: Some("the machine\'s"),
                about: "bytes of RAM from 4 GiB on, at 0x5b to 0x5d",
            },
            Property {
                name: "cpus",
                kind: "u32",
                default: Some("those of the machine"),
                about: "the number of CPUs, one less at 0x5f",
            },
            Property {
                name: "boot",
                kind: "letters",
                default: Some("\"cad\""),
                about: "up to three boot devices of a, b (floppy), c (disk), d (CD-ROM), n (network), at 0x3d and 0x38",
            },
            Property {
                name: "boot-once",
                kind: "letters",
                default: Some("those of `boot`"),
                about: "the boot devices of the first start, up to the first reset",
            },
            Property {
                name: "floppy-check",
                kind: "bool",
                default: Some("true"),
                about: "boot from a floppy disk only if it has a boot signature",
            },
            Property {
                name: "bytes",
                kind: "[[u8, u8], ...]",
                default: Some("[]"),
                about: "other bytes of RAM: index and value",
            },
        ],
        example: "{}",
    }
}
