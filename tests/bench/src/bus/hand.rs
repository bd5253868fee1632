//! What is commonly written by hand: a map behind a lock.

use super::{Bus, Layout};
use crate::device::device;
use crate::stream::{Stream, Work};
use memory_core::{Mmio, TxAttrs, Width};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

/// Size and device by first address.
pub type Map = BTreeMap<u64, (u64, Arc<dyn Mmio>)>;

/// A map of a layout's registers.
pub fn map(layout: &Layout) -> Map {
    let place = |(index, (start, size)): (usize, &(u64, u64))| {
        let device: Arc<dyn Mmio> = device!(layout.mixed, index, Kind => Arc::new(Kind::default()));
        (*start, (*size, device))
    };
    layout.regions.iter().enumerate().map(place).collect()
}

#[inline]
fn find(map: &Map, address: u64) -> Option<(&Arc<dyn Mmio>, u64)> {
    let (start, (size, device)) = map.range(..=address).next_back()?;
    let offset = address - start;
    (offset < *size).then_some((device, offset))
}

fn width(layout: &Layout) -> Width {
    if layout.ports { Width::W1 } else { Width::W4 }
}

/// `RwLock<BTreeMap>`: the device is cloned out of the lock and called outside it, as cloud-hypervisor's bus does.
pub struct Shared {
    map: RwLock<Map>,
    width: Width,
}

impl Shared {
    pub fn new(layout: &Layout) -> Self {
        Self { map: RwLock::new(map(layout)), width: width(layout) }
    }

    #[inline]
    fn find(&self, address: u64) -> Option<(Arc<dyn Mmio>, u64)> {
        let map = self.map.read().expect("nobody panicked");
        find(&map, address).map(|(device, offset)| (device.clone(), offset))
    }
}

impl Bus for Shared {
    fn name(&self) -> &'static str {
        "RwLock<BTreeMap> by hand"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.chase(|address| {
            let found = self.find(address);
            let value = found.map(|(device, offset)| device.read(offset, self.width, TxAttrs::default()));
            value.and_then(Result::ok).unwrap_or(1)
        })
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.march(|address| {
            let (device, offset) = self.find(address).expect("a register");
            device.write(offset, self.width, 0, TxAttrs::default()).expect("it takes writes");
        })
    }
}

/// `Mutex<BTreeMap>`: the device is called with the lock held, as Firecracker's bus does.
pub struct Locked {
    map: Mutex<Map>,
    width: Width,
}

impl Locked {
    pub fn new(layout: &Layout) -> Self {
        Self { map: Mutex::new(map(layout)), width: width(layout) }
    }
}

impl Bus for Locked {
    fn name(&self) -> &'static str {
        "Mutex<BTreeMap> by hand"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.chase(|address| {
            let map = self.map.lock().expect("nobody panicked");
            let value = find(&map, address)
                .map(|(device, offset)| device.read(offset, self.width, TxAttrs::default()));
            value.and_then(Result::ok).unwrap_or(1)
        })
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.march(|address| {
            let map = self.map.lock().expect("nobody panicked");
            let (device, offset) = find(&map, address).expect("a register");
            device.write(offset, self.width, 0, TxAttrs::default()).expect("it takes writes");
        })
    }
}
