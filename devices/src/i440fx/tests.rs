//! What the bridge's registers do to the map.

use super::*;
use crate::dram::testing::{PCI_BYTE, Pc, properties};
use memory_core::TxAttrs;

const W1: Width = Width::W1;
const W2: Width = Width::W2;
const W4: Width = Width::W4;

#[test]
fn each_area_reads_and_writes_ram_or_pci_as_its_register_says() {
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
    let expansions = (0..12).map(|index| (0xc_0000 + index * 0x4000, 0x4000));
    let areas: Vec<(u64, u64)> = std::iter::once((0xf_0000, 0x1_0000)).chain(expansions).collect();
    for (index, (start, size)) in (1..).zip(areas) {
        let set = |mode: u64| {
            let offset = 0x59 + index / 2;
            let shift = index % 2 * 4;
            let others = pc.config(offset) & !(0xf << shift);
            pc.set(offset, others | mode << shift);
            assert_eq!(pc.config(offset), others | mode << shift, "register {offset:#x}");
        };
        for at in [start, start + size - 1] {
            pc.store(at, u64::from(PCI_BYTE));
            assert_eq!(pc.load(at), u64::from(PCI_BYTE), "after a reset all is PCI");
            set(3);
            assert_eq!(pc.load(at), 0, "RAM is another thing");
            pc.store(at, 0x42);
            set(1);
            assert_eq!(pc.load(at), 0x42);
            pc.store(at, 0xbc);
            assert_eq!(pc.load(at), 0x42, "writes go to PCI");
            set(2);
            assert_eq!(pc.load(at), 0xbc, "reads do");
            pc.store(at, 0x43);
            assert_eq!(pc.load(at), 0xbc);
            set(3);
            assert_eq!(pc.load(at), 0x43);
            set(0);
            assert_eq!(pc.load(at), 0xbc);
        }
        set(3);
        for beside in [start - 1, start + size] {
            let before = pc.load(beside);
            set(0);
            assert_eq!(pc.load(beside), before, "{beside:#x} is another area");
            set(3);
        }
        set(0);
    }
}

#[test]
fn four_bytes_change_eight_areas_in_one_write() {
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
    pc.board.set_config("0.0", 0x5a, W4, 0x3333_3333);
    for at in (0xc_0000..0xe_0000).step_by(0x4000) {
        pc.store(at, 0x77);
    }
    pc.board.set_config("0.0", 0x5a, W2, 0);
    for at in (0xc_0000..0xe_0000).step_by(0x4000) {
        assert_eq!(pc.load(at) == 0x77, at >= 0xd_0000, "{at:#x}");
    }
}

#[test]
fn smram_is_seen_in_system_management_mode_or_while_it_is_open_and_a_lock_lasts_until_a_reset() {
    let pc = Pc::new(16 << 20);
    let bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
    let in_mode = || pc.board.load(bridge.at("smram", 0xa_0000), W1);
    assert_eq!(pc.config(0x72), 0x02);
    pc.store(0xa_0000, u64::from(PCI_BYTE));
    pc.set(0x72, 0x4a);
    assert_eq!(pc.load(0xa_0000), 0, "open: RAM");
    pc.store(0xa_0000, 0x55);
    pc.set(0x72, 0x0a);
    assert_eq!(pc.load(0xa_0000), u64::from(PCI_BYTE), "closed: the VGA window");
    assert_eq!(in_mode(), Ok(0x55), "in the mode: RAM");
    pc.set(0x72, 0x02);
    assert!(in_mode().is_err(), "not enabled");
    pc.set(0x72, 0x5a);
    assert_eq!(pc.config(0x72), 0x1a, "the lock closes it");
    pc.set(0x72, 0x4a);
    assert_eq!((pc.config(0x72), pc.load(0xa_0000)), (0x1a, u64::from(PCI_BYTE)), "and keeps it closed");
    bridge.device.reset(ResetType::Warm);
    assert_eq!(pc.config(0x72), 0x02);
    pc.set(0x72, 0x4a);
    assert_eq!(pc.load(0xa_0000), 0x55, "the content survives");
}

#[test]
fn ram_is_cut_at_3_gib_only_where_it_would_reach_the_hole() {
    for (size, below, above) in [(1u64 << 30, 1 << 30, 0), (0xe000_0000, 0xc000_0000, 0x2000_0000)] {
        let pc = Pc::new(size);
        let _bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
        pc.store(below - 1, 1);
        assert!(pc.space.load(below, W1, TxAttrs::default()).is_err(), "{below:#x}");
        if above > 0 {
            pc.store((1 << 32) + above - 1, 2);
        }
        assert!(pc.space.load((1 << 32) + above, W1, TxAttrs::default()).is_err());
    }
}

#[test]
fn a_snapshot_brings_the_map_back() {
    let pc = Pc::new(16 << 20);
    let saved = {
        let bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
        pc.set(0x5a, 0x33);
        pc.set(0x72, 0x5a);
        bridge.save()
    };
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<I440fx>(saved, 1 << 60);
    pc.store(0xc_0000, 0x42);
    pc.set(0x5a, 0);
    assert_ne!(pc.load(0xc_0000), 0x42);
    pc.set(0x72, 0x4a);
    assert_eq!(pc.config(0x72), 0x1a, "still locked");
}

#[test]
fn ram_below_1_mib_does_not_show_where_nobody_claims_pci() {
    let pc = Pc::new(16 << 20);
    let _bridge = pc.board.plug::<I440fx>(properties(), 1 << 60);
    pc.unclaim();
    for (register, ram, pci, start) in [(0x72, 0x4a, 0x0a, 0xa_0000), (0x5f, 0x33, 0, 0xe_8000)] {
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
