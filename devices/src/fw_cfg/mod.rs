//! QEMU's firmware configuration interface: named files that a machine hands its firmware.

mod dma;
mod items;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, DmaPort, FdtNode, FdtPlace, FdtValue};
use crate::{Inspector, Property, Realize, ResetType};
pub use items::FwCfgFile;
use items::Items;
use memory_core::{AccessRules, BusFault, Endian, Methods, Region, TxAttrs, Width};
use registers::{DATA, DMA, DMA_SIGNATURE, SELECTOR, SIZE};
use serde::{Deserialize, Serialize};
use state::State;

/// fw_cfg in memory: a data register, a selector and DMA.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FwCfg {
    /// The files of the directory, in order.
    #[serde(default)]
    files: Vec<FwCfgFile>,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    /// Never held while memory is reached.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    items: Items,
    dma: DmaPort,
    /// The block of registers, and what lies in it.
    _regions: [Region; 4],
}

impl FwCfg {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes of the item, the first in the highest place; what is past its end is 0.
    fn read_data(&self, _offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(0) };
        let mut state = self.state();
        let item = wiring.items.get(state.selected());
        let bytes = state.advance(item, width as u32);
        let padded = bytes.iter().copied().chain(std::iter::repeat(0)).take(width.len());
        Ok(padded.fold(0, |value, byte| value << 8 | u64::from(byte)))
    }

    /// Items were writable here once; now it does nothing.
    fn write_data(&self, _offset: u64, _width: Width, _value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }

    fn read_selector(&self, _offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write_selector(
        &self,
        _offset: u64,
        _width: Width,
        value: u64,
        _attrs: TxAttrs,
    ) -> Result<(), BusFault> {
        self.state().select(low_half(value));
        Ok(())
    }

    fn read_dma(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let behind = 8u64.saturating_sub(offset).saturating_sub(width.bytes());
        Ok(DMA_SIGNATURE >> (8 * behind) & width.mask())
    }

    fn write_dma(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(()) };
        let address = match (offset, width) {
            (0, Width::W8) => value,
            (0, _) => {
                self.state().set_dma_high(low_word(value));
                return Ok(());
            }
            _ => self.state().take_dma_address(low_word(value)),
        };
        self.run_dma(wiring, address);
        Ok(())
    }
}

fn low_half(value: u64) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[typetag::serde(name = "fw-cfg-mmio")]
impl Device for FwCfg {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let items = Items::new(&self.files, ctx.host())?;
        let any = || AccessRules::new().valid(Width::W1..=Width::W8).implements(Width::W1..=Width::W8);
        let big = || any().endian(Endian::Big);
        let selector = big().accepts(|request| request.write && request.width == Width::W2);
        let dma = big().accepts(|request| !request.write || request.width >= Width::W4);
        let memory = ctx.memory();
        let data = Methods::new(&self, Self::read_data, Self::write_data);
        let data =
            memory.mmio("fw-cfg.data", DATA.end - DATA.start, big(), data).owner(ctx.owner()).build()?;
        let select = Methods::new(&self, Self::read_selector, Self::write_selector);
        let select = memory.mmio("fw-cfg.selector", SELECTOR.end - SELECTOR.start, selector, select);
        let select = select.owner(ctx.owner()).build()?;
        let transfer = Methods::new(&self, Self::read_dma, Self::write_dma);
        let transfer =
            memory.mmio("fw-cfg.dma", DMA.end - DMA.start, dma, transfer).owner(ctx.owner()).build()?;
        let regs = ctx.container("regs", SIZE)?;
        regs.map(DATA.start, &data)?;
        regs.map(SELECTOR.start, &select)?;
        regs.map(DMA.start, &transfer)?;
        let _regions = [regs, data, select, transfer];
        let _ = self.wiring.set(Wiring { items, dma: ctx.dma(), _regions });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        *self.state() = State::default();
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("selected item", state.selected().into()).field("position", state.position());
        if let Some(wiring) = self.wiring.get() {
            out.field("items", wiring.items.len());
        }
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node = FdtNode::new(format!("fw-cfg@{:x}", regs.start()), &["qemu,fw-cfg-mmio"]);
        vec![node.reg(&[regs]).with("dma-coherent", FdtValue::Empty)]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "fw-cfg-mmio",
        about: "QEMU's firmware configuration interface: named files for the firmware, with DMA",
        properties: &[Property {
            name: "files",
            kind: "[{ name = \"opt/...\", file = path } or { name = \"opt/...\", text = \"...\" }]",
            default: Some("[]"),
            about: "the files of the directory, whose names have 1 to 55 bytes",
        }],
        example: "{}",
    }
}
