//! Devices, and what a device is made of.
//!
//! A [`Device`] is one struct: its properties and its architectural state are serde fields, so a machine file builds it
//! and a snapshot is a machine file with state in it. When it is realised it gets a [`Realize`], from which it
//! makes its regions, interrupt lines, timers and its port for DMA. Nothing lists the devices: one that is linked is
//! there, under the name that `typetag` has for it.

#![forbid(unsafe_code)]

mod acpi;
mod clock;
mod console;
mod countdown;
mod deferred;
mod device;
mod dma;
mod fdt;
mod host;
mod info;
mod inspect;
mod interrupt_controller;
mod irq;
mod mtime_offset;
mod power;
mod realize;
mod sync;
#[cfg(test)]
mod testing;
mod worker;

pub mod aclint;
pub mod acpi_pcihp;
pub mod cfi_flash;
pub mod cfi_pflash02;
pub mod chardev;
pub mod dimm;
pub mod dma_tester;
pub mod doorbell_test;
pub mod dram;
pub mod framebuffer;
pub mod fw_cfg;
pub mod goldfish_rtc;
pub mod i440fx;
pub mod i8042;
pub mod i8259;
pub mod ib700;
pub mod ich9_lpc;
pub mod ioapic;
pub mod ioport80;
pub mod isa_debug_exit;
pub mod isa_debugcon;
pub mod isa_pit;
pub mod ivshmem_plain;
pub mod mc146818rtc;
pub mod pc_gsi;
pub mod pc_memory_controller;
pub mod pc_testdev;
pub mod pci;
pub mod pci_bridge;
pub mod pci_testdev;
pub mod piix3;
pub mod piix4_pm;
pub mod plic;
pub mod port92;
pub mod pvpanic;
pub mod q35;
pub mod sifive_test;
pub mod test_iommu;
pub mod uart16550;
pub mod vga;
pub mod virtio;
pub mod virtserialport;

pub use clock::{Clock, Timer};
pub use console::Console;
pub use deferred::Deferred;
pub use device::{Device, DeviceError, ResetType};
pub use dma::DmaPort;
pub use fdt::{Cell, FdtNode, FdtPlace, FdtValue, Interrupt};
pub use host::{Host, RamLayout};
pub use info::{DeviceInfo, PlugInfo, PortPlace, Property, WireEnd, device_types, plug_info, plug_names};
pub use inspect::Inspector;
pub use interrupt_controller::InterruptController;
pub use irq::{IrqInput, IrqInputs, IrqLine};
pub use mtime_offset::MtimeOffset;
pub use power::{Power, PowerRequest};
pub use realize::{Export, Output, Realize, Realized, Surroundings};
pub use worker::EventWorker;
