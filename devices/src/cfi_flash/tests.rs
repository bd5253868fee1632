use super::*;
use crate::testing::{Bench, Board};
use memory_core::DirtyClients;
use serde_json::{Value, json};
use std::fs;

const SECTOR: u64 = 0x1000;
const SIZE: u64 = 0x8000;

/// Status of a chip that is ready, with what went wrong.
const READY: u64 = 0x80;
const PROGRAM_ERROR: u64 = 0x90;
const ERASE_ERROR: u64 = 0xa0;
const SEQUENCE_ERROR: u64 = 0xb0;
const LOCKED: u64 = 0x02;

/// A flash on a bus whose accesses have the bank's width.
struct Flash<'a> {
    bench: Bench<'a, CfiFlash>,
    width: Width,
    chip: Width,
}

impl<'a> Flash<'a> {
    fn with(board: &'a Board, properties: Value) -> Self {
        let bench = board.plug::<CfiFlash>(properties, 0x2000_0000);
        let geometry = bench.device.wiring.get().unwrap().geometry;
        Self { bench, width: geometry.bank_width(), chip: geometry.chip_width() }
    }

    fn of(board: &'a Board, bank: u64, device: u64) -> Self {
        let properties =
            json!({ "size": SIZE, "sector-size": SECTOR, "bank-width": bank, "device-width": device });
        Self::with(board, properties)
    }

    fn new(board: &'a Board) -> Self {
        Self::of(board, 4, 2)
    }

    fn at(&self, offset: u64) -> u64 {
        self.bench.at("flash", offset)
    }

    fn load(&self, offset: u64) -> u64 {
        self.bench.board.load(self.at(offset), self.width).unwrap()
    }

    fn store(&self, offset: u64, value: u64) {
        self.bench.board.store(self.at(offset), self.width, value).unwrap();
    }

    /// `value` in the low bits of every chip's lanes.
    fn all(&self, value: u64) -> u64 {
        let chips = self.width.bytes() / self.chip.bytes();
        (0..chips).fold(0, |all, chip| all | value << (chip * u64::from(self.chip.bits())))
    }

    fn command(&self, offset: u64, code: u64) {
        self.store(offset, self.all(code));
    }

    /// What all chips answer at their address `word`, which must be the same.
    fn answer(&self, word: u64) -> u64 {
        let value = self.load(word * self.width.bytes());
        let answer = value & self.chip.mask();
        assert_eq!(value, self.all(answer), "chips differ");
        answer
    }

    /// The status, and no other mode after it.
    fn status(&self) -> u64 {
        self.command(0, 0x70);
        self.answer(0)
    }

    fn clear_status(&self) {
        self.command(0, 0x50);
        assert_eq!(self.status(), READY);
    }

    fn read_array(&self, offset: u64) -> u64 {
        self.command(0, 0xff);
        self.load(offset)
    }

    fn program(&self, offset: u64, value: u64) {
        self.command(offset, 0x40);
        self.store(offset, value);
    }

    fn erase(&self, offset: u64) {
        self.command(offset, 0x20);
        self.command(offset, 0xd0);
    }
}

#[test]
fn the_query_tells_each_chips_geometry_whatever_lies_side_by_side() {
    for (bank, device, chips, interface) in
        [(4, 2, 2, 1), (2, 2, 1, 1), (1, 1, 1, 0), (4, 4, 1, 3), (8, 1, 8, 0)]
    {
        let board = Board::new();
        let flash = Flash::of(&board, bank, device);
        flash.command(0x55 * bank, 0x98);
        let bytes: Vec<_> = (0x10..0x40).map(|word| flash.answer(word)).collect();
        let byte = |word: usize| bytes[word - 0x10];
        let pair = |word: usize| byte(word) | byte(word + 1) << 8;
        assert_eq!([byte(0x10), byte(0x11), byte(0x12)], [0x51, 0x52, 0x59]);
        assert_eq!((pair(0x13), pair(0x15)), (1, 0x31), "Intel's command set and its table");
        assert_eq!((pair(0x17), pair(0x19)), (0, 0), "no second command set");
        assert_eq!(1 << byte(0x27), SIZE / chips);
        assert_eq!((pair(0x28), 1 << pair(0x2a)), (interface, 256));
        assert_eq!((byte(0x2c), pair(0x2d) + 1), (1, SIZE / SECTOR));
        assert_eq!(pair(0x2f) * 256, SECTOR / chips);
        assert_eq!([byte(0x31), byte(0x32), byte(0x33)], [0x50, 0x52, 0x49]);
        assert_eq!([byte(0x34), byte(0x35)], [0x31, 0x30]);
        assert_eq!((pair(0x36), pair(0x3b)), (0x20, 3));
        assert_eq!(flash.answer(0x7f), 0, "nothing follows");
    }
}

