//! Memory that the guest shares with another process of the host, as QEMU's `ivshmem-plain` (specification "Device Specification for
//! Inter-VM shared memory device"): registers, which do nothing without interrupts, and the memory.

use crate::pci::{BarKind, FunctionSetup, Identity, PciDevice, PciFunction};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Host, Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, RamBlock, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// Bytes of the registers.
pub const REGISTERS: u64 = 0x100;
/// Interrupt mask.
const MASK: u64 = 0;
/// Interrupt status; a read clears it.
const STATUS: u64 = 4;

/// The device. Base address register 0 has the registers, register 2 the memory.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IvshmemPlain {
    /// Bytes of the memory, a power of two of at least 4096.
    size: u64,
    /// What holds the memory, for others to map: made, and made larger, as needed. Relative paths start where those of the machine file
    /// do; `/proc/self/fd/N` is a memfd that this process was given. Without it the memory is a memfd of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,

    #[serde(skip)]
    wiring: OnceLock<[Region; 2]>,

    #[serde(default)]
    pci: PciFunction,
    /// Held for an instant.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    mask: u32,
    status: u32,
}

const IDENTITY: Identity =
    Identity { vendor: 0x1af4, device: 0x1110, revision: 1, class: 0x0500, interface: 0, subsystem: (0, 0) };

impl IvshmemPlain {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offset 8, the number among peers, is 0, and offset 12, the doorbell, rings nobody's: there are no peers.
    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let mut state = self.state();
        Ok(match offset {
            MASK => state.mask.into(),
            STATUS => std::mem::take(&mut state.status).into(),
            _ => 0,
        })
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let mut state = self.state();
        match offset {
            MASK => state.mask = value as u32,
            STATUS => state.status = value as u32,
            _ => {}
        }
        Ok(())
    }

    fn block(&self, host: &Host) -> Result<Arc<RamBlock>, DeviceError> {
        if !self.size.is_power_of_two() || self.size < 0x1000 {
            let reason = format!("{:#x} is not a power of two of at least 4096", self.size);
            return Err(DeviceError::Property { property: "size", reason });
        }
        Ok(match &self.file {
            _ if host.looking => RamBlock::anonymous(self.size)?,
            Some(file) => self.share(&host.resolve(file))?,
            None => RamBlock::builder(self.size).memfd("ivshmem").shared(true).build()?,
        })
    }

    fn share(&self, path: &Path) -> Result<Arc<RamBlock>, DeviceError> {
        let failed = |source| DeviceError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < self.size {
            file.set_len(self.size).map_err(failed)?;
        }
        Ok(RamBlock::shared_file(file, 0, self.size)?)
    }
}

impl PciDevice for IvshmemPlain {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "ivshmem-plain")]
impl Device for IvshmemPlain {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let block = self.block(ctx.host())?;
        let rules = AccessRules::new().implements(Width::W4..=Width::W4);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs =
            ctx.memory().mmio("ivshmem-mmio", REGISTERS, rules, callbacks).owner(ctx.owner()).build()?;
        let path = ctx.owner().path();
        // memory is called as the device is
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let memory = ctx.memory().ram(name, block).owner(ctx.owner()).build()?;
        let setup = FunctionSetup::new(IDENTITY)
            .bar(0, BarKind::Memory32 { prefetchable: false }, &regs)?
            .bar(2, BarKind::Memory64 { prefetchable: true }, &memory)?;
        let _ = self.wiring.set([regs, memory]);
        self.pci.realize(ctx, &self, setup)
    }

    fn reset(&self, _kind: ResetType) {
        *self.state() = State::default();
        self.pci.reset(|_| ());
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("mask", state.mask.into()).register("status", state.status.into());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ivshmem-plain",
        about: "PCI function with memory that is shared with another process of the host",
        properties: &[
            Property { name: "size", kind: "size", default: None, about: "a power of two, at least 4K" },
            Property {
                name: "file",
                kind: "path",
                default: Some("a memfd"),
                about: "what holds the memory, for others to map; made as needed",
            },
        ],
        example: "{ \"size\": 4096 }",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i440fx::I440fx;
    use crate::testing::{Bench, Board, PCI};
    use serde_json::json;
    use std::process::Command;

    const W4: Width = Width::W4;

    fn host(board: &Board) -> Bench<'_, I440fx> {
        board.plug(json!({}), 1 << 60)
    }

    #[test]
    fn memory_is_shared_with_another_process_both_ways() {
        let board = Board::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared");
        let _host = host(&board);
        let _device: Bench<'_, IvshmemPlain> =
            board.plug_pci(json!({ "size": 0x10_0000, "file": path }), "3.0");
        assert_eq!(
            [0, 8, 0x10, 0x18, 0x3c].map(|at| board.config("3.0", at, W4)),
            [0x1110_1af4, 0x0500_0001, 0, 0xc, 0]
        );
        board.set_config("3.0", 0x18, W4, 0xfe00_0000);
        board.set_config("3.0", 4, W4, 2);
        let at = PCI + 0xfe00_0000;
        let run = |script: &str| {
            let output = Command::new("sh").arg("-c").arg(script).arg("sh").arg(&path).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        board.store(at + 0x8000, W4, 0x6f6c_6568).unwrap();
        assert_eq!(run("dd if=\"$1\" bs=1 skip=32768 count=4 2>/dev/null"), "helo");
        run("printf wxyz | dd of=\"$1\" bs=1 seek=1048572 conv=notrunc 2>/dev/null");
        assert_eq!(board.load(at + 0xf_fffc, W4), Ok(0x7a79_7877));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0x10_0000);
    }

    #[test]
    fn registers_without_interrupts_do_nothing_and_a_status_that_is_read_is_cleared() {
        let board = Board::new();
        let _host = host(&board);
        let device: Bench<'_, IvshmemPlain> = board.plug_pci(json!({ "size": 0x1000 }), "3.0");
        board.set_config("3.0", 0x10, W4, 0xfe00_0000);
        board.set_config("3.0", 4, W4, 2);
        let regs = PCI + 0xfe00_0000;
        let read = |at| board.load(regs + at, W4).unwrap();
        for at in (0..16).step_by(4) {
            board.store(regs + at, W4, 0x11 + at).unwrap();
        }
        assert_eq!([MASK, STATUS, STATUS, 8, 12].map(read), [0x11, 0x15, 0, 0, 0]);
        device.device.reset(ResetType::Cold);
        board.set_config("3.0", 0x10, W4, 0xfe00_0000);
        board.set_config("3.0", 4, W4, 2);
        assert_eq!(read(MASK), 0);
    }

    #[test]
    fn sizes_and_files_that_cannot_be_are_refused() {
        let board = Board::new();
        let _host = host(&board);
        let error =
            |properties| board.try_plug::<IvshmemPlain>(properties, 0).err().expect("refused").to_string();
        for size in [0, 0x800, 0x3000] {
            assert!(error(json!({ "size": size })).contains("`size`"));
        }
        assert!(error(json!({ "size": 0x1000, "file": "/no/such/folder/file" })).contains("/no/such/folder"));
    }
}
