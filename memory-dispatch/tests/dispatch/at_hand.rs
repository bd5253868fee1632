//! What a handle has at hand of a map: guesses and RAM, which must not outlive what they were right for.

use crate::board::{ATTRS, Board, Door};
use memory_core::{BusFault, DirtyClients, RamBlock, Width};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;

/// A board with a handle, and RAM at 0x8000 that the handle has at hand.
fn at_hand() -> (Board, memory_core::RegionRef, Arc<RamBlock>) {
    let mut board = Board::new(Door::Handle, SpaceConfig::default());
    let block = RamBlock::anonymous(0x2000u64).unwrap();
    let region = board.memory().ram("ram", block.clone()).build().unwrap();
    let region = board.map(0x8000, region);
    board.store(0x8010, Width::W4, 7).unwrap();
    assert_eq!(board.load(0x8010, Width::W4), Ok(7));
    (board, region, block)
}

#[test]
fn ram_at_hand_that_moves_is_found_at_its_new_place_alone() {
    let (mut board, region, _) = at_hand();
    region.set_address(0x9000).unwrap();
    assert_eq!(
        (board.load(0x8010, Width::W4), board.load(0x9010, Width::W4)),
        (Err(BusFault::DECODE), Ok(7))
    );
    region.set_enabled(false).unwrap();
    assert_eq!(board.load(0x9010, Width::W4), Err(BusFault::DECODE));
}

#[test]
fn ram_at_hand_that_becomes_read_only_is_written_no_more() {
    let (mut board, region, block) = at_hand();
    region.set_read_only(true).unwrap();
    assert_eq!(board.store(0x8010, Width::W4, 9), Err(BusFault::DECODE));
    assert_eq!(board.load(0x8010, Width::W4), Ok(7));
    assert_eq!(board.store(0x8010, Width::W4, 9), Err(BusFault::DECODE), "at hand again, to be read");
    assert_eq!(block.load(0x10, Width::W4), Some(7));
}

#[test]
fn accesses_across_the_ends_of_ram_at_hand_go_on_in_what_is_there() {
    let (mut board, _, block) = at_hand();
    let next = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().ram("next", next.clone()).build().unwrap();
    board.map(0xa000, region);
    board.load(0x8000, Width::W1).unwrap();
    board.store(0x9ffe, Width::W4, 0x1122_3344).unwrap();
    assert_eq!((block.load(0x1ffe, Width::W2), next.load(0, Width::W2)), (Some(0x3344), Some(0x1122)));
    assert_eq!(board.load(0x9ffe, Width::W4), Ok(0x1122_3344));
    assert_eq!(board.load(0x7fff, Width::W1), Err(BusFault::DECODE), "below it");
}

#[test]
fn stores_to_ram_at_hand_are_marked_in_the_dirty_log() {
    let (mut board, _, block) = at_hand();
    block.dirty().start(DirtyClients::MIGRATION);
    board.store(0x9000, Width::W8, 1).unwrap();
    assert!(block.dirty().is_dirty(DirtyClients::MIGRATION, 0x1000, 1));
    assert!(!block.dirty().is_dirty(DirtyClients::MIGRATION, 0, 0x1000));
}

#[test]
fn another_range_comes_to_hand_and_all_stay_right() {
    let (mut board, _, _) = at_hand();
    for (index, at) in [0x2_0000u64, 0x4_0000, 0x6_0000].into_iter().enumerate() {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        assert!(block.fill(0, 0x1000, index as u8 + 1));
        let region = board.memory().ram(format!("ram{index}"), block).build().unwrap();
        board.map(at, region);
    }
    for round in 0..400u64 {
        let at = (round * 7) % 3;
        assert_eq!(board.load(0x2_0000 * (at + 1) + round, Width::W1), Ok(at + 1));
    }
}

#[test]
fn memory_at_hand_of_a_parked_handle_is_let_go_of() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let weak = Arc::downgrade(&block);
    let region = board.memory().ram("ram", block).build().unwrap();
    board.root.map(0x8000, &region).unwrap();
    let mut vcpu = board.space.handle(|| ());
    assert_eq!(vcpu.load(0x8000, Width::W4, ATTRS), Ok(0));
    drop(region);
    assert!(weak.upgrade().is_some(), "the handle is on the old map");
    vcpu.park();
    board.system.reclaim();
    assert!(weak.upgrade().is_none());
    assert_eq!(board.load(0x8000, Width::W4), Err(BusFault::DECODE));
}
