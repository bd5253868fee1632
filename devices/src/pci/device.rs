//! A device that is a PCI function, as its bus sees it.

use super::bus::PciBus;
use super::function::PciFunction;
use crate::ResetType;
use crate::sync::Arc;
use memory_core::Width;

/// A device that is a PCI function. All methods are called from any thread, inside the device for the re-entrancy
/// guard, with no lock held.
pub trait PciDevice: Send + Sync + 'static {
    /// The function.
    fn function(&self) -> &PciFunction;

    /// The machine has all of the device: the guest sees the function from now on.
    fn activated(&self) {}

    /// The guest is about to read `width` bytes at `offset` of configuration space.
    fn before_config_read(&self, _offset: usize, _width: Width) {}

    /// The guest has written `width` bytes at `offset` of configuration space; the registers are what they are now.
    ///
    /// Two writes may arrive here in any order: look at the registers, under a lock of the device's own, and make what
    /// depends on them what they say.
    fn config_written(&self, _offset: usize, _width: Width) {}

    /// The bus behind the function, if it is a bridge.
    fn secondary_bus(&self) -> Option<&Arc<PciBus>> {
        None
    }

    /// The bus is reset.
    fn bus_reset(&self, kind: ResetType);
}
