use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn port_92_opens_gate_a20_and_reads_back() {
    let board = Board::new();
    let port: Bench<'_, Port92> = board.plug(json!({}), 0x92);
    assert_eq!((port.load(0, Width::W1), port.level("a20")), (0, false));
    port.store(0, Width::W1, 0x0e);
    assert_eq!((port.load(0, Width::W1), port.level("a20")), (0x0e, true));
    let other = Board::new();
    let restored: Bench<'_, Port92> = other.plug(port.save(), 0x92);
    assert!(restored.level("a20"));
    port.store(0, Width::W1, 0x0c);
    assert!(!port.level("a20"));
    assert!(board.take_power().is_empty());
}

#[test]
fn setting_init_now_resets_the_machine_once() {
    let board = Board::new();
    let port: Bench<'_, Port92> = board.plug(json!({}), 0x92);
    port.store(0, Width::W1, 3);
    port.store(0, Width::W1, 3);
    assert_eq!(board.take_power(), [PowerRequest::Reset]);
    port.device.reset(ResetType::Warm);
    assert_eq!(port.load(0, Width::W1), 2, "and the gate stays open");
    port.store(0, Width::W1, 1);
    assert_eq!(board.take_power(), [PowerRequest::Reset]);
    port.device.reset(ResetType::Cold);
    assert_eq!(port.load(0, Width::W1), 0);
}
