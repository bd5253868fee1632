use super::*;
use crate::testing::{Bench, Board};
use crate::{Device, FdtNode, ResetType};
use memory_core::{BusFault, Width};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Nanoseconds a tick at the board's 10 MHz.
const TICK: u64 = 100;
const MTIME: u64 = 0x7ff8;

fn board(harts: u32) -> Board {
    let mut board = Board::new();
    board.host.harts = harts;
    board
}

fn levels<D: Device>(bench: &Bench<'_, D>, output: &str, harts: usize) -> Vec<bool> {
    (0..harts).map(|hart| bench.output(output, hart).level()).collect()
}

fn value<'a>(node: &'a FdtNode, name: &str) -> &'a FdtValue {
    &node.properties.iter().find(|(property, _)| property == name).unwrap().1
}

fn cpu(hart: u32, number: u32) -> [Cell; 2] {
    [Cell::Phandle(format!("cpu{hart}")), Cell::Number(number)]
}

/// Saves, plugs a second device made of that into `onto`, and checks that it saves the same.
fn moved<'a, D: Device + Serialize + serde::de::DeserializeOwned>(
    bench: &Bench<'_, D>,
    onto: &'a Board,
) -> Bench<'a, D> {
    let saved = bench.save();
    let copy = onto.plug::<D>(saved.clone(), 0x1000_0000);
    assert_eq!(copy.save(), saved);
    copy
}

#[test]
fn msip_is_the_level_of_the_harts_line() {
    let board = board(3);
    let bench = board.plug::<Mswi>(json!({}), 0x200_0000);
    bench.store(4, Width::W4, 0xffff_ffff);
    assert_eq!(levels(&bench, "msip", 3), [false, true, false]);
    assert_eq!([bench.load(0, Width::W4), bench.load(4, Width::W4)], [0, 1]);
    bench.store(0, Width::W4, 1);
    bench.store(4, Width::W4, 0xfffe);
    assert_eq!(levels(&bench, "msip", 3), [true, false, false]);
    for offset in [12, 0x3ffc] {
        bench.store(offset, Width::W4, 1);
        assert_eq!(bench.load(offset, Width::W4), 0, "there is no hart at {offset:#x}");
    }
    for width in [Width::W1, Width::W2, Width::W8] {
        assert_eq!(board.load(bench.at("regs", 0), width), Err(BusFault::DECODE));
    }
    bench.device.reset(ResetType::Warm);
    assert_eq!(levels(&bench, "msip", 3), [false; 3]);
    assert_eq!(bench.load(0, Width::W4), 0);
}

#[test]
fn msip_goes_on_from_saved_state() {
    let first = board(2);
    let bench = first.plug::<Mswi>(json!({}), 0);
    bench.store(4, Width::W4, 1);
    assert_eq!(bench.save()["state"], json!({ "msip": [false, true] }));
    let second = board(2);
    assert_eq!(levels(&moved(&bench, &second), "msip", 2), [false, true]);
    // a file with more harts than the machine
    let odd = second.plug::<Mswi>(json!({ "state": { "msip": [true, true, true] } }), 0x2000_0000);
    assert_eq!(odd.save()["state"], json!({ "msip": [true, true] }));
}

#[test]
fn setssip_is_a_pulse_and_reads_as_0() {
    let board = board(2);
    let bench = board.plug::<Sswi>(json!({}), 0x2f0_0000);
    let seen = [bench.watch("ssip", 0), bench.watch("ssip", 1)];
    bench.store(4, Width::W4, 1);
    bench.store(4, Width::W4, 0xfffe);
    bench.store(4, Width::W4, 3);
    bench.store(8, Width::W4, 1);
    assert_eq!(*seen[0].lock().unwrap(), [] as [bool; 0]);
    assert_eq!(*seen[1].lock().unwrap(), [true, false, true, false]);
    assert_eq!(bench.load(4, Width::W4), 0);
    assert_eq!(board.load(bench.at("regs", 0), Width::W8), Err(BusFault::DECODE));
}

