//! The Goldfish real-time clock: the time of day in nanoseconds, and an alarm.

mod base;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, Inspector, IrqLine, Property};
use crate::{Realize, ResetType, Timer};
pub use base::Base;
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use registers::*;
use serde::{Deserialize, Serialize};
use state::State;

/// A Goldfish RTC. Its time moves with the machine's clock, so a stepped clock makes it repeatable.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GoldfishRtc {
    /// The time when the machine starts.
    #[serde(default)]
    base: Base,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange access was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,

    /// Held while the interrupt line and the timer are set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    irq: IrqLine,
    alarm: Timer,
    _regs: Region,
}

impl GoldfishRtc {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the alarm, the timer and the interrupt line in line with the state.
    fn update(&self, state: &mut State) {
        state.check_alarm();
        let Some(wiring) = self.wiring.get() else { return };
        match state.deadline() {
            Some(deadline) => wiring.alarm.set(deadline),
            None => wiring.alarm.cancel(),
        }
        wiring.irq.set(state.pending && state.enabled);
    }

    /// The timer's callback.
    fn alarm(&self) {
        self.update(&mut self.state());
    }

    fn log_once(&self, offset: u64, what: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(offset, "the RTC has no such register to {what}");
        }
    }

    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let mut state = self.state();
        Ok(match offset {
            TIME_LOW => {
                let time = state.time();
                state.latched = high(time);
                time & LOW
            }
            TIME_HIGH => state.latched.into(),
            ALARM_LOW => state.alarm & LOW,
            ALARM_HIGH => high(state.alarm).into(),
            IRQ_ENABLED => state.enabled.into(),
            ALARM_STATUS => state.armed.into(),
            _ => {
                self.log_once(offset, "read");
                0
            }
        })
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let mut state = self.state();
        match offset {
            TIME_LOW => {
                let time = with_low(state.time(), value);
                state.set_time(time);
            }
            TIME_HIGH => {
                let time = with_high(state.time(), value);
                state.set_time(time);
            }
            ALARM_LOW => {
                state.alarm = with_low(state.alarm, value);
                state.armed = true;
            }
            ALARM_HIGH => state.alarm = with_high(state.alarm, value),
            IRQ_ENABLED => state.enabled = value & 1 != 0,
            CLEAR_ALARM => state.armed = false,
            CLEAR_INTERRUPT => state.pending = false,
            _ => self.log_once(offset, "write"),
        }
        self.update(&mut state);
        Ok(())
    }
}

const LOW: u64 = 0xffff_ffff;

fn high(value: u64) -> u32 {
    u32::try_from(value >> 32).unwrap_or_default()
}

fn with_low(old: u64, value: u64) -> u64 {
    old & !LOW | value & LOW
}

fn with_high(old: u64, value: u64) -> u64 {
    old & LOW | value << 32
}

#[typetag::serde(name = "goldfish-rtc")]
impl Device for GoldfishRtc {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let wiring = Wiring { irq: ctx.output("irq"), alarm: ctx.timer(&self, Self::alarm), _regs: regs };
        let _ = self.wiring.set(wiring);
        let mut state = self.state();
        state.run(self.base, &ctx.host().clock);
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
        out.field("time (ns since 1970)", state.time())
            .field("alarm (ns since 1970)", state.alarm)
            .field("alarm armed", state.armed)
            .field("interrupt pending", state.pending)
            .field("interrupt enabled", state.enabled);
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node = FdtNode::new(format!("rtc@{:x}", regs.start()), &["google,goldfish-rtc"]);
        vec![node.reg(&[regs]).interrupt(place.output("irq"))]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "goldfish-rtc",
        about: "Goldfish real-time clock: nanoseconds since 1970, and an alarm",
        properties: &[Property {
            name: "base",
            kind: "\"host\" | u64",
            default: Some("\"host\""),
            about: "the time when the machine starts: the host's, or nanoseconds since 1970",
        }],
        example: "{}",
    }
}
