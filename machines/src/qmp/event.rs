//! Events as QMP has them.

use crate::lifecycle::{Cause, MachineEvent};
use crate::paths::PERIPHERAL;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// An event with the time of the host.
pub(super) fn to_json(event: &MachineEvent) -> Value {
    let caused = |cause: &Cause| json!({ "guest": cause.is_guest(), "reason": cause.word() });
    let (name, data) = match event {
        MachineEvent::Reset(cause) => ("RESET", Some(caused(cause))),
        MachineEvent::Shutdown(cause) => ("SHUTDOWN", Some(caused(cause))),
        MachineEvent::Powerdown => ("POWERDOWN", None),
        MachineEvent::Stop => ("STOP", None),
        MachineEvent::Resume => ("RESUME", None),
        MachineEvent::GuestPanicked(outcome) => ("GUEST_PANICKED", Some(json!({ "action": outcome.word() }))),
        MachineEvent::GuestCrashLoaded => ("GUEST_CRASHLOADED", Some(json!({ "action": "run" }))),
        MachineEvent::GuestPvShutdown => ("GUEST_PVSHUTDOWN", None),
        MachineEvent::Watchdog(action) => ("WATCHDOG", Some(json!({ "action": action.word() }))),
        MachineEvent::DeviceDeleted { device } => {
            let path = format!("{PERIPHERAL}/{device}");
            ("DEVICE_DELETED", Some(json!({ "device": device, "path": path })))
        }
    };
    // a host whose clock is before 1970 has no time
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut json = json!({
        "timestamp": { "seconds": now.as_secs(), "microseconds": now.subsec_micros() },
        "event": name,
    });
    if let (Some(data), Some(json)) = (data, json.as_object_mut()) {
        json.insert("data".to_owned(), data);
    }
    json
}