#[test]
fn identifiers_are_at_the_start_of_each_block() {
    for (bank, device) in [(4, 2), (2, 2), (1, 1)] {
        let board = Board::new();
        let flash = Flash::of(&board, bank, device);
        flash.command(0, 0x90);
        for block in [0, 3] {
            let words = SECTOR / bank * block;
            let answers = [0, 1, 2, 3].map(|word| flash.answer(words + word));
            assert_eq!(answers, [0x89, 0x18, 0, 0]);
        }
        flash.command(0, 0xff);
        assert_eq!(flash.load(0), flash.width.mask());
    }
}

#[test]
fn programming_clears_bits_and_never_sets_them() {
    for code in [0x40, 0x10] {
        let board = Board::new();
        let flash = Flash::new(&board);
        flash.command(8, code);
        flash.store(8, 0x1234_ff0f);
        assert_eq!((flash.load(8), flash.status()), (flash.all(READY), READY));
        assert_eq!(flash.read_array(8), 0x1234_ff0f);
        flash.program(8, 0xff34_00ff);
        assert_eq!(flash.status(), READY, "a bit that cannot be set is no error");
        assert_eq!(
            (flash.read_array(8), flash.load(4), flash.load(12)),
            (0x1234_000f, 0xffff_ffff, 0xffff_ffff)
        );
    }
}

#[test]
fn erasing_sets_all_bits_of_its_block_and_of_no_other() {
    for (bank, device) in [(4, 2), (1, 1)] {
        let board = Board::new();
        let flash = Flash::of(&board, bank, device);
        for offset in [SECTOR - bank, SECTOR, 2 * SECTOR - bank, 2 * SECTOR] {
            flash.program(offset, 0);
        }
        flash.erase(SECTOR + 8 * bank);
        assert_eq!(flash.status(), READY);
        let ones = flash.width.mask();
        let words = [SECTOR - bank, SECTOR, 2 * SECTOR - bank, 2 * SECTOR];
        assert_eq!(words.map(|offset| flash.read_array(offset)), [0, ones, ones, 0]);
    }
}

#[test]
fn an_erase_that_is_not_confirmed_is_a_wrong_sequence() {
    let board = Board::new();
    let flash = Flash::new(&board);
    flash.program(0, 0);
    flash.command(0, 0x20);
    flash.command(0, 0xff);
    assert_eq!(
        flash.answer(0),
        SEQUENCE_ERROR,
        "the command that came instead was taken for the confirmation"
    );
    flash.clear_status();
    assert_eq!(flash.read_array(0), 0);
}

#[test]
fn a_buffer_is_programmed_when_it_is_full_and_confirmed() {
    for (bank, device) in [(4, 2), (2, 2), (1, 1)] {
        let board = Board::new();
        let flash = Flash::of(&board, bank, device);
        let (start, words) = (SECTOR + 16 * bank, 256 / device);
        flash.command(SECTOR, 0xe8);
        assert_eq!(flash.answer(0), READY);
        flash.command(SECTOR, words - 1);
        for word in 0..words {
            flash.store(start + word * bank, (word * 0x0001_0003) & flash.width.mask());
        }
        flash.command(SECTOR, 0xd0);
        assert_eq!(flash.status(), READY);
        flash.command(0, 0xff);
        for word in 0..words {
            assert_eq!(flash.load(start + word * bank), (word * 0x0001_0003) & flash.width.mask());
        }
        assert_eq!(flash.load(start + words * bank), flash.width.mask());
        assert_eq!(flash.load(start - bank), flash.width.mask());
    }
}

/// Programs a buffer with everything given, and returns the status and what the flash then has at `SECTOR`.
fn buffered(count: u64, data: &[(u64, u64)], confirm: (u64, u64)) -> (u64, u64) {
    let board = Board::new();
    let flash = Flash::new(&board);
    flash.command(SECTOR, 0xe8);
    flash.command(SECTOR, count);
    for (offset, value) in data {
        flash.store(*offset, *value);
    }
    flash.command(confirm.0, confirm.1);
    let status = flash.status();
    flash.clear_status();
    (status, flash.read_array(SECTOR))
}

