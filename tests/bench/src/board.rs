//! A map of many ranges, to be changed.

use crate::device::Register;
use memory_core::{AccessRules, MemoryError, Region, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use std::sync::Arc;

/// From one region's start to the next.
pub const STRIDE: u64 = 0x2000;

/// Regions of a page with a page between them: each is a range.
pub struct Board {
    /// The system.
    pub system: MemorySystem,
    /// What the regions are mapped into.
    pub root: Region,
    /// The regions.
    pub regions: Vec<Region>,
    /// Shows the root.
    pub space: Arc<AddressSpace>,
    /// Spaces that see the root through partial aliases, with what they consist of.
    further: Vec<(Arc<AddressSpace>, [Region; 2])>,
}

impl Board {
    /// A map of `count` ranges, in one address space.
    pub fn new(count: u64) -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().expect("a container");
        let mut regions = Vec::new();
        let map = |index: u64| {
            let device = Arc::new(Register::<0>::default());
            let region =
                memory.mmio(format!("register{index}"), 0x1000u64, AccessRules::new(), device).build()?;
            root.map(index * STRIDE, &region)?;
            Ok(region)
        };
        memory
            .transaction(|_| {
                for index in 0..count {
                    regions.push(map(index)?);
                }
                Ok::<(), MemoryError>(())
            })
            .expect("the regions do not overlap");
        let space = system.address_space("memory", &root, SpaceConfig::default()).expect("a space");
        Self { system, root, regions, space, further: Vec::new() }
    }

    /// Adds spaces that see one half of the map through a partial alias each: the lower half, where changes are made, or
    /// the upper one.
    #[must_use]
    pub fn with_further(mut self, count: usize, lower: bool) -> Self {
        let half = self.regions.len() as u64 / 2 * STRIDE;
        let offset = if lower { 0 } else { half };
        for index in 0..count {
            let memory = self.system.memory();
            let name = format!("master{index}");
            let root = memory.container(name.clone(), Size::FULL).build().expect("a container");
            let alias =
                memory.alias(format!("window{index}"), &self.root, offset, half).build().expect("an alias");
            root.map(0x1000 * index as u64, &alias).expect("no overlap");
            let space = self.system.address_space(name, &root, SpaceConfig::default()).expect("a space");
            self.further.push((space, [root, alias]));
        }
        self
    }

    /// Work that moves one region in the lower half by half a page, and then back: one commit each.
    pub fn changes(&self) -> impl FnMut() + Send + '_ {
        let index = self.regions.len() / 4;
        let region = self.regions.get(index).expect("there are regions");
        let home = index as u64 * STRIDE;
        let mut away = false;
        move || {
            away = !away;
            region.set_address(home + if away { 0x800 } else { 0 }).expect("the place is free");
        }
    }
}
