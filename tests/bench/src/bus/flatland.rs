//! Ours.

use super::{Bus, Layout, name};
use crate::device::device;
use crate::stream::{Stream, Work};
use memory_core::{AccessRules, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, Unassigned};
use std::sync::Arc;

/// A machine with the registers, each a region with a device of its own.
#[derive(Clone)]
pub struct Machine {
    space: Arc<AddressSpace>,
    ports: bool,
    _regions: Arc<Vec<Region>>,
}

impl Machine {
    pub fn new(layout: &Layout) -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().expect("a container");
        let mut regions = Vec::new();
        memory
            .transaction(|_| {
                for (index, (start, size)) in layout.regions.iter().enumerate() {
                    let rules = AccessRules::new();
                    let region = device!(layout.mixed, index, Kind => {
                        memory.mmio("register", *size, rules, Arc::new(Kind::default())).build()?
                    });
                    root.map(*start, &region)?;
                    regions.push(region);
                }
                Ok::<(), memory_core::MemoryError>(())
            })
            .expect("the registers are mapped");
        let unassigned = if layout.ports { Unassigned::AllOnes } else { Unassigned::DecodeError };
        let config = SpaceConfig { unassigned, ..SpaceConfig::default() };
        let space = system.address_space("memory", &root, config).expect("an address space");
        regions.push(root);
        Self { space, ports: layout.ports, _regions: Arc::new(regions) }
    }

    fn width(&self) -> Width {
        if self.ports { Width::W1 } else { Width::W4 }
    }
}

/// Accesses through a handle for each thread.
pub struct ByHandle(pub Machine);

impl Bus for ByHandle {
    fn name(&self) -> &'static str {
        name::HANDLE
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let (mut handle, width) = (self.0.space.handle(|| ()), self.0.width());
        stream.chase(move |address| handle.load(address, width, TxAttrs::default()).unwrap_or(1))
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let (mut handle, width) = (self.0.space.handle(|| ()), self.0.width());
        stream.march(move |address| {
            handle.store(address, width, 0, TxAttrs::default()).expect("a register");
        })
    }
}

/// Accesses of threads that have no handle.
pub struct BySpace(pub Machine);

impl Bus for BySpace {
    fn name(&self) -> &'static str {
        name::SPACE
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let (space, width) = (&self.0.space, self.0.width());
        stream.chase(move |address| space.load(address, width, TxAttrs::default()).unwrap_or(1))
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let (space, width) = (&self.0.space, self.0.width());
        stream.march(move |address| {
            space.store(address, width, 0, TxAttrs::default()).expect("a register");
        })
    }
}
