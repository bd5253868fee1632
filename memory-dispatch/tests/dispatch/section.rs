//! Sections of a map, and bulk writes over it.

use crate::board::{ATTRS, Board, Door, ports};
use memory_core::{AddrRange, BusFault, Mapping, RamBlock, Shows, Width};
use memory_dispatch::SpaceConfig;

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

fn ram(board: &mut Board, name: &str, address: u64, size: u64) {
    let region = board.memory().ram(name, RamBlock::anonymous(size).unwrap()).build().unwrap();
    board.map(address, region);
}

#[test]
fn the_first_part_in_a_range_is_found_and_cut_to_it() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    ram(&mut board, "low", 0x1000, 0x2000);
    ram(&mut board, "high", 0x8000, 0x1000);
    let found = |start, last| {
        let section = board.space.find(range(start, last))?;
        let part = section.read()?;
        let name = part.pin().target()?.name().to_owned();
        Some((name, section.range().start(), section.range().last(), part.offset()))
    };
    let is = |name: &str, start, last, offset| Some((name.to_owned(), start, last, offset));
    assert_eq!(found(0, 0x17ff), is("low", 0x1000, 0x17ff, 0));
    assert_eq!(found(0x1800, u64::MAX), is("low", 0x1800, 0x2fff, 0x800));
    assert_eq!(found(0x3000, u64::MAX), is("high", 0x8000, 0x8fff, 0));
    assert_eq!(found(0x3000, 0x7fff), None);
    assert_eq!(found(0x9000, u64::MAX), None);
}

#[test]
fn a_section_tells_reads_from_writes() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    ram(&mut board, "below", 0, 0x1000);
    let above = board.memory().ram("above", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    let overlay = Mapping { priority: 1, shows: Shows::Writes, ..Mapping::default() };
    board.root.map_with(0, &above, overlay).unwrap();
    let section = board.space.find(range(0, 0)).unwrap();
    assert_ne!(section.read().unwrap().region(), section.write().unwrap().region());
    assert_eq!(section.write().unwrap().region(), above.id());
}

#[test]
fn a_region_is_mapped_by_itself_or_through_an_alias() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let memory = board.memory();
    let target = memory.container("target", 0x1000u64).build().unwrap();
    let alias = memory.alias("alias", &target, 0, 0x1000u64).build().unwrap();
    assert!(!target.is_mapped().unwrap());
    board.root.map(0, &alias).unwrap();
    assert!(target.is_mapped().unwrap() && alias.is_mapped().unwrap());
    alias.unmap().unwrap();
    assert!(!target.is_mapped().unwrap());
}

#[test]
fn a_fill_goes_over_memory_and_passes_holes_at_once() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    ram(&mut board, "low", 0, 0x3000);
    ram(&mut board, "high", u64::MAX - 0xfff, 0x1000);
    assert_eq!(board.space.fill(0x800, 0x2000, 0x5a, ATTRS), Ok(()));
    let byte = |address| board.space.load(address, Width::W1, ATTRS).unwrap();
    assert_eq!([0x7ff, 0x800, 0x27ff, 0x2800].map(byte), [0, 0x5a, 0x5a, 0]);
    // all there is, with a hole of nearly 2^64 bytes between
    assert_eq!(board.space.fill(0, usize::MAX, 0xa5, ATTRS), Err(BusFault::DECODE));
    assert_eq!([0, 0x2fff, u64::MAX - 0xfff, u64::MAX - 1].map(byte), [0xa5; 4]);
    assert_eq!(board.space.fill(u64::MAX, 2, 1, ATTRS), Err(BusFault::DECODE), "no wrapping around");
    assert_eq!([u64::MAX, 0].map(byte), [1, 0xa5]);
    let ports = Board::new(Door::Space, ports());
    assert_eq!(ports.space.fill(0, 0x1_0000, 0, ATTRS), Ok(()));
}
