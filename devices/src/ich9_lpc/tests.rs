use crate::i440fx::I440fx;
use crate::ich9_lpc::Ich9Lpc;
use crate::pci::PciDevice;
use crate::pci_testdev::PciTestdev;
use crate::testing::{Bench, Board};
use crate::{Device, PowerRequest, ResetType};
use memory_core::Width;
use serde_json::json;

const W1: Width = Width::W1;
const W4: Width = Width::W4;

#[test]
fn pins_are_led_to_eight_requests_to_isa_lines_and_to_the_apic() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let bridge: Bench<'_, Ich9Lpc> = board.plug_pci(json!({}), "1f.0");
    let read = |at| board.config("1f.0", at, W4);
    assert_eq!([0, 4, 8, 0xc].map(read), [0x2918_8086, 0, 0x0601_0002, 0x0080_0000]);
    assert_eq!([0x60, 0x68].map(read), [0x8080_8080; 2]);
    let apic = || (0..8).filter(|line| bridge.output("pirq", *line).level()).collect::<Vec<_>>();
    let isa = || (0..16).filter(|line| bridge.output("isa", *line).level()).collect::<Vec<_>>();
    board.set_config("1f.0", 0x61, W1, 10);
    board.set_config("1f.0", 0x69, W1, 11);
    // outside of the chipset, the bridge's slot, and inside
    for (place, pin, request, line) in
        [("2.0", 4, 5, vec![11]), ("1e.0", 1, 4, vec![]), ("1d.0", 2, 1, vec![10])]
    {
        let device: Bench<'_, PciTestdev> = board.plug_pci(json!({ "pin": pin }), place);
        device.device.function().set_irq(true);
        assert_eq!((apic(), isa()), (vec![request], line), "{place}");
        device.device.function().set_irq(false);
        assert_eq!((apic(), isa()), (Vec::<usize>::new(), Vec::<usize>::new()), "{place}");
    }
}

#[test]
fn the_reset_control_register_of_the_lpc_bridge_keeps_both_kinds_of_reset() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let bridge: Bench<'_, Ich9Lpc> = board.plug_pci(json!({}), "1f.0");
    let port = bridge.at("reset-control", 0);
    board.store(port, W1, 0xfb).unwrap();
    assert_eq!((board.load(port, W1), board.take_power()), (Ok(0xa), vec![]));
    board.store(port, W1, 4).unwrap();
    assert_eq!(board.take_power(), [PowerRequest::Reset]);
    bridge.device.reset(ResetType::Cold);
    assert_eq!(board.load(port, W1), Ok(0));
}
