//! Machine timers.

use super::mtime::{Layout, Mtime};
use super::registers::{IRQ_M_TIMER, MTIME, MTIMECMP, MTIMER_SIZE};
use super::{Reserved, harts_interrupts};
use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, AddrRange, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// ACLINT's MTIMER: `mtime` and a comparator per hart, whose machine timer interrupt is pending while
/// `mtime >= mtimecmp`. Registers take accesses of 4 and 8 bytes.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mtimer {
    /// Bytes of the region.
    #[serde(default = "default_size")]
    size: u64,
    /// Where `mtime` is, in bytes from the region's start.
    #[serde(default = "default_mtime")]
    mtime_offset: u64,
    /// Where `mtimecmp` of hart 0 is; the others follow.
    #[serde(default = "default_mtimecmp")]
    mtimecmp_offset: u64,
    #[serde(default)]
    state: Mtime,
    #[serde(skip)]
    regs: OnceLock<Region>,
    #[serde(skip)]
    reserved: Reserved,
}

const fn default_size() -> u64 {
    MTIMER_SIZE
}

const fn default_mtime() -> u64 {
    MTIME
}

const fn default_mtimecmp() -> u64 {
    MTIMECMP
}

impl Mtimer {
    fn layout(&self) -> Layout {
        Layout { mtime: self.mtime_offset, mtimecmp: self.mtimecmp_offset }
    }

    /// The two parts of the region, in bytes from its start: `mtime` and `mtimecmp`, each up to where the other or the
    /// end of the region is. `None` for one that is empty.
    fn parts(&self) -> [Option<AddrRange>; 2] {
        let (mtime, mtimecmp) = (self.mtime_offset, self.mtimecmp_offset);
        let part = |start: u64, other: u64| {
            let end = if start < other { self.size.min(other) } else { self.size };
            end.checked_sub(start).and_then(|size| AddrRange::from_size(start, size.into()))
        };
        [part(mtime, mtimecmp), part(mtimecmp, mtime)]
    }

    fn check(&self, harts: u32) -> Result<(), DeviceError> {
        let refuse = |property, reason| Err(DeviceError::Property { property, reason });
        if self.mtime_offset == self.mtimecmp_offset {
            return refuse("mtime-offset", "is where mtimecmp is".to_owned());
        }
        let [mtime, mtimecmp] = self.parts();
        for (property, offset, part, wanted) in [
            ("mtime-offset", self.mtime_offset, mtime, 8),
            ("mtimecmp-offset", self.mtimecmp_offset, mtimecmp, 8 * u128::from(harts)),
        ] {
            if !offset.is_multiple_of(8) {
                return refuse(property, format!("{offset:#x} is no multiple of 8"));
            }
            let room = part.map_or(0, |part| part.size().bytes());
            if room < wanted {
                let reason = format!("{wanted} bytes are needed at {offset:#x}, there is room for {room}");
                return refuse(property, reason);
            }
        }
        Ok(())
    }

    fn read(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let register = self.layout().decode(offset);
        let value = register.and_then(|register| self.state.read(register, offset, width));
        Ok(value.unwrap_or_else(|| {
            self.reserved.note("riscv-aclint-mtimer", offset);
            0
        }))
    }

    fn write(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let register = self.layout().decode(offset);
        if register.and_then(|register| self.state.write(register, offset, width, value)).is_none() {
            self.reserved.note("riscv-aclint-mtimer", offset);
        }
        Ok(())
    }

    fn fire(&self) {
        self.state.fire();
    }
}

#[typetag::serde(name = "riscv-aclint-mtimer")]
impl Device for Mtimer {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        self.check(ctx.host().harts)?;
        let rules = AccessRules::new().valid(Width::W4..=Width::W8).implements(Width::W4..=Width::W8);
        let regs = ctx.mmio("regs", self.size, rules, &self, (Self::read, Self::write))?;
        let _ = self.regs.set(regs);
        self.state.realize(ctx, &self, Self::fire);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state.reset();
    }

    fn inspect(&self, out: &mut Inspector) {
        let (mtime, mtimecmp) = self.state.registers();
        out.register("mtime", mtime);
        for (hart, value) in mtimecmp.into_iter().enumerate() {
            out.register(format!("mtimecmp{hart}"), value);
        }
    }

    /// The node's `reg` has two ranges, `mtime` first.
    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let placed =
            |start: u64, part: AddrRange| AddrRange::from_size(start.checked_add(part.start())?, part.size());
        let node = || {
            let start = place.region("regs")?.start();
            let [mtime, mtimecmp] = self.parts();
            let reg = [placed(start, mtime?)?, placed(start, mtimecmp?)?];
            let node = FdtNode::new(format!("mtimer@{start:x}"), &["riscv,aclint-mtimer"]).reg(&reg);
            Some(node.with("interrupts-extended", harts_interrupts(place.harts, &[IRQ_M_TIMER])).target())
        };
        node().into_iter().collect()
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "riscv-aclint-mtimer",
        about: "RISC-V ACLINT: the timer, and its comparators of all harts",
        properties: &[
            Property {
                name: "size",
                kind: "size",
                default: Some("0x8000"),
                about: "bytes of the block of registers",
            },
            Property {
                name: "mtime-offset",
                kind: "u64",
                default: Some("0x7ff8"),
                about: "where mtime is in the block",
            },
            Property {
                name: "mtimecmp-offset",
                kind: "u64",
                default: Some("0"),
                about: "where mtimecmp of hart 0 is in the block; the others follow",
            },
        ],
        example: "{}",
    }
}
