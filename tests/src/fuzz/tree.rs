//! Changes of a region tree, in nested transactions, against `memory-flatview`'s slow oracle: the rendering after every
//! step, the published views after every commit, and what a rollback leaves.

use arbitrary::{Arbitrary, Unstructured};
use memory_core::{
    AccessRules, AddrRange, BusFault, Flags, Kind, Mapping, Memory, MemoryError, Mmio, RamBlock, Region,
    RegionBuilder, RegionId, Shows, Size, Transaction, Tree, TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use memory_flatview::oracle::{first_difference, stretches};
use memory_flatview::{FlatRange, render};
use std::collections::HashMap;
use std::sync::Arc;

/// Regions of a tree, at most.
const REGIONS: usize = 24;
/// Steps of one run, at most.
const STEPS: usize = 96;
/// Open levels, at most.
const LEVELS: usize = 4;
/// Paths from the root, at most: aliases of aliases multiply them, and the oracle follows each.
const PATHS: u64 = 300;

/// One change, or one end of a transaction. Numbers of regions wrap around.
#[derive(Arbitrary, Debug)]
enum Step {
    Make { kind: u8, size: Extent, target: u8, offset: Place, flags: u8 },
    Map { parent: u8, child: u8, at: Place, priority: i8, overlap: bool, shows: u8 },
    Unmap { region: u8 },
    Move { region: u8, at: Place },
    Priority { region: u8, priority: i8 },
    Resize { region: u8, size: Extent },
    Offset { region: u8, offset: Place },
    Flag { region: u8, which: u8, value: bool },
    Drop { region: u8 },
    Begin,
    Commit,
    RollBack,
}

/// An address: mostly low and on a page, so that edges meet.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Place {
    Page(u8),
    Byte(u16),
    FromTop(u16),
    Anywhere(u64),
}

impl Place {
    fn address(self) -> u64 {
        match self {
            Self::Page(page) => u64::from(page & 31) << 12,
            Self::Byte(byte) => byte.into(),
            Self::FromTop(byte) => u64::MAX - u64::from(byte),
            Self::Anywhere(address) => address,
        }
    }
}

/// A size.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Extent {
    Pages(u8),
    Bytes(u16),
    All,
    ButTop(u16),
    Any(u64),
}

impl Extent {
    fn size(self) -> Size {
        match self {
            Self::Pages(pages) => Size::from(u64::from(pages & 31) << 12),
            Self::Bytes(bytes) => Size::from(u64::from(bytes)),
            Self::All => Size::FULL,
            Self::ButTop(bytes) => Size::new(Size::FULL.bytes() - u128::from(bytes)).unwrap_or(Size::FULL),
            Self::Any(bytes) => Size::from(bytes),
        }
    }
}

/// A device of which only the place matters.
struct Registers;

impl Mmio for Registers {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

struct World {
    // levels go first: the outermost one holds the tree
    levels: Vec<Level>,
    spaces: Vec<Arc<AddressSpace>>,
    regions: Vec<Region>,
    names: usize,
    system: MemorySystem,
}

/// An open level, and what the root showed when it began (nothing to compare with if a handle was dropped since).
struct Level {
    transaction: Transaction,
    before: Option<Vec<FlatRange>>,
    generations: Vec<u64>,
}

/// Runs the steps that the bytes say.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let mut world = World::new();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = bytes.arbitrary::<Step>() else { break };
        world.step(&step);
        world.check();
    }
    // levels close in the reverse order of their opening
    while let Some(level) = world.levels.pop() {
        drop(level.transaction);
    }
    world.check();
}

impl World {
    /// A root and a bus in it, each with an address space.
    fn new() -> Self {
        let system = MemorySystem::new();
        let root = system.memory().container("root", Size::FULL).build().unwrap();
        let bus = system.memory().container("bus", 0x1_0000u64).build().unwrap();
        root.map_overlap(0x1000, &bus, 1).unwrap();
        let space = |root| system.address_space("space", root, SpaceConfig::default()).unwrap();
        let spaces = vec![space(&root), space(&bus)];
        Self { levels: Vec::new(), spaces, regions: vec![root, bus], names: 0, system }
    }

    fn memory(&self) -> &Memory {
        self.system.memory()
    }

