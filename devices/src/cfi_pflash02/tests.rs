use super::*;
use crate::testing::{Bench, Board};
use memory_core::DirtyClients;
use serde_json::{Value, json};
use std::fs;

const AT: u64 = 0x4000_0000;
const SECTOR: u64 = 0x1_0000;
const DQ7: u64 = 0x80;
const DQ6: u64 = 0x40;
const DQ3: u64 = 0x08;
const DQ2: u64 = 0x04;
const WINDOW: u64 = 50_000;
const SECTOR_TIME: u64 = 500_000_000;

/// A flash, with commands as a driver gives them.
struct Flash<'a> {
    bench: Bench<'a, CfiPflash02>,
    width: Width,
    /// A value of one chip on the lanes of all.
    each: u64,
}

impl<'a> Flash<'a> {
    fn new(board: &'a Board, properties: Value) -> Self {
        let width = properties["width"].as_u64().unwrap_or(2);
        let chip = properties["device-width"].as_u64().unwrap_or(width);
        let each = (0..width / chip).map(|index| 1 << (8 * chip * index)).sum();
        let width = Width::new(width).unwrap();
        Self { bench: board.plug(properties, AT), width, each }
    }

    fn load(&self, offset: u64) -> u64 {
        self.bench.board.load(self.bench.at("flash", offset), self.width).unwrap()
    }

    fn store(&self, offset: u64, value: u64) {
        self.bench.board.store(self.bench.at("flash", offset), self.width, value).unwrap();
    }

    /// A command for all chips, at a word.
    fn command(&self, word: u64, code: u64) {
        self.store(word * self.width.bytes(), code * self.each);
    }

    /// What the chips answer at a word: all the same.
    fn answer(&self, word: u64) -> u64 {
        let value = self.load(word * self.width.bytes());
        let first = value % (self.width.mask() / self.each + 1).max(2);
        let first = if self.each == 1 { value } else { first };
        assert_eq!(value, first * self.each, "the chips differ");
        first
    }

    fn unlock(&self) {
        self.command(0x555, 0xaa);
        self.command(0x2aa, 0x55);
    }

    fn program(&self, offset: u64, value: u64) {
        self.unlock();
        self.command(0x555, 0xa0);
        self.store(offset, value);
    }

    fn begin_erase(&self) {
        self.unlock();
        self.command(0x555, 0x80);
        self.unlock();
    }

    fn erase(&self, offset: u64) {
        self.begin_erase();
        self.store(offset, 0x30 * self.each);
    }

    fn autoselect(&self) {
        self.unlock();
        self.command(0x555, 0x90);
    }

    fn reset(&self) {
        self.command(0, 0xf0);
    }

    fn step(&self, nanos: u64) {
        self.bench.board.host.clock.step(nanos);
    }

    /// To the next thing that happens.
    fn step_next(&self) {
        let clock = &self.bench.board.host.clock;
        clock.step(clock.next_deadline().unwrap() - clock.now());
    }

    /// The bits that differ in two reads, and the first of these.
    fn toggling(&self, offset: u64) -> (u64, u64) {
        let first = self.load(offset);
        (first ^ self.load(offset), first)
    }
}

#[test]
fn identifiers_and_the_query_tell_what_the_properties_say() {
    let board = Board::new();
    let properties = json!({
        "num-blocks0": 1, "sector-length0": 0x4000, "num-blocks1": 2, "sector-length1": 0x2000,
        "num-blocks2": 1, "sector-length2": 0x8000, "num-blocks3": 127, "sector-length3": 0x1_0000,
        "id0": 0xbf, "id1": 0x236d, "id2": 7,
    });
    let flash = Flash::new(&board, properties);
    flash.program(4, 0x1234);
    flash.autoselect();
    assert_eq!(
        [0, 1, 2, 0xe, 0xf].map(|word| flash.answer(word)),
        [0xbf, 0x236d, 0x1234, 7, 0xffff].map(|id| if id == 0x1234 { 0 } else { id })
    );
    assert_eq!(flash.answer(0x100), 0xbf, "the table shows again and again");
    flash.reset();
    assert_eq!(flash.load(4), 0x1234);
    flash.command(0x55, 0x98);
    let query: Vec<u64> = (0..0x60).map(|word| flash.answer(word)).collect();
    assert_eq!(query[0x10..0x17], [0x51, 0x52, 0x59, 2, 0, 0x40, 0]);
    assert_eq!((query[0x27], query[0x28], query[0x2c]), (23, 2, 4), "8 MiB, x8 and x16, four regions");
    let sectors: Vec<_> = query[0x2d..0x3d].to_vec();
    assert_eq!(sectors, [0, 0, 0x40, 0, 1, 0, 0x20, 0, 0, 0, 0x80, 0, 126, 0, 0, 1]);
    assert_eq!((&query[0x40..0x45], query[0x46]), (&[0x50, 0x52, 0x49, 0x31, 0x30][..], 2));
    flash.reset();
    assert_eq!(flash.load(4), 0x1234);
}

