use super::*;
use crate::testing::{Bench, Board};
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
