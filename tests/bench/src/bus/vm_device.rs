//! `vm-device`: rust-vmm's bus.

use super::{Bus, Layout};
use crate::device::device;
use crate::stream::{Stream, Work};
use std::sync::Arc;
use vm_device::bus::{MmioAddress, MmioRange, PioAddress, PioRange};
use vm_device::device_manager::{IoManager, MmioManager, PioManager};
use vm_device::{DeviceMmio, DevicePio};

/// The bus that nobody can change any more: a change needs `&mut`, and who wants one puts a lock around it.
pub struct Alone {
    manager: IoManager,
    ports: bool,
}

impl Alone {
    pub fn new(layout: &Layout) -> Self {
        let mut manager = IoManager::new();
        for (index, (start, size)) in layout.regions.iter().enumerate() {
            if layout.ports {
                let device: Arc<dyn DevicePio + Send + Sync> =
                    device!(layout.mixed, index, Kind => Arc::new(Kind::default()));
                let range = PioRange::new(PioAddress(*start as u16), *size as u16).expect("a range");
                manager.register_pio(range, device).expect("registers do not overlap");
            } else {
                let device: Arc<dyn DeviceMmio + Send + Sync> =
                    device!(layout.mixed, index, Kind => Arc::new(Kind::default()));
                let range = MmioRange::new(MmioAddress(*start), *size).expect("a range");
                manager.register_mmio(range, device).expect("registers do not overlap");
            }
        }
        Self { manager, ports: layout.ports }
    }
}

impl Bus for Alone {
    fn name(&self) -> &'static str {
        "vm-device alone (cannot change)"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        if self.ports {
            stream.chase(|address| {
                let mut data = [0; 1];
                let result = self.manager.pio_read(PioAddress(address as u16), &mut data);
                if result.is_ok() { u64::from(data[0]) } else { 1 }
            })
        } else {
            stream.chase(|address| {
                let mut data = [0; 4];
                let result = self.manager.mmio_read(MmioAddress(address), &mut data);
                if result.is_ok() { u64::from(u32::from_le_bytes(data)) } else { 1 }
            })
        }
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        if self.ports {
            stream.march(|address| {
                self.manager.pio_write(PioAddress(address as u16), &[0]).expect("a register");
            })
        } else {
            stream.march(|address| {
                self.manager.mmio_write(MmioAddress(address), &[0; 4]).expect("a register");
            })
        }
    }
}
