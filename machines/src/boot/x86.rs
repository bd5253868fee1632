//! How an x86 starts: from the reset vector, in firmware, or in a kernel.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use super::linux::Kernel;
use super::{BootError, BootPlan, BootRequest, CpuStart};
use crate::file::CpuSpec;
use crate::image::{Image, read_file};
use memory_core::Size;
use memory_dispatch::AddressSpace;

/// Where firmware ends if the machine file does not say: 16 bytes behind the first instruction.
const FIRMWARE_END: u64 = 1 << 32;

/// Where an x86 begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum X86Start {
    /// As after a reset: real mode, 16 bytes below 4 GiB.
    Reset,
    /// Protected mode without paging, flat segments, interrupts off: a kernel's entry.
    Kernel {
        /// The first instruction.
        eip: u32,
        /// The address of PVH's start information.
        ebx: u32,
        /// The address of Linux's boot parameters.
        esi: u32,
        /// The address of the descriptors of the segments.
        gdt: u64,
    },
}

impl X86Start {
    /// The same, for the accelerator.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn on_kvm(self) -> crate::kvm::Start {
        match self {
            Self::Reset => crate::kvm::Start::Reset,
            Self::Kernel { eip, ebx, esi, gdt } => crate::kvm::Start::Kernel { eip, ebx, esi, gdt },
        }
    }
}

/// The plan for a machine of that name.
pub(super) fn plan(
    machine: &str,
    request: &BootRequest,
    (cpu, space): (&CpuSpec, &AddressSpace),
) -> Result<BootPlan, BootError> {
    let machine = || machine.to_owned();
    match (&request.firmware, &request.kernel) {
        (Some(firmware), None) => {
            let bytes = read_file(firmware, Size::FULL)?;
            let (name, len) = (firmware.display().to_string(), bytes.len() as u64);
            let end = cpu.boot.firmware_end.unwrap_or(FIRMWARE_END);
            let start =
                end.checked_sub(len).ok_or_else(|| BootError::NoStart { name: name.clone(), len, end })?;
            let image = Image::raw(&name, bytes, start)?;
            image.check(space, &[])?;
            Ok(BootPlan { images: vec![image], start: CpuStart::X86(X86Start::Reset), kernel: None })
        }
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        (None, Some(kernel)) => {
            let name = kernel.display().to_string();
            let kernel = Kernel::new(name, read_file(kernel, Size::FULL)?, &request.bootargs)?;
            Ok(BootPlan { images: Vec::new(), start: CpuStart::None, kernel: Some(kernel) })
        }
        (Some(_), Some(_)) => Err(BootError::Both { machine: machine() }),
        (None, _) => Err(BootError::NoGuest { machine: machine() }),
    }
}
