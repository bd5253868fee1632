use super::*;
use crate::{render, resolve_root};
use memory_core::{AddrRange, Mapping, Memory, Region, Shows, Size};

struct Machine {
    memory: Memory,
    system: Region,
    regions: Vec<Region>,
}

impl Machine {
    fn new(count: u64) -> Self {
        let memory = Memory::new();
        let system = memory.container("system", Size::FULL).build().unwrap();
        let regions = (0..count)
            .map(|i| {
                let region = memory.reservation(format!("r{i}"), 0x100u64).build().unwrap();
                system.map(i * 0x1000, &region).unwrap();
                region
            })
            .collect();
        Self { memory, system, regions }
    }

    fn view(&self, generation: u64, old: Option<&View>) -> View {
        let render = |tree: &memory_core::Tree| {
            let root = resolve_root(tree, self.system.id());
            View::new(generation, root, render(tree, root, AddrRange::ALL), old)
        };
        self.memory.read(render).unwrap()
    }
}

/// Regions of the largest machine; Miri is slow.
const COUNT: u64 = if cfg!(miri) { 200 } else { 1000 };

#[test]
fn successive_views_share_the_chunks_that_did_not_change() {
    let machine = Machine::new(COUNT);
    let before = machine.view(1, None);
    assert!(before.chunk_lengths().all(|len| (8..=32).contains(&len)));
    let chunks = before.chunk_lengths().count();
    machine.regions[COUNT as usize / 2].set_address(COUNT / 2 * 0x1000 + 8).unwrap();
    let after = machine.view(2, Some(&before));
    assert_eq!(after.shared_chunks(&before), chunks - 1);
    machine.regions[COUNT as usize / 2].unmap().unwrap();
    let without = machine.view(3, Some(&after));
    assert_eq!((without.len(), without.shared_chunks(&after)), (COUNT as usize - 1, chunks - 1));
    assert!(without.is_same(&machine.view(4, None)) && !without.is_same(&after));
    assert_eq!(machine.view(5, Some(&without)).shared_chunks(&without), chunks);
}

#[test]
fn chunks_split_and_join() {
    const LAST: usize = if cfg!(miri) { 60 } else { 190 };
    let machine = Machine::new(LAST as u64 + 10);
    let mut view = machine.view(1, None);
    for region in &machine.regions[10..LAST] {
        region.unmap().unwrap();
        let next = machine.view(2, Some(&view));
        assert!(next.is_same(&machine.view(3, None)));
        let lengths: Vec<usize> = next.chunk_lengths().collect();
        assert!(lengths.iter().all(|len| (8..=32).contains(len)), "{lengths:?}");
        view = next;
    }
    for (i, region) in (10..).zip(&machine.regions[10..LAST]) {
        machine.system.map(i * 0x1000, region).unwrap();
        view = machine.view(2, Some(&view));
        assert!(view.chunk_lengths().all(|len| len <= 32));
    }
    assert!(view.is_same(&machine.view(3, None)));
}

#[test]
fn look_up_finds_each_range_and_no_hole() {
    let machine = Machine::new(300);
    let view = machine.view(1, None);
    for i in 0..300 {
        let start = i * 0x1000;
        let name = |address| view.find(address).map(|range| range.read().unwrap().target().name().to_owned());
        assert_eq!(name(start), Some(format!("r{i}")));
        assert_eq!(name(start + 0xff), Some(format!("r{i}")));
        assert_eq!(name(start + 0x100), None);
        let next = view.next_from(start + 1).map(|range| range.range().start());
        assert_eq!(next, (i < 299).then_some(start + 0x1000));
    }
    assert!(view.find(u64::MAX).is_none() && View::empty(9).find(0).is_none());
}

#[test]
fn an_overlay_gives_reads_and_writes_different_targets() {
    let memory = Memory::new();
    let system = memory.container("system", Size::FULL).build().unwrap();
    let [below, above] = ["below", "above"].map(|name| memory.reservation(name, 0x3000u64).build().unwrap());
    system.map(0, &below).unwrap();
    system
        .map_with(0x1000, &above, Mapping { priority: 1, shows: Shows::Writes, ..Mapping::default() })
        .unwrap();
    let machine = Machine { memory, system, regions: Vec::new() };
    let view = machine.view(1, None);
    let seen: Vec<_> = view
        .ranges()
        .map(|range| {
            let name = |part: Option<&crate::Part>| {
                part.map(|part| (part.target().name().to_owned(), part.offset()))
            };
            (range.range().start(), name(range.read()), name(range.write()))
        })
        .collect();
    let part = |name: &str, offset| Some((name.to_owned(), offset));
    assert_eq!(
        seen,
        [
            (0, part("below", 0), part("below", 0)),
            (0x1000, part("below", 0x1000), part("above", 0)),
            (0x3000, None, part("above", 0x2000)),
        ]
    );
}

#[test]
fn roots_are_looked_through_only_if_they_add_nothing() {
    let memory = Memory::new();
    let [system, wrapper] =
        ["system", "wrapper"].map(|name| memory.container(name, Size::FULL).build().unwrap());
    let ram = memory.reservation("ram", 0x1000u64).build().unwrap();
    let other = memory.reservation("other", 0x1000u64).build().unwrap();
    system.map(0x1000, &ram).unwrap();
    system.map(0x3000, &other).unwrap();
    let alias = memory.alias("alias", &system, 0, Size::FULL).build().unwrap();
    wrapper.map(0, &alias).unwrap();
    let resolved = |region: &Region| memory.read(|tree| resolve_root(tree, region.id())).unwrap();
    assert_eq!(resolved(&wrapper), Some(system.id()));
    alias.set_read_only(true).unwrap();
    assert_eq!(resolved(&wrapper), Some(alias.id()));
    alias.set_read_only(false).unwrap();
    alias.set_enabled(false).unwrap();
    assert_eq!(resolved(&wrapper), None);
    alias.set_enabled(true).unwrap();
    alias.set_size(0x1000u64).unwrap();
    assert_eq!(resolved(&wrapper), Some(alias.id()));
}