#[test]
fn a_query_from_among_identifiers_goes_back_to_them() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({}));
    flash.autoselect();
    assert_eq!(flash.answer(0), 1);
    flash.command(0x55, 0x98);
    assert_eq!(flash.answer(0x10), u64::from(b'Q'));
    flash.reset();
    assert_eq!(flash.answer(0), 1);
    flash.reset();
    assert_eq!(flash.answer(0), 0xffff);
}

#[test]
fn only_the_low_eleven_bits_of_a_commands_address_count() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({ "unlock-addr0": 0x5555, "unlock-addr1": 0x2aaa }));
    flash.command(0x5555, 0xaa);
    flash.command(0x2aaa, 0x55);
    flash.command(0xd55, 0x90);
    assert_eq!(flash.answer(0), 1);
    flash.reset();
    for (first, second, third) in [(0x554, 0x2aa, 0x555), (0x555, 0x2ab, 0x555), (0x555, 0x2aa, 0x455)] {
        flash.command(first, 0xaa);
        flash.command(second, 0x55);
        flash.command(third, 0x90);
        assert_eq!(flash.answer(0), 0xffff, "{first:#x} {second:#x} {third:#x}");
        flash.reset();
    }
}

#[test]
fn programs_clear_bits_and_take_one_unlock_each_or_none_in_bypass() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({}));
    flash.program(0, 0x5555);
    flash.program(0, 0xa5a5);
    assert_eq!(flash.load(0), 0x0505);
    flash.command(0x555, 0xa0);
    flash.store(2, 0);
    assert_eq!(flash.load(2), 0xffff, "no unlock");
    flash.unlock();
    flash.command(0x555, 0x20);
    for (offset, value) in [(2, 0x0023), (4, 0x00f0), (6, 0x0067)] {
        flash.command(0x123, 0xa0);
        flash.store(offset, value);
    }
    assert_eq!([2, 4, 6].map(|offset| flash.load(offset)), [0x23, 0xf0, 0x67], "0xf0 was data");
    flash.command(0, 0x90);
    flash.command(0, 0x00);
    flash.command(0x555, 0xa0);
    flash.store(8, 0);
    assert_eq!(flash.load(8), 0xffff, "the bypass is over");
}

#[test]
fn a_sector_erase_waits_for_more_sectors_then_takes_time_and_tells() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({}));
    for sector in 0..6 {
        flash.program(sector * SECTOR, 0);
    }
    flash.erase(0);
    flash.step(WINDOW - 1);
    flash.store(2 * SECTOR + 10, 0x30);
    flash.step(WINDOW - 1);
    flash.store(5 * SECTOR, 0x30);
    assert_eq!(flash.load(0) & (DQ3 | DQ7), 0);
    flash.step(WINDOW);
    flash.store(SECTOR, 0x30);
    for offset in [0, SECTOR] {
        let (toggling, status) = flash.toggling(offset);
        assert_eq!((toggling, status & (DQ7 | DQ3)), (DQ6 | DQ2, DQ3), "all of the chip is busy");
    }
    flash.reset();
    flash.step(3 * SECTOR_TIME - 1);
    assert_eq!(flash.toggling(0).0, DQ6 | DQ2, "no reset once it erases");
    flash.step(1);
    let sectors = [0, 1, 2, 3, 4, 5].map(|sector| flash.load(sector * SECTOR));
    assert_eq!(sectors, [0xffff, 0, 0xffff, 0, 0, 0xffff], "the second came too late");
    assert_eq!(flash.toggling(0).0, 0);
}

#[test]
fn another_command_in_the_window_is_a_change_of_mind() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({}));
    flash.program(0, 0x77);
    flash.erase(0);
    flash.reset();
    assert_eq!(flash.load(0), 0x77);
    assert_eq!(board.host.clock.next_deadline(), None);
}

#[test]
fn a_chip_erase_erases_all_sectors_and_cannot_be_suspended() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({ "num-blocks": 4, "sector-length": SECTOR }));
    for sector in 0..4 {
        flash.program(sector * SECTOR + 2, 0);
    }
    flash.begin_erase();
    flash.command(0x555, 0x10);
    flash.command(0, 0xb0);
    let (toggling, status) = flash.toggling(3 * SECTOR);
    assert_eq!((toggling & DQ6, status & DQ7), (DQ6, 0));
    flash.step_next();
    assert_eq!(board.host.clock.now(), 4 * SECTOR_TIME);
    assert!((0..4).all(|sector| flash.load(sector * SECTOR + 2) == 0xffff));
}

