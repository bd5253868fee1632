//! `dbs-device`: Dragonball's bus, alone and as Dragonball's vCPUs have it.

use super::{Bus, Layout, name};
use crate::device::device;
use crate::stream::{Stream, Work};
use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use dbs_device::DeviceIo;
use dbs_device::device_manager::IoManager;
use dbs_device::resources::Resource;
use std::sync::Arc;

/// The bus with a layout's registers.
pub fn manager(layout: &Layout) -> IoManager {
    let mut manager = IoManager::new();
    for (index, (start, size)) in layout.regions.iter().enumerate() {
        let resource = resource(layout.ports, *start, *size);
        let device: Arc<dyn DeviceIo> = device!(layout.mixed, index, Kind => Arc::new(Kind::default()));
        manager.register_device_io(device, &[resource]).expect("registers do not overlap");
    }
    manager
}

/// What a device takes up.
pub fn resource(ports: bool, start: u64, size: u64) -> Resource {
    if ports {
        Resource::PioAddressRange { base: start as u16, size: size as u16 }
    } else {
        Resource::MmioAddressRange { base: start, size }
    }
}

#[inline]
fn read(manager: &IoManager, address: u64) -> u64 {
    let mut data = [0; 4];
    if manager.mmio_read(address, &mut data).is_ok() { u64::from(u32::from_le_bytes(data)) } else { 1 }
}

#[inline]
fn read_port(manager: &IoManager, address: u64) -> u64 {
    let mut data = [0; 1];
    if manager.pio_read(address as u16, &mut data).is_ok() { u64::from(data[0]) } else { 1 }
}

#[inline]
fn write(manager: &IoManager, address: u64) {
    manager.mmio_write(address, &[0; 4]).expect("a register");
}

#[inline]
fn write_port(manager: &IoManager, address: u64) {
    manager.pio_write(address as u16, &[0]).expect("a register");
}

/// The bus that nobody can change any more.
pub struct Alone {
    manager: IoManager,
    ports: bool,
}

impl Alone {
    pub fn new(layout: &Layout) -> Self {
        Self { manager: manager(layout), ports: layout.ports }
    }
}

impl Bus for Alone {
    fn name(&self) -> &'static str {
        "dbs-device alone (cannot change)"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        if self.ports {
            stream.chase(|address| read_port(&self.manager, address))
        } else {
            stream.chase(|address| read(&self.manager, address))
        }
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        if self.ports {
            stream.march(|address| write_port(&self.manager, address))
        } else {
            stream.march(|address| write(&self.manager, address))
        }
    }
}

/// The bus that is replaced as a whole, and a cache of it for each thread.
pub struct Cached {
    manager: Arc<ArcSwap<IoManager>>,
    ports: bool,
}

impl Cached {
    pub fn new(layout: &Layout) -> Self {
        Self { manager: Arc::new(ArcSwap::from_pointee(manager(layout))), ports: layout.ports }
    }
}

impl Bus for Cached {
    fn name(&self) -> &'static str {
        name::DRAGONBALL
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let mut cache = Cache::new(self.manager.clone());
        if self.ports {
            stream.chase(move |address| read_port(cache.load(), address))
        } else {
            stream.chase(move |address| read(cache.load(), address))
        }
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let mut cache = Cache::new(self.manager.clone());
        if self.ports {
            stream.march(move |address| write_port(cache.load(), address))
        } else {
            stream.march(move |address| write(cache.load(), address))
        }
    }
}
