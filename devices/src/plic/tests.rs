use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

const ENABLES: u64 = 0x2000;
const THRESHOLD: u64 = 0x20_0000;
const CLAIM: u64 = 0x20_0004;

fn board(harts: u32) -> Board {
    let mut board = Board::new();
    board.host.harts = harts;
    board
}

fn store(bench: &Bench<'_, Plic>, offset: u64, value: u64) {
    bench.store(offset, Width::W4, value);
}

fn load(bench: &Bench<'_, Plic>, offset: u64) -> u64 {
    bench.load(offset, Width::W4)
}

/// Gives `source` a priority and enables it for a context, along with what is enabled there.
fn enable(bench: &Bench<'_, Plic>, context: u64, source: u64, priority: u64) {
    store(bench, 4 * source, priority);
    let word = ENABLES + 0x80 * context + 4 * (source / 32);
    let old = load(bench, word);
    store(bench, word, old | 1 << (source % 32));
}

fn claim(bench: &Bench<'_, Plic>, context: u64) -> u64 {
    load(bench, CLAIM + 0x1000 * context)
}

fn complete(bench: &Bench<'_, Plic>, context: u64, source: u64) {
    store(bench, CLAIM + 0x1000 * context, source);
}

#[test]
fn a_level_is_pending_is_claimed_once_and_comes_back_if_it_stays() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0xc00_0000);
    let line = bench.input("irq", 10);
    enable(&bench, 0, 10, 1);
    assert_eq!((claim(&bench, 0), bench.level("meip")), (0, false));
    line.set(true);
    assert_eq!(load(&bench, 0x1000), 1 << 10);
    assert_eq!((bench.level("meip"), bench.level("seip")), (true, false));
    assert_eq!((claim(&bench, 0), bench.level("meip")), (10, false));
    assert_eq!((claim(&bench, 0), load(&bench, 0x1000)), (0, 0));
    // a gateway whose request is in service forwards nothing
    line.set(false);
    line.set(true);
    assert_eq!(load(&bench, 0x1000), 0);
    complete(&bench, 0, 10);
    assert_eq!((load(&bench, 0x1000), bench.level("meip")), (1 << 10, true), "the line is still high");
    assert_eq!(claim(&bench, 0), 10);
    line.set(false);
    complete(&bench, 0, 10);
    assert_eq!((load(&bench, 0x1000), bench.level("meip")), (0, false));
}

#[test]
fn a_request_stays_pending_when_its_line_falls_again() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0);
    let line = bench.input("irq", 40);
    enable(&bench, 0, 40, 1);
    line.set(true);
    line.set(false);
    assert_eq!((load(&bench, 0x1004), bench.level("meip")), (1 << 8, true));
    assert_eq!(claim(&bench, 0), 40);
    complete(&bench, 0, 40);
    assert_eq!(claim(&bench, 0), 0);
}

#[test]
fn claims_go_by_priority_then_by_lowest_source() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0);
    for (source, priority) in [(3, 2), (33, 7), (64, 7), (95, 1), (5, 0)] {
        enable(&bench, 0, source, priority);
        bench.input("irq", u32::try_from(source).unwrap()).set(true);
    }
    let order: Vec<_> = (0..5).map(|_| claim(&bench, 0)).collect();
    assert_eq!(order, [33, 64, 3, 95, 0], "priority 0 never interrupts");
    assert_eq!(load(&bench, 0x1000), 1 << 5);
}

#[test]
fn the_threshold_masks_the_interrupt_but_not_the_claim() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0);
    enable(&bench, 0, 1, 3);
    bench.input("irq", 1).set(true);
    for (threshold, level) in [(7, false), (3, false), (2, true), (0, true), (3, false)] {
        store(&bench, THRESHOLD, threshold);
        assert_eq!(bench.level("meip"), level, "threshold {threshold}");
    }
    assert_eq!(claim(&bench, 0), 1);
}