#[test]
fn a_buffer_with_a_wrong_count_address_or_confirmation_programs_nothing() {
    let ones = 0xffff_ffff;
    let (good, value) = ((SECTOR, 0xd0), 0x1111_2222);
    let two = [(SECTOR, value), (SECTOR + 4, 0)];
    assert_eq!(buffered(1, &two, good), (READY, value));
    assert_eq!(buffered(1, &two, (2 * SECTOR - 4, 0xd0)), (READY, value), "anywhere in the block");
    assert_eq!(buffered(1, &two, (0, 0xd0)), (SEQUENCE_ERROR, ones), "another block");
    assert_eq!(buffered(1, &two, (SECTOR, 0xff)), (SEQUENCE_ERROR, ones), "no confirmation");
    assert_eq!(buffered(128, &[], good), (SEQUENCE_ERROR, ones), "more than the buffer has");
    assert_eq!(buffered(0xffff, &[], good), (SEQUENCE_ERROR, ones));
    let backwards = [(SECTOR + 4, 0), (SECTOR, value)];
    assert_eq!(buffered(1, &backwards, good), (SEQUENCE_ERROR, ones), "below the first word");
    let beyond = [(SECTOR, value), (SECTOR + 8, 0)];
    assert_eq!(buffered(1, &beyond, good), (SEQUENCE_ERROR, ones), "beyond the count");
    assert_eq!(buffered(0, &[(0, value)], good), (SEQUENCE_ERROR, ones), "data in another block");
    let edge = [(2 * SECTOR - 4, value)];
    assert_eq!(buffered(1, &edge, good), (SEQUENCE_ERROR, ones), "a buffer that leaves the block");
    assert_eq!(buffered(0, &edge, good), (READY, ones));
}

#[test]
fn locked_blocks_refuse_programs_and_erases_until_they_are_unlocked() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let lock = |code| {
        flash.command(SECTOR, 0x60);
        flash.command(SECTOR, code);
    };
    let lock_status = || {
        flash.command(0, 0x90);
        [0, SECTOR, 2 * SECTOR].map(|block| flash.answer(block / 4 + 2))
    };
    lock(0x01);
    assert_eq!((flash.status(), lock_status()), (READY, [0, 1, 0]));
    flash.program(SECTOR, 0);
    assert_eq!(flash.status(), PROGRAM_ERROR | LOCKED);
    flash.clear_status();
    flash.erase(SECTOR);
    assert_eq!(flash.status(), ERASE_ERROR | LOCKED);
    flash.clear_status();
    flash.command(SECTOR, 0xe8);
    flash.command(SECTOR, 0);
    flash.store(SECTOR, 0);
    flash.command(SECTOR, 0xd0);
    assert_eq!(flash.status(), PROGRAM_ERROR | LOCKED);
    flash.clear_status();
    assert_eq!(flash.read_array(SECTOR), 0xffff_ffff);
    flash.program(0, 0);
    assert_eq!((flash.status(), flash.read_array(0)), (READY, 0), "the block before is free");
    lock(0xd0);
    assert_eq!(lock_status(), [0; 3]);
    flash.program(SECTOR, 5);
    assert_eq!((flash.status(), flash.read_array(SECTOR)), (READY, 5));
    lock(0x2f);
    lock(0xd0);
    assert_eq!((flash.status(), lock_status()), (READY, [0, 3, 0]), "locked down is locked until reset");
    lock(0x03);
    assert_eq!(flash.status(), READY);
    lock(0x77);
    assert_eq!(flash.status(), SEQUENCE_ERROR);
    flash.bench.device.reset(ResetType::Warm);
    assert_eq!((flash.load(SECTOR), lock_status()), (5, [0; 3]));
}

#[test]
fn there_are_no_protection_registers() {
    let board = Board::new();
    let flash = Flash::new(&board);
    flash.command(0, 0xc0);
    flash.command(0, 0xff);
    assert_eq!(flash.status(), PROGRAM_ERROR | LOCKED, "the second cycle was data");
}

#[test]
fn suspend_resume_and_unknown_commands_change_no_cell_and_no_sequence() {
    let board = Board::new();
    let flash = Flash::new(&board);
    flash.command(0, 0xb0);
    assert_eq!(flash.answer(0), READY);
    flash.command(0, 0xd0);
    for code in [0x00, 0xf0, 0xaa, 0x55] {
        flash.command(0, code);
        assert_eq!(flash.answer(0), READY, "{code:#x} is ignored");
    }
    assert_eq!(flash.read_array(0), 0xffff_ffff);
}