#[test]
fn mtime_counts_the_timebase_and_can_be_written_in_halves() {
    let board = board(1);
    board.host.clock.step(5 * TICK + 99);
    let bench = board.plug::<Mtimer>(json!({}), 0);
    assert_eq!(bench.load(MTIME, Width::W8), 5);
    board.host.clock.step(1);
    assert_eq!(bench.load(MTIME, Width::W8), 6);
    bench.store(MTIME, Width::W8, 0xffff_fffe);
    board.host.clock.step(3 * TICK);
    assert_eq!(bench.load(MTIME, Width::W8), 0x1_0000_0001);
    assert_eq!([bench.load(MTIME, Width::W4), bench.load(MTIME + 4, Width::W4)], [1, 1]);
    bench.store(MTIME + 4, Width::W4, 0x8000_0000);
    assert_eq!(bench.load(MTIME, Width::W8), 0x8000_0000_0000_0001);
    assert_eq!(board.load(bench.at("regs", MTIME), Width::W2), Err(BusFault::DECODE));
    bench.device.reset(ResetType::Cold);
    assert_eq!(bench.load(MTIME, Width::W8), 9, "back to the clock, which the harts' time is, too");
}

#[test]
fn the_line_rises_at_the_very_tick_of_each_harts_mtimecmp() {
    let board = board(3);
    let clock = &board.host.clock;
    let bench = board.plug::<Mtimer>(json!({}), 0);
    assert_eq!(bench.load(0, Width::W8), u64::MAX, "no interrupt until one is asked for");
    bench.store(0, Width::W8, 10);
    bench.store(8, Width::W4, 20);
    bench.store(12, Width::W4, 0);
    assert_eq!(clock.next_deadline(), Some(10 * TICK));
    clock.step(10 * TICK - 1);
    assert_eq!(levels(&bench, "mtip", 3), [false; 3]);
    clock.step(1);
    assert_eq!(levels(&bench, "mtip", 3), [true, false, false]);
    clock.step(10 * TICK);
    assert_eq!(levels(&bench, "mtip", 3), [true, true, false]);
    bench.store(0, Width::W8, 21);
    assert_eq!(levels(&bench, "mtip", 3), [false, true, false], "an mtimecmp in the future lowers the line");
    bench.store(16, Width::W8, 20);
    assert_eq!(levels(&bench, "mtip", 3), [false, true, true], "one in the past raises it at once");
    clock.step(TICK);
    bench.device.reset(ResetType::Warm);
    assert_eq!(levels(&bench, "mtip", 3), [false; 3]);
    assert_eq!((bench.load(0, Width::W8), clock.next_deadline()), (u64::MAX, None));
    bench.store(24, Width::W8, 0);
    assert_eq!(bench.load(24, Width::W8), 0, "there is no fourth hart");
}

#[test]
fn writing_mtime_moves_the_comparators_and_a_wrap_lowers_the_line() {
    let board = board(1);
    let clock = &board.host.clock;
    let bench = board.plug::<Mtimer>(json!({}), 0);
    bench.store(0, Width::W8, u64::MAX - 1);
    bench.store(MTIME, Width::W8, u64::MAX - 3);
    clock.step(2 * TICK - 1);
    assert!(!bench.level("mtip"));
    clock.step(1);
    assert!(bench.level("mtip"));
    clock.step(2 * TICK - 1);
    assert!(bench.level("mtip"));
    clock.step(1);
    assert_eq!((bench.load(MTIME, Width::W8), bench.level("mtip")), (0, false));
    bench.store(MTIME, Width::W8, u64::MAX);
    assert!(bench.level("mtip"));
}

