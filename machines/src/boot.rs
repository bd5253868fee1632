//! What a machine starts with: images in memory, a device tree, and where the harts begin.

use crate::fdt::{FdtError, ram_ranges};
use crate::image::{Image, ImageError};
use crate::machine::Machine;
use memory_core::AddrRange;
use std::path::PathBuf;

/// The guest that comes with the program, for the board `riscv-virt`.
const SHIPPED_GUEST: &[u8] = include_bytes!("../guests/riscv-virt.elf");

/// Where images go if the machine file does not say: the start of the first RAM, and these offsets from it.
const KERNEL_OFFSET: u64 = 0x20_0000;
const DTB_OFFSET: u64 = 0x220_0000;

/// What is to be booted.
#[derive(Clone, Debug, Default)]
pub struct BootRequest {
    /// Runs first, in M-mode.
    pub firmware: Option<PathBuf>,
    /// What the firmware starts, or, without firmware, runs in M-mode itself.
    pub kernel: Option<PathBuf>,
    /// The kernel's command line, in the device tree.
    pub bootargs: String,
}

/// Why a machine cannot be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The machine has no CPU.
    #[error("`{machine}` has no CPU to run anything; `flatland mtree {machine}` shows its memory map")]
    NoCpu {
        /// The machine.
        machine: String,
    },
    /// The CPU sees no RAM.
    #[error("`{0}` has no RAM that its CPU sees")]
    NoRam(String),
    /// There is no place for the device tree.
    #[error("there is no room for the device tree of {len} bytes in the machine's RAM")]
    NoRoom {
        /// Its length.
        len: usize,
    },
    /// An image is wrong.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is no device tree.
    #[error("the device tree cannot be written: {0}")]
    Fdt(#[from] FdtError),
}

/// Everything that is in memory when a machine starts; it is written again at each reset.
#[derive(Clone, Debug)]
pub struct BootPlan {
    images: Vec<Image>,
    /// The first instruction.
    pub entry: u64,
    /// The address of the device tree.
    pub dtb: u64,
}

impl BootPlan {
    /// Reads the images and finds a place for everything; writes nothing yet.
    ///
    /// Without firmware and kernel it is the guest that comes with the program.
    ///
    /// # Errors
    /// What cannot be read or has no place.
    pub fn new(machine: &Machine, request: &BootRequest) -> Result<Self, BootError> {
        let spec = machine.spec();
        let name = &spec.name;
        let (Some(cpu), Some(space)) = (&spec.cpu, machine.cpu_space()) else {
            return Err(BootError::NoCpu { machine: name.clone() });
        };
        let ram = ram_ranges(space);
        let first = ram.first().ok_or_else(|| BootError::NoRam(name.clone()))?.start();
        let firmware_at = cpu.boot.firmware_at.unwrap_or(first);
        let mut images: Vec<Image> = Vec::new();
        let mut add = |image: Image| -> Result<u64, BootError> {
            image.check(space, &images)?;
            let entry = image.entry();
            images.push(image);
            Ok(entry)
        };
        let entry = match (&request.firmware, &request.kernel) {
            (Some(firmware), kernel) => {
                let entry = add(Image::load(firmware, firmware_at)?)?;
                if let Some(kernel) = kernel {
                    let at = cpu.boot.kernel_at.unwrap_or(first.saturating_add(KERNEL_OFFSET));
                    add(Image::load(kernel, at)?)?;
                }
                entry
            }
            (None, Some(kernel)) => add(Image::load(kernel, firmware_at)?)?,
            (None, None) => add(Image::from_bytes("the shipped guest", SHIPPED_GUEST, firmware_at)?)?,
        };
        let entry = cpu.reset_pc.unwrap_or(entry);
        let tree = machine.device_tree(&request.bootargs)?.unwrap_or_default();
        let wanted = cpu.boot.dtb_at.unwrap_or(first.saturating_add(DTB_OFFSET));
        let dtb = dtb_place(&ram, wanted, tree.len()).ok_or(BootError::NoRoom { len: tree.len() })?;
        let tree = Image::from_bytes("the device tree", &tree, dtb)?;
        tree.check(space, &images)?;
        images.push(tree);
        Ok(Self { images, entry, dtb })
    }

    /// Writes the images to memory.
    ///
    /// # Errors
    /// Memory that is not there any more.
    pub fn load(&self, machine: &Machine) -> Result<(), BootError> {
        let Some(space) = machine.cpu_space() else { return Ok(()) };
        Ok(self.images.iter().try_for_each(|image| image.write(space))?)
    }
}

/// The place that is wanted, or in a machine with less RAM the last one of its first range.
fn dtb_place(ram: &[AddrRange], wanted: u64, len: usize) -> Option<u64> {
    let place = AddrRange::from_len(wanted, len)?;
    if ram.iter().any(|range| range.contains_range(place)) {
        return Some(wanted);
    }
    let last = ram.first()?.last();
    let start = last.checked_sub(u64::try_from(len).ok()?)? & !7;
    (start >= ram.first()?.start()).then_some(start)
}