#[test]
fn a_suspended_erase_lets_other_sectors_be_read_and_programmed() {
    let board = Board::new();
    for after_window in [false, true] {
        let flash = Flash::new(&board, json!({}));
        flash.program(0, 0x1234);
        flash.erase(0);
        if after_window {
            flash.step_next();
            flash.step(SECTOR_TIME / 2);
        }
        flash.command(0, 0xb0);
        let (toggling, status) = flash.toggling(0);
        assert_eq!((toggling, status & DQ7), (DQ2, DQ7));
        flash.program(SECTOR, 0x5678);
        flash.program(0, 0);
        assert_eq!((flash.load(SECTOR), flash.toggling(SECTOR).0), (0x5678, 0));
        flash.autoselect();
        assert_eq!(flash.answer(0), 1);
        flash.reset();
        flash.step(100 * SECTOR_TIME);
        assert_eq!(flash.toggling(0).0, DQ2, "time does not count");
        flash.command(0, 0x30);
        let (toggling, status) = flash.toggling(SECTOR);
        assert_eq!((toggling, status & DQ3), (DQ6 | DQ2, DQ3));
        let left = if after_window { SECTOR_TIME / 2 } else { SECTOR_TIME };
        flash.step(left - 1);
        assert_ne!(flash.toggling(0).0, 0);
        flash.step(1);
        assert_eq!((flash.load(0), flash.load(SECTOR)), (0xffff, 0x5678));
    }
}

#[test]
fn sectors_of_several_lengths_are_erased_each_by_its_own() {
    let board = Board::new();
    let lengths = [(127, 0x1_0000), (1, 0x8000), (2, 0x2000), (1, 0x4000)];
    let mut properties = json!({});
    for (index, (count, length)) in lengths.into_iter().enumerate() {
        properties[format!("num-blocks{index}")] = count.into();
        properties[format!("sector-length{index}")] = length.into();
    }
    let flash = Flash::new(&board, properties);
    let starts: Vec<u64> = [0x7e_0000, 0x7f_0000, 0x7f_8000, 0x7f_a000, 0x7f_c000, 0x80_0000].to_vec();
    for bounds in starts.windows(2) {
        let (first, last) = (bounds[0], bounds[1] - 2);
        for offset in [first - 2, first, last, (last + 2) & 0x7f_ffff] {
            flash.program(offset, 0);
        }
        flash.erase(first + 0x100);
        flash.step_next();
        flash.step_next();
        let words = [first - 2, first, last, (last + 2) & 0x7f_ffff].map(|offset| flash.load(offset));
        assert_eq!(words, [0, 0xffff, 0xffff, 0], "{first:#x}");
    }
}

#[test]
fn banks_of_all_widths_work_with_one_chip_or_several() {
    for (width, chip) in [(1, 1), (2, 2), (4, 4), (2, 1), (4, 2), (4, 1)] {
        for big in [false, true] {
            let board = Board::new();
            let properties = json!({
                "width": width, "device-width": chip, "big-endian": big, "num-blocks": 8,
                "sector-length": 0x1000, "id1": 0x7e,
            });
            let flash = Flash::new(&board, properties);
            // a bus of little-endian order sees the words of big-endian chips turned round
            let seen = |value: u64| if big { flash.width.swap_bytes(value) } else { value };
            let store = |word: u64, value: u64| flash.store(word * width, seen(value));
            let load = |word: u64| seen(flash.load(word * width));
            let unlock = || {
                store(0x555, 0xaa * flash.each);
                store(0x2aa, 0x55 * flash.each);
            };
            unlock();
            store(0x555, 0x90 * flash.each);
            assert_eq!(load(1), 0x7e * flash.each, "{width} {chip} {big}");
            store(0, 0xf0 * flash.each);
            store(0x55, 0x98 * flash.each);
            let size = 15 - (width / chip).trailing_zeros();
            assert_eq!(load(0x27), u64::from(size) * flash.each);
            store(0, 0xf0 * flash.each);
            unlock();
            store(0x555, 0xa0 * flash.each);
            let value = 0x4433_2211 & flash.width.mask();
            store(3, value);
            assert_eq!(load(3), value);
            unlock();
            store(0x555, 0x80 * flash.each);
            unlock();
            store(0, 0x30 * flash.each);
            flash.step_next();
            assert_eq!(load(0) & (DQ3 * flash.each), DQ3 * flash.each);
            flash.step_next();
            assert_eq!(load(3), flash.width.mask());
        }
    }
}

#[test]
fn chips_beside_each_other_may_be_told_different_things() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({ "width": 2, "device-width": 1 }));
    flash.store(2 * 0x555, 0x00aa);
    flash.store(2 * 0x2aa, 0x0055);
    flash.store(2 * 0x555, 0x0090);
    assert_eq!(flash.load(0), 0xff01, "the other one still shows its cells");
    flash.store(0, 0x00f0);
    assert_eq!(flash.load(0), 0xffff);
}

