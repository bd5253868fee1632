//! Virtio devices (OASIS Virtual I/O Device, version 1.2): what they do, apart from the bus by which a driver finds them.

mod blk;
mod chains;
mod console;
mod mmio;
mod pci;
mod registers;
mod rng;
mod serve;
mod shared;
mod state;
#[cfg(test)]
mod tests;

pub use blk::VirtioBlk;
pub use chains::{Chain, Chains, Malformed};
pub use console::VirtioConsole;
pub use mmio::VirtioMmio;
pub use pci::VirtioPci;
pub use rng::VirtioRng;

use crate::sync::Arc;
use crate::{DeviceError, Host};
use memory_core::EventNotifier;
use std::any::Any;
use std::fmt;
use std::io;

/// What a virtio device does with the buffers that its driver gives it. A transport has the registers, the queues and
/// the interrupt.
///
/// The property `backend` of a transport in a machine file, a table with the key `type`. [`VirtioDevice::serve`] is
/// called by one thread at a time; all else from any thread.
#[typetag::serde(tag = "type")]
pub trait VirtioDevice: Any + Send + Sync {
    /// The device type (section 5).
    fn id(&self) -> u32;

    /// Features of the device type, bits 0 to 23, as the host's back end has them.
    fn features(&self) -> u64 {
        0
    }

    /// The most descriptors of each queue, powers of two.
    fn queues(&self) -> &'static [u16];

    /// Opens the back end. `wake` has the event for each queue: who signals it has that queue served.
    ///
    /// # Errors
    /// If a file cannot be used. Where the machine is only looked at, no file is.
    fn open(&self, host: &Host, wake: &[EventNotifier]) -> Result<(), DeviceError>;

    /// The device's configuration space.
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Gives the disk that people call `name` a new size in bytes; `None` if this is not it. The transport tells the driver.
    fn resize(&self, _name: &str, _bytes: u64) -> Option<io::Result<()>> {
        None
    }

    /// Works off the buffers of a queue, as far as there is something to do with them. Called with no lock held.
    ///
    /// # Errors
    /// A buffer that the specification forbids: the device needs a reset then.
    fn serve(&self, queue: usize, chains: &mut Chains<'_>) -> Result<(), Malformed>;
}

impl fmt::Debug for dyn VirtioDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.typetag_name())
    }
}

/// A back end that some transports share with their worker.
type Backend = Arc<dyn VirtioDevice>;
