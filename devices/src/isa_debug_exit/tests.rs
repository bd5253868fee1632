use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn the_exit_code_is_twice_what_is_written_and_one() {
    let board = Board::new();
    let port: Bench<'_, IsaDebugExit> = board.plug(json!({}), 0x501);
    assert_eq!(port.load(0, Width::W1), 0);
    for (width, value, code) in [(Width::W1, 0, 1), (Width::W4, 0x10, 0x21), (Width::W1, 0xff, 0xff)] {
        port.store(0, width, value);
        assert_eq!(board.take_power(), [PowerRequest::Off { code }]);
    }
}
