use super::*;
use crate::render;
use memory_core::{Mapping, Memory, RamBlock, Region, Size};

/// Regions of a random tree, its root included.
const REGIONS: usize = 16;
/// Trees; Miri is slow.
const TREES: u64 = if cfg!(miri) { 10 } else { 2_000 };

/// SplitMix64: a tree is its seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A tree of a seed, the root last: each region is mapped into a later one, and aliases show earlier ones.
fn tree(memory: &Memory, seed: u64) -> Vec<Region> {
    let mut rng = Rng(seed);
    let mut regions: Vec<Region> = Vec::new();
    for index in 0..REGIONS - 1 {
        let size = Size::from((1 + rng.below(8)) * 0x100 + if rng.percent(10) { 1 } else { 0 });
        let name = format!("r{index}");
        let builder = match rng.below(if index == 0 { 5 } else { 8 }) {
            0 | 1 => memory.container(name, size),
            2 => memory.ram(name, RamBlock::unbacked(size)),
            3 => memory.rom(name, RamBlock::unbacked(size)),
            4 => memory.reservation(name, size),
            _ => {
                let target = &regions[rng.below(index as u64) as usize];
                memory.alias(name, target, rng.below(4) * 0x80, size)
            }
        };
        let builder = [Flags::READ_ONLY, Flags::NONVOLATILE, Flags::UNMERGEABLE]
            .into_iter()
            .fold(builder, |builder, flag| builder.flags(flag, rng.percent(10)));
        let builder = if rng.percent(10) { builder.disabled() } else { builder };
        regions.push(builder.build().unwrap());
    }
    regions.push(memory.container("root", 0x2000u64).build().unwrap());
    for index in 0..REGIONS - 1 {
        let later = (REGIONS - 1 - index) as u64;
        let parent = if rng.percent(60) { REGIONS - 1 } else { index + 1 + rng.below(later) as usize };
        let shows = match rng.below(10) {
            0 => Shows::Reads,
            1 => Shows::Writes,
            _ => Shows::Both,
        };
        let mapping = Mapping { priority: rng.below(3) as i32 - 1, overlap: true, shows };
        // an alias that would show itself is refused, and stays unmapped
        let _refused = regions[parent].map_with(rng.below(24) * 0x80, &regions[index], mapping);
    }
    regions
}

fn both(memory: &Memory, root: &Region, window: AddrRange) -> (Vec<Stretch>, Vec<FlatRange>) {
    let root = Some(root.id());
    memory.read(|tree| (stretches(tree, root, window), render(tree, root, window))).unwrap()
}

#[test]
fn small_random_trees_render_by_the_rules_whole_and_in_a_window() {
    let mut ranges = 0;
    for seed in 0..TREES {
        let memory = Memory::new();
        let regions = tree(&memory, seed);
        let root = &regions[REGIONS - 1];
        for window in [AddrRange::ALL, AddrRange::new(0x340, 0xbff).unwrap()] {
            let (rules, rendered) = both(&memory, root, window);
            assert_eq!(first_difference(&rules, &rendered), None, "seed {seed}");
            ranges += rendered.len() as u64;
        }
    }
    assert!(ranges > 4 * TREES, "trees that show next to nothing");
}

/// The worked example of the reference: a container that leaves a hole lets the lower sibling show through.
#[test]
fn the_worked_example_is_drawn_by_the_rules() {
    let memory = Memory::new();
    let container = |name, size: u64| memory.container(name, size).build().unwrap();
    let leaf = |name: &str, size: u64| memory.reservation(name, size).build().unwrap();
    let (a, b) = (container("A", 0x8000), container("B", 0x4000));
    let (c, d, e) = (leaf("C", 0x6000), leaf("D", 0x1000), leaf("E", 0x1000));
    a.map_overlap(0, &c, 1).unwrap();
    a.map_overlap(0x2000, &b, 2).unwrap();
    b.map(0, &d).unwrap();
    b.map(0x2000, &e).unwrap();
    let (rules, _) = both(&memory, &a, AddrRange::ALL);
    let seen: Vec<_> = rules
        .iter()
        .map(|stretch| {
            let answer = stretch.read.as_ref().unwrap();
            (stretch.range.start(), stretch.range.last(), answer.region, answer.offset)
        })
        .collect();
    let expected = [
        (0, 0x1fff, c.id(), 0),
        (0x2000, 0x2fff, d.id(), 0),
        (0x3000, 0x3fff, c.id(), 0x3000),
        (0x4000, 0x4fff, e.id(), 0),
        (0x5000, 0x5fff, c.id(), 0x5000),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_rendering_of_another_tree_differs_where_the_trees_do() {
    let memory = Memory::new();
    let [one, two] = ["one", "two"].map(|name| memory.container(name, 0x3000u64).build().unwrap());
    let leaf = |name: &str| memory.reservation(name, 0x1000u64).build().unwrap();
    let (first, second, third) = (leaf("first"), leaf("second"), leaf("third"));
    let alias = memory.alias("again", &first, 0, 0x1000u64).build().unwrap();
    for (parent, address, child) in
        [(&one, 0, &first), (&one, 0x1000, &second), (&two, 0, &alias), (&two, 0x1000, &third)]
    {
        parent.map(address, child).unwrap();
    }
    let (rules, _) = both(&memory, &one, AddrRange::ALL);
    let (_, rendered) = both(&memory, &two, AddrRange::ALL);
    assert!(first_difference(&rules, &rendered).unwrap().starts_with("range 1:"));
    assert!(first_difference(&rules, &rendered[..1]).unwrap().starts_with("range 1:"), "too short");
    assert!(first_difference(&rules[..1], &rendered).unwrap().contains("by the rules None"), "too long");
    assert!(both(&memory, &third, AddrRange::ALL).0.len() == 1);
    assert!(memory.read(|tree| stretches(tree, None, AddrRange::ALL)).unwrap().is_empty());
}
