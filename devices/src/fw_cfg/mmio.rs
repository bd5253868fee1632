//! The interface in memory.

use super::interface::Interface;
use super::items::{FwCfgFile, Items};
use super::registers::{DATA, DMA, SELECTOR, SIZE};
use super::state::State;
use crate::sync::{Arc, Mutex, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, DmaPort, FdtNode, FdtPlace, FdtValue};
use crate::{Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Endian, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

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
    fn interface(&self) -> Option<Interface<'_>> {
        let Wiring { items, dma, .. } = self.wiring.get()?;
        Some(Interface { items, dma, state: &self.state })
    }

    fn read_data(&self, _offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.interface().map_or(0, |interface| interface.read_data(width)))
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
        if let Some(interface) = self.interface() {
            interface.select(value);
        }
        Ok(())
    }

    fn read_dma(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(Interface::read_dma(offset, width))
    }

    fn write_dma(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        if let Some(interface) = self.interface() {
            interface.write_dma(offset, width, value);
        }
        Ok(())
    }
}

#[typetag::serde(name = "fw-cfg-mmio")]
impl Device for FwCfg {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let mut items = Items::new(ctx.host().harts);
        items.add_files(&self.files, ctx.host())?;
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
        if let Some(interface) = self.interface() {
            interface.reset();
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        if let Some(interface) = self.interface() {
            interface.inspect(out);
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
