//! What is left to say when a vCPU has ended.

use std::fmt;

/// Accesses that a report tells.
const SEEN: usize = 8;

/// Why a vCPU ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VcpuEnd {
    /// It was stopped.
    #[error("stopped")]
    Stopped,
    /// The guest ended itself by a fault that it could not handle: on a PC, a reset by triple fault.
    #[error("a triple fault")]
    Shutdown,
    /// The processor refused to run the guest's state; its reason.
    #[error("the processor refused the guest's state, reason {0:#x}")]
    FailedEntry(u64),
    /// The kernel could not go on: an instruction that it cannot emulate, or a fetch from where no memory is. What it says
    /// of it.
    #[error("the kernel could not emulate the guest: {0}")]
    InternalError(String),
    /// An exit that is not dealt with.
    #[error("an exit that is not dealt with: {0}")]
    Unhandled(String),
    /// The kernel refused to run it.
    #[error("the kernel refused: {0}")]
    Refused(kvm_ioctls::Error),
    /// The kernel refused a change of the map that could not be taken back: what the guest would see is not the machine.
    #[error("the kernel's map of the machine is lost: {0}")]
    MapLost(String),
    /// The thread panicked, which is a defect of a device or of ours.
    #[error("the thread panicked")]
    Panicked,
}

/// One access that exited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenAccess {
    /// A port, not memory.
    pub port: bool,
    /// A write.
    pub write: bool,
    /// Where.
    pub address: u64,
    /// The value, of up to 8 bytes.
    pub value: u64,
    /// Bytes.
    pub len: usize,
}

impl fmt::Display for SeenAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, write, address, value, len } = self;
        let (space, kind) = (if *port { "port" } else { "memory" }, if *write { "write" } else { "read" });
        write!(f, "{space} {address:#x} {kind} of {len}: {value:#x}")
    }
}

/// The last accesses, in memory that lies beside what each exit touches anyway.
#[derive(Debug, Default)]
pub(super) struct LastAccesses {
    ring: [Option<SeenAccess>; SEEN],
    /// Where the next one goes, which is where the oldest is.
    next: usize,
}

impl LastAccesses {
    /// Takes the place of the oldest.
    #[inline]
    pub(super) fn note(&mut self, access: SeenAccess) {
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = Some(access);
        }
        self.next = (self.next + 1) % SEEN;
    }

    /// The oldest first.
    pub(super) fn in_order(&self) -> Vec<SeenAccess> {
        let (newer, older) = self.ring.split_at_checked(self.next).unwrap_or_default();
        older.iter().chain(newer).copied().flatten().collect()
    }
}

/// What is known of a vCPU that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VcpuReport {
    /// Why it ended.
    pub end: VcpuEnd,
    /// The registers, as text, if the kernel still tells them.
    pub registers: Option<String>,
    /// The bytes at the instruction pointer, as many as memory has there, if the kernel still tells where that is.
    pub code: Option<Vec<u8>>,
    /// The last accesses that exited, the oldest first.
    pub accesses: Vec<SeenAccess>,
}

impl fmt::Display for VcpuReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.end)?;
        if let Some(registers) = &self.registers {
            writeln!(f, "{registers}")?;
        }
        if let Some(code) = &self.code {
            let bytes: Vec<_> = code.iter().map(|byte| format!("{byte:02x}")).collect();
            let bytes = if bytes.is_empty() { "no memory is there".into() } else { bytes.join(" ") };
            writeln!(f, "code: {bytes}")?;
        }
        self.accesses.iter().try_for_each(|access| writeln!(f, "{access}"))
    }
}
