//! Functions that come and go while the guest runs, on a root bus that has somebody who tells it.

use super::bus::PciBus;
use crate::sync::{Arc, PoisonError, Weak};

/// Who tells the guest of functions that came to a bus or are to go, by slot, 0 to 31. Called with no lock of the machine's but
/// that of plugging.
pub trait PciHotplug: Send + Sync {
    /// There is a function that was not there before.
    fn came(&self, slot: u8);

    /// The functions of a slot are to go: the guest is asked to let go of them.
    fn ask_to_go(&self, slot: u8);

    /// Whether the guest was asked to let go of the functions of a slot, and has not.
    fn is_asked(&self, slot: u8) -> bool;
}

impl PciBus {
    /// Names who tells the guest. Once; false if somebody does already.
    pub fn set_hotplug<H: PciHotplug + 'static>(&self, hotplug: &Arc<H>) -> bool {
        let hotplug: Weak<H> = Arc::downgrade(hotplug);
        self.hotplug.set(hotplug).is_ok()
    }

    /// Who tells the guest, if anybody does.
    pub fn hotplug(&self) -> Option<Arc<dyn PciHotplug>> {
        self.hotplug.get()?.upgrade()
    }

    /// The guest lets go of the functions of `slots`, a bit for each. They stay until the machine, which is to be asked by
    /// [`PowerRequest::Ejected`](crate::PowerRequest::Ejected), takes them out.
    pub fn eject(&self, slots: u32) {
        *self.ejected.lock().unwrap_or_else(PoisonError::into_inner) |= slots;
    }

    /// The slots that the guest has let go of since the last call.
    pub fn take_ejected(&self) -> u32 {
        std::mem::take(&mut *self.ejected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
