use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

const PLACES: [&str; 7] =
    ["ioport", "ioport-byte", "ioport-word", "ioport-long", "byte-be", "word-be", "long-be"];

fn testdev(board: &Board) -> Bench<'_, PcTestdev> {
    board.plug(json!({}), 0x1000_0000)
}

fn load(bench: &Bench<'_, PcTestdev>, region: &str, offset: u64, width: Width) -> u64 {
    bench.board.load(bench.at(region, offset), width).unwrap()
}

fn store(bench: &Bench<'_, PcTestdev>, region: &str, offset: u64, width: Width, value: u64) {
    bench.board.store(bench.at(region, offset), width, value).unwrap();
}

#[test]
fn wide_accesses_are_split_and_narrow_ones_combined_the_same_by_bytes_and_as_a_whole() {
    let board = Board::new();
    let bench = testdev(&board);
    for (one, other) in [("ioport", "ioport-byte"), ("ioport-byte", "ioport")] {
        store(&bench, one, 0, Width::W4, 0x8765_4321);
        assert_eq!(load(&bench, other, 0, Width::W4), 0x8765_4321);
        store(&bench, one, 2, Width::W2, 0x8866);
        assert_eq!(load(&bench, other, 0, Width::W4), 0x8866_4321);
        store(&bench, one, 0, Width::W2, 0x4422);
        assert_eq!([0, 2].map(|at| load(&bench, other, at, Width::W2)), [0x4422, 0x8866]);
        store(&bench, one, 3, Width::W1, 0x87);
        store(&bench, one, 1, Width::W1, 0x11);
        assert_eq!([0, 1, 2, 3].map(|at| load(&bench, other, at, Width::W1)), [0x22, 0x11, 0x66, 0x87]);
        assert_eq!(load(&bench, other, 0, Width::W4), 0x8766_1122);
    }
}

#[test]
fn each_region_gives_its_own_word_back_whole_in_its_own_order() {
    let board = Board::new();
    let bench = testdev(&board);
    for place in PLACES {
        store(&bench, place, 0, Width::W4, 0x1122_3344);
        assert_eq!(load(&bench, place, 0, Width::W4), 0x1122_3344, "{place}");
        let inside = u64::from(0x1122_3344_u32.swap_bytes());
        let little = load(&bench, "ioport", 0, Width::W4);
        // bytes are split in the order of their addresses, whatever the order of a register is
        let expected = match place {
            "word-be" => 0x3344_1122_u64.swap_bytes() >> 32,
            "long-be" => inside,
            _ => 0x1122_3344,
        };
        assert_eq!(little, expected, "{place}");
    }
}

#[test]
fn narrow_reads_of_wider_registers_take_their_bytes() {
    let board = Board::new();
    let bench = testdev(&board);
    store(&bench, "ioport", 0, Width::W4, 0x8765_4321);
    for place in ["ioport-word", "ioport-long"] {
        let bytes = [0, 1, 2, 3].map(|at| load(&bench, place, at, Width::W1));
        assert_eq!(bytes, [0x21, 0x43, 0x65, 0x87], "{place}");
    }
    assert_eq!(load(&bench, "ioport-long", 2, Width::W2), 0x8765);
    assert_eq!(load(&bench, "long-be", 0, Width::W1), 0x87, "the highest byte comes first");
}

#[test]
fn ports_set_lines_one_by_one() {
    let board = Board::new();
    let bench = testdev(&board);
    let levels = |bench: &Bench<'_, PcTestdev>| -> Vec<usize> {
        (0..24).filter(|line| bench.output("irq", *line).level()).collect()
    };
    store(&bench, "irq", 5, Width::W1, 1);
    store(&bench, "irq", 23, Width::W1, 0x80);
    assert_eq!(levels(&bench), [5, 23]);
    store(&bench, "irq", 5, Width::W1, 0);
    assert_eq!(levels(&bench), [23]);
    assert_eq!(load(&bench, "irq", 23, Width::W1), 0);
    assert_eq!(board.store(bench.at("irq", 4), Width::W2, 1), Err(BusFault::DECODE));
    bench.device.reset(ResetType::Warm);
    assert!(levels(&bench).is_empty());
}

#[test]
fn iomem_keeps_bytes_halves_and_words_and_flushing_changes_nothing() {
    let board = Board::new();
    let bench = testdev(&board);
    store(&bench, "iomem", 0xfffc, Width::W4, 0x0403_0201);
    store(&bench, "iomem", 0x10, Width::W8, 0x1122_3344_5566_7788);
    store(&bench, "iomem", 0x12, Width::W1, 0xaa);
    assert_eq!(load(&bench, "iomem", 0x10, Width::W8), 0x1122_3344_55aa_7788);
    assert_eq!(load(&bench, "iomem", 0xfffe, Width::W2), 0x0403);
    store(&bench, "flush", 0, Width::W4, 0x8000_0000);
    assert_eq!(board.store(bench.at("flush", 0), Width::W2, 1), Err(BusFault::DECODE));
    let saved = bench.save();
    assert_eq!(saved["state"]["iomem"].as_array().unwrap().len(), 3);
    let second = Board::new();
    let copy: Bench<'_, PcTestdev> = second.plug(saved.clone(), 0x1000_0000);
    assert_eq!((load(&copy, "iomem", 0xfffc, Width::W4), copy.save()), (0x0403_0201, saved));
}

#[test]
fn lines_that_were_saved_high_are_high_again() {
    let board = Board::new();
    let bench: Bench<'_, PcTestdev> = board.plug(json!({ "state": { "lines": 8 } }), 0x1000_0000);
    assert!(bench.output("irq", 3).level() && !bench.output("irq", 2).level());
}
