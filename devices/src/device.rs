//! The `Device` trait.

use crate::fdt::{FdtNode, FdtPlace};
use crate::framebuffer::Surface;
use crate::inspect::Inspector;
use crate::interrupt_controller::InterruptController;
use crate::realize::Realize;
use crate::sync::Arc;
use memory_core::{HostMemoryError, MemoryError};
use std::any::Any;
use std::io;
use std::path::PathBuf;

/// How a machine is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetType {
    /// As after power on.
    Cold,
    /// Power stayed on: what a datasheet says survives, does.
    Warm,
}

/// Why a device cannot be realised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A property has a value that the device cannot have.
    #[error("property `{property}`: {reason}")]
    Property {
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the host says.
        source: std::io::Error,
    },
    /// The host has not what the device needs.
    #[error("no {what}: {source}")]
    Host {
        /// What the device needs.
        what: &'static str,
        /// What the host says.
        source: std::io::Error,
    },
    /// A region was refused.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Host memory was refused.
    #[error(transparent)]
    HostMemory(#[from] HostMemoryError),
}

/// A device of a machine.
///
/// A device is one struct with three groups of fields: properties and architectural state are serde fields (state in
/// one field `state` that defaults to the state after power on), wiring (region handles, interrupt lines, timers) is
/// skipped and filled when the device is realised. Its callbacks take `&self`, are called from any thread, and hold no
/// lock of the device while they dispatch (DMA) or call a [`Console`](crate::Console) back end; raising an interrupt
/// line under a lock is fine.
///
/// Implementations carry `#[typetag::serde(name = "...")]`; their structs `#[serde(deny_unknown_fields)]` and
/// `#[serde(rename_all = "kebab-case")]`.
#[typetag::serde(tag = "type")]
pub trait Device: Any + Send + Sync {
    /// Makes regions, interrupt lines and timers, and exports what the machine may map and wire. Called once, before
    /// anything else. Methods are bound through `Weak`, so that there is no cycle.
    ///
    /// # Errors
    /// What makes the device impossible: the machine is not built then.
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError>;

    /// Puts the architectural state back, and interrupt lines and timers with it. May be called at any time, from any
    /// thread that is not inside the device.
    fn reset(&self, kind: ResetType);

    /// Tells people what the device's state is.
    fn inspect(&self, _out: &mut Inspector) {}

    /// Gives the disk that people call `name` a new size in bytes, and tells the guest; `None` if the device has no such disk.
    /// Not called inside an access.
    fn resize_disk(&self, _name: &str, _bytes: u64) -> Option<io::Result<()>> {
        None
    }

    /// The picture that the device shows, if it is a display.
    fn surface(&self) -> Option<Arc<Surface>> {
        None
    }

    /// How a processor acknowledges the interrupts of the device, if it is a controller with a line to one.
    fn interrupt_controller(self: Arc<Self>) -> Option<Arc<dyn InterruptController>> {
        None
    }

    /// The nodes that stand for the device in a flattened device tree, below `/soc` unless they say otherwise.
    fn describe(&self, _place: &FdtPlace<'_>) -> Vec<FdtNode> {
        Vec::new()
    }
}
