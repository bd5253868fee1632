use super::*;
use crate::i440fx::I440fx;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn firmware_learns_what_came_and_is_to_go_and_lets_it_go() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let ports: Bench<'_, AcpiPcihp> = board.plug(json!({}), 0xae00);
    let bus = board.buses.lock().unwrap().first().unwrap().clone();
    let hotplug = bus.hotplug().unwrap();
    let load = |at| ports.load(at, Width::W4);
    assert_eq!([UP, DOWN, EJECT, REMOVABLE, SELECT].map(load), [0, 0, 0, 0xffff_fffc, 0]);
    hotplug.came(6);
    assert_eq!((load(UP), load(UP)), (0x40, 0), "reading forgets");
    hotplug.ask_to_go(6);
    assert!(hotplug.is_asked(6) && !hotplug.is_asked(5));
    assert_eq!((load(DOWN), load(DOWN)), (0x40, 0x40));
    ports.store(SELECT, Width::W4, 1);
    ports.store(EJECT, Width::W4, 0x40);
    assert_eq!([UP, DOWN, REMOVABLE, SELECT].map(load), [0, 0, 0, 1], "another bus");
    ports.store(SELECT, Width::W4, 0);
    assert_eq!((bus.take_ejected(), board.take_power()), (0, vec![]));
    ports.store(EJECT, Width::W4, 0x43);
    assert_eq!((bus.take_ejected(), board.take_power()), (0x40, vec![PowerRequest::Ejected]));
    assert_eq!((load(DOWN), bus.take_ejected()), (0, 0));
    hotplug.ask_to_go(7);
    ports.device.reset(ResetType::Warm);
    assert_eq!((load(DOWN), bus.take_ejected()), (0, 0x80), "a reset is as good");
}
