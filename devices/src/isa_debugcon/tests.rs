use super::*;
use crate::testing::{Bench, Board};
use memory_core::BusFault;
use serde_json::json;

#[test]
fn bytes_are_output_in_order_and_the_port_is_found_by_what_it_reads_as() {
    let board = Board::new();
    let port: Bench<'_, IsaDebugcon> = board.plug(json!({ "backend": "stdio" }), 0x402);
    assert_eq!(port.load(0, Width::W1), 0xe9);
    b"SeaBIOS".iter().for_each(|byte| port.store(0, Width::W1, u64::from(*byte)));
    assert_eq!(board.take_output(), b"SeaBIOS");
    let wide = board.store(port.at("regs", 0), Width::W4, 0x4142_4344);
    assert_eq!((wide, board.take_output()), (Err(BusFault::DECODE), Vec::new()));
}

#[test]
fn what_the_port_reads_as_is_a_property() {
    let board = Board::new();
    let port: Bench<'_, IsaDebugcon> = board.plug(json!({ "readback": 0x55 }), 0x402);
    assert_eq!(port.load(0, Width::W1), 0x55);
    port.store(0, Width::W1, 65);
    assert!(board.take_output().is_empty(), "nothing is at the other end");
}
