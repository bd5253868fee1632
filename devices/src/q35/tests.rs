use super::*;
use crate::pci_testdev::PciTestdev;
use crate::testing::{Bench, Board};
use serde_json::json;

const W1: Width = Width::W1;
const W4: Width = Width::W4;
const W8: Width = Width::W8;

fn host(board: &mut Board) -> Bench<'_, Q35> {
    let system = board.root.by_ref().clone();
    board.regions.insert("system".to_owned(), system);
    board.plug(json!({}), 1 << 60)
}

#[test]
fn the_window_for_express_configuration_is_enabled_moved_sized_and_reset() {
    let mut board = Board::new();
    let host = host(&mut board);
    let board = host.board;
    let _device: Bench<'_, PciTestdev> = board.plug_pci(json!({}), "3.0");
    let set = |value: u64| {
        board.set_config("0.0", PCIEXBAR, W4, value & 0xffff_ffff);
        board.set_config("0.0", PCIEXBAR + 4, W4, value >> 32);
    };
    assert_eq!(
        [0, 0x60, 0x9c].map(|at| board.config("0.0", at, W4)),
        [0x29c0_8086, 0xb000_0000, 0x0038_0200]
    );
    assert!(board.load(0xb000_0000, W4).is_err(), "it is not enabled");
    set(0xb000_0001);
    let device = |base| board.load(base + 0x1_8000, W4);
    assert_eq!((board.load(0xb000_0000, W4), device(0xb000_0000)), (Ok(0x29c0_8086), Ok(0x0005_1b36)));
    // all of configuration space is there, what no function has as ones
    assert_eq!(board.load(0xb001_8000 + 0x100, W4), Ok(0xffff_ffff));
    assert_eq!(board.load(0xbfff_f000, W8), Ok(u64::MAX));
    board.store(0xb001_8004, W1, 3).unwrap();
    assert_eq!(board.config("3.0", 4, W1), 3);
    // moved above 4 GiB, sized, and off
    set(0xc_d000_0001);
    assert_eq!((device(0xc_d000_0000), board.load(0xb000_0000, W4).is_err()), (Ok(0x0005_1b36), true));
    for (value, base, last) in
        [(0xd800_0003u64, 0xd800_0000u64, 0xdfff_ffffu64), (0xdc00_0005, 0xdc00_0000, 0xdfff_ffff)]
    {
        set(value);
        assert_eq!(device(base), Ok(0x0005_1b36), "{value:#x}");
        assert!(board.load(last, W1).is_ok() && board.load(last + 1, W1).is_err(), "{value:#x}");
        assert!(board.load(base - 1, W1).is_err(), "{value:#x}");
    }
    set(0xd000_0007);
    assert!(board.load(0xd000_0000, W4).is_err(), "a size that is reserved");
    set(0xd000_0001);
    host.device.reset(ResetType::Cold);
    assert!(board.load(0xd000_0000, W4).is_err());
    assert_eq!(board.config("0.0", PCIEXBAR, W8), 0xb000_0000);
}

#[test]
fn the_window_is_where_a_snapshot_has_it() {
    let mut board = Board::new();
    let first = host(&mut board);
    first.board.set_config("0.0", PCIEXBAR, W4, 0xe000_0001);
    let saved = first.save();
    let mut other = Board::new();
    let system = other.root.by_ref().clone();
    other.regions.insert("system".to_owned(), system);
    let _host: Bench<'_, Q35> = other.plug(saved, 1 << 60);
    assert_eq!(other.load(0xe000_0000, W4), Ok(0x29c0_8086));
}
