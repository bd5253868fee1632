//! The CLINT: software interrupts and timers in one block.

use super::msip::Msip;
use super::mtime::{Layout, Mtime};
use super::registers::{CLINT_MTIME, CLINT_MTIMECMP, CLINT_SIZE, IRQ_M_SOFTWARE, IRQ_M_TIMER};
use super::{Reserved, harts_interrupts};
use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, Inspector, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// SiFive's CLINT, which is an MSWI and an MTIMER at fixed places in one region of 64 KiB.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Clint {
    #[serde(default)]
    state: State,
    #[serde(skip)]
    regs: OnceLock<Region>,
    #[serde(skip)]
    reserved: Reserved,
}

/// Each part has its own lock; nothing needs both.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    mswi: Msip,
    mtimer: Mtime,
}

const LAYOUT: Layout = Layout { mtime: CLINT_MTIME, mtimecmp: CLINT_MTIMECMP };

impl Clint {
    fn read(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let value = match LAYOUT.decode(offset) {
            Some(register) => self.state.mtimer.read(register, offset, width),
            // an access of 8 bytes is of two harts
            None => self.state.mswi.read(offset).map(|low| match width {
                Width::W8 => low | self.state.mswi.read(offset + 4).unwrap_or_default() << 32,
                _ => low,
            }),
        };
        Ok(value.unwrap_or_else(|| {
            self.reserved.note("riscv-clint", offset);
            0
        }))
    }

    fn write(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let written = match LAYOUT.decode(offset) {
            Some(register) => self.state.mtimer.write(register, offset, width, value),
            None => self.state.mswi.write(offset, value).map(|()| {
                if width == Width::W8 {
                    self.state.mswi.write(offset + 4, value >> 32);
                }
            }),
        };
        if written.is_none() {
            self.reserved.note("riscv-clint", offset);
        }
        Ok(())
    }

    fn fire(&self) {
        self.state.mtimer.fire();
    }
}

#[typetag::serde(name = "riscv-clint")]
impl Device for Clint {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W4..=Width::W8).implements(Width::W4..=Width::W8);
        let regs = ctx.mmio("regs", CLINT_SIZE, rules, &self, (Self::read, Self::write))?;
        let _ = self.regs.set(regs);
        self.state.mswi.realize(ctx);
        self.state.mtimer.realize(ctx, &self, Self::fire);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state.mswi.reset();
        self.state.mtimer.reset();
    }

    fn inspect(&self, out: &mut Inspector) {
        let (mtime, mtimecmp) = self.state.mtimer.registers();
        out.field("msip", format_args!("{:?}", self.state.mswi.pending()));
        out.register("mtime", mtime);
        for (hart, value) in mtimecmp.into_iter().enumerate() {
            out.register(format!("mtimecmp{hart}"), value);
        }
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let interrupts = harts_interrupts(place.harts, &[IRQ_M_SOFTWARE, IRQ_M_TIMER]);
        let node = FdtNode::new(format!("clint@{:x}", regs.start()), &["sifive,clint0", "riscv,clint0"]);
        vec![node.reg(&[regs]).with("interrupts-extended", interrupts).target()]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "riscv-clint",
        about: "SiFive CLINT: machine software interrupts and timers of all harts in one block",
        properties: &[],
        example: "{}",
    }
}
