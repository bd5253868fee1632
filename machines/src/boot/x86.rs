//! How an x86 starts: from the reset vector, in firmware.

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
}

impl X86Start {
    /// The same, for the accelerator.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn on_kvm(self) -> crate::kvm::Start {
        match self {
            Self::Reset => crate::kvm::Start::Reset,
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
            Ok(BootPlan { images: vec![image], start: CpuStart::X86(X86Start::Reset) })
        }
        (Some(_), Some(_)) => Err(BootError::Both { machine: machine() }),
        (None, _) => Err(BootError::NoGuest { machine: machine() }),
    }
}
