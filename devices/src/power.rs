//! What a guest, or a device that watches it, may do to the whole machine.

use crate::sync::{Arc, Mutex, PoisonError};
use std::fmt;

/// What a guest asks of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerRequest {
    /// Power off; the process ends with this code.
    Off {
        /// The exit code, 0 for success.
        code: u8,
    },
    /// Reset the machine and go on.
    Reset,
    /// The guest's kernel has panicked (pvpanic). What follows is the machine's choice.
    Panicked,
    /// The guest's kernel has crashed and its crash kernel has taken over (pvpanic): news, and nothing follows.
    CrashLoaded,
    /// The guest powers off, and says so to pvpanic.
    PvShutdown,
    /// A watchdog has run out. What follows is the machine's choice, a reset unless it was told otherwise.
    Watchdog,
    /// The guest has let go of PCI functions: the machine is to take them out ([`PciBus::take_ejected`](crate::pci::PciBus::take_ejected)).
    Ejected,
}

type Handler = Arc<dyn Fn(PowerRequest) + Send + Sync>;

/// The machine's power switch, as devices see it. Clones are the same switch.
#[derive(Clone, Default)]
pub struct Power {
    handler: Arc<Mutex<Option<Handler>>>,
}

impl Power {
    /// A switch that nobody watches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names who is told of requests. `handler` is called inside an access and must not block.
    pub fn on_request(&self, handler: impl Fn(PowerRequest) + Send + Sync + 'static) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(handler));
    }

    /// Asks for `request`. The guest may run on for a few instructions.
    pub fn request(&self, request: PowerRequest) {
        let handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(handler) = handler {
            handler(request);
        }
    }
}

impl fmt::Debug for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Power")
    }
}
