//! Running a machine: its CPU on an accelerator, and what stops it.

mod harts;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod on_kvm;

use crate::accel::{Accel, AccelError};
use crate::boot::{BootError, BootPlan, CpuStart};
use crate::lifecycle::{Act, Cause, Lifecycle, RunState, Wish};
use crate::machine::{InsideAccess, Machine};
use crate::sync::Arc;
use devices::ResetType;
use std::io;

/// Why a machine stopped running.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The guest powered off, with this code.
    PoweredOff {
        /// The code, 0 for success.
        code: u8,
    },
    /// [`Control::quit`] was called.
    Quit,
    /// The guest did what nothing can run on from: a triple fault, a jump to where nothing is.
    GuestFailed {
        /// Why, the registers, and the last accesses, as lines of text.
        report: Arc<str>,
    },
}

/// Why a machine cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It was run, and reset, inside an access.
    #[error(transparent)]
    Reset(#[from] InsideAccess),
    /// The host has no thread for a hart.
    #[error("no thread for a hart: {0}")]
    Thread(#[from] io::Error),
    /// The accelerator does not run it.
    #[error(transparent)]
    Accel(#[from] AccelError),
    /// KVM refused something.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[error(transparent)]
    Kvm(#[from] crate::kvm::KvmError),
}

/// A way to a running machine from other threads; clones are the same way.
#[derive(Clone)]
pub struct Control {
    lifecycle: Lifecycle,
}

impl Control {
    /// Stops the machine.
    pub fn quit(&self) {
        self.lifecycle.post(Wish::Quit(Cause::HostUi));
    }

    /// Stops the machine because the process got a signal.
    pub fn quit_by_signal(&self) {
        self.lifecycle.post(Wish::Quit(Cause::HostSignal));
    }
}

/// What runs a machine's CPU.
trait Accelerator {
    /// Puts the CPU at its start, as after power-on. It does not run yet.
    ///
    /// # Errors
    /// Another CPU's start.
    fn boot(&mut self, start: CpuStart) -> Result<(), RunError>;

    /// Runs the CPU until `wait` returns; no instruction is run afterwards. A CPU that ends by itself posts a wish, which `wait`
    /// waits for.
    ///
    /// # Errors
    /// What keeps it from running.
    fn run(&mut self, wait: &mut dyn FnMut()) -> Result<(), RunError>;
}

/// No CPU runs: others drive the devices.
struct NoCpus;

impl Accelerator for NoCpus {
    fn boot(&mut self, _start: CpuStart) -> Result<(), RunError> {
        Ok(())
    }

    fn run(&mut self, wait: &mut dyn FnMut()) -> Result<(), RunError> {
        wait();
        Ok(())
    }
}

/// Runs a machine. Made before the run, so that others can be given its [`Control`].
pub struct Runner<'a> {
    machine: &'a Machine,
    accel: Accel,
}

impl<'a> Runner<'a> {
    /// A runner of `machine` on the accelerator that its CPU needs, which does from now on what is asked of the machine's
    /// [`Lifecycle`].
    pub fn new(machine: &'a Machine) -> Self {
        Self::on(machine, Accel::of(&machine.spec()))
    }

    /// The same, on an accelerator of choice.
    pub fn on(machine: &'a Machine, accel: Accel) -> Self {
        let lifecycle = machine.lifecycle().clone();
        // somebody left a replaced map: this thread is one on which destructors may run
        machine.system().on_reclaimable(move || lifecycle.post_reclaim());
        Self { machine, accel }
    }

    /// A way to stop the machine from other threads.
    pub fn control(&self) -> Control {
        Control { lifecycle: self.machine.lifecycle().clone() }
    }

    /// Boots the machine and runs it until the guest powers off or somebody stops it. A guest's reset resets the
    /// devices, loads the images again, and goes on.
    ///
    /// # Errors
    /// What keeps the machine from running.
    pub fn run(&self, plan: &BootPlan) -> Result<Stopped, RunError> {
        self.serve(self.accelerator()?.as_mut(), &|| Ok(plan.load(self.machine)?))
    }

    /// Runs the machine without its CPUs: others drive its devices from outside, and what they ask of the machine is done.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_without_cpus(&self) -> Result<Stopped, RunError> {
        self.serve(&mut NoCpus, &|| Ok(CpuStart::None))
    }

    fn accelerator(&self) -> Result<Box<dyn Accelerator>, RunError> {
        self.accel.check(&self.machine.spec())?;
        Ok(match self.accel {
            Accel::Rv64 => Box::new(harts::Harts::new(self.machine)),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Accel::Kvm => match on_kvm::OnKvm::new(self.machine) {
                Some(cpus) => Box::new(cpus),
                None => Box::new(NoCpus),
            },
            // where there is no KVM, `check` has said so
            _ => Box::new(NoCpus),
        })
    }

    /// `load` puts in memory what the machine starts with.
    fn serve(
        &self,
        cpus: &mut dyn Accelerator,
        load: &dyn Fn() -> Result<CpuStart, RunError>,
    ) -> Result<Stopped, RunError> {
        let lifecycle = self.machine.lifecycle();
        // whatever happens, nobody waits for a machine that nobody runs
        let _end = End(lifecycle);
        cpus.boot(load()?)?;
        loop {
            match lifecycle.next() {
                Some(Act::Done) => {}
                Some(Act::Eject) => self.machine.take_out_ejected(),
                Some(Act::End(stopped)) => return Ok(stopped),
                Some(Act::Reset(cause)) => {
                    self.machine.reset_devices(ResetType::Warm)?;
                    cpus.boot(load()?)?;
                    lifecycle.was_reset(cause);
                }
                None if lifecycle.state() == RunState::Running => {
                    cpus.run(&mut || lifecycle.wait(self.machine.system()))?;
                }
                None => lifecycle.wait(self.machine.system()),
            }
        }
    }
}

struct End<'a>(&'a Lifecycle);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::BootRequest;
    use crate::catalog;
    use devices::{Clock, Console, Host, PowerRequest};

    /// Runs a board that asks for `requests` before its first instruction.
    fn after(requests: &[PowerRequest]) -> Stopped {
        let host = Host::new(Clock::real(), Console::new(io::sink()));
        let machine = Machine::build(catalog::load(catalog::DEFAULT).unwrap(), host).unwrap();
        let plan = BootPlan::new(&machine, &BootRequest::default()).unwrap();
        let runner = Runner::new(&machine);
        requests.iter().for_each(|request| machine.host().power.request(*request));
        runner.run(&plan).unwrap()
    }

    #[test]
    fn a_guest_that_panics_ends_with_a_failure_and_one_that_powers_off_without() {
        assert_eq!(after(&[PowerRequest::Panicked]), Stopped::PoweredOff { code: 1 });
        assert_eq!(
            after(&[PowerRequest::CrashLoaded, PowerRequest::PvShutdown, PowerRequest::Panicked]),
            Stopped::PoweredOff { code: 0 }
        );
    }
}