#[test]
fn a_switch_of_modes_is_seen_by_other_readers_and_opens_direct_reads_again() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let base = flash.at(0);
    assert!(board.space.page(base, false).is_some() && board.space.page(base, true).is_none());
    let mut other = board.space.handle(|| ());
    let mut seen = || other.load(base, Width::W4, TxAttrs::default()).unwrap();
    assert_eq!(seen(), 0xffff_ffff);
    flash.command(0, 0x70);
    assert_eq!(seen(), 0x0080_0080);
    assert!(board.space.page(base, false).is_none());
    flash.program(0, 0x1234_5678);
    assert_eq!(seen(), 0x0080_0080);
    flash.command(0, 0xff);
    assert_eq!(seen(), 0x1234_5678);
    assert!(board.space.page(base, false).is_some());
}

#[test]
fn threads_that_switch_modes_at_once_leave_the_mode_that_came_last() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let base = flash.at(0);
    std::thread::scope(|scope| {
        for code in [0x0070_0070, 0x00ff_00ff] {
            let board = &board;
            scope.spawn(move || {
                for _ in 0..500 {
                    board.store(base, Width::W4, code).unwrap();
                    board.load(base, Width::W4).unwrap();
                }
            });
        }
    });
    let array = flash.bench.device.lock().reads_array();
    assert_eq!(board.space.page(base, false).is_some(), array);
    assert_eq!(flash.load(0), if array { 0xffff_ffff } else { 0x0080_0080 });
}

#[test]
fn narrow_commands_are_for_all_chips_and_narrow_data_for_its_lanes() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let store = |offset: u64, width, value| board.store(flash.at(offset), width, value).unwrap();
    let load = |offset: u64, width| board.load(flash.at(offset), width).unwrap();
    // asked through the upper chip's lanes, both give their status
    store(2, Width::W2, 0x70);
    assert_eq!(flash.load(0), 0x0080_0080);
    assert_eq!([0, 1, 2, 3].map(|lane| load(lane, Width::W1)), [0x80, 0, 0x80, 0]);
    assert_eq!(load(0, Width::W8), 0x0080_0080_0080_0080);
    store(1, Width::W1, 0xff);
    assert_eq!(flash.load(0), 0xffff_ffff);
    // a byte is programmed, and the other lanes of both chips keep what they have
    store(8, Width::W2, 0x40);
    store(9, Width::W1, 0x12);
    store(8, Width::W2, 0xff);
    assert_eq!(flash.load(8), 0xffff_12ff);
    // a wide store is as many cycles as the bank is wide
    flash.command(16, 0x40);
    store(16, Width::W8, 0x00ff_00ff_aaaa_5555);
    assert_eq!((flash.load(16), flash.load(20)), (0xaaaa_5555, 0xffff_ffff));
}

/// U-Boot takes the bank for one chip of 16 bits, and uses only the lower lanes for commands.
#[test]
fn software_that_drives_half_the_lanes_erases_and_programs_the_whole_bank() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let store = |offset: u64, value| board.store(flash.at(offset), Width::W2, value).unwrap();
    let load = |offset: u64| board.load(flash.at(offset), Width::W2).unwrap();
    store(0, 0xe8);
    store(0, 3);
    for (offset, word) in [(0, 0x1111), (2, 0x2222), (4, 0x3333), (6, 0x4444)] {
        store(offset, word);
    }
    store(0, 0xd0);
    assert_eq!(load(0) & 0xff, 0x80);
    store(0, 0xff);
    assert_eq!([flash.load(0), flash.load(4)], [0x2222_1111, 0x4444_3333]);
    store(0, 0x20);
    store(0, 0xd0);
    store(0, 0xff);
    assert_eq!([flash.load(0), flash.load(4)], [0xffff_ffff; 2]);
}

#[test]
fn any_access_of_any_value_leaves_a_flash_that_still_resets() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let codes =
        [0x00, 0x01, 0x10, 0x20, 0x2f, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xb0, 0xc0, 0xd0, 0xe8, 0xff];
    let mut seed = 1_u64;
    for _ in 0..50_000 {
        // a linear congruential generator (Knuth's MMIX)
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = seed >> 16;
        let width = Width::ALL[usize::try_from(bits & 3).unwrap()];
        let offset = (bits >> 2) % SIZE;
        let code = codes[usize::try_from(bits >> 20 & 15).unwrap()];
        let value = if bits >> 24 & 3 == 0 { u64::MAX } else { flash.all(code) * 0x1_0000_0001 };
        let _ = board.store(flash.at(offset), width, value);
        let _ = board.load(flash.at(offset), width);
    }
    flash.bench.device.reset(ResetType::Cold);
    flash.erase(0);
    assert_eq!((flash.status(), flash.read_array(0)), (READY, 0xffff_ffff));
}