#[test]
fn each_context_has_its_own_enables_and_a_claim_takes_the_interrupt_from_all() {
    let board = board(2);
    let bench = board.plug::<Plic>(json!({}), 0);
    for context in 0..4 {
        enable(&bench, context, 7, 1);
    }
    bench.input("irq", 7).set(true);
    let levels = || {
        [("meip", 0), ("seip", 0), ("meip", 1), ("seip", 1)]
            .map(|(name, hart)| bench.output(name, hart).level())
    };
    assert_eq!(levels(), [true; 4]);
    store(&bench, ENABLES + 0x80, 0);
    store(&bench, THRESHOLD + 0x2000, 1);
    assert_eq!(levels(), [true, false, false, true]);
    assert_eq!((claim(&bench, 1), claim(&bench, 3)), (0, 7));
    assert_eq!((levels(), claim(&bench, 0)), ([false; 4], 0));
    // only one for which the source is enabled can complete it
    complete(&bench, 1, 7);
    assert_eq!(load(&bench, 0x1000), 0);
    complete(&bench, 0, 7);
    assert_eq!(load(&bench, 0x1000), 1 << 7);
}

#[test]
fn completing_what_nobody_claimed_changes_nothing() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0);
    enable(&bench, 0, 2, 1);
    for source in [0, 2, 96, 1024, 0xffff_ffff] {
        complete(&bench, 0, source);
        assert_eq!(load(&bench, 0x1000), 0);
    }
    bench.input("irq", 2).set(true);
    complete(&bench, 0, 2);
    assert_eq!(claim(&bench, 0), 2);
    // source 0 does not exist, whatever is led there
    bench.input("irq", 0).set(true);
    assert_eq!(load(&bench, 0x1000), 0);
}

#[test]
fn registers_keep_the_bits_that_exist() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({ "sources": 40, "priority-bits": 5 }), 0);
    let ones = 0xffff_ffff;
    let kept = [
        (0, 0),
        (4, 31),
        (160, 31),
        (164, 0),
        (0xffc, 0),
        (0x1000, 0),
        (0x1004, 0),
        (0x1008, 0),
        (ENABLES, 0xffff_fffe),
        (ENABLES + 4, 0x1ff),
        (ENABLES + 8, 0),
        (ENABLES + 0x80, 0xffff_fffe),
        (ENABLES + 0x100, 0),
        (THRESHOLD, 31),
        (THRESHOLD + 8, 0),
        (THRESHOLD + 0x1000, 31),
        (THRESHOLD + 0x2000, 0),
        (CLAIM + 0x2000, 0),
        (0x5f_fffc, 0),
    ];
    for (offset, value) in kept {
        store(&bench, offset, ones);
        assert_eq!(load(&bench, offset), value, "{offset:#x}");
    }
    for width in [Width::W1, Width::W2, Width::W8] {
        assert_eq!(board.load(bench.at("regs", 0), width), Err(BusFault::DECODE));
    }
    assert!(bench.save()["state"]["contexts"][1]["threshold"] == 31);
}

#[test]
fn all_1023_sources_of_a_large_plic_can_be_claimed() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({ "sources": 1023, "priority-bits": 32 }), 0);
    for source in 1..1024 {
        enable(&bench, 1, source, 0xffff_ffff);
        bench.input("irq", u32::try_from(source).unwrap()).set(true);
    }
    assert!(bench.level("seip"));
    for source in 1..1024 {
        assert_eq!(claim(&bench, 1), source);
    }
    assert_eq!((claim(&bench, 1), bench.level("seip")), (0, false));
}

#[test]
fn state_goes_on_elsewhere() {
    let first = board(1);
    let bench = first.plug::<Plic>(json!({}), 0);
    for source in [4, 9, 31] {
        enable(&bench, 1, source, source % 7);
        bench.input("irq", u32::try_from(source).unwrap()).set(true);
    }
    store(&bench, THRESHOLD + 0x1000, 2);
    assert_eq!(claim(&bench, 1), 4);
    let saved = bench.save();
    let second = board(1);
    let copy = second.plug::<Plic>(saved.clone(), 0);
    assert_eq!(copy.save(), saved);
    assert!(copy.level("seip"));
    complete(&copy, 1, 4);
    assert_eq!([claim(&copy, 1), claim(&copy, 1), claim(&copy, 1)], [4, 31, 9]);
}

