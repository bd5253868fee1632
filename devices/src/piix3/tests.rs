use crate::i440fx::I440fx;
use crate::pci::PciDevice;
use crate::pci_testdev::PciTestdev;
use crate::piix3::Piix3;
use crate::testing::{Bench, Board};
use crate::{Device, PowerRequest, ResetType};
use memory_core::Width;
use serde_json::json;

const W1: Width = Width::W1;
const W4: Width = Width::W4;

#[test]
fn the_registers_of_the_isa_bridge_are_those_of_qemu_and_all_of_its_own_can_be_written() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let bridge: Bench<'_, Piix3> = board.plug_pci(json!({}), "1.0");
    let read = |at| board.config("1.0", at, W4);
    assert_eq!([0, 4, 8, 0xc].map(read), [0x7000_8086, 0x0200_0000, 0x0601_0000, 0x0080_0000]);
    let power_on = [0x0003_004d, 0x8080_8080, 0x0000_0200, 0x0000_0080, 0x0c0c_0000, 2, 8, 0xf];
    let own = [0x4c, 0x60, 0x68, 0x70, 0x74, 0x78, 0xa0, 0xa8];
    assert_eq!(own.map(read), power_on);
    for at in own {
        board.set_config("1.0", at, W4, 0x5a5a_5a5a);
    }
    assert_eq!(own.map(read), [0x5a5a_5a5a; 8]);
    bridge.device.reset(ResetType::Cold);
    assert_eq!(own.map(read), power_on);
}

#[test]
fn pins_are_led_by_slot_to_requests_and_by_their_registers_to_isa_lines() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    // a function before the bridge in the file, and ones after it
    let first: Bench<'_, PciTestdev> = board.plug_pci(json!({ "pin": 1 }), "4.0");
    first.device.function().set_irq(true);
    let bridge: Bench<'_, Piix3> = board.plug_pci(json!({}), "1.0");
    let second: Bench<'_, PciTestdev> = board.plug_pci(json!({ "pin": 4 }), "5.0");
    let third: Bench<'_, PciTestdev> = board.plug_pci(json!({ "pin": 2 }), "3.0");
    let high = || (0..16).filter(|line| bridge.output("isa", *line).level()).collect::<Vec<_>>();
    assert_eq!(high(), Vec::<usize>::new(), "no request is led anywhere");
    // slot 4, pin A is request D, as are slot 5, pin D (A + 4 - 1 + 3), wrapped, and slot 3, pin B
    for (at, line) in [(0x60, 3), (0x61, 4), (0x62, 5), (0x63, 11)] {
        board.set_config("1.0", at, W1, line);
    }
    assert_eq!(high(), [11]);
    second.device.function().set_irq(true);
    assert_eq!(high(), [11]);
    first.device.function().set_irq(false);
    assert_eq!(high(), [11], "slot 5, pin D is request D, too");
    second.device.function().set_irq(false);
    third.device.function().set_irq(true);
    assert_eq!(high(), [11], "slot 3, pin B is as well");
    assert_eq!(board.config("3.0", 6, W1) & 8, 8);
    // a pin that is disabled is low, and the function still says that it asks
    board.set_config("3.0", 5, W1, 4);
    assert_eq!((high(), board.config("3.0", 6, W1) & 8), (Vec::<usize>::new(), 8));
    board.set_config("3.0", 5, W1, 0);
    assert_eq!(high(), [11]);
    drop(third);
    assert_eq!(high(), Vec::<usize>::new(), "a function that goes lowers its pin");
}

#[test]
fn the_reset_control_register_resets_and_keeps_the_kind_of_reset() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let bridge: Bench<'_, Piix3> = board.plug_pci(json!({}), "1.0");
    let port = bridge.at("reset-control", 0);
    board.store(port, W1, 0xfb).unwrap();
    assert_eq!((board.load(port, W1), board.take_power()), (Ok(2), vec![]));
    board.store(port, W1, 6).unwrap();
    assert_eq!(board.take_power(), [PowerRequest::Reset]);
    bridge.device.reset(ResetType::Cold);
    assert_eq!(board.load(port, W1), Ok(0));
}