#[test]
fn what_is_programmed_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    let path = folder.path().join("flash.bin");
    let mut content = vec![0xff; usize::try_from(SIZE).unwrap()];
    content[..4].copy_from_slice(b"boot");
    fs::write(&path, &content).unwrap();
    let properties = |read_only| json!({ "size": SIZE, "sector-size": SECTOR, "file": "flash.bin", "read-only": read_only });
    {
        let flash = Flash::with(&board, properties(false));
        assert_eq!(flash.load(0), 0x746f_6f62);
        flash.program(SECTOR, 0x0403_0201);
        flash.erase(0);
        assert_eq!(flash.bench.save()["state"]["content"], json!({}), "the file has it");
    }
    let written = fs::read(&path).unwrap();
    assert_eq!((&written[..4], &written[0x1000..0x1004]), (&[0xff; 4][..], &[1, 2, 3, 4][..]));
    let flash = Flash::with(&board, properties(true));
    flash.program(SECTOR, 0);
    assert_eq!(flash.status(), PROGRAM_ERROR | LOCKED);
    flash.clear_status();
    flash.command(0, 0x60);
    flash.command(0, 0xd0);
    flash.erase(SECTOR);
    assert_eq!(flash.status(), ERASE_ERROR | LOCKED);
    flash.command(0, 0x90);
    assert_eq!(flash.answer(2), 3);
    assert_eq!(flash.read_array(SECTOR), 0x0403_0201);
    board.space.write_rom(flash.at(0), b"loaded").unwrap();
    assert_eq!((flash.load(0), &fs::read(&path).unwrap()), (0x6461_6f6c, &written));
}

#[test]
fn files_that_are_missing_or_of_another_size_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    fs::write(folder.path().join("short.bin"), [0; 100]).unwrap();
    let plug = |file: &str| {
        let properties = json!({ "size": SIZE, "sector-size": SECTOR, "file": file });
        board.try_plug::<CfiFlash>(properties, 0).err().unwrap().to_string()
    };
    let short = plug("short.bin");
    assert!(short.contains("short.bin has 100 bytes") && short.contains("the flash has 32768"), "{short}");
    assert!(plug("none.bin").contains("none.bin"), "{}", plug("none.bin"));
}

#[test]
fn geometries_that_no_chip_has_are_refused() {
    let board = Board::new();
    let cases = [
        (json!({ "size": 0 }), "size"),
        (json!({ "size": 0x6_0000 }), "size"),
        (json!({ "size": 0x8000_0000_u64 }), "size"),
        (json!({ "size": 1_u64 << 63 }), "size"),
        (json!({ "size": 0x1_0000 }), "sector-size"),
        (json!({ "size": 0x10_0000, "sector-size": 0 }), "sector-size"),
        (json!({ "size": 0x10_0000, "sector-size": 0x3000 }), "sector-size"),
        (json!({ "size": 0x10_0000, "sector-size": 0x100 }), "sector-size"),
        (json!({ "size": 0x4000_0000, "sector-size": 0x1000 }), "sector-size"),
        (json!({ "size": 0x10_0000, "bank-width": 3 }), "bank-width"),
        (json!({ "size": 0x10_0000, "bank-width": 1 }), "device-width"),
        (json!({ "size": 0x10_0000, "bank-width": 8, "device-width": 8 }), "device-width"),
        (json!({ "size": 0x10_0000, "device-width": 0 }), "device-width"),
    ];
    for (properties, wrong) in cases {
        match board.try_plug::<CfiFlash>(properties.clone(), 0) {
            Err(DeviceError::Property { property, .. }) => assert_eq!(property, wrong, "{properties}"),
            Err(other) => panic!("{properties}: {other}"),
            Ok(_) => panic!("{properties} was taken"),
        }
    }
}

