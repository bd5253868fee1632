//! The register of events, which is the same wherever it shows.

use crate::sync::{AtomicBool, Ordering};
use crate::{DeviceError, Power, PowerRequest};

/// The kernel has panicked.
pub const PANICKED: u8 = 1;
/// The kernel has crashed, and its crash kernel takes over.
pub const CRASH_LOADED: u8 = 2;
/// The guest powers off.
pub const SHUTDOWN: u8 = 4;

/// What guests are told of if nobody says otherwise, as by QEMU up to 8.2.
pub(super) const fn default_events() -> u8 {
    PANICKED | CRASH_LOADED
}

/// Reads tell which events the device knows, writes tell of events: at once, so that there is no state.
#[derive(Debug)]
pub(super) struct Register {
    events: u8,
    power: Power,
    /// Whether a strange event was logged; a guest must not fill the log.
    logged: AtomicBool,
}

impl Register {
    /// A register of these events.
    ///
    /// # Errors
    /// Events that there are not, as a fault of the property `events`.
    pub(super) fn new(events: u8, power: &Power) -> Result<Self, DeviceError> {
        let known = PANICKED | CRASH_LOADED | SHUTDOWN;
        if events & !known != 0 {
            let reason = format!("{events:#x} has bits beyond {known:#x}");
            return Err(DeviceError::Property { property: "events", reason });
        }
        Ok(Self { events, power: power.clone(), logged: AtomicBool::new(false) })
    }

    pub(super) fn read(&self) -> u64 {
        self.events.into()
    }

    pub(super) fn write(&self, value: u64) {
        let [event, ..] = value.to_le_bytes();
        if event & !(PANICKED | CRASH_LOADED | SHUTDOWN) != 0 && !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(event, "pvpanic: no such event");
        }
        // a panic counts for more than what else is said with it
        self.power.request(match event {
            event if event & PANICKED != 0 => PowerRequest::Panicked,
            event if event & CRASH_LOADED != 0 => PowerRequest::CrashLoaded,
            event if event & SHUTDOWN & self.events != 0 => PowerRequest::PvShutdown,
            _ => return,
        });
    }
}
