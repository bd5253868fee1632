use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn the_exit_code_is_twice_what_is_written_and_one() {
    let board = Board::new();
    let port: Bench<'_, IsaDebugExit> = board.plug(json!({ "iosize": 4 }), 0x501);
    assert_eq!(port.load(0, Width::W1), 0);
    for (width, value, code) in [(Width::W1, 0, 1), (Width::W4, 0x10, 0x21), (Width::W1, 0xff, 0xff)] {
        port.store(0, width, value);
        assert_eq!(board.take_power(), [PowerRequest::Off { code }]);
    }
}

#[test]
fn the_exit_port_takes_as_many_ports_as_are_said() {
    let board = Board::new();
    for (properties, ports) in [(json!({}), 2), (json!({ "iosize": 1 }), 1), (json!({ "iosize": 4 }), 4)] {
        let port: Bench<'_, IsaDebugExit> = board.plug(properties, 0x501);
        assert!(board.load(port.at("regs", ports - 1), Width::W1).is_ok());
        assert!(board.load(port.at("regs", ports), Width::W1).is_err());
    }
    for iosize in [0, 5] {
        let error = board.try_plug::<IsaDebugExit>(json!({ "iosize": iosize }), 0x501).err().unwrap();
        assert!(error.to_string().contains("iosize"), "{error}");
    }
}