#[test]
fn state_that_fits_no_plic_is_cut_to_size() {
    let board = board(1);
    let set = vec![u32::MAX; 100];
    let context = json!({ "enables": set, "threshold": u32::MAX });
    let state = json!({
        "priorities": set, "pending": set, "in-service": [], "lines": set,
        "contexts": [context, context, context],
    });
    let bench = board.plug::<Plic>(json!({ "sources": 31, "state": state }), 0);
    assert_eq!((load(&bench, 0), load(&bench, 4), load(&bench, 0x1000)), (0, 7, 0xffff_fffe));
    let contexts = bench.save()["state"]["contexts"].clone();
    assert_eq!(
        contexts,
        json!([
            { "enables": [0xffff_fffe_u32], "threshold": 7 },
            { "enables": [0xffff_fffe_u32], "threshold": 7 },
        ])
    );
    assert!(!bench.level("meip"));
}

#[test]
fn reset_forgets_what_software_set_and_looks_at_the_lines_again() {
    let board = board(1);
    let bench = board.plug::<Plic>(json!({}), 0);
    let lines = [bench.input("irq", 1), bench.input("irq", 2)];
    enable(&bench, 0, 1, 1);
    enable(&bench, 0, 2, 2);
    lines.iter().for_each(|line| line.set(true));
    lines[0].set(false);
    assert_eq!(claim(&bench, 0), 2);
    bench.device.reset(ResetType::Cold);
    assert_eq!((bench.level("meip"), load(&bench, 4), load(&bench, ENABLES)), (false, 0, 0));
    assert_eq!(load(&bench, 0x1000), 1 << 2);
    let once = bench.save();
    bench.device.reset(ResetType::Cold);
    assert_eq!(bench.save(), once);
}

#[test]
fn properties_out_of_bounds_are_refused() {
    let board = board(2);
    let cases = [
        (json!({ "sources": 0 }), "sources"),
        (json!({ "sources": 1024 }), "sources"),
        (json!({ "priority-bits": 0 }), "priority-bits"),
        (json!({ "priority-bits": 33 }), "priority-bits"),
        (json!({ "size": 0x20_3fff }), "size"),
    ];
    for (properties, wrong) in cases {
        match board.try_plug::<Plic>(properties.clone(), 0) {
            Err(DeviceError::Property { property, .. }) => assert_eq!(property, wrong, "{properties}"),
            Err(other) => panic!("{properties}: {other}"),
            Ok(_) => panic!("{properties} was taken"),
        }
    }
    board.plug::<Plic>(json!({ "size": 0x20_4000 }), 0);
}

#[test]
fn the_device_tree_lists_two_contexts_a_hart() {
    let board = board(2);
    let nodes = board.plug::<Plic>(json!({}), 0xc00_0000).describe();
    let value = |name: &str| {
        nodes[0].properties.iter().find(|(property, _)| property == name).map(|(_, value)| value.clone())
    };
    assert_eq!((nodes.len(), nodes[0].name.as_str(), nodes[0].is_target), (1, "plic@c000000", true));
    assert_eq!(value("riscv,ndev"), Some(FdtValue::u32(95)));
    assert_eq!(value("#interrupt-cells"), Some(FdtValue::u32(1)));
    let cells = [(0, 11), (0, 9), (1, 11), (1, 9)]
        .into_iter()
        .flat_map(|(hart, number)| [Cell::Phandle(format!("cpu{hart}")), Cell::Number(number)]);
    assert_eq!(value("interrupts-extended"), Some(FdtValue::Cells(cells.collect())));
}
