//! Port 80, where firmware says how far it has come.

#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Shows the last codes of the power-on self test to people. A guest reads all ones: the display is write only. Many
/// guests write here to let a microsecond pass.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ioport80 {
    #[serde(skip)]
    wiring: OnceLock<Region>,
    /// Held for an instant.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    /// The last codes, the oldest first, each once however often it was written in a row.
    codes: VecDeque<u8>,
}

/// Codes that are kept.
const MOST_CODES: usize = 16;

impl Ioport80 {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, _offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(width.mask())
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [code, ..] = value.to_le_bytes();
        let codes = &mut self.state().codes;
        if codes.back() == Some(&code) {
            return Ok(());
        }
        while codes.len() >= MOST_CODES {
            codes.pop_front();
        }
        codes.push_back(code);
        Ok(())
    }
}

#[typetag::serde(name = "ioport80")]
impl Device for Ioport80 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("ioport80", 1u64, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ = self.wiring.set(regs);
        // a file may say anything
        let mut state = self.state();
        let beyond = state.codes.len().saturating_sub(MOST_CODES);
        state.codes.drain(..beyond);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state().codes.clear();
    }

    fn inspect(&self, out: &mut Inspector) {
        out.field("codes", format_args!("{:02x?}", self.state().codes));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ioport80",
        about: "display of a PC's self test: shows the last codes that were written to port 0x80",
        properties: &[],
        example: "{}",
    }
}
