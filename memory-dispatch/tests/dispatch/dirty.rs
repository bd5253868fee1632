//! Dirty logs: every way to write through an address space marks, and listeners have their say.

use crate::board::{ATTRS, Board, Door, each_door};
use memory_core::{AddrRange, DirtyClients, MemoryError, RamBlock, Region, TxAttrs, Width};
use memory_dispatch::{Direction, Listener, Refusal, Section, SpaceConfig};
use std::sync::{Arc, Mutex};
use vm_memory::Bytes;

const DISPLAY: DirtyClients = DirtyClients::DISPLAY;
const MIGRATION: DirtyClients = DirtyClients::MIGRATION;

/// RAM at 0, logged for displays.
fn logged(board: &Board) -> Region {
    let ram = board.memory().ram("ram", RamBlock::anonymous(0x10_0000u64).unwrap()).build().unwrap();
    board.root.map(0, &ram).unwrap();
    ram.set_log(DISPLAY, true).unwrap();
    ram
}

/// The pages of 64 KiB, which any host's pages divide, that are marked.
fn marked(board: &Board, ram: &Region) -> Vec<u64> {
    let taken = board.system.snapshot_and_clear(ram, DISPLAY, 0, 0x10_0000).unwrap();
    (0..16).filter(|page| taken.is_dirty(page << 16, 1 << 16)).collect()
}

#[test]
fn every_access_that_writes_is_marked() {
    each_door(SpaceConfig::default(), |board| {
        let ram = logged(board);
        board.store(0x1_0000, Width::W4, 1).unwrap();
        board.write(0x3_fffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(marked(board, &ram), [1, 3, 4]);
        board.space.fill(0x5_0000, 0x2_0000, 7, ATTRS).unwrap();
        assert_eq!(board.space.compare_exchange(0x8_0000, Width::W8, 0, 1, ATTRS), Ok(Ok(0)));
        assert_eq!(board.space.compare_exchange(0x9_0000, Width::W8, 5, 1, ATTRS), Ok(Err(0)));
        assert_eq!(marked(board, &ram), [5, 6, 8]);
        board.load(0, Width::W8).unwrap();
        assert!(marked(board, &ram).is_empty());
    });
}

#[test]
fn loader_and_debugger_mark_rom_too() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let rom = board.memory().rom("rom", RamBlock::anonymous(0x10_0000u64).unwrap()).build().unwrap();
    board.root.map(0, &rom).unwrap();
    rom.set_log(DISPLAY, true).unwrap();
    board.space.write_rom(0x2_0000, &[1]).unwrap();
    board.space.write(0x4_0000, &[1], TxAttrs::DEBUG).unwrap();
    board.space.write(0x6_0000, &[1], ATTRS).unwrap_err();
    assert_eq!(marked(&board, &rom), [2, 4]);
}

#[test]
fn guards_and_windows_mark_whatever_becomes_of_the_map() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    ram.set_log(DISPLAY, false).unwrap();
    let mut guard = board.space.map(0x2_0000, 0x1_0000, Direction::Write, ATTRS).unwrap();
    let window = board.space.window(AddrRange::new(0x7_0000, 0x7_ffff).unwrap(), ATTRS);
    // made before the log was started, and used after the region is gone from the map
    ram.set_log(DISPLAY, true).unwrap();
    ram.unmap().unwrap();
    assert!(guard.write(5, &[1, 2]));
    window.store(8, Width::W2, 1).unwrap();
    guard.unmap(7).unwrap();
    assert_eq!(marked(&board, &ram), [2, 7]);
}

