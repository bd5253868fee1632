//! The loop of a vCPU's thread: into the guest, out, dispatch, again.

use super::arch;
use super::gate::Gate;
use super::mailbox::{Asked, Mailbox};
use super::report::{SeenAccess, VcpuEnd, VcpuReport};
use super::sys::{Exit, Vcpu};
use crate::sync::Arc;
use memory_core::{BusFault, ByteOrder, TxAttrs};
use memory_dispatch::VcpuHandle;
use std::collections::VecDeque;

/// Accesses that a report tells.
const SEEN: usize = 8;

/// Where exits go.
pub(super) struct Buses {
    pub(super) memory: VcpuHandle,
    /// Of a machine with ports.
    pub(super) ports: Option<VcpuHandle>,
    /// The last accesses, the oldest first.
    pub(super) seen: VecDeque<SeenAccess>,
}

impl Buses {
    /// Lets go of the map, before the thread blocks or because the map is outdated.
    fn park(&mut self) {
        self.memory.park();
        if let Some(ports) = &mut self.ports {
            ports.park();
        }
    }

    fn read(&mut self, port: bool, address: u64, bytes: &mut [u8]) {
        let attrs = TxAttrs::default();
        let result = match (port, &mut self.ports) {
            (false, _) => self.memory.read(address, bytes, attrs),
            (true, Some(ports)) => ports.read(address, bytes, attrs),
            (true, None) => {
                bytes.fill(0xff);
                Ok(())
            }
        };
        self.note(SeenAccess { port, write: false, address, value: value(bytes), len: bytes.len() }, result);
    }

    fn write(&mut self, port: bool, address: u64, bytes: &[u8]) {
        let attrs = TxAttrs::default();
        let result = match (port, &mut self.ports) {
            (false, _) => self.memory.write(address, bytes, attrs),
            (true, Some(ports)) => ports.write(address, bytes, attrs),
            (true, None) => Ok(()),
        };
        self.note(SeenAccess { port, write: true, address, value: value(bytes), len: bytes.len() }, result);
    }

    fn note(&mut self, access: SeenAccess, result: Result<(), BusFault>) {
        if let Err(fault) = result {
            // the processor has no way to be told
            tracing::debug!(%access, %fault, "a guest's access failed");
        }
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(access);
    }

    /// Does what an exit asks for.
    fn dispatch(&mut self, exit: Exit<'_>) -> Next {
        match exit {
            Exit::PortIn { port, width, bytes } => {
                bytes.chunks_mut(width).for_each(|bytes| self.read(true, port.into(), bytes));
                Next::Complete
            }
            Exit::PortOut { port, width, bytes } => {
                bytes.chunks(width).for_each(|bytes| self.write(true, port.into(), bytes));
                Next::Complete
            }
            Exit::MmioRead { address, bytes } => {
                self.read(false, address, bytes);
                Next::Complete
            }
            Exit::MmioWrite { address, bytes } => {
                self.write(false, address, bytes);
                Next::Complete
            }
            Exit::Kicked | Exit::InterruptWindow => Next::Again,
            Exit::Halt => Next::Halted,
            Exit::Shutdown => Next::End(VcpuEnd::Shutdown),
            Exit::FailedEntry(reason) => Next::End(VcpuEnd::FailedEntry(reason)),
            Exit::InternalError => Next::End(VcpuEnd::InternalError),
            Exit::Unhandled(what) => Next::End(VcpuEnd::Unhandled(what)),
        }
    }
}

fn value(bytes: &[u8]) -> u64 {
    ByteOrder::Little.decode(bytes.get(..bytes.len().min(8)).unwrap_or_default())
}

/// What follows an exit.
#[derive(Debug)]
enum Next {
    /// The guest runs on.
    Again,
    /// The same, and the access that exited is complete when it has been entered once more.
    Complete,
    /// The guest waits for an interrupt, and there is no controller in the kernel to wake it.
    Halted,
    /// It ends.
    End(VcpuEnd),
}

/// One vCPU, on its thread.
pub(super) struct VcpuLoop {
    pub(super) vcpu: Vcpu,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) gate: Arc<Gate>,
    pub(super) buses: Buses,
}

impl VcpuLoop {
    /// Runs the guest until it ends or is stopped.
    pub(super) fn run(mut self) -> VcpuReport {
        let mailbox = self.mailbox.clone();
        let end = match mailbox.thread().enter() {
            Ok(_in_thread) => self.run_guest(),
            Err(error) => VcpuEnd::Refused(error),
        };
        self.buses.park();
        let accesses = self.buses.seen.iter().copied().collect();
        VcpuReport { end, registers: arch::registers(self.vcpu.fd()), accesses }
    }

    fn run_guest(&mut self) -> VcpuEnd {
        let mut incomplete = false;
        loop {
            let asked = self.mailbox.take_asked();
            if !asked.is_empty() {
                // an access that was dispatched is done for the guest before anybody looks at its registers
                if incomplete
                    && asked.intersects(Asked::PAUSE | Asked::STOP)
                    && let Err(end) = self.complete()
                {
                    return end;
                }
                incomplete = false;
                self.buses.park();
                if asked.contains(Asked::STOP) {
                    return VcpuEnd::Stopped;
                }
                if asked.contains(Asked::PAUSE) {
                    self.mailbox.stay_paused();
                }
                continue;
            }
            // only then the look at what is asked: who asks now finds the flag taken back, and sets it again
            self.mailbox.pages().set_immediate_exit(false);
            match self.enter_once(true) {
                Next::Again => {}
                Next::Complete => {
                    incomplete = true;
                    continue;
                }
                Next::Halted => {
                    self.buses.park();
                    self.mailbox.sleep();
                }
                Next::End(end) => return end,
            }
            incomplete = false;
        }
    }

    /// Enters the guest once, if nothing keeps it out, and dispatches what it comes back with.
    fn enter_once(&mut self, look: bool) -> Next {
        if !self.gate.enter(&self.mailbox) {
            self.buses.park();
            self.gate.wait();
            return Next::Again;
        }
        if look && self.mailbox.is_asked() {
            self.gate.leave(&self.mailbox);
            return Next::Again;
        }
        let exit = match give_interrupt(&mut self.vcpu, &self.mailbox) {
            Ok(()) => self.vcpu.run(),
            Err(error) => Err(error),
        };
        self.gate.leave(&self.mailbox);
        match exit {
            Ok(exit) => self.buses.dispatch(exit),
            Err(error) => Next::End(VcpuEnd::Refused(error)),
        }
    }

    /// Has the kernel complete the access that was dispatched last, and runs no instruction after it.
    fn complete(&mut self) -> Result<(), VcpuEnd> {
        loop {
            self.mailbox.pages().set_immediate_exit(true);
            match self.enter_once(false) {
                Next::Complete => {}
                Next::End(end) => return Err(end),
                Next::Again | Next::Halted => return Ok(()),
            }
        }
    }
}

/// Gives the guest the interrupt that waits, or asks to be told when it takes one.
fn give_interrupt(vcpu: &mut Vcpu, mailbox: &Mailbox) -> Result<(), kvm_ioctls::Error> {
    if !mailbox.injects() {
        return Ok(());
    }
    let (vector, more) = mailbox.next_vector(|| vcpu.takes_interrupts());
    if let Some(vector) = vector {
        vcpu.interrupt(vector)?;
    }
    vcpu.ask_for_interrupt_window(more);
    Ok(())
}