    fn region(&self, number: u8) -> &Region {
        &self.regions[usize::from(number) % self.regions.len()]
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Begin if self.levels.len() < LEVELS => self.begin(),
            Step::Begin => {}
            Step::Commit => {
                if let Some(level) = self.levels.pop() {
                    // a refusal takes the level back, as dropping it does
                    if level.transaction.commit().is_err() {
                        self.is_as_before(level.before.as_deref());
                    }
                }
            }
            Step::RollBack => {
                if let Some(level) = self.levels.pop() {
                    drop(level.transaction);
                    self.is_as_before(level.before.as_deref());
                }
            }
            Step::Drop { region } => {
                let at = usize::from(*region) % self.regions.len();
                // the roots stay
                if at >= 2 {
                    self.levels.iter_mut().for_each(|level| level.before = None);
                    drop(self.regions.swap_remove(at));
                }
            }
            _ => self.change(step),
        }
    }

    fn begin(&mut self) {
        let before = Some(self.rendering());
        let transaction = self.memory().begin().unwrap();
        let generations = self.spaces.iter().map(|space| space.generation()).collect();
        self.levels.push(Level { transaction, before, generations });
    }

    /// One change in a level of its own, which is taken back if the tree becomes too large for the oracle.
    fn change(&mut self, step: &Step) {
        let memory = self.memory().clone();
        let level = memory.begin().unwrap();
        // that it is refused is part of it
        let made = self.apply(step);
        if self.is_small() {
            let _refused = level.commit();
        } else {
            drop(level);
        }
        if let Ok(Some(region)) = made {
            self.regions.push(region);
        }
    }

    fn apply(&mut self, step: &Step) -> Result<Option<Region>, MemoryError> {
        match *step {
            Step::Make { kind, size, target, offset, flags } if self.regions.len() < REGIONS => {
                self.names += 1;
                let builder = self.builder(kind, size.size(), target, offset.address())?;
                let inherited = Flags::READ_ONLY | Flags::NONVOLATILE | Flags::UNMERGEABLE;
                let flags = Flags::from_bits_truncate(flags) & inherited;
                return builder.flags(flags, true).build().map(Some);
            }
            Step::Map { parent, child, at, priority, overlap, shows } => {
                let shows = [Shows::Both, Shows::Both, Shows::Reads, Shows::Writes][usize::from(shows & 3)];
                let mapping = Mapping { priority: (priority % 4).into(), overlap, shows };
                // a region has one parent: the old one lets go first
                self.region(child).unmap()?;
                self.region(parent).map_with(at.address(), self.region(child), mapping)?;
            }
            Step::Unmap { region } => self.region(region).unmap()?,
            Step::Move { region, at } => self.region(region).set_address(at.address())?,
            Step::Priority { region, priority } => self.region(region).set_priority((priority % 4).into())?,
            Step::Resize { region, size } => self.region(region).set_size(size.size())?,
            Step::Offset { region, offset } => self.region(region).set_alias_offset(offset.address())?,
            Step::Flag { region, which, value } => {
                let region = self.region(region);
                match which % 5 {
                    0 => region.set_enabled(value)?,
                    1 => region.set_read_only(value)?,
                    2 => region.set_nonvolatile(value)?,
                    3 => region.set_unmergeable(value)?,
                    _ => region.set_romd(value)?,
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn builder(&self, kind: u8, size: Size, target: u8, offset: u64) -> Result<RegionBuilder, MemoryError> {
        let (memory, name) = (self.memory(), format!("r{}", self.names));
        let rules = AccessRules::new();
        let block = || RamBlock::unbacked(if size.is_zero() { Size::from(1u64) } else { size });
        let registers = || Arc::new(Registers);
        Ok(match kind % 10 {
            0 | 1 => memory.container(name, size),
            2 => memory.ram(name, block()).size(size),
            3 => memory.rom(name, block()).size(size),
            4 => memory.ram_device(name, block()).size(size),
            5 => memory.rom_device(name, block(), rules, registers()).size(size),
            6 => memory.mmio(name, size, rules, registers()),
            7 => memory.reservation(name, size),
            _ => memory.alias(name, self.region(target), offset, size),
        })
    }

    /// Whether there are few enough paths from any root for the oracle.
    fn is_small(&self) -> bool {
        let root = self.regions[0].id();
        let bus = self.regions[1].id();
        let count = |tree: &Tree| {
            let mut known = HashMap::new();
            paths(tree, root, &mut known).max(paths(tree, bus, &mut known))
        };
        self.memory().read(count).unwrap() <= PATHS
    }

    fn rendering(&self) -> Vec<FlatRange> {
        let root = self.regions[0].id();
        self.memory().read(|tree| render(tree, Some(root), AddrRange::ALL)).unwrap()
    }

    fn is_as_before(&self, before: Option<&[FlatRange]>) {
        let Some(before) = before else { return };
        let after = self.rendering();
        let same = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| a.is_same(b));
        assert!(same, "what was taken back left something behind: {before:#?} became {after:#?}");
    }

    /// The tree is rendered by the rules, and what is published is what the rules make of the last commit.
    fn check(&self) {
        for (space, root) in self.spaces.iter().zip(&self.regions) {
            let both = |tree: &Tree| {
                let rules = stretches(tree, Some(root.id()), AddrRange::ALL);
                (rules, render(tree, Some(root.id()), AddrRange::ALL))
            };
            let (rules, rendered) = self.memory().read(both).unwrap();
            assert_eq!(first_difference(&rules, &rendered), None, "rendered anew");
            if self.levels.is_empty() {
                let shown: Vec<FlatRange> = space.with_view(|view| view.ranges().cloned().collect());
                assert_eq!(first_difference(&rules, &shown), None, "published");
            }
        }
        if let Some(outermost) = self.levels.first() {
            let now: Vec<u64> = self.spaces.iter().map(|space| space.generation()).collect();
            assert_eq!(now, outermost.generations, "published before the outermost level was committed");
        }
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
