//! PCI: buses, functions, and how a guest configures them (PCI Local Bus 3.0, PCI-to-PCI Bridge 1.2).
//!
//! A host bridge makes a root bus ([`PciBus::root`]), [exports](crate::Realize::export_bus) it, and leads accesses of the guest
//! to it by [`ConfigPorts`] and [`Ecam`]. A device that is a function embeds a [`PciFunction`], implements
//! [`PciDevice`], and says what it is made of in a [`FunctionSetup`] when it is realised; the machine file says where it is
//! plugged in.
//!
//! What a guest's write to a base address register or the command register changes in the map it changes in one transaction. Regions of
//! base address registers may overlap each other; of equals the one that was mapped last is on top. A function has an
//! address space of its own, in which memory shows as long as its bit "bus master" is set; its messages are writes there.

mod address;
mod bar;
mod bridge;
mod bus;
mod config;
mod device;
mod function;
mod hex;
mod host;
mod hotplug;
mod msi;
mod msix;
mod pirq;
pub mod registers;
mod rom;
mod seat;
mod setup;

pub use address::{BadPciAddress, PciAddress};
pub use bar::BarKind;
pub use bridge::PciBridge;
pub use bus::{PciBus, PciIrqRouter};
pub use config::{CONFIG_SIZE, ConfigSpace, EXPRESS_CONFIG_SIZE};
pub use device::PciDevice;
pub use function::PciFunction;
pub use host::{ConfigPorts, Ecam, HostBridge};
pub use hotplug::PciHotplug;
pub use msi::{Message, MsiSetup};
pub use msix::MsixSetup;
pub use pirq::{ISA_LINES, PirqRouter};
pub use seat::{Buses, Seat, SlotRequest};
pub use setup::{FunctionSetup, Identity};

#[cfg(test)]
mod tests;
