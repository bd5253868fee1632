//! What happens to a machine, for those who watch it.

use super::WatchdogAction;

/// Why a machine shuts down or is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Something on the host broke.
    HostError,
    /// A monitor said so.
    HostQmpQuit,
    /// A monitor said so.
    HostQmpSystemReset,
    /// The process got a signal.
    HostSignal,
    /// A person said so.
    HostUi,
    /// The guest powered off.
    GuestShutdown,
    /// The guest reset the machine.
    GuestReset,
    /// The guest's kernel panicked.
    GuestPanic,
}

impl Cause {
    /// Whether it comes from the guest.
    pub fn is_guest(self) -> bool {
        matches!(self, Self::GuestShutdown | Self::GuestReset | Self::GuestPanic)
    }

    /// QMP's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::HostError => "host-error",
            Self::HostQmpQuit => "host-qmp-quit",
            Self::HostQmpSystemReset => "host-qmp-system-reset",
            Self::HostSignal => "host-signal",
            Self::HostUi => "host-ui",
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestReset => "guest-reset",
            Self::GuestPanic => "guest-panic",
        }
    }
}

/// What became of a guest that panicked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The machine stops.
    Pause,
    /// The machine ends.
    Poweroff,
    /// It goes on.
    Run,
}

impl Outcome {
    /// QMP's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Poweroff => "poweroff",
            Self::Run => "run",
        }
    }
}

/// Something that happened to a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MachineEvent {
    /// It was reset.
    Reset(Cause),
    /// It shuts down.
    Shutdown(Cause),
    /// The guest is asked to power off.
    Powerdown,
    /// It stopped.
    Stop,
    /// It goes on.
    Resume,
    /// The guest's kernel panicked.
    GuestPanicked(Outcome),
    /// The guest's kernel crashed and its crash kernel has taken over.
    GuestCrashLoaded,
    /// The guest told pvpanic that it powers off.
    GuestPvShutdown,
    /// A watchdog ran out.
    Watchdog(WatchdogAction),
    /// A device was unplugged.
    DeviceDeleted {
        /// Its name in the machine.
        device: String,
    },
}
