//! A vCPU that has neither thread nor loop: what the accelerator's own is measured against.

use super::sys::Vcpu;
use super::{Kvm, KvmError, Start, arch, refused};
use kvm_ioctls::{Error, VcpuExit};
use std::fmt;

/// A vCPU that runs on the thread that calls it, and whose exits are the caller's to deal with.
///
/// It runs on the same memory slots, events and queue as the others. Commits do not keep it out of the guest: it is not to run
/// while slots change.
pub struct BareVcpu {
    vcpu: Vcpu,
}

impl Kvm {
    /// A vCPU for the caller to run. It takes the next number: [`Kvm::start_vcpu`] fails after it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bare_vcpu(&self, start: &Start) -> Result<BareVcpu, KvmError> {
        let id = self.vcpus.len() as u64;
        let vcpu = Vcpu::new(&self.vm, id).map_err(refused("make a vCPU"))?;
        arch::start(&vcpu, id, start).map_err(refused("set a vCPU's registers"))?;
        Ok(BareVcpu { vcpu })
    }
}

impl BareVcpu {
    /// Enters the guest, and returns when it comes back. A value that it reads is what the exit's bytes are when it is entered again.
    ///
    /// # Errors
    /// The kernel's; `EINTR` if a signal came.
    pub fn run(&mut self) -> Result<VcpuExit<'_>, Error> {
        self.vcpu.fd_mut().run()
    }

    /// The kernel's marks of memory slot `id`, which is `len` bytes long: a bit for each page. Nobody else gets to see them if the
    /// kernel clears them with this, see [`KvmConfig::plain_dirty_log`](super::KvmConfig::plain_dirty_log).
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_dirty_log(&self, id: u32, len: u64) -> Result<Vec<u64>, Error> {
        self.vcpu.vm().take_dirty(id, len)
    }
}

impl fmt::Debug for BareVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareVcpu").finish_non_exhaustive()
    }
}
