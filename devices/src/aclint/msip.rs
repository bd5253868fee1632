//! The `msip` registers.

use super::registers::{MAX_HARTS, SOFTWARE_INTERRUPT};
use crate::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{IrqLine, Realize};
use serde::{Deserialize, Serialize};

/// One `msip` per hart, each a level of the hart's machine software interrupt.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(transparent)]
pub(super) struct Msip {
    /// Lines are set with it held, so that they follow the registers in order.
    state: Mutex<State>,
    #[serde(skip)]
    lines: OnceLock<Vec<IrqLine>>,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    /// By hart; after power on all are false.
    msip: Vec<bool>,
}

impl Msip {
    /// Makes the output `msip` and puts the lines to what the registers say.
    pub(super) fn realize(&self, ctx: &mut Realize<'_>) {
        let harts = ctx.host().harts;
        let lines = ctx.outputs("msip", harts);
        let mut state = self.lock();
        state.msip.resize(lines.len().min(MAX_HARTS), false);
        let lines = self.lines.get_or_init(|| lines);
        lines.iter().zip(&state.msip).for_each(|(line, level)| line.set(*level));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The register at `offset`, `None` if there is no such hart.
    pub(super) fn read(&self, offset: u64) -> Option<u64> {
        let hart = usize::try_from(offset / 4).ok()?;
        self.lock().msip.get(hart).map(|level| u64::from(*level))
    }

    /// Writes the register at `offset`, `None` if there is no such hart.
    pub(super) fn write(&self, offset: u64, value: u64) -> Option<()> {
        let hart = usize::try_from(offset / 4).ok()?;
        let mut state = self.lock();
        let msip = state.msip.get_mut(hart)?;
        *msip = value & SOFTWARE_INTERRUPT != 0;
        self.lines.get()?.get(hart)?.set(*msip);
        Some(())
    }

    /// Clears all registers.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.msip.fill(false);
        self.lines.get().into_iter().flatten().for_each(|line| line.set(false));
    }

    /// The harts whose register is set.
    pub(super) fn pending(&self) -> Vec<usize> {
        self.lock().msip.iter().enumerate().filter(|(_, level)| **level).map(|(hart, _)| hart).collect()
    }
}
