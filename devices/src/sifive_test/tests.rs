use super::*;
use crate::Cell;
use crate::testing::Board;
use serde_json::json;

#[test]
fn each_status_makes_its_request_and_others_none() {
    let board = Board::new();
    let bench = board.plug::<Finisher>(json!({}), 0x10_0000);
    let off = |code| vec![PowerRequest::Off { code }];
    let cases = [
        (0x5555, off(0)),
        (0x7_5555, off(0)),
        (0x7777, vec![PowerRequest::Reset]),
        (0x2a_3333, off(42)),
        (0x3333, off(1)),
        (0x100_3333, off(255)),
        (0x5554, vec![]),
        (0, vec![]),
    ];
    for (value, requests) in cases {
        bench.store(0, Width::W4, value);
        assert_eq!(board.take_power(), requests, "{value:#x}");
        assert_eq!(bench.load(0, Width::W4), 0);
    }
    bench.store(4, Width::W4, 0x5555);
    assert_eq!(board.take_power(), []);
    bench.store(0, Width::W2, 0x5555);
    assert_eq!(board.take_power(), off(0));
    let byte = board.store(bench.at("regs", 0), Width::W1, 0x55);
    assert_eq!(byte, Err(BusFault::DECODE));
}

#[test]
fn the_device_tree_lets_a_kernel_power_off_and_reboot() {
    let board = Board::new();
    let nodes = board.plug::<Finisher>(json!({}), 0x10_0000).describe();
    let names: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.at_root)).collect();
    assert_eq!(names, [("test@100000", false), ("poweroff", true), ("reboot", true)]);
    assert!(nodes[0].is_target);
    let regmap = FdtValue::Cells(vec![Cell::Phandle("device".into())]);
    assert!(nodes[1].properties.contains(&("regmap".into(), regmap)));
    assert!(nodes[1].properties.contains(&("value".into(), FdtValue::u32(0x5555))));
    assert!(nodes[2].properties.contains(&("value".into(), FdtValue::u32(0x7777))));
}