#[test]
fn a_mapping_that_ends_marks_what_it_says_was_written_or_all() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    let map = |direction| board.space.map(0x2_8000, 0x2_0000, direction, ATTRS).unwrap();
    // by a pointer nobody sees who writes
    map(Direction::Write).unmap(0x8001).unwrap();
    assert_eq!(marked(&board, &ram), [2, 3]);
    map(Direction::Write).unmap(0).unwrap();
    assert!(marked(&board, &ram).is_empty());
    drop(map(Direction::Write));
    assert_eq!(marked(&board, &ram), [2, 3, 4]);
    map(Direction::Write).unmap(0x2_0001).unwrap_err();
    assert_eq!(marked(&board, &ram), [2, 3, 4], "how much it was nobody knows");
    drop(map(Direction::Read));
    map(Direction::Read).unmap(0x2_0000).unwrap();
    assert!(marked(&board, &ram).is_empty());
    let guard = map(Direction::Write);
    guard.slice().unwrap().write_slice(&[1], 0x1_0000).unwrap();
    assert_eq!(marked(&board, &ram), [3], "at once");
    guard.unmap(0).unwrap();
}

/// A stand-in for an accelerator: its guest's writes are known to it alone until it is asked.
#[derive(Default)]
struct Accelerator {
    calls: Mutex<Vec<String>>,
    refuses: bool,
}

impl Accelerator {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl Listener for Accelerator {
    fn log_global_start(&self, clients: DirtyClients) -> Result<(), Refusal> {
        if self.refuses {
            return Err("no log".into());
        }
        self.note(format!("start {:?}", clients.bits()));
        Ok(())
    }

    fn log_global_stop(&self, clients: DirtyClients) -> Result<(), Refusal> {
        self.note(format!("stop {:?}", clients.bits()));
        Ok(())
    }

    fn log_sync(&self, section: &Section) {
        self.note(format!("sync {:?}", section.range()));
        let block = section.write().and_then(|part| part.pin().target()?.block()).unwrap();
        block.dirty().mark(section.log(), 0xc_0000, 1);
    }

    fn log_clear(&self, section: &Section) {
        self.note(format!("clear {:?}", section.range()));
    }
}

#[test]
fn listeners_are_asked_before_marks_are_taken_and_told_after() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    let accelerator = Arc::new(Accelerator::default());
    let guard = board.system.listen(accelerator.clone(), 0, Some(&board.space)).unwrap();
    assert_eq!(marked(&board, &ram), [0xc]);
    assert_eq!(accelerator.take(), ["sync 0x0-0xfffff", "clear 0x0-0xfffff"]);
    ram.set_log(DISPLAY, false).unwrap();
    assert!(marked(&board, &ram).is_empty(), "nobody wants to know, so nobody is asked");
    assert!(accelerator.take().is_empty());
    drop(guard);
}

#[test]
fn marks_are_cleared_unseen_and_listeners_told() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    board.space.store(0x1_0000, Width::W4, 1, ATTRS).unwrap();
    board.space.store(0x9_0000, Width::W4, 1, ATTRS).unwrap();
    let accelerator = Arc::new(Accelerator::default());
    let guard = board.system.listen(accelerator.clone(), 0, Some(&board.space)).unwrap();
    board.system.clear_dirty(&ram, DISPLAY, 0x1_0000, 0x1_0000).unwrap();
    assert_eq!(accelerator.take(), ["clear 0x10000-0x1ffff"], "of what was cleared, and asked for nothing");
    drop(guard);
    assert_eq!(marked(&board, &ram), [0x9]);
    let hole = board.memory().reservation("hole", 0x1000u64).build().unwrap();
    let refused = board.system.clear_dirty(&hole, DISPLAY, 0, 1);
    assert!(matches!(refused, Err(MemoryError::WrongKind { .. })));
    assert!(board.system.snapshot_and_clear(&hole, DISPLAY, 0, 1).is_err());
}