#[test]
fn a_timebase_that_does_not_divide_the_second_is_exact_to_the_nanosecond() {
    let mut board = board(1);
    board.host.timebase = 3_000_001;
    let clock = &board.host.clock;
    let bench = board.plug::<Mtimer>(json!({}), 0);
    for target in [1, 2, 7, 1_000_003, 30_000_011_u64] {
        bench.store(0, Width::W8, target);
        let due = clock.next_deadline().unwrap();
        clock.step(due - clock.now() - 1);
        assert_eq!((bench.load(MTIME, Width::W8), bench.level("mtip")), (target - 1, false));
        clock.step(1);
        assert_eq!((bench.load(MTIME, Width::W8), bench.level("mtip")), (target, true));
    }
}

#[test]
fn extreme_timebases_neither_divide_by_zero_nor_fire_for_ever() {
    for timebase in [0, 1, u64::MAX] {
        let mut board = board(1);
        board.host.timebase = timebase;
        let bench = board.plug::<Mtimer>(json!({}), 0);
        for (mtime, mtimecmp) in [(0, u64::MAX), (u64::MAX, 0), (5, 5), (u64::MAX, 1)] {
            bench.store(MTIME, Width::W8, mtime);
            bench.store(0, Width::W8, mtimecmp);
            board.host.clock.step(3_000_000_001);
            let expected = bench.load(MTIME, Width::W8) >= mtimecmp;
            assert_eq!(bench.level("mtip"), expected, "{timebase} {mtime} {mtimecmp}");
        }
    }
}

#[test]
fn a_moved_timer_goes_on_counting_and_fires_in_time() {
    let first = board(1);
    first.host.clock.step(1000 * TICK);
    let bench = first.plug::<Mtimer>(json!({}), 0);
    bench.store(MTIME, Width::W8, 70_000);
    bench.store(0, Width::W8, 70_002);
    let second = board(1);
    let copy = moved(&bench, &second);
    assert_eq!(copy.save()["state"], json!({ "mtime": 70_000, "mtimecmp": [70_002] }));
    second.host.clock.step(TICK);
    assert_eq!((copy.load(MTIME, Width::W8), copy.level("mtip")), (70_001, false));
    second.host.clock.step(TICK);
    assert!(copy.level("mtip"));
}

