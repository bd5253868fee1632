//! Which accelerator runs a machine's CPU: the host's choice, of which no machine file and no device knows.

use crate::file::{CpuType, MachineSpec};
use std::fmt;

/// What runs a machine's CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// The host's processor, by the kernel's KVM.
    Kvm,
    /// The embedded RV64 CPU.
    Rv64,
    /// Nothing: devices are there, and no instruction is run.
    None,
}

/// As on the command line.
impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Rv64 => "rv64",
            Self::None => "none",
        })
    }
}

/// Why an accelerator cannot run a machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccelError {
    /// It runs other CPUs.
    #[error("the accelerator `{accel}` does not run the CPU of `{machine}`; `{needed}` does")]
    OtherCpu {
        /// The accelerator.
        accel: Accel,
        /// The machine.
        machine: String,
        /// The one that does.
        needed: Accel,
    },
    /// The host has no KVM for this program.
    #[error("`{machine}` needs KVM: {missing}; `--accel none` has its devices without its CPU")]
    NoKvm {
        /// The machine.
        machine: String,
        /// What is missing.
        missing: NoKvm,
    },
}

/// Why there is no KVM.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoKvm {
    /// No host of this kind has it.
    #[error("this host is not Linux on x86-64")]
    Host,
    /// The device is not there.
    #[error("there is no /dev/kvm (is kvm-intel or kvm-amd loaded, and virtualisation on in the firmware?)")]
    Missing,
    /// The device is there, and not for this user.
    #[error("/dev/kvm may not be opened by this user (members of its group, mostly `kvm`, may)")]
    NotPermitted,
    /// Something else.
    #[error("/dev/kvm cannot be used: {0}")]
    Other(String),
}

impl Accel {
    /// What runs the CPU of `spec`.
    pub fn of(spec: &MachineSpec) -> Self {
        match spec.cpu.as_ref().map(|cpu| cpu.kind) {
            Some(CpuType::Rv64) => Self::Rv64,
            Some(CpuType::X86_64) => Self::Kvm,
            None => Self::None,
        }
    }

    /// Whether this accelerator runs the CPU of `spec`, here and now. Without one it leaves any CPU alone.
    ///
    /// # Errors
    /// Another would, or the host has none.
    pub fn check(self, spec: &MachineSpec) -> Result<(), AccelError> {
        let (needed, machine) = (Self::of(spec), || spec.name.clone());
        if self == Self::None || needed == Self::None {
            return Ok(());
        }
        if self != needed {
            return Err(AccelError::OtherCpu { accel: self, machine: machine(), needed });
        }
        match self {
            Self::Kvm => look_for_kvm().map_err(|missing| AccelError::NoKvm { machine: machine(), missing }),
            Self::Rv64 | Self::None => Ok(()),
        }
    }
}

/// Whether this program may use KVM.
///
/// # Errors
/// Why not.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn look_for_kvm() -> Result<(), NoKvm> {
    match kvm_ioctls::Kvm::new() {
        Ok(_) => Ok(()),
        Err(error) => Err(NoKvm::of(error.errno())),
    }
}

/// Whether this program may use KVM.
///
/// # Errors
/// Not here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn look_for_kvm() -> Result<(), NoKvm> {
    Err(NoKvm::Host)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl NoKvm {
    /// What the host's error number says.
    fn of(errno: i32) -> Self {
        match errno {
            // a node without the module, too
            libc::ENOENT | libc::ENXIO | libc::ENODEV => Self::Missing,
            libc::EACCES | libc::EPERM => Self::NotPermitted,
            _ => Self::Other(std::io::Error::from_raw_os_error(errno).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn the_cpu_decides_what_runs_it_and_no_accelerator_runs_none() {
        let (board, pc) = (catalog::load("riscv-virt").unwrap(), catalog::load("x86-mini").unwrap());
        let map = catalog::load("pc-example").unwrap();
        assert_eq!([&board, &pc, &map].map(Accel::of), [Accel::Rv64, Accel::Kvm, Accel::None]);
        for spec in [&board, &pc, &map] {
            assert_eq!(Accel::None.check(spec), Ok(()));
        }
        assert_eq!(Accel::Rv64.check(&board), Ok(()));
        let refused = Accel::Kvm.check(&board).unwrap_err().to_string();
        assert_eq!(refused, "the accelerator `kvm` does not run the CPU of `riscv-virt`; `rv64` does");
        assert!(matches!(Accel::Rv64.check(&pc), Err(AccelError::OtherCpu { needed: Accel::Kvm, .. })));
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn each_way_to_lack_kvm_is_named() {
        let machine = || "x86-mini".to_owned();
        let says = |errno| AccelError::NoKvm { machine: machine(), missing: NoKvm::of(errno) }.to_string();
        assert!(says(libc::ENOENT).starts_with("`x86-mini` needs KVM: there is no /dev/kvm"));
        assert!(says(libc::ENODEV).contains("no /dev/kvm"));
        assert!(says(libc::EACCES).contains("may not be opened by this user"));
        assert!(says(libc::EBUSY).contains("busy"));
    }
}
