use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn the_last_codes_are_shown_and_the_port_reads_all_ones() {
    let board = Board::new();
    let port: Bench<'_, Ioport80> = board.plug(json!({}), 0x80);
    for code in [1, 1, 1, 0x55, 1] {
        port.store(0, Width::W1, code);
    }
    assert_eq!(port.load(0, Width::W1), 0xff);
    assert_eq!(port.save()["state"]["codes"], json!([1, 0x55, 1]));
    (0..100).for_each(|code| port.store(0, Width::W1, code));
    assert_eq!(port.device.state().codes, (84..100).collect::<Vec<_>>());
    let saved = json!({ "state": { "codes": vec![7; 1000] } });
    let many: Bench<'_, Ioport80> = board.plug(saved, 0x10080);
    assert_eq!(many.device.state().codes.len(), MOST_CODES);
    port.device.reset(ResetType::Warm);
    assert!(port.device.state().codes.is_empty());
}