#[test]
fn state_with_the_content_of_a_flash_without_file_goes_on_elsewhere() {
    let first = Board::new();
    let flash = Flash::new(&first);
    flash.program(SECTOR + 4, 0x1234_5678);
    flash.command(2 * SECTOR, 0x60);
    flash.command(2 * SECTOR, 0x01);
    // half-way through a buffer
    flash.command(0, 0xe8);
    flash.command(0, 1);
    flash.store(8, 0x5555_aaaa);
    let saved = flash.bench.save();
    assert_eq!(saved["state"]["content"].as_object().unwrap().len(), 1, "erased pages are left out");
    let second = Board::new();
    let copy = Flash::with(&second, saved.clone());
    assert_eq!((copy.bench.save(), copy.load(0)), (saved.clone(), 0x0080_0080));
    copy.store(12, 0);
    copy.command(0, 0xd0);
    assert_eq!(copy.status(), READY);
    assert_eq!([4 + SECTOR, 8, 12].map(|offset| copy.read_array(offset)), [0x1234_5678, 0x5555_aaaa, 0]);
    copy.erase(2 * SECTOR);
    assert_eq!(copy.status(), ERASE_ERROR | LOCKED);
    assert_eq!(flash.bench.save(), saved, "the first has its own memory");
}

#[test]
fn saved_content_that_does_not_fit_is_refused() {
    let board = Board::new();
    let bad =
        [("0x8000", "00"), ("0x7fff", "0000"), ("zero", "00"), ("0x0", "0"), ("0x0", "0g"), ("-1", "00")];
    for (offset, digits) in bad {
        let properties =
            json!({ "size": SIZE, "sector-size": SECTOR, "state": { "content": { offset: digits } } });
        let error = board.try_plug::<CfiFlash>(properties, 0).err();
        assert!(matches!(error, Some(DeviceError::Property { property: "state", .. })), "{offset} {digits}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flash.bin");
    fs::write(&path, vec![0; usize::try_from(SIZE).unwrap()]).unwrap();
    let both = json!({
        "size": SIZE, "sector-size": SECTOR, "file": path, "state": { "content": { "0x0": "00" } },
    });
    assert!(board.try_plug::<CfiFlash>(both, 0).is_err(), "a file and saved content");
}

#[test]
fn a_buffer_of_a_strange_state_stays_in_its_block() {
    let board = Board::new();
    let words = vec![0_u64; 5000];
    for start in [0, 1020, u64::MAX - 1] {
        let buffer = json!({ "block": 0, "start": start, "words": words, "filled": 4 });
        let state = json!({ "chips": [{ "mode": "status", "next": { "confirm": buffer } }] });
        let flash = Flash::with(&board, json!({ "size": SIZE, "sector-size": SECTOR, "state": state }));
        flash.command(0, 0xd0);
        flash.command(0, 0xff);
        assert_eq!(flash.load(SECTOR), 0xffff_ffff);
        assert_eq!(flash.load(SECTOR - 4), if start < 1024 { 0xffff_0000 } else { 0xffff_ffff });
    }
}

#[test]
fn the_device_tree_says_how_wide_the_bank_is() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let nodes = flash.bench.describe();
    assert_eq!((nodes.len(), nodes[0].name.as_str()), (1, "flash@20000000"));
    let value = |name: &str| &nodes[0].properties.iter().find(|(property, _)| property == name).unwrap().1;
    assert_eq!(value("compatible"), &FdtValue::string("cfi-flash"));
    assert_eq!(value("reg"), &FdtValue::U64(vec![0x2000_0000, SIZE]));
    assert_eq!(value("bank-width"), &FdtValue::u32(4));
}

#[test]
fn what_is_programmed_and_erased_is_marked_in_the_dirty_log() {
    let board = Board::new();
    let flash = Flash::new(&board);
    let block = flash.bench.device.wiring.get().unwrap().memory.clone();
    block.dirty().start(DirtyClients::MIGRATION);
    // a page of any host holds all that is written at once here: where it is, other tests show
    let marked = |offset: u64| {
        let taken = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, SIZE);
        taken.is_dirty(offset, 4)
    };
    flash.status();
    assert!(!marked(0), "a command is no write to the array");
    flash.program(SECTOR, 0x1234_5678);
    assert!(marked(SECTOR));
    flash.command(2 * SECTOR, 0xe8);
    flash.command(2 * SECTOR, 0);
    flash.store(2 * SECTOR, 5);
    flash.command(2 * SECTOR, 0xd0);
    assert!(marked(2 * SECTOR));
    assert_eq!(flash.read_array(2 * SECTOR), 5, "through the buffer");
    flash.erase(SECTOR);
    assert!(marked(SECTOR));
    assert_eq!(flash.read_array(SECTOR), 0xffff_ffff);
    assert!(!marked(SECTOR));
}