#[test]
fn a_global_log_covers_what_comes_later_and_is_not_started_if_somebody_refuses() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    let first = Arc::new(Accelerator::default());
    let guard = board.system.listen(first.clone(), 0, None).unwrap();
    {
        let second = Arc::new(Accelerator { refuses: true, ..Accelerator::default() });
        let _guard = board.system.listen(second, 1, None).unwrap();
        assert!(matches!(board.system.start_dirty_log(MIGRATION), Err(MemoryError::Refused(_))));
        assert_eq!(first.take(), ["start 4", "stop 4"]);
    }
    let clients = |region: &Region| {
        let block = |tree: &memory_core::Tree| tree.get(region.id()).unwrap().kind().block().cloned();
        board.memory().read(block).unwrap().unwrap().dirty().clients()
    };
    assert_eq!(clients(&ram), DISPLAY);
    board.system.start_dirty_log(MIGRATION).unwrap();
    board.system.start_dirty_log(MIGRATION).unwrap();
    let late = board.memory().ram("late", RamBlock::anonymous(0x1_0000u64).unwrap()).build().unwrap();
    assert_eq!((clients(&ram), clients(&late)), (DISPLAY | MIGRATION, MIGRATION));
    board.system.stop_dirty_log(MIGRATION).unwrap();
    assert_eq!((clients(&ram), clients(&late)), (DISPLAY, DirtyClients::empty()));
    assert_eq!(first.take(), ["start 4", "stop 4"]);
    drop(guard);
}

#[test]
fn a_transaction_that_is_taken_back_starts_no_log() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let ram = logged(&board);
    let transaction = board.memory().begin().unwrap();
    ram.set_log(DISPLAY, false).unwrap();
    ram.set_log(MIGRATION, true).unwrap();
    drop(transaction);
    board.space.store(0x1_0000, Width::W1, 1, ATTRS).unwrap();
    assert_eq!(marked(&board, &ram), [1]);
    let block = board.memory().read(|tree| tree.get(ram.id()).unwrap().kind().block().cloned()).unwrap();
    assert_eq!(block.unwrap().dirty().clients(), DISPLAY);
    let port = board.memory().container("bus", 0x1000u64).build().unwrap();
    assert!(matches!(port.set_log(DISPLAY, true), Err(MemoryError::WrongKind { .. })));
}

#[test]
fn a_log_covers_host_memory_through_whichever_region_it_is_written() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let block = RamBlock::anonymous(0x10_0000u64).unwrap();
    let ram = |name: &str| board.memory().ram(name, block.clone()).nomigrate().build().unwrap();
    let (first, second) = (ram("first"), ram("second"));
    board.root.map(0, &first).unwrap();
    board.root.map(0x10_0000, &second).unwrap();
    let log_at = |address| {
        let whole = AddrRange::new(address, address).unwrap();
        board.space.find(whole).unwrap().log()
    };
    let accelerator = Arc::new(Accelerator::default());
    let guard = board.system.listen(accelerator.clone(), 0, Some(&board.space)).unwrap();
    first.set_log(DISPLAY, true).unwrap();
    assert_eq!([log_at(0), log_at(0x10_0000)], [DISPLAY; 2]);
    assert_eq!(marked(&board, &first), [0xc]);
    let both = ["sync 0x0-0xfffff", "sync 0x100000-0x1fffff", "clear 0x0-0xfffff", "clear 0x100000-0x1fffff"];
    assert_eq!(accelerator.take(), both);
    // one that comes later, and one of the two that want it going
    let third = ram("third");
    board.root.map(0x20_0000, &third).unwrap();
    second.set_log(DISPLAY | MIGRATION, true).unwrap();
    assert_eq!(log_at(0x20_0000), DISPLAY | MIGRATION);
    drop(second);
    assert_eq!([log_at(0), log_at(0x20_0000)], [DISPLAY; 2]);
    let transaction = board.memory().begin().unwrap();
    first.set_log(DISPLAY, false).unwrap();
    drop(transaction);
    assert_eq!(log_at(0x20_0000), DISPLAY, "taken back");
    first.set_log(DISPLAY, false).unwrap();
    assert_eq!(
        ([log_at(0), log_at(0x20_0000)], block.dirty().clients()),
        ([DirtyClients::empty(); 2], DirtyClients::empty())
    );
    drop(guard);
}
