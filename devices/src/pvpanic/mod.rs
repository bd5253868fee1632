//! The ISA device by which a guest says that its kernel has panicked.

#[cfg(test)]
mod tests;

use crate::sync::{Arc, AtomicBool, OnceLock, Ordering};
use crate::{
    Device, DeviceError, DeviceInfo, Inspector, PlugInfo, PortPlace, Power, PowerRequest, Property, Realize,
    ResetType,
};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// One port, usually 0x505: reads tell which events the device knows, writes tell of events. It has no state: what is
/// written is told at once. QEMU's name is the same; the source is the specification that comes with it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pvpanic {
    /// What the port reads as.
    #[serde(default = "default_events")]
    events: u8,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange event was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
}

#[derive(Debug)]
struct Wiring {
    power: Power,
    _regs: Region,
}

/// The kernel has panicked.
pub const PANICKED: u8 = 1;
/// The kernel has crashed, and its crash kernel takes over.
pub const CRASH_LOADED: u8 = 2;
/// The guest powers off.
pub const SHUTDOWN: u8 = 4;

const fn default_events() -> u8 {
    PANICKED | CRASH_LOADED
}

impl Pvpanic {
    fn read(&self, _offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.events.into())
    }

    fn write(&self, _offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [event, ..] = value.to_le_bytes();
        if event & !(PANICKED | CRASH_LOADED | SHUTDOWN) != 0 && !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(event, "pvpanic: no such event");
        }
        // a panic counts for more than what else is said with it
        let request = match event {
            event if event & PANICKED != 0 => PowerRequest::Panicked,
            event if event & CRASH_LOADED != 0 => PowerRequest::CrashLoaded,
            event if event & SHUTDOWN & self.events != 0 => PowerRequest::PvShutdown,
            _ => return Ok(()),
        };
        if let Some(wiring) = self.wiring.get() {
            wiring.power.request(request);
        }
        Ok(())
    }
}

#[typetag::serde(name = "pvpanic")]
impl Device for Pvpanic {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let known = PANICKED | CRASH_LOADED | SHUTDOWN;
        if self.events & !known != 0 {
            let reason = format!("{:#x} has bits beyond {known:#x}", self.events);
            return Err(DeviceError::Property { property: "events", reason });
        }
        let rules = AccessRules::new().implements(Width::W1..=Width::W1);
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("pvpanic", 1u64, rules, callbacks).owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        let _ = self.wiring.set(Wiring { power: ctx.host().power.clone(), _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    fn inspect(&self, out: &mut Inspector) {
        out.field("events", format_args!("{:#x}", self.events));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pvpanic",
        about: "ISA device by which a guest tells that its kernel has panicked, usually at port 0x505",
        properties: &[Property {
            name: "events",
            kind: "u8",
            default: Some("3"),
            about: "the events that a guest is told of: 1 panic, 2 crash kernel loaded, 4 shutdown",
        }],
        example: "{}",
    }
}

inventory::submit! {
    PlugInfo {
        name: "pvpanic",
        tag: "pvpanic",
        ports: &[PortPlace { region: "regs", at: 0x505, option: Some("ioport") }],
        memory: &[],
        options: &[],
        wires: &[],
    }
}
