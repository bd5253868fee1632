//! The loop of a vCPU's thread: into the guest, out, dispatch, again.

use super::arch;
use super::gate::Gate;
use super::mailbox::{Asked, Mailbox};
use super::report::{LastAccesses, SeenAccess, VcpuEnd, VcpuReport};
use super::sys::{Exit, Vcpu};
use crate::sync::Arc;
use memory_core::{BusFault, ByteOrder, TxAttrs};
use memory_dispatch::VcpuHandle;

/// Bytes at the instruction pointer that a report tells: no instruction is longer.
const INSTRUCTION: u64 = 15;
const PAGE: u64 = memory_core::PAGE_SIZE as u64;

/// Where exits go.
pub(super) struct Buses {
    pub(super) memory: VcpuHandle,
    /// Of a machine with ports.
    pub(super) ports: Option<VcpuHandle>,
    pub(super) seen: LastAccesses,
}

impl Buses {
    /// Lets go of the map, before the thread blocks or because the map is outdated.
    fn park(&mut self) {
        self.memory.park();
        if let Some(ports) = &mut self.ports {
            ports.park();
        }
    }

    /// Has the devices see what the guest wrote and the kernel queued.
    fn flush(&self) {
        self.memory.space().memory_system().flush_coalesced();
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

    /// The bytes at a guest address that memory has, at most those of an instruction; no device is asked.
    fn code(&mut self, address: u64) -> Vec<u8> {
        let byte = |offset: u64| {
            let mut byte = [0];
            let read = self.memory.read(address.checked_add(offset)?, &mut byte, TxAttrs::DEBUG);
            read.ok().map(|()| byte)
        };
        // what is in the next page may be elsewhere
        let len = INSTRUCTION.min(PAGE - address % PAGE);
        (0..len).map_while(byte).flatten().collect()
    }

    fn note(&mut self, access: SeenAccess, result: Result<(), BusFault>) {
        if let Err(fault) = result {
            // the processor has no way to be told
            tracing::debug!(%access, %fault, "a guest's access failed");
        }
        self.seen.note(access);
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
            Exit::InternalError(why, more) => {
                Next::End(VcpuEnd::InternalError(arch::internal_error(why, &more)))
            }
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
    /// It was not entered, and all is as it was.
    KeptOut,
}

/// What the guest is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing: its registers are those between two instructions.
    Ready,
    /// An access that was dispatched, and which the kernel completes at the next entry.
    Incomplete,
    /// It has halted: nothing but an interrupt has it run on.
    Halted,
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
        let accesses = self.buses.seen.in_order();
        let code = arch::instruction(self.vcpu.fd()).map(|address| self.buses.code(address));
        VcpuReport { end, registers: arch::registers(self.vcpu.fd()), code, accesses }
    }

    fn run_guest(&mut self) -> VcpuEnd {
        let mut stage = Stage::Ready;
        // whether the flag may be set that has the guest left at once; it lies in a page that exits do not touch
        let mut is_flagged = true;
        loop {
            let asked = self.mailbox.take_asked();
            if !asked.is_empty() {
                is_flagged = true;
                // an access that was dispatched is done for the guest before anybody looks at its registers
                if stage == Stage::Incomplete && asked.intersects(Asked::PAUSE | Asked::STOP) {
                    match self.complete() {
                        Ok(next) => stage = next,
                        Err(end) => return end,
                    }
                }
                if asked.intersects(Asked::PAUSE | Asked::STOP) {
                    self.buses.flush();
                }
                self.buses.park();
                if asked.contains(Asked::STOP) {
                    return VcpuEnd::Stopped;
                }
                if asked.contains(Asked::PAUSE) {
                    self.mailbox.stay_paused();
                }
                continue;
            }
            if stage == Stage::Halted {
                if let Some(why) = self.gate.lost() {
                    return VcpuEnd::MapLost(why.as_ref().into());
                }
                self.buses.park();
                if !self.mailbox.sleep(arch::takes_interrupts(&mut self.vcpu)) {
                    continue;
                }
            }
            if is_flagged {
                // only then the look at what is asked: who asks now finds the flag taken back, and sets it again
                self.mailbox.pages().set_immediate_exit(false);
            }
            // outside of the gate: to acknowledge is a device's code, which may wait for what a commit waits for
            match arch::give_interrupt(&mut self.vcpu, &self.mailbox) {
                Ok(true) if stage == Stage::Halted => stage = Stage::Ready,
                // what ended its sleep was withdrawn meanwhile
                Ok(false) if stage == Stage::Halted => continue,
                Ok(_) => {}
                Err(error) => return VcpuEnd::Refused(error),
            }
            let next = self.enter_once(true);
            // one that was set too late to end that entry ends the next, which is told as `Again` then
            is_flagged = !matches!(next, Next::Complete);
            stage = match next {
                Next::Again => Stage::Ready,
                Next::Complete => Stage::Incomplete,
                Next::Halted => Stage::Halted,
                Next::End(end) => return end,
                Next::KeptOut => stage,
            };
        }
    }

    /// Enters the guest once, if nothing keeps it out, and dispatches what it comes back with. To `run` is to look whether
    /// something is asked: an interrupt that came after the last look at them, too.
    fn enter_once(&mut self, run: bool) -> Next {
        if !self.gate.enter(&self.mailbox) {
            self.buses.park();
            return match self.gate.wait(&self.mailbox, run) {
                Ok(()) => Next::KeptOut,
                Err(why) => Next::End(VcpuEnd::MapLost(why.as_ref().into())),
            };
        }
        if run && self.mailbox.is_asked() {
            self.gate.leave(&self.mailbox);
            return Next::KeptOut;
        }
        let exit = self.vcpu.run();
        self.gate.leave(&self.mailbox);
        match exit {
            Ok(exit) => self.buses.dispatch(exit),
            Err(error) => Next::End(VcpuEnd::Refused(error)),
        }
    }

    /// Has the kernel complete the access that was dispatched last, and runs no instruction after it.
    fn complete(&mut self) -> Result<Stage, VcpuEnd> {
        loop {
            self.mailbox.pages().set_immediate_exit(true);
            match self.enter_once(false) {
                // another piece of the same access, or the gate was closed
                Next::Complete | Next::KeptOut => {}
                Next::End(end) => return Err(end),
                Next::Again => return Ok(Stage::Ready),
                Next::Halted => return Ok(Stage::Halted),
            }
        }
    }
}
