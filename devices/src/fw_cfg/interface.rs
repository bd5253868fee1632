//! What both forms of the interface do: items, the position in the selected one, and DMA.

use super::items::Items;
use super::registers::DMA_SIGNATURE;
use super::state::State;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::{DmaPort, Inspector};
use memory_core::Width;

/// What a guest reaches through the registers, wherever these are.
#[derive(Clone, Copy)]
pub(super) struct Interface<'a> {
    pub(super) items: &'a Items,
    pub(super) dma: &'a DmaPort,
    /// Never held while memory is reached.
    pub(super) state: &'a Mutex<State>,
}

impl<'a> Interface<'a> {
    pub(super) fn state(&self) -> MutexGuard<'a, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Selects the item of the key in the low half of `value`.
    pub(super) fn select(&self, value: u64) {
        let [low, high, ..] = value.to_le_bytes();
        self.state().select(u16::from_le_bytes([low, high]));
    }

    /// The next bytes of the item, the first in the highest place; what is past its end is 0.
    pub(super) fn read_data(&self, width: Width) -> u64 {
        let mut state = self.state();
        let item = self.items.get(state.selected());
        let bytes = state.advance(item, width as u32);
        let padded = bytes.iter().copied().chain(std::iter::repeat(0)).take(width.len());
        padded.fold(0, |value, byte| value << 8 | u64::from(byte))
    }

    /// Bytes of the signature that the DMA address register reads as.
    pub(super) fn read_dma(offset: u64, width: Width) -> u64 {
        let behind = 8u64.saturating_sub(offset).saturating_sub(width.bytes());
        DMA_SIGNATURE >> (8 * behind) & width.mask()
    }

    /// A write to the DMA address register, the value in the register's order. The low half starts a transfer.
    pub(super) fn write_dma(&self, offset: u64, width: Width, value: u64) {
        let address = match (offset, width) {
            (0, Width::W8) => value,
            (0, _) => return self.state().set_dma_high(low_word(value)),
            _ => self.state().take_dma_address(low_word(value)),
        };
        self.run_dma(address);
    }

    pub(super) fn reset(&self) {
        *self.state() = State::default();
    }

    pub(super) fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("selected item", state.selected().into()).field("position", state.position());
        out.field("items", self.items.len());
    }
}

fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
