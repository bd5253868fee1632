//! The processors of a machine on KVM.

use super::{Accelerator, RunError};
use crate::boot::{BootError, CpuStart, X86Start};
use crate::kvm::{Kvm, KvmConfig, VcpuControl, VcpuEnd, VcpuReport};
use crate::lifecycle::{Lifecycle, Wish};
use crate::machine::Machine;
use crate::sync::Arc;
use memory_dispatch::AddressSpace;

/// A machine's processors, and what they are made of.
pub(super) struct OnKvm {
    memory: Arc<AddressSpace>,
    ports: Option<Arc<AddressSpace>>,
    harts: u32,
    lifecycle: Lifecycle,
    start: X86Start,
    /// From the first instruction on. It is made anew at each reset: so the processors are as after power-on, with all that
    /// they keep to themselves.
    kvm: Option<Kvm>,
}

impl OnKvm {
    /// `None` for a machine without a CPU.
    pub(super) fn new(machine: &Machine) -> Option<Self> {
        let spec = machine.spec();
        let cpu = spec.cpu.as_ref()?;
        let ports = cpu.ports.as_ref().and_then(|ports| machine.space(ports)).cloned();
        Some(Self {
            memory: machine.cpu_space()?.clone(),
            ports,
            harts: cpu.harts,
            lifecycle: machine.lifecycle().clone(),
            start: X86Start::Reset,
            kvm: None,
        })
    }

    /// Makes the kernel's machine, whose processors run at once.
    fn power_on(&self) -> Result<Kvm, RunError> {
        let mut kvm = Kvm::new(&self.memory, self.ports.as_ref(), KvmConfig::default())?;
        let lifecycle = self.lifecycle.clone();
        kvm.on_end(move |report| {
            if report.end != VcpuEnd::Stopped {
                lifecycle.post(Wish::GuestFailed(text(report)));
            }
        });
        for _ in 0..self.harts {
            kvm.start_vcpu(&self.start.on_kvm())?;
        }
        Ok(kvm)
    }
}

impl Accelerator for OnKvm {
    fn boot(&mut self, start: CpuStart) -> Result<(), RunError> {
        let CpuStart::X86(start) = start else { return Err(BootError::OtherCpu.into()) };
        // its threads end here
        self.kvm = None;
        self.start = start;
        Ok(())
    }

    fn run(&mut self, wait: &mut dyn FnMut()) -> Result<(), RunError> {
        match &self.kvm {
            Some(kvm) => kvm.vcpus().for_each(VcpuControl::resume),
            None => self.kvm = Some(self.power_on()?),
        }
        wait();
        self.kvm.iter().flat_map(Kvm::vcpus).for_each(VcpuControl::pause);
        Ok(())
    }
}

fn text(report: &VcpuReport) -> Arc<str> {
    report.to_string().trim_end().into()
}
