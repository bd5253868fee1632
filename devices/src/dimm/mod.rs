//! A memory module that may be plugged in and unplugged while the machine runs. QEMU's name: `pc-dimm`.
//!
//! The module is host memory and nothing else: where it is mapped is the machine's business, and how the guest learns
//! of it (ACPI, a device tree) that of firmware. Its RAM block is named after the module, so that two of them differ.

#[cfg(test)]
mod tests;

use crate::device::{Device, DeviceError, ResetType};
use crate::host::Host;
use crate::info::{DeviceInfo, Property};
use crate::inspect::Inspector;
use crate::realize::Realize;
use crate::sync::{Arc, OnceLock};
use memory_core::{RamBlock, Region};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// What a module's size is a multiple of, as QEMU's is: the page that large mappings are made of.
const GRANULE: u64 = 0x1000;

/// A memory module. Exports `ram`.
///
/// Reset leaves its content alone, and so does a snapshot, which has no content of memory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dimm {
    /// Bytes, a multiple of 4096.
    size: u64,
    /// The slot of the board that it is in, for people; nobody checks that it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    /// Holds the content, if not anonymous memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Whether what the guest writes reaches the file.
    #[serde(default)]
    share: bool,
    #[serde(skip)]
    ram: OnceLock<Region>,
}

impl Dimm {
    fn block(&self, host: &Host) -> Result<Arc<RamBlock>, DeviceError> {
        if self.size == 0 || !self.size.is_multiple_of(GRANULE) {
            let reason = format!("{:#x} is not a multiple of {GRANULE:#x} above 0", self.size);
            return Err(DeviceError::Property { property: "size", reason });
        }
        Ok(match &self.file {
            None if self.share => {
                let reason = "there is no file to share the memory with".to_owned();
                return Err(DeviceError::Property { property: "share", reason });
            }
            None => RamBlock::anonymous(self.size)?,
            Some(file) => self.map(&host.resolve(file), host.looking)?,
        })
    }

    /// The file's content as the guest's memory: a copy of it, unless it is shared and the machine is to run.
    fn map(&self, path: &Path, looking: bool) -> Result<Arc<RamBlock>, DeviceError> {
        let failed = |source| DeviceError::File { path: path.to_owned(), source };
        let shared = self.share && !looking;
        let file: File = OpenOptions::new().read(true).write(shared).open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < self.size {
            let reason = format!("{} has {length:#x} bytes, fewer than {:#x}", path.display(), self.size);
            return Err(DeviceError::Property { property: "file", reason });
        }
        Ok(if shared {
            RamBlock::shared_file(file, 0, self.size)?
        } else {
            RamBlock::private_file(file, 0, self.size)?
        })
    }
}

#[typetag::serde(name = "dimm")]
impl Device for Dimm {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let block = self.block(ctx.host())?;
        // the map names modules as the machine does
        let owner = ctx.owner().path();
        let name = owner.rsplit('/').next().unwrap_or(owner).to_owned();
        let builder = ctx.memory().ram(name, block).identifier(format!("{owner}/ram"));
        let ram = builder.owner(ctx.owner()).build()?;
        ctx.export("ram", &ram);
        // a device is realised once
        let _ = self.ram.set(ram);
        Ok(())
    }

    fn reset(&self, _: ResetType) {}

    fn inspect(&self, out: &mut Inspector) {
        out.register("size", self.size);
        if let Some(slot) = self.slot {
            out.register("slot", slot.into());
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "dimm",
        about: "memory module that may be plugged in and unplugged while the machine runs",
        properties: &[
            Property { name: "size", kind: "size", default: None, about: "a multiple of 4K" },
            Property { name: "slot", kind: "u32", default: Some("none"), about: "the slot that it is in, for people" },
            Property { name: "file", kind: "path", default: Some("none"), about: "holds the content, which is not shorter" },
            Property {
                name: "share",
                kind: "bool",
                default: Some("false"),
                about: "what the guest writes reaches the file",
            },
        ],
        example: r#"{ "size": 1048576 }"#,
    }
}
