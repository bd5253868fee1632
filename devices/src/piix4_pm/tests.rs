use super::*;
use crate::i440fx::I440fx;
use crate::testing::{Bench, Board};
use memory_core::Width::{W1, W2, W4};
use serde_json::{Value, json};

const PLACE: &str = "1.3";
const BASE: u64 = 0x600;

fn function(board: &Board, properties: Value) -> (Bench<'_, I440fx>, Bench<'_, Piix4Pm>) {
    (board.plug(json!({}), 1 << 60), board.plug_pci(properties, PLACE))
}

fn ready(board: &Board) -> (Bench<'_, I440fx>, Bench<'_, Piix4Pm>) {
    let function = function(board, json!({}));
    board.set_config(PLACE, 0x40, W4, BASE | 1);
    board.set_config(PLACE, 0x80, W1, 1);
    function
}

#[test]
fn ports_of_the_piix4_show_when_and_where_configuration_space_says() {
    let board = Board::new();
    let (_host, function) = ready(&board);
    let config = |at| board.config(PLACE, at, W4);
    assert_eq!([0, 8, 0x40].map(config), [0x7113_8086, 0x0680_0003, BASE | 1]);
    assert_eq!(config(0x3c) >> 8 & 0xff, 1);
    board.host.clock.step(1_000_000_000);
    let timer = |base: u64| board.input(base + 8, W4);
    assert_eq!(timer(BASE), 3_579_545);
    board.set_config(PLACE, 0x40, W4, 0xffff_b03f);
    assert_eq!((config(0x40), timer(0xb000), timer(BASE)), (0xb001, 3_579_545, 0xffff_ffff));
    board.set_config(PLACE, 0x80, W1, 0);
    assert_eq!(timer(0xb000), 0xffff_ffff);
    function.device.reset(ResetType::Warm);
    assert_eq!((config(0x40), config(0x80)), (1, 0));
}

#[test]
fn firmware_finds_the_piix4_set_up_where_there_is_no_system_management_mode() {
    for (properties, found) in [(json!({}), 0), (json!({ "smm": false }), 0x0200_0000)] {
        let board = Board::new();
        let (_host, function) = function(&board, properties);
        assert_eq!(board.config(PLACE, 0x58, W4), found);
        board.set_config(PLACE, 0x58, W4, 0);
        function.device.reset(ResetType::Warm);
        assert_eq!(board.config(PLACE, 0x58, W4), found);
    }
}

#[test]
fn events_of_the_piix4_interrupt_and_commands_call_firmware() {
    let board = Board::new();
    let (_host, function) = ready(&board);
    function.input("power-button", 0).set(true);
    board.output(BASE + 2, W2, 0x100);
    assert!(function.level("irq"));
    board.output(BASE, W2, 0x100);
    assert!(!function.level("irq"));
    function.input("gpe", 9).set(true);
    assert_eq!((board.input(0xafe0, W2), function.level("irq")), (0x200, false));
    board.output(0xafe2, W2, 0x200);
    assert!(function.level("irq") && board.input(0xafe2, W2) == 0x200);
    board.output(0xafe1, W1, 2);
    assert_eq!((board.input(0xafe0, W2), function.level("irq")), (0, false));
    let smi = function.watch("smi", 0);
    let apm = |value| board.store(function.at("apm", 0), W1, value).unwrap();
    apm(0x55);
    assert!(smi.lock().unwrap().is_empty());
    board.set_config(PLACE, 0x58, W4, 1 << 25);
    apm(0xf1);
    assert_eq!((board.input(BASE + 4, W2), smi.lock().unwrap().len()), (1, 0));
    apm(0x55);
    assert_eq!(*smi.lock().unwrap(), [true, false]);
    apm(0xf0);
    assert_eq!(board.input(BASE + 4, W2), 0);
    board.output(BASE + 4, W2, 0x2000);
    assert_eq!(board.take_power(), [PowerRequest::Off { code: 0 }]);
}

#[test]
fn a_restored_piix4_has_its_ports_and_its_timer() {
    let board = Board::new();
    let (_host, first) = ready(&board);
    board.output(BASE + 2, W2, 1);
    board.host.clock.step(2_000_000_000);
    let saved = first.save();
    let second = Board::new();
    let (_other, copy) = function(&second, saved.clone());
    assert_eq!((copy.save(), second.input(BASE + 8, W4)), (saved, 7_159_090));
    second.host.clock.step(343_484_438);
    assert!(copy.level("irq"));
}
