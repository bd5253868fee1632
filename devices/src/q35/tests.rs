use super::*;
use crate::dram::testing::{PCI_BYTE, Pc, properties};
use crate::pci_testdev::PciTestdev;
use crate::testing::{Bench, Board};
use memory_core::TxAttrs;
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

#[test]
fn areas_below_1_mib_are_ram_or_pci_by_registers_0x90_to_0x96() {
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
    pc.store(0xf_0000, u64::from(PCI_BYTE));
    pc.set(0x90, 0x30);
    assert_eq!(pc.load(0xf_0000), 0);
    pc.set(0x96, 0x20);
    pc.store(0xe_c000, 0x42);
    assert_ne!(pc.load(0xe_c000), 0x42, "writes alone go to RAM");
    pc.set(0x96, 0x10);
    assert_eq!(pc.load(0xe_c000), 0x42);
}

#[test]
fn smram_shows_low_or_high_and_a_lock_closes_all_until_a_reset() {
    let pc = Pc::new(16 << 20);
    let bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
    let in_mode = |offset| pc.board.load(bridge.at("smram", offset), W1);
    pc.store(0xa_0000, u64::from(PCI_BYTE));
    pc.set(0x9d, 0x4a);
    pc.store(0xa_0000, 0x55);
    assert_eq!((in_mode(0xa_0000), in_mode(0xfeda_0000).is_err()), (Ok(0x55), true));
    // high memory instead
    pc.set(0x9e, 0x80 | 0x38);
    assert_eq!((pc.load(0xfeda_0000), pc.load(0xa_0000)), (0x55, u64::from(PCI_BYTE)));
    assert_eq!((in_mode(0xfeda_0000), in_mode(0xa_0000).is_err()), (Ok(0x55), true));
    pc.set(0x9d, 0x5a);
    assert_eq!(pc.config(0x9d), 0x1a, "the lock closes it");
    assert!(pc.space.load(0xfeda_0000, W1, TxAttrs::default()).is_err());
    assert_eq!(in_mode(0xfeda_0000), Ok(0x55));
    pc.set(0x9d, 0x72);
    pc.set(0x9e, 0);
    assert_eq!((pc.config(0x9d), pc.config(0x9e)), (0x3a, 0xb8), "but for D_CLS nothing changes any more");
    bridge.device.reset(ResetType::Cold);
    assert_eq!((pc.config(0x9d), pc.config(0x9e)), (0x02, 0x38));
    pc.set(0x9d, 0x42);
    assert_eq!(pc.load(0xa_0000), 0x55);
}

#[test]
fn the_top_of_low_ram_is_hidden_in_each_size() {
    const RAM: u64 = 128 << 20;
    for (code, mib, extended) in [(0, 1, 16), (2, 2, 16), (4, 8, 16), (6, 16, 16), (6, 48, 48)] {
        let pc = Pc::new(RAM);
        let mut properties = properties();
        properties["extended-tseg-mbytes"] = json!(extended);
        let bridge = pc.board.plug::<Q35>(properties, 1 << 60);
        pc.board.set_config("0.0", 0x50, Width::W2, 0xffff);
        assert_eq!(pc.board.config("0.0", 0x50, Width::W2), extended, "asked for its size");
        let start = RAM - (mib << 20);
        pc.store(start, 0x11);
        pc.store(RAM - 1, 0x22);
        pc.set(0x9e, 0x39 | code);
        assert_eq!(pc.load(start), 0x11, "not before SMRAM is enabled");
        pc.set(0x9d, 0x3a);
        pc.store(start - 1, 0x33);
        pc.store(start, 0x44);
        pc.store(RAM - 1, 0x44);
        assert_eq!((pc.load(start - 1), pc.load(start), pc.load(RAM - 1)), (0x33, 0xff, 0xff), "{mib} MiB");
        let in_mode = |at| pc.board.load(bridge.at("smram", at), W1);
        assert_eq!((in_mode(start), in_mode(RAM - 1)), (Ok(0x11), Ok(0x22)));
        assert!(in_mode(start - 1).is_err());
    }
}

#[test]
fn a_tseg_larger_than_ram_hides_nothing() {
    let pc = Pc::new(1 << 20);
    let _bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
    pc.set(0x9e, 0x3d);
    pc.set(0x9d, 0x0a);
    pc.store(0, 1);
    assert_eq!(pc.load(0), 1);
}

#[test]
fn memory_where_processors_begin_in_the_mode_is_asked_for_hidden_and_free_after_a_reset() {
    let pc = Pc::new(16 << 20);
    let saved = {
        let bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
        pc.store(0x3_0000, 0x32);
        for junk in 0..0xff {
            pc.set(0x9c, junk);
            assert_eq!(pc.config(0x9c), 0, "nobody has asked");
        }
        pc.set(0x9c, 0xff);
        assert_eq!((pc.config(0x9c), pc.load(0x3_0000)), (1, 0x32));
        let negotiated = bridge.save();
        pc.set(0x9c, 2);
        assert_eq!((pc.config(0x9c), pc.load(0x3_0000), pc.load(0x4_ffff)), (2, 0xff, 0xff));
        for value in 0..=0xff {
            pc.set(0x9c, value);
            pc.store(0x3_0000, 0x77);
            assert_eq!((pc.config(0x9c), pc.load(0x3_0000)), (2, 0xff));
        }
        assert_eq!(pc.board.load(bridge.at("smram", 0x3_0000), W1), Ok(0x32));
        bridge.device.reset(ResetType::Cold);
        assert_eq!((pc.config(0x9c), pc.load(0x3_0000)), (0, 0x32));
        negotiated
    };
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<Q35>(saved, 1 << 60);
    pc.set(0x9c, 2);
    assert_eq!((pc.config(0x9c), pc.load(0x3_0000)), (2, 0xff), "a snapshot knows that it was asked for");
}

#[test]
fn ram_is_cut_at_2_gib_where_it_would_reach_the_windows() {
    for (size, below) in [(0xaff0_0000u64, 0xaff0_0000u64), (0xb000_0000, 0x8000_0000)] {
        let pc = Pc::new(size);
        let _bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
        pc.store(below - 1, 1);
        assert!(pc.space.load(below, W1, TxAttrs::default()).is_err(), "{below:#x}");
        let above = size - below;
        assert_eq!(pc.space.load((1 << 32) + above.max(1) - 1, W1, TxAttrs::default()).is_ok(), above > 0);
    }
}

#[test]
fn ram_below_1_mib_does_not_show_where_nobody_claims_pci() {
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<Q35>(properties(), 1 << 60);
    pc.unclaim();
    for (register, ram, pci, start) in [(0x9d, 0x4a, 0x0a, 0xa_0000), (0x96, 0x33, 0, 0xe_8000)] {
        pc.set(register, ram);
        pc.store(start, 0x5a);
        assert_eq!(pc.load(start), 0x5a);
        pc.set(register, pci);
        assert_eq!(pc.load(start), 0xff, "{start:#x}");
        pc.store(start, 0x11);
        pc.set(register, ram);
        assert_eq!(pc.load(start), 0x5a, "the write reached nobody");
    }
}
