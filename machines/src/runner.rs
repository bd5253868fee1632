//! Running a machine: a thread for each hart, and what stops them.

use crate::boot::{BootError, BootPlan};
use crate::lifecycle::{Act, Cause, Lifecycle, RunState, Wish};
use crate::machine::{InsideAccess, Machine};
use crate::rv64::{Hart, HartLines, TimeSource};
use crate::space_bus::SpaceBus;
use crate::sync::{Arc, thread};
use crate::vcpu::Vcpu;
use devices::ResetType;
use std::io;

/// Why a machine stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The guest powered off, with this code.
    PoweredOff {
        /// The code, 0 for success.
        code: u8,
    },
    /// [`Control::quit`] was called.
    Quit,
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

/// Runs a machine. Made before the run, so that others can be given its [`Control`].
pub struct Runner<'a> {
    machine: &'a Machine,
}

impl<'a> Runner<'a> {
    /// A runner of `machine`, which does from now on what is asked of the machine's [`Lifecycle`].
    pub fn new(machine: &'a Machine) -> Self {
        let lifecycle = machine.lifecycle().clone();
        // somebody left a replaced map: this thread is one on which destructors may run
        machine.system().on_reclaimable(move || lifecycle.post_reclaim());
        Self { machine }
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
        let mut harts = self.harts();
        self.serve(&mut harts, &mut |harts| {
            plan.load(self.machine)?;
            for (id, hart) in harts.iter_mut().enumerate() {
                hart.set_boot(plan.entry, id as u64, plan.dtb);
            }
            Ok(())
        })
    }

    /// Runs the machine without its CPUs: others drive its devices from outside, and what they ask of the machine is done.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_without_cpus(&self) -> Result<Stopped, RunError> {
        self.serve(&mut [], &mut |_| Ok(()))
    }

    fn serve(&self, harts: &mut [Hart<SpaceBus>], boot: &mut Boot<'_>) -> Result<Stopped, RunError> {
        let lifecycle = self.machine.lifecycle();
        // whatever happens, nobody waits for a machine that nobody runs
        let _end = End(lifecycle);
        boot(harts)?;
        loop {
            match lifecycle.next() {
                Some(Act::Done) => {}
                Some(Act::End(stopped)) => return Ok(stopped),
                Some(Act::Reset(cause)) => {
                    self.machine.reset_devices(ResetType::Warm)?;
                    boot(harts)?;
                    lifecycle.was_reset(cause);
                }
                None if lifecycle.state() == RunState::Running => self.run_once(harts)?,
                None => lifecycle.wait(self.machine.system()),
            }
        }
    }

    fn harts(&self) -> Vec<Hart<SpaceBus>> {
        let (Some(cpu), Some(space)) = (self.machine.cpu(), self.machine.cpu_space()) else {
            return Vec::new();
        };
        let clock = self.machine.host().clock.clone();
        let timebase = self.machine.host().timebase;
        let offset = self.machine.host().mtime_offset.clone();
        let time: TimeSource = Arc::new(move || {
            let ticks = u128::from(clock.now()) * u128::from(timebase) / 1_000_000_000;
            (ticks as u64).wrapping_add(offset.get())
        });
        let hart = |(id, lines): (usize, &Arc<HartLines>)| {
            let kicked = lines.clone();
            let bus = SpaceBus::new(space.handle_named(format!("hart {id}"), move || kicked.kick()));
            Hart::new(id as u64, bus, lines.clone(), time.clone())
        };
        cpu.lines().iter().enumerate().map(hart).collect()
    }

    /// Runs the harts until there is a wish.
    fn run_once(&self, harts: &mut [Hart<SpaceBus>]) -> Result<(), RunError> {
        let lines: Vec<_> = harts.iter().map(|hart| hart.lines()).collect();
        lines.iter().for_each(|lines| lines.clear_stop());
        thread::scope(|scope| {
            // whatever happens, no hart's thread stays behind
            let _stop = StopAll(&lines);
            for (id, hart) in harts.iter_mut().enumerate() {
                let thread = thread::Builder::new().name(format!("hart {id}"));
                let broken = StopIfPanics(self.machine.lifecycle());
                thread.spawn_scoped(scope, move || {
                    let _broken = broken;
                    hart.run()
                })?;
            }
            self.machine.lifecycle().wait(self.machine.system());
            Ok(())
        })
    }
}

/// Puts in memory, and in the harts, what a machine starts with.
type Boot<'b> = dyn FnMut(&mut [Hart<SpaceBus>]) -> Result<(), RunError> + 'b;

struct End<'a>(&'a Lifecycle);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A hart that panics, which is a defect of ours, must not leave the others running for ever: the panic goes on where they
/// are joined.
struct StopIfPanics<'a>(&'a Lifecycle);

impl Drop for StopIfPanics<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.post(Wish::Quit(Cause::HostError));
        }
    }
}

struct StopAll<'a>(&'a [Arc<HartLines>]);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|lines| lines.request_stop());
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
