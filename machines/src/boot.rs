//! What a machine starts with: images in memory, a device tree, and where the CPU begins.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux;
mod x86;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use linux::KernelError;
pub use x86::X86Start;

use crate::fdt::{FdtError, ram_ranges};
use crate::file::{CpuSpec, CpuType};
use crate::image::{Image, ImageError};
use crate::machine::Machine;
use memory_core::AddrRange;
use memory_dispatch::AddressSpace;
use std::path::PathBuf;

/// The guest that comes with the program, for the board `riscv-virt`.
const SHIPPED_GUEST: &[u8] = include_bytes!("../guests/riscv-virt.elf");

/// Where images go if the machine file does not say: the start of the first RAM, and these offsets from it.
const KERNEL_OFFSET: u64 = 0x20_0000;
const DTB_OFFSET: u64 = 0x220_0000;

/// What is to be booted.
#[derive(Clone, Debug, Default)]
pub struct BootRequest {
    /// Runs first: in M-mode of RV64, from the reset vector of an x86.
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
    /// There is no guest, and the program has none that runs on such a CPU.
    #[error(
        "`{machine}` has nothing to run: say `--firmware FILE`, for example SeaBIOS's, or `--kernel FILE`"
    )]
    NoGuest {
        /// The machine.
        machine: String,
    },
    /// The firmware would have to be handed the kernel, and there is no way to.
    #[error("`{machine}` starts with firmware or with a kernel, not with both")]
    Both {
        /// The machine.
        machine: String,
    },
    /// The firmware is larger than all that lies below where it ends.
    #[error("{name} has {len:#x} bytes, and ends at {end:#x}")]
    NoStart {
        /// The image.
        name: String,
        /// Its length.
        len: u64,
        /// The address after its last byte.
        end: u64,
    },
    /// The accelerator runs another CPU than the one that this was planned for.
    #[error("the accelerator runs another type of CPU")]
    OtherCpu,
    /// The CPU sees no RAM.
    #[error("`{0}` has no RAM that its CPU sees")]
    NoRam(String),
    /// There is no place for the device tree.
    #[error("there is no room for the device tree of {len} bytes in the machine's RAM")]
    NoRoom {
        /// Its length.
        len: usize,
    },
    /// A kernel of an x86 is wrong.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An image is wrong.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is no device tree.
    #[error("the device tree cannot be written: {0}")]
    Fdt(#[from] FdtError),
}

/// Where and how a CPU begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CpuStart {
    /// It does not.
    None,
    /// All harts of RV64 begin at `entry`, in M-mode.
    Harts {
        /// The first instruction.
        entry: u64,
        /// The address of the device tree.
        dtb: u64,
    },
    /// An x86.
    X86(X86Start),
}

/// Everything that is in memory when a machine starts; it is written again at each reset.
#[derive(Clone, Debug)]
pub struct BootPlan {
    images: Vec<Image>,
    start: CpuStart,
    /// Which says itself how it begins.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    kernel: Option<linux::Kernel>,
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    kernel: Option<()>,
}

impl BootPlan {
    /// Reads the images and finds a place for everything; writes nothing yet.
    ///
    /// Without firmware and kernel it is the guest that comes with the program, where it has one for the CPU.
    ///
    /// # Errors
    /// What cannot be read or has no place.
    pub fn new(machine: &Machine, request: &BootRequest) -> Result<Self, BootError> {
        let spec = machine.spec();
        let (Some(cpu), Some(space)) = (&spec.cpu, machine.cpu_space()) else {
            return Err(BootError::NoCpu { machine: spec.name.clone() });
        };
        match cpu.kind {
            CpuType::Rv64 => Self::for_rv64(machine, request, (cpu, space)),
            CpuType::X86_64 => x86::plan(&spec.name, request, (cpu, space)),
        }
    }

    /// For a machine whose CPU does not run: what is asked for is in memory, and nothing else.
    ///
    /// # Errors
    /// As for [`BootPlan::new`].
    pub fn without_cpu(machine: &Machine, request: &BootRequest) -> Result<Self, BootError> {
        let is_asked = request.firmware.is_some() || request.kernel.is_some();
        let nothing = Self { images: Vec::new(), start: CpuStart::None, kernel: None };
        if !is_asked {
            return Ok(nothing);
        }
        Ok(Self { start: CpuStart::None, ..Self::new(machine, request)? })
    }

    /// The address of the device tree, for a CPU that is handed one.
    pub fn dtb(&self) -> Option<u64> {
        match self.start {
            CpuStart::Harts { dtb, .. } => Some(dtb),
            _ => None,
        }
    }

    fn for_rv64(
        machine: &Machine,
        request: &BootRequest,
        (cpu, space): (&CpuSpec, &AddressSpace),
    ) -> Result<Self, BootError> {
        let ram = ram_ranges(space);
        let first = ram.first().ok_or_else(|| BootError::NoRam(machine.spec().name.clone()))?.start();
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
        Ok(Self { images, start: CpuStart::Harts { entry, dtb }, kernel: None })
    }

    /// Writes the images to memory, and says where the CPU begins.
    ///
    /// # Errors
    /// Memory that is not there any more.
    pub fn load(&self, machine: &Machine) -> Result<CpuStart, BootError> {
        let Some(space) = machine.cpu_space() else { return Ok(self.start) };
        self.images.iter().try_for_each(|image| image.write(space))?;
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if let Some(kernel) = &self.kernel {
            return Ok(CpuStart::X86(kernel.load(space)?));
        }
        Ok(self.start)
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
