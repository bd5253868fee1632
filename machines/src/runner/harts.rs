//! The harts of the embedded RV64 CPU, a thread each.

use super::{Accelerator, RunError};
use crate::boot::{BootError, CpuStart};
use crate::lifecycle::{Cause, Lifecycle, Wish};
use crate::machine::Machine;
use crate::rv64::{Hart, HartLines, TimeSource};
use crate::space_bus::SpaceBus;
use crate::sync::{Arc, thread};
use crate::vcpu::Vcpu;

/// The harts, which live as long as the machine runs, resets included.
pub(super) struct Harts {
    harts: Vec<Hart<SpaceBus>>,
    lifecycle: Lifecycle,
}

impl Harts {
    pub(super) fn new(machine: &Machine) -> Self {
        let lifecycle = machine.lifecycle().clone();
        let (Some(cpu), Some(space)) = (machine.cpu(), machine.cpu_space()) else {
            return Self { harts: Vec::new(), lifecycle };
        };
        let clock = machine.host().clock.clone();
        let timebase = machine.host().timebase;
        let offset = machine.host().mtime_offset.clone();
        let time: TimeSource = Arc::new(move || {
            let ticks = u128::from(clock.now()) * u128::from(timebase) / 1_000_000_000;
            (ticks as u64).wrapping_add(offset.get())
        });
        let hart = |(id, lines): (usize, &Arc<HartLines>)| {
            let kicked = lines.clone();
            let bus = SpaceBus::new(space.handle_named(format!("hart {id}"), move || kicked.kick()));
            Hart::new(id as u64, bus, lines.clone(), time.clone())
        };
        Self { harts: cpu.lines().iter().enumerate().map(hart).collect(), lifecycle }
    }
}

impl Accelerator for Harts {
    fn boot(&mut self, start: CpuStart) -> Result<(), RunError> {
        let CpuStart::Harts { entry, dtb } = start else { return Err(BootError::OtherCpu.into()) };
        for (id, hart) in self.harts.iter_mut().enumerate() {
            hart.set_boot(entry, id as u64, dtb);
        }
        Ok(())
    }

    fn run(&mut self, wait: &mut dyn FnMut()) -> Result<(), RunError> {
        let lines: Vec<_> = self.harts.iter().map(|hart| hart.lines()).collect();
        lines.iter().for_each(|lines| lines.clear_stop());
        thread::scope(|scope| {
            // whatever happens, no hart's thread stays behind
            let _stop = StopAll(&lines);
            for (id, hart) in self.harts.iter_mut().enumerate() {
                let thread = thread::Builder::new().name(format!("hart {id}"));
                let broken = StopIfPanics(&self.lifecycle);
                thread.spawn_scoped(scope, move || {
                    let _broken = broken;
                    hart.run()
                })?;
            }
            wait();
            Ok(())
        })
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