#[test]
fn a_real_clock_raises_the_line_by_itself() {
    let mut board = board(1);
    board.host.clock = crate::Clock::real();
    let bench = board.plug::<Mtimer>(json!({}), 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    let input = crate::IrqInput::new(move |level| sender.send(level).unwrap());
    assert!(bench.output("mtip", 0).connect(input));
    let soon = bench.load(MTIME, Width::W8) + 10;
    bench.store(0, Width::W8, soon);
    assert!(receiver.recv_timeout(Duration::from_secs(20)).unwrap());
    assert!(bench.load(MTIME, Width::W8) >= soon);
}

#[test]
fn layouts_are_checked() {
    let board = board(2);
    let free = json!({ "size": 0x10, "mtime-offset": 0, "mtimecmp-offset": 8 });
    let cases = [
        (json!({ "mtime-offset": 4 }), "mtime-offset"),
        (json!({ "mtimecmp-offset": 12 }), "mtimecmp-offset"),
        (json!({ "mtime-offset": 0x8000 }), "mtime-offset"),
        (json!({ "mtime-offset": u64::MAX - 7 }), "mtime-offset"),
        (json!({ "mtimecmp-offset": 0x7ff8 }), "mtime-offset"),
        (json!({ "mtime-offset": 8 }), "mtimecmp-offset"),
        (free, "mtimecmp-offset"),
    ];
    for (properties, wrong) in cases {
        match board.try_plug::<Mtimer>(properties.clone(), 0) {
            Err(crate::DeviceError::Property { property, .. }) => assert_eq!(property, wrong, "{properties}"),
            Err(other) => panic!("{properties}: {other}"),
            Ok(_) => panic!("{properties} was taken"),
        }
    }
    let good = json!({ "size": 0x18, "mtime-offset": 0, "mtimecmp-offset": 8 });
    let bench = board.plug::<Mtimer>(good, 0);
    board.host.clock.step(3 * TICK);
    bench.store(16, Width::W8, 2);
    assert_eq!((bench.load(0, Width::W8), levels(&bench, "mtip", 2)), (3, vec![false, true]));
}

#[test]
fn the_clint_has_both_at_its_own_places() {
    let board = board(2);
    let bench = board.plug::<Clint>(json!({}), 0x200_0000);
    bench.store(4, Width::W4, 1);
    assert_eq!(levels(&bench, "msip", 2), [false, true]);
    assert_eq!(bench.load(0, Width::W8), 1 << 32, "two registers at once");
    bench.store(0, Width::W8, 1);
    assert_eq!(levels(&bench, "msip", 2), [true, false]);
    bench.store(0x4008, Width::W8, 2);
    board.host.clock.step(2 * TICK);
    assert_eq!((bench.load(0xbff8, Width::W8), levels(&bench, "mtip", 2)), (2, vec![false, true]));
    for offset in [8, 0x3ff8, 0x4010, 0xbff0, 0xc000, 0xfff8] {
        bench.store(offset, Width::W8, 1);
        assert_eq!(bench.load(offset, Width::W8), 0, "{offset:#x}");
    }
    let second = self::board(2);
    let copy = moved(&bench, &second);
    assert_eq!(levels(&copy, "msip", 2), [true, false]);
    assert_eq!(levels(&copy, "mtip", 2), [false, true]);
    bench.device.reset(ResetType::Cold);
    assert_eq!(levels(&bench, "msip", 2), [false; 2]);
    assert_eq!(levels(&bench, "mtip", 2), [false; 2]);
}

#[test]
fn device_trees_name_each_harts_interrupt() {
    let board = board(2);
    let nodes = board.plug::<Mswi>(json!({}), 0x200_0000).describe();
    assert_eq!(nodes[0].name, "mswi@2000000");
    assert_eq!(value(&nodes[0], "compatible"), &FdtValue::string("riscv,aclint-mswi"));
    assert_eq!(value(&nodes[0], "reg"), &FdtValue::U64(vec![0x200_0000, 0x4000]));
    let both = |numbers: &[u32]| {
        let cells = |hart| numbers.iter().flat_map(move |number| cpu(hart, *number));
        FdtValue::Cells(cells(0).chain(cells(1)).collect())
    };
    assert_eq!(value(&nodes[0], "interrupts-extended"), &both(&[3]));
    let nodes = board.plug::<Sswi>(json!({}), 0x2f0_0000).describe();
    assert_eq!(value(&nodes[0], "interrupts-extended"), &both(&[1]));
    let nodes = board.plug::<Mtimer>(json!({}), 0x300_0000).describe();
    assert_eq!(nodes[0].name, "mtimer@3000000");
    assert_eq!(value(&nodes[0], "reg"), &FdtValue::U64(vec![0x300_7ff8, 8, 0x300_0000, 0x7ff8]));
    assert_eq!(value(&nodes[0], "interrupts-extended"), &both(&[7]));
    let nodes = board.plug::<Clint>(json!({}), 0x400_0000).describe();
    let compatible = FdtValue::Strings(vec!["sifive,clint0".into(), "riscv,clint0".into()]);
    assert_eq!(value(&nodes[0], "compatible"), &compatible);
    assert_eq!(value(&nodes[0], "interrupts-extended"), &both(&[3, 7]));
}

#[test]
fn unknown_properties_and_strange_state_are_refused() {
    for (json, tag) in [
        (json!({ "x": 1 }), "riscv-aclint-mswi"),
        (json!({ "state": {} }), "riscv-aclint-sswi"),
        (json!({ "state": { "mtime": -1 } }), "riscv-aclint-mtimer"),
        (json!({ "state": { "msip": [] } }), "riscv-clint"),
    ] {
        let mut object = json.clone();
        object["type"] = Value::String(tag.into());
        assert!(serde_json::from_value::<Box<dyn Device>>(object).is_err(), "{tag} takes {json}");
    }
}
