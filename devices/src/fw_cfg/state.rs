//! What fw_cfg remembers.

use serde::{Deserialize, Serialize};

/// Where a guest is.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct State {
    /// The key of the selected item, as the guest wrote it.
    selected: u16,
    /// Bytes of the item that are behind.
    position: u64,
    /// The high half of the DMA address register.
    dma_high: u32,
}

impl State {
    /// Selects an item, from its start.
    pub(crate) fn select(&mut self, key: u16) {
        self.selected = key;
        self.position = 0;
    }

    /// The key of the selected item.
    pub(crate) fn selected(&self) -> u16 {
        self.selected
    }

    /// Bytes of the item that are behind.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Moves on by `count` bytes in `item`, the selected one, and returns those of them that there are.
    pub(crate) fn advance<'a>(&mut self, item: &'a [u8], count: u32) -> &'a [u8] {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(item.len());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let end = start.saturating_add(count).min(item.len());
        self.position = end as u64;
        item.get(start..end).unwrap_or(&[])
    }

    /// Keeps the high half of the DMA address.
    pub(crate) fn set_dma_high(&mut self, high: u32) {
        self.dma_high = high;
    }

    /// The DMA address with its low half, which ends it.
    pub(crate) fn take_dma_address(&mut self, low: u32) -> u64 {
        u64::from(std::mem::take(&mut self.dma_high)) << 32 | u64::from(low)
    }
}
