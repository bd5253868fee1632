use super::*;
use crate::PowerRequest;
use crate::i440fx::I440fx;
use crate::testing::{Bench, Board, PCI};
use serde_json::json;

fn pvpanic(board: &Board, events: u8) -> Bench<'_, Pvpanic> {
    board.plug(json!({ "events": events }), 0x505)
}

#[test]
fn a_guest_that_panics_is_told_of() {
    let board = Board::new();
    let device: Bench<'_, Pvpanic> = board.plug(json!({}), 0x505);
    assert_eq!(device.load(0, Width::W1), 3);
    for (event, request) in [
        (PANICKED, Some(PowerRequest::Panicked)),
        (CRASH_LOADED, Some(PowerRequest::CrashLoaded)),
        (PANICKED | CRASH_LOADED, Some(PowerRequest::Panicked)),
        (SHUTDOWN, None),
        (0, None),
        (0xf0, None),
        (0xf1, Some(PowerRequest::Panicked)),
    ] {
        device.store(0, Width::W1, event.into());
        assert_eq!(board.take_power(), Vec::from_iter(request), "{event:#x}");
    }
}

#[test]
fn a_shutdown_is_told_of_where_the_guest_knows_that_it_is() {
    let board = Board::new();
    let device = pvpanic(&board, 7);
    assert_eq!(device.load(0, Width::W1), 7);
    device.store(0, Width::W1, SHUTDOWN.into());
    assert_eq!(board.take_power(), [PowerRequest::PvShutdown]);
}

#[test]
fn events_that_do_not_exist_are_refused() {
    let error = Board::new().try_plug::<Pvpanic>(json!({ "events": 8 }), 0x505).err().unwrap();
    assert!(matches!(error, DeviceError::Property { property: "events", .. }), "{error}");
}

#[test]
fn a_panic_is_told_on_pci_too() {
    const PLACE: &str = "4.0";
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let function: Bench<'_, PvpanicPci> = board.plug_pci(json!({ "events": 7 }), PLACE);
    assert_eq!(board.config(PLACE, 0, Width::W4), 0x0011_1b36);
    assert_eq!(board.config(PLACE, 8, Width::W4), 0x0880_0001);
    board.set_config(PLACE, 0x10, Width::W4, 0xffff_ffff);
    assert_eq!(board.config(PLACE, 0x10, Width::W4), 0xffff_fff0);
    board.set_config(PLACE, 0x10, Width::W4, 0xe000_0000);
    board.set_config(PLACE, 4, Width::W2, 2);
    let at = PCI + 0xe000_0000;
    assert_eq!((board.load(at, Width::W1), board.load(at + 2, Width::W1).is_ok()), (Ok(7), false));
    for (event, request) in [(PANICKED, PowerRequest::Panicked), (SHUTDOWN, PowerRequest::PvShutdown)] {
        board.store(at, Width::W1, event.into()).unwrap();
        assert_eq!(board.take_power(), [request]);
    }
    function.device.reset(ResetType::Warm);
    assert!(board.load(at, Width::W1).is_err());
    let refused = board.try_plug::<PvpanicPci>(json!({ "events": 8 }), 0).err().unwrap();
    assert!(refused.to_string().contains("events"), "{refused}");
}
