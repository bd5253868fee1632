//! A device that tells writes which signal from writes which run its callback, for tests. It is the project's own: this is
//! its datasheet.
//!
//! | offset | register |
//! |---|---|
//! | 0x00 | doorbell: a 4-byte write of any value signals |
//! | 0x04 | doorbell: a 4-byte write of the value `match` signals, any other runs the callback |
//! | 0x08 | FIFO: writes may be queued (coalesced); each one runs the callback in the end |
//! | 0x10 | callbacks so far (read-only) |
//! | 0x14 | signals so far (read-only) |
//! | 0x18 | the value that the last callback got (read-only) |

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, AddrRange, BusFault, EventNotifier, IoEvent, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// Bytes of the register block.
pub const SIZE: u64 = 0x20;
/// Signals whatever is written.
pub const DOORBELL: u64 = 0x00;
/// Signals if the value is the one of the property `match`.
pub const MATCHED: u64 = 0x04;
/// May be queued.
pub const FIFO: u64 = 0x08;
/// Number of callbacks of writes.
pub const CALLBACKS: u64 = 0x10;
/// Number of signals.
pub const SIGNALS: u64 = 0x14;
/// What the last callback got.
pub const LAST: u64 = 0x18;

/// The device.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DoorbellTest {
    /// The value that the second doorbell waits for.
    #[serde(default, rename = "match")]
    matched: u32,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    /// Held for an instant.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    event: EventNotifier,
    _regs: Region,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    callbacks: u32,
    signals: u32,
    last: u32,
}

impl DoorbellTest {
    /// The state, with all signals so far in it.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let signals = self.wiring.get().map_or(0, |wiring| wiring.event.take());
        state.signals = state.signals.wrapping_add(signals as u32);
        state
    }

    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let state = self.state();
        Ok(match offset {
            CALLBACKS => state.callbacks.into(),
            SIGNALS => state.signals.into(),
            LAST => state.last.into(),
            _ => 0,
        })
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let mut state = self.state();
        if matches!(offset, DOORBELL | MATCHED | FIFO) {
            state.callbacks = state.callbacks.wrapping_add(1);
            state.last = value as u32;
        }
        Ok(())
    }
}

#[typetag::serde(name = "doorbell-test")]
impl Device for DoorbellTest {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let host = |source| DeviceError::Host { what: "an eventfd", source };
        let event = EventNotifier::new().map_err(host)?;
        regs.add_ioevent(IoEvent::new(DOORBELL, Width::W4, event.clone()))?;
        regs.add_ioevent(IoEvent::new(MATCHED, Width::W4, event.clone()).value(self.matched.into()))?;
        if let Some(fifo) = AddrRange::new(FIFO, FIFO + 3) {
            regs.add_coalesced(fifo)?;
        }
        let _ = self.wiring.set(Wiring { event, _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        *self.state() = State::default();
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.field("callbacks", state.callbacks)
            .field("signals", state.signals)
            .field("last value", state.last);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "doorbell-test",
        about: "counts writes that signal an eventfd and writes that run a callback, for tests",
        properties: &[Property {
            name: "match",
            kind: "u32",
            default: Some("0"),
            about: "the value that the second doorbell waits for",
        }],
        example: "{}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, Board};
    use serde_json::json;

    #[test]
    fn signals_and_callbacks_are_counted_apart_and_queued_writes_arrive_in_the_end() {
        let board = Board::new();
        board.system.coalesce(true);
        let bench: Bench<'_, DoorbellTest> = board.plug(json!({ "match": 7 }), 0x1000);
        let counts = || [CALLBACKS, SIGNALS].map(|register| bench.load(register, Width::W4));
        bench.store(DOORBELL, Width::W4, 1);
        bench.store(DOORBELL, Width::W4, 2);
        bench.store(MATCHED, Width::W4, 7);
        assert_eq!(counts(), [0, 3]);
        bench.store(MATCHED, Width::W4, 8);
        assert_eq!((counts(), bench.load(LAST, Width::W4)), ([1, 3], 8));
        for value in 10..15 {
            bench.store(FIFO, Width::W4, value);
        }
        assert_eq!(bench.device.state().callbacks, 1, "still queued");
        assert_eq!((counts(), bench.load(LAST, Width::W4)), ([6, 3], 14));
        // it follows its region, and what a snapshot has is what was counted
        bench.store(DOORBELL, Width::W4, 0);
        assert_eq!(bench.device.state().signals, 4);
        assert_eq!(serde_json::to_value(&*bench.device).unwrap()["state"]["signals"], 4);
    }
}
