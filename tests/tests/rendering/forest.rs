//! Random trees of regions: cheap to make, and full of what rendering can get wrong.

use memory_core::{
    AccessRules, BindIommu, BusFault, Flags, Iommu, IommuEntry, Kind, Mapping, Memory, Mmio, Permissions,
    RamBlock, Region, RegionBuilder, RegionId, Shows, Size, Tree, TxAttrs, Width,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Regions in every tree.
pub const REGIONS: usize = 200;
/// Paths from the root to regions, at most: aliases of aliases would multiply them without end.
const PATHS: u64 = 2400;

/// SplitMix64: a tree is its seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A device of which only the rendering matters.
struct Registers;

impl Mmio for Registers {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

impl Iommu for Registers {
    fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
        None
    }
}

struct Bound;

impl BindIommu for Bound {
    fn bind(&self) -> Option<Arc<dyn Iommu>> {
        Some(Arc::new(Registers))
    }
}

/// A tree, its handles and its root.
pub struct Forest {
    pub memory: Memory,
    pub regions: Vec<Region>,
    pub rng: Rng,
    /// Whether some mappings show something to reads or to writes only.
    overlays: bool,
}

impl Forest {
    /// The tree of a seed. It is made bottom-up: a region takes earlier ones as children or as its target.
    pub fn new(memory: Memory, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let overlays = rng.percent(30);
        let mut forest = Self { memory, regions: Vec::new(), rng, overlays };
        let registers = Arc::new(Registers);
        let mut paths: Vec<u64> = Vec::new();
        let mut unmapped: Vec<usize> = Vec::new();
        for index in 0..REGIONS - 1 {
            let (builder, own) = forest.region(index, &registers, &paths);
            let region = forest.attributes(builder).build().unwrap();
            forest.regions.push(region);
            paths.push(own + 1);
            if !forest.is_alias(index) && forest.rng.percent(16) {
                let wanted = 1 + forest.rng.below(8);
                forest.adopt(index, wanted, PATHS / 4, &mut paths, &mut unmapped);
            }
            unmapped.push(index);
        }
        let size = if forest.rng.percent(80) { Size::FULL } else { forest.size() };
        forest.regions.push(forest.memory.container("root", size).build().unwrap());
        paths.push(1);
        forest.adopt(REGIONS - 1, REGIONS as u64, PATHS, &mut paths, &mut unmapped);
        forest
    }

    pub fn root(&self) -> &Region {
        &self.regions[REGIONS - 1]
    }

    fn is_alias(&self, index: usize) -> bool {
        let id = self.regions[index].id();
        self.memory
            .read(|tree| tree.get(id).is_some_and(|node| matches!(node.kind(), Kind::Alias { .. })))
            .unwrap()
    }

    /// A region of random kind, and the number of paths through its target.
    fn region(&mut self, index: usize, registers: &Arc<Registers>, paths: &[u64]) -> (RegionBuilder, u64) {
        let name = format!("r{index}");
        let kind = self.rng.below(100);
        let size = if (28..76).contains(&kind) { self.leaf_size() } else { self.size() };
        let memory = self.memory.clone();
        let backed = || RamBlock::unbacked(size);
        let rules = AccessRules::new();
        let builder = match kind {
            0..28 => memory.container(name, size),
            28..45 => memory.ram(name, backed()),
            45..50 => memory.rom(name, backed()),
            50..53 => memory.ram_device(name, backed()),
            53..61 => memory
                .rom_device(name, backed(), rules, registers.clone())
                .flags(Flags::ROMD, self.rng.percent(50)),
            61..72 => memory.mmio(name, size, rules, registers.clone()),
            72..74 => memory.reservation(name, size),
            74..76 => memory.iommu(name, size, Bound),
            _ => {
                let few = |index: &usize| paths[*index] < PATHS / 8;
                // recent ones are often aliases themselves
                let near = index.saturating_sub(1 + self.rng.below(20) as usize);
                let far = self.rng.below(index.max(1) as u64) as usize;
                let target = if self.rng.percent(50) { near } else { far };
                match Some(target).filter(|target| *target < index).filter(few) {
                    None => memory.container(name, size),
                    Some(target) => {
                        let offset = self.offset(size);
                        let target_paths = paths[target];
                        let builder = memory.alias(name, &self.regions[target], offset, size);
                        return (builder, target_paths);
                    }
                }
            }
        };
        (builder, 0)
    }

    fn attributes(&mut self, builder: RegionBuilder) -> RegionBuilder {
        let chances = [(Flags::READ_ONLY, 8), (Flags::NONVOLATILE, 6), (Flags::UNMERGEABLE, 4)].into_iter();
        let builder =
            chances.fold(
                builder,
                |builder, (flag, chance)| {
                    if self.rng.percent(chance) { builder.flags(flag, true) } else { builder }
                },
            );
        if self.rng.percent(8) { builder.disabled() } else { builder }
    }

    /// Maps up to `wanted` regions that have no parent yet into region `parent`.
    fn adopt(&mut self, parent: usize, wanted: u64, most: u64, paths: &mut [u64], unmapped: &mut Vec<usize>) {
        let memory = self.memory.clone();
        let transaction = memory.begin().unwrap();
        for _ in 0..wanted.min(unmapped.len() as u64) {
            let at = self.rng.below(unmapped.len() as u64) as usize;
            let child = unmapped[at];
            if paths[parent] + paths[child] > most {
                continue;
            }
            let address = self.address(self.regions[child].size().unwrap());
            let mapping = self.mapping();
            if self.regions[parent].map_with(address, &self.regions[child], mapping).is_ok() {
                paths[parent] += paths[child];
                unmapped.swap_remove(at);
            }
        }
        transaction.commit().unwrap();
    }

    pub fn mapping(&mut self) -> Mapping {
        let priority = match self.rng.below(40) {
            0 => i32::MIN,
            1 => i32::MAX,
            n => (n % 5) as i32 - 2,
        };
        let shows = match self.rng.below(10) {
            0 if self.overlays => Shows::Reads,
            1 if self.overlays => Shows::Writes,
            _ => Shows::Both,
        };
        Mapping { priority, overlap: true, shows }
    }

    /// A size: mostly some pages, so that edges meet.
    pub fn size(&mut self) -> Size {
        let bytes = match self.rng.below(100) {
            0..50 => u128::from(1 + self.rng.below(256)) << 12,
            50..55 => u128::from(1 + self.rng.below(64)),
            55..70 => 1 << (12 + self.rng.below(36)),
            70..90 => Size::FULL.bytes(),
            90..94 => Size::FULL.bytes() - u128::from(self.rng.below(0x4000)),
            94..96 => 1 << 63,
            96..98 => 0,
            _ => u128::from(self.rng.next()),
        };
        Size::new(bytes).unwrap()
    }

    /// A size for a region that answers: rarely large, or nothing else would be seen.
    fn leaf_size(&mut self) -> Size {
        match self.rng.below(100) {
            0..80 => Size::from((1 + self.rng.below(6)) << 12),
            80..97 => Size::from(1 + self.rng.below(0x3000)),
            _ => self.size(),
        }
    }

    /// Where something of `size` bytes can be: mostly low and on a page, sometimes at the very top.
    pub fn address(&mut self, size: Size) -> u64 {
        let top = u64::try_from(Size::FULL.bytes() - size.bytes()).unwrap_or(u64::MAX);
        let page = match self.rng.below(4) {
            0 => self.rng.below(8) << 12,
            1 => self.rng.below(32) << 12,
            _ => self.rng.below(512) << 12,
        };
        match self.rng.below(100) {
            0..75 => page.min(top),
            75..78 => (page + self.rng.below(0x1000)).min(top),
            78..93 => top.saturating_sub(page),
            93..96 => top,
            _ => top - self.rng.next() % top.saturating_add(1).max(1),
        }
    }

    /// Where an alias of `size` bytes can begin to look.
    pub fn offset(&mut self, size: Size) -> u64 {
        match self.rng.below(10) {
            0..5 => 0,
            5..8 => self.address(size).min(self.rng.below(4) << 12),
            _ => self.address(size),
        }
    }

    /// Makes one random change; that it may be refused is part of it.
    pub fn change(&mut self) {
        let region = self.rng.below(REGIONS as u64) as usize;
        let region = self.regions[region].by_ref().clone();
        let value = self.rng.percent(50);
        // a refusal leaves the tree as it was, and the oracle will tell if not
        let _refused = match self.rng.below(12) {
            0 | 1 => region.set_enabled(value),
            2 => region.set_read_only(value),
            3 => region.set_nonvolatile(value),
            4 => region.set_unmergeable(value),
            5 => region.set_romd(value),
            6 | 7 => region.size().and_then(|size| region.set_address(self.address(size))),
            8 => region.set_priority(self.mapping().priority),
            9 => region.set_size(self.size()),
            10 => region.size().and_then(|size| region.set_alias_offset(self.offset(size))),
            _ => {
                let parent = self.rng.below(REGIONS as u64) as usize;
                let mapping = self.mapping();
                region.unmap().and_then(|()| {
                    let address = self.address(region.size()?);
                    self.regions[parent].map_with(address, &region, mapping)
                })
            }
        };
    }

    /// Whether changes have left few enough paths from the root for the oracle to follow.
    pub fn is_small(&self) -> bool {
        let root = self.root().id();
        self.memory.read(|tree| paths(tree, root, &mut HashMap::new())).unwrap() < 2 * PATHS
    }
}

/// The number of paths from a region downwards.
fn paths(tree: &Tree, id: RegionId, known: &mut HashMap<RegionId, u64>) -> u64 {
    if let Some(known) = known.get(&id) {
        return *known;
    }
    let Some(node) = tree.get(id) else { return 0 };
    let mut sum: u64 = 1;
    if let Kind::Alias { target, .. } = node.kind() {
        sum = sum.saturating_add(paths(tree, *target, known));
    }
    for child in node.children() {
        sum = sum.saturating_add(paths(tree, child, known));
    }
    known.insert(id, sum);
    sum
}
