//! A device's way to the memory of its machine.

use crate::sync::{Arc, Weak};
use memory_core::{BusFault, TxAttrs};
use memory_dispatch::{AddressSpace, DmaMemory};

/// Reads and writes as a bus master. The address space is held weakly: once it is gone, every access is a decode error.
///
/// Accesses run on the caller's thread and in its chain: a device that reaches itself gets an access error. Hold no lock
/// of the device meanwhile.
#[derive(Clone, Debug)]
pub struct DmaPort {
    space: Weak<AddressSpace>,
    attrs: TxAttrs,
}

impl DmaPort {
    /// A port into `space` whose accesses carry `attrs`.
    pub fn new(space: &Arc<AddressSpace>, attrs: TxAttrs) -> Self {
        Self { space: Arc::downgrade(space), attrs }
    }

    /// The memory that the device may have directly, for virtqueues: make it anew for each batch of work, and keep it no
    /// longer. `None` if the address space is gone.
    pub fn memory(&self) -> Option<DmaMemory> {
        self.space.upgrade().map(|space| DmaMemory::new(&space, self.attrs))
    }

    /// Reads memory or registers at `address`; what fails reads as 0.
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), BusFault> {
        let Some(space) = self.space.upgrade() else {
            bytes.fill(0);
            return Err(BusFault::DECODE);
        };
        space.read(address, bytes, self.attrs)
    }

    /// Writes memory or registers at `address`.
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.space.upgrade().ok_or(BusFault::DECODE)?.write(address, bytes, self.attrs)
    }
}
