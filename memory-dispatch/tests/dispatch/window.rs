//! Windows over more than one stretch of memory.

use crate::board::{ATTRS, Board, Door, bytes_of, counting};
use memory_core::{AccessRules, AddrRange, BusFault, RamBlock, TxAttrs, Width};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

#[test]
fn all_memory_of_a_window_stays_what_it_was() {
    let mut board = board();
    let regs = board.mmio(0x1000, 0x100, AccessRules::new(), 0x40);
    let blocks = [0, 1].map(|_| RamBlock::anonymous(0x1000u64).unwrap());
    let memory = board.memory();
    let [first, second] = [0, 1].map(|i| memory.ram(format!("ram{i}"), blocks[i].clone()).build().unwrap());
    board.root.map(0, &first).unwrap();
    board.root.map(0x1100, &second).unwrap();
    let window = board.space.window(range(0x800, 0x20ff), ATTRS);
    second.set_address(0x8000).unwrap();
    first.set_read_only(true).unwrap();
    assert!(window.is_stale());
    for (offset, value) in [(0, 0x11), (0x7fc, 0x22), (0x900, 0x33), (0x18fc, 0x44)] {
        window.store(offset, Width::W4, value).unwrap();
        assert_eq!(window.load(offset, Width::W4), Ok(value), "{offset:#x}");
    }
    assert_eq!(
        (blocks[0].load(0xffc, Width::W4), blocks[1].load(0xffc, Width::W4)),
        (Some(0x22), Some(0x44))
    );
    assert!(regs.calls().is_empty());
    assert_eq!(window.load(0x800, Width::W2), Ok(0x4140));
    // it holds its memory, and no longer than that
    drop((first, second));
    board.system.reclaim();
    assert_eq!(window.load(0x900, Width::W4), Ok(0x33));
    assert_eq!(Arc::strong_count(&blocks[1]), 2);
    drop(window);
    board.system.reclaim();
    assert_eq!(Arc::strong_count(&blocks[1]), 1);
}

#[test]
fn what_a_window_could_not_write_when_it_was_made_it_never_can() {
    let mut board = board();
    let block = board.ram(0x1000, 0x1000, 0);
    let rom = board.memory().rom("rom", counting(0x1000, 0)).build().unwrap();
    board.map(0x2000, rom);
    let ram = board.memory().ram("shadow", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    let ram = board.map(0, ram);
    ram.set_read_only(true).unwrap();
    let window = board.space.window(range(0, 0x2fff), ATTRS);
    ram.set_read_only(false).unwrap();
    assert_eq!(window.store(0, Width::W4, 1), Err(BusFault::DECODE));
    assert_eq!(window.store(0x2000, Width::W4, 1), Err(BusFault::DECODE));
    assert_eq!((window.load(0, Width::W4), window.load(0x2004, Width::W1)), (Ok(0), Ok(4)));
    window.store(0x1000, Width::W1, 0xee).unwrap();
    // over the seam: each side as it is
    assert_eq!(window.store(0xffe, Width::W4, 0x4433_2211), Err(BusFault::DECODE));
    assert_eq!((window.load(0xffe, Width::W2), block.load(0, Width::W2)), (Ok(0), Some(0x4433)));
    assert_eq!(board.space.window(range(0, 0xfff), ATTRS).store(0, Width::W4, 1), Ok(()), "a new one can");
    let debugger = board.space.window(range(0x2000, 0x2fff), TxAttrs::DEBUG);
    assert_eq!((debugger.store(0, Width::W1, 7), window.load(0x2000, Width::W1)), (Ok(()), Ok(7)));
}

#[test]
fn bytes_go_over_all_that_a_window_shows() {
    let mut board = board();
    let low = board.ram(0, 0x100, 0);
    let regs = board.mmio(0x100, 0x10, AccessRules::new(), 0x80);
    let high = board.ram(0x118, 0x100, 0x10);
    let window = board.space.window(range(0x80, 0x13f), ATTRS);
    let mut bytes = [0xee; 0x40];
    assert_eq!(window.read(0x70, &mut bytes), Err(BusFault::DECODE), "there is a hole");
    assert_eq!(bytes[..0x10], bytes_of(&low, 0xf0, 0x10));
    assert_eq!((bytes[0x10], bytes[0x1f], &bytes[0x20..0x28]), (0x80, 0x8f, &[0; 8][..]));
    assert_eq!(bytes[0x28..], bytes_of(&high, 0, 0x18));
    assert_eq!(window.read(0, &mut bytes), Ok(()));
    assert_eq!(window.write(0x7e, &[1, 2, 3, 4]), Ok(()));
    assert_eq!(bytes_of(&low, 0xfe, 2), [1, 2]);
    assert_eq!(board.load(0x100, Width::W2), Ok(0x0403));
    assert_eq!(window.write(0x90, &[7; 0x10]), Err(BusFault::DECODE));
    assert_eq!(bytes_of(&high, 0, 9), [7, 7, 7, 7, 7, 7, 7, 7, 0x18]);
    regs.calls();
    for offset in [0xc0, 0x81, u64::MAX] {
        bytes.fill(0xee);
        assert_eq!(window.read(offset, &mut bytes), Err(BusFault::ACCESS), "{offset:#x}");
        assert_eq!((bytes, window.write(offset, &bytes)), ([0; 0x40], Err(BusFault::ACCESS)));
    }
    assert!(regs.calls().is_empty(), "out of bounds nothing is done");
}

#[test]
fn a_window_keeps_no_space_and_its_memory_without_one() {
    let mut board = board();
    board.ram(0, 0x1000, 0);
    let regs = board.mmio(0x1000, 0x100, AccessRules::new(), 0);
    let space = board.system.address_space("other", &board.root, SpaceConfig::default()).unwrap();
    let window = space.window(range(0, 0x10ff), ATTRS);
    assert_eq!((window.load(0x1004, Width::W1), window.is_stale()), (Ok(4), false));
    regs.calls();
    let weak = Arc::downgrade(&space);
    drop(space);
    assert!(weak.upgrade().is_none() && window.is_stale());
    assert_eq!((window.load(4, Width::W1), window.store(4, Width::W1, 9)), (Ok(4), Ok(())));
    assert_eq!(window.load(0x1004, Width::W1), Err(BusFault::DECODE));
    let mut bytes = [0xee; 2];
    assert_eq!((window.read(0xfff, &mut bytes), bytes), (Err(BusFault::DECODE), [0xff, 0]));
    assert!(regs.calls().is_empty());
}
