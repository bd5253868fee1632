//! The processors of a machine on KVM.

use super::{Accelerator, RunError};
use crate::boot::{BootError, CpuStart, X86Start};
use crate::cpu::{Cpu, InterruptPin};
use crate::kvm::{Kvm, KvmConfig, VcpuControl, VcpuEnd, VcpuReport};
use crate::lifecycle::{Lifecycle, Wish};
use crate::machine::Machine;
use crate::sync::Arc;
use devices::InterruptController;
use memory_dispatch::AddressSpace;

/// A machine's processors, and what they are made of.
pub(super) struct OnKvm {
    memory: Arc<AddressSpace>,
    ports: Option<Arc<AddressSpace>>,
    harts: u32,
    lifecycle: Lifecycle,
    start: X86Start,
    /// Of the first processor.
    pin: Option<Arc<InterruptPin>>,
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
            pin: machine.cpu().and_then(Cpu::interrupt_pin).cloned(),
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
        let mut pin = self.pin.as_ref();
        for _ in 0..self.harts {
            let vcpu = kvm.start_vcpu(&self.start.on_kvm())?;
            if let Some(pin) = pin.take() {
                let controller: Arc<dyn InterruptController> = pin.clone();
                pin.lead_to(Some(vcpu.connect_controller(&controller)));
            }
        }
        Ok(kvm)
    }

    /// Ends the processors' threads.
    fn power_off(&mut self) {
        if let Some(pin) = &self.pin {
            pin.lead_to(None);
        }
        self.kvm = None;
    }
}

impl Accelerator for OnKvm {
    fn boot(&mut self, start: CpuStart) -> Result<(), RunError> {
        let CpuStart::X86(start) = start else { return Err(BootError::OtherCpu.into()) };
        self.power_off();
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

impl Drop for OnKvm {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn text(report: &VcpuReport) -> Arc<str> {
    report.to_string().trim_end().into()
}