#[test]
fn the_flash_shows_as_often_as_it_is_mapped_and_is_read_directly_when_it_rests() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({ "num-blocks": 1, "sector-length": SECTOR, "mappings": 4 }));
    flash.program(3 * SECTOR + 6, 0x1234);
    assert_eq!([0, 1, 2, 3].map(|copy| flash.load(copy * SECTOR + 6)), [0x1234; 4]);
    let direct = || board.space.page(flash.bench.at("flash", 0), false).is_some();
    assert!(direct());
    flash.autoselect();
    assert!(!direct());
    flash.reset();
    assert!(direct());
    flash.erase(0);
    assert!(!direct());
    flash.step_next();
    flash.step_next();
    assert!(direct());
}

#[test]
fn what_is_programmed_is_in_the_file_unless_it_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    let path = folder.path().join("flash.bin");
    fs::write(&path, vec![0xff; 0x1_0000]).unwrap();
    let properties = |read_only| json!({ "num-blocks": 1, "sector-length": SECTOR, "file": "flash.bin", "read-only": read_only });
    Flash::new(&board, properties(false)).program(2, 0x1234);
    assert_eq!(fs::read(&path).unwrap()[..4], [0xff, 0xff, 0x34, 0x12]);
    let flash = Flash::new(&board, properties(true));
    flash.program(0, 0);
    flash.erase(0);
    flash.step_next();
    flash.step_next();
    assert_eq!((flash.load(0), flash.load(2)), (0xffff, 0x1234));
}

#[test]
fn an_erase_that_was_saved_goes_on_for_the_time_that_was_left() {
    let first = Board::new();
    let flash = Flash::new(&first, json!({ "num-blocks": 4, "sector-length": 0x1000 }));
    flash.program(0x1000, 0);
    flash.program(0x2000, 0x1234);
    flash.erase(0x1000);
    flash.step(WINDOW + SECTOR_TIME / 4);
    flash.load(0);
    let saved = flash.bench.save();
    let second = Board::new();
    let copy = Flash::new(&second, saved.clone());
    assert_eq!(copy.bench.save(), saved);
    assert_eq!(copy.toggling(0).0, DQ6 | DQ2);
    copy.step(SECTOR_TIME / 4 * 3 - 1);
    assert_ne!(copy.toggling(0).0, 0);
    copy.step(1);
    assert_eq!((copy.load(0x1000), copy.load(0x2000)), (0xffff, 0x1234));
    flash.bench.device.reset(ResetType::Warm);
    assert_eq!((flash.load(0x1000), first.host.clock.next_deadline()), (0, None), "a reset ends it");
}

#[test]
fn geometries_that_no_chip_has_are_refused() {
    let board = Board::new();
    let cases = [
        (json!({ "width": 3 }), "width"),
        (json!({ "width": 8 }), "width"),
        (json!({ "width": 2, "device-width": 4 }), "device-width"),
        (json!({ "num-blocks": 3, "sector-length": SECTOR }), "num-blocks"),
        (json!({ "num-blocks": 0, "sector-length": SECTOR }), "num-blocks"),
        (json!({ "num-blocks0": 0x2_0000, "sector-length0": 0x100 }), "num-blocks"),
        (json!({ "num-blocks": u64::MAX, "sector-length": SECTOR }), "num-blocks"),
        (json!({ "num-blocks": 2, "sector-length": 0x3000 }), "sector-length"),
        (json!({ "num-blocks": 2, "sector-length": 0x80 }), "sector-length"),
        (json!({ "mappings": 0 }), "mappings"),
    ];
    for (properties, wrong) in cases {
        match board.try_plug::<CfiPflash02>(properties.clone(), 0) {
            Err(DeviceError::Property { property, .. }) => assert_eq!(property, wrong, "{properties}"),
            Err(other) => panic!("{properties}: {other}"),
            Ok(_) => panic!("{properties} was taken"),
        }
    }
}

#[test]
fn what_is_programmed_and_erased_is_marked_in_the_dirty_log() {
    let board = Board::new();
    let flash = Flash::new(&board, json!({}));
    let block = flash.bench.device.wiring.get().unwrap().memory.clone();
    block.dirty().start(DirtyClients::MIGRATION);
    let marked = |offset: u64| {
        let taken = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, u64::MAX);
        taken.is_dirty(offset, 2)
    };
    flash.autoselect();
    flash.reset();
    assert!(!marked(0), "a command is no write to the array");
    flash.program(SECTOR, 0x1234);
    assert!(marked(SECTOR));
    flash.erase(SECTOR);
    flash.step(WINDOW + SECTOR_TIME);
    assert_eq!(flash.load(SECTOR), 0xffff);
    assert!(marked(SECTOR));
}
