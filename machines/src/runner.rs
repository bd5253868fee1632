//! Running a machine: a thread for each hart, and what stops them.

use crate::boot::{BootError, BootPlan};
use crate::machine::{InsideAccess, Machine};
use crate::rv64::{Hart, HartLines, TimeSource};
use crate::space_bus::SpaceBus;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, thread};
use crate::vcpu::Vcpu;
use devices::{PowerRequest, ResetType};
use memory_dispatch::MemorySystem;
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Off { code: u8 },
    Reset,
    Quit,
}

impl Wish {
    /// What follows from a request of a device's.
    fn of(request: PowerRequest) -> Option<Self> {
        match request {
            PowerRequest::Off { code } => Some(Self::Off { code }),
            PowerRequest::PvShutdown => Some(Self::Off { code: 0 }),
            // a failure for whoever waits for the guest
            PowerRequest::Panicked => Some(Self::Off { code: 1 }),
            PowerRequest::Reset | PowerRequest::Watchdog => Some(Self::Reset),
            PowerRequest::CrashLoaded => {
                tracing::warn!("the guest's kernel has crashed, and its crash kernel has taken over");
                None
            }
        }
    }
}

#[derive(Default)]
struct Wishes {
    first: Option<Wish>,
    reclaim: bool,
}

#[derive(Default)]
struct Shared {
    wishes: Mutex<Wishes>,
    changed: Condvar,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// A way to a running machine from other threads; clones are the same way.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Stops the machine.
    pub fn quit(&self) {
        self.shared.change(|wishes| wishes.first = Some(Wish::Quit));
    }
}

/// Runs a machine. Made before the run, so that others can be given its [`Control`].
pub struct Runner<'a> {
    machine: &'a Machine,
    shared: Arc<Shared>,
}

impl<'a> Runner<'a> {
    /// A runner of `machine`, which from now on listens to the machine's power switch.
    pub fn new(machine: &'a Machine) -> Self {
        let shared = Arc::new(Shared::default());
        let wishes = shared.clone();
        machine.host().power.on_request(move |request| {
            if let Some(wish) = Wish::of(request) {
                wishes.change(|wishes| _ = wishes.first.get_or_insert(wish));
            }
        });
        let reclaims = shared.clone();
        // somebody left a replaced map: this thread is one on which destructors may run
        machine.system().on_reclaimable(move || reclaims.change(|wishes| wishes.reclaim = true));
        Self { machine, shared }
    }

    /// A way to stop the machine from other threads.
    pub fn control(&self) -> Control {
        Control { shared: self.shared.clone() }
    }

    /// Boots the machine and runs it until the guest powers off or somebody stops it. A guest's reset resets the
    /// devices, loads the images again, and goes on.
    ///
    /// # Errors
    /// What keeps the machine from running.
    pub fn run(&self, plan: &BootPlan) -> Result<Stopped, RunError> {
        let mut harts = self.harts();
        loop {
            plan.load(self.machine)?;
            for (id, hart) in harts.iter_mut().enumerate() {
                hart.set_boot(plan.entry, id as u64, plan.dtb);
            }
            match self.run_once(&mut harts)? {
                Wish::Quit => return Ok(Stopped::Quit),
                Wish::Off { code } => return Ok(Stopped::PoweredOff { code }),
                Wish::Reset => self.machine.reset_devices(ResetType::Warm)?,
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
    fn run_once(&self, harts: &mut [Hart<SpaceBus>]) -> Result<Wish, RunError> {
        let lines: Vec<_> = harts.iter().map(|hart| hart.lines()).collect();
        lines.iter().for_each(|lines| lines.clear_stop());
        thread::scope(|scope| {
            // whatever happens, no hart's thread stays behind
            let _stop = StopAll(&lines);
            for (id, hart) in harts.iter_mut().enumerate() {
                let thread = thread::Builder::new().name(format!("hart {id}"));
                let broken = StopIfPanics(&self.shared);
                thread.spawn_scoped(scope, move || {
                    let _broken = broken;
                    hart.run()
                })?;
            }
            Ok(self.wait(self.machine.system()))
        })
    }

    /// Waits for a wish, and reclaims meanwhile.
    fn wait(&self, system: &MemorySystem) -> Wish {
        let mut wishes = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(wish) = wishes.first.take() {
                return wish;
            }
            if std::mem::take(&mut wishes.reclaim) {
                drop(wishes);
                system.reclaim();
                wishes = self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            wishes = self.shared.changed.wait(wishes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A hart that panics, which is a defect of ours, must not leave the others running for ever: the panic goes on where they
/// are joined.
struct StopIfPanics<'a>(&'a Shared);

impl Drop for StopIfPanics<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.change(|wishes| wishes.first = Some(Wish::Quit));
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
    use devices::{Clock, Console, Host};

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
