//! Single accesses: one address, one width, one region.

use crate::board::{ATTRS, Call, Recorder, big, bytes_of, counting, each_door, ports};
use memory_core::{AccessRules, BusFault, ByteOrder, Mapping, Shows, TxAttrs, Width};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;

const MEMORY: SpaceConfig = SpaceConfig {
    order: ByteOrder::Little,
    unassigned: memory_dispatch::Unassigned::DecodeError,
    bounce_budget: memory_dispatch::BOUNCE_BUDGET,
};

fn regs() -> AccessRules {
    AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4)
}

#[test]
fn nobody_answers_in_memory() {
    each_door(MEMORY, |board| {
        for width in Width::ALL {
            assert_eq!(board.load(0x1000, width), Err(BusFault::DECODE));
            assert_eq!(board.store(0x1000, width, 1), Err(BusFault::DECODE));
        }
        assert_eq!(board.read(0x1000, 3), (vec![0; 3], Err(BusFault::DECODE)));
        assert_eq!(board.write(0x1000, &[1]), Err(BusFault::DECODE));
    });
}

#[test]
fn nobody_answers_at_a_port() {
    each_door(ports(), |board| {
        for width in Width::ALL {
            assert_eq!(board.load(0x80, width), Ok(width.mask()));
            assert_eq!(board.store(0x80, width, 1), Ok(()));
        }
        assert_eq!(board.read(0x80, 3), (vec![0xff; 3], Ok(())));
        assert_eq!(board.write(0x80, &[1]), Ok(()));
    });
}

#[test]
fn a_reservation_is_refused_like_unassigned() {
    for (config, read) in [(MEMORY, Err(BusFault::DECODE)), (ports(), Ok(0xffff))] {
        each_door(config, |board| {
            let reservation = board.memory().reservation("kernel", 0x1000u64).build().unwrap();
            board.map(0, reservation);
            assert_eq!(board.load(0x10, Width::W2), read);
            assert_eq!(board.store(0x10, Width::W2, 1).is_ok(), read.is_ok());
            assert_eq!(board.read(0xffe, 4).1.is_ok(), read.is_ok());
        });
    }
}

#[test]
fn ram_is_in_the_order_of_the_space() {
    for (config, value) in [(MEMORY, 0x1312_1110), (big(), 0x1011_1213)] {
        each_door(config, |board| {
            let block = board.ram(0x1000, 0x1000, 0x10);
            assert_eq!(board.load(0x1000, Width::W4), Ok(value));
            board.store(0x1100, Width::W4, value).unwrap();
            assert_eq!(bytes_of(&block, 0x100, 4), [0x10, 0x11, 0x12, 0x13]);
            board.store(0x1201, Width::W2, 0xff_ffff).unwrap();
            assert_eq!(bytes_of(&block, 0x200, 4), [0x10, 0xff, 0xff, 0x13], "the bits above are cut");
        });
    }
}

#[test]
fn the_predicate_comes_before_alignment_and_alignment_before_width() {
    for (config, refused) in [(MEMORY, Err(BusFault::DECODE)), (ports(), Ok(0xffff_ffff))] {
        each_door(config, |board| {
            let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
            let seen = asked.clone();
            let rules = regs().accepts(move |request| {
                seen.lock().unwrap().push((request.offset, request.width, request.write));
                request.offset != 8
            });
            let device = board.mmio(0x1000, 0x100, rules, 0);
            assert_eq!(board.load(0x1002, Width::W4), refused, "alignment");
            assert_eq!(board.load(0x1008, Width::W4), refused, "the predicate");
            assert_eq!(board.store(0x1000, Width::W8, 0).is_ok(), refused.is_ok(), "the width");
            assert_eq!(device.calls(), []);
            assert_eq!(board.load(0x1004, Width::W4), Ok(0x0706_0504));
            assert_eq!(device.calls(), [Call::Read(4, 4)]);
            let asked = asked.lock().unwrap().clone();
            let all =
                [(2, Width::W4, false), (8, Width::W4, false), (0, Width::W8, true), (4, Width::W4, false)];
            assert_eq!(asked, all, "asked of everything, whatever its alignment and width");
        });
    }
}

#[test]
fn attributes_reach_the_device_and_its_predicate() {
    each_door(MEMORY, |board| {
        let rules = AccessRules::new().accepts(|request| request.attrs.requester == 7);
        let device = board.mmio(0x1000, 0x100, rules, 0);
        assert_eq!(board.load_as(TxAttrs::requester(6), 0x1000, Width::W1), Err(BusFault::DECODE));
        assert_eq!(board.load_as(TxAttrs::requester(7), 0x1001, Width::W1), Ok(1));
        board.store_as(TxAttrs::requester(7), 0x1001, Width::W1, 9).unwrap();
        board.write_as(TxAttrs::requester(7), 0x1001, &[8]).unwrap();
        assert_eq!(device.attrs(), [TxAttrs::requester(7); 3]);
    });
}

#[test]
fn the_start_address_chooses_the_region_for_the_whole_access() {
    each_door(ports(), |board| {
        // as PC chipsets have it: a reset port inside the PCI address port
        let address = board.mmio(0xcf8, 4, AccessRules::new(), 0x10);
        let reset = board.mmio(0xcf9, 1, AccessRules::new().valid_unaligned().implements_unaligned(), 0x50);
        assert_eq!(board.load(0xcf8, Width::W4), Ok(0x1312_1110));
        assert_eq!((address.calls(), reset.calls()), (vec![Call::Read(0, 4)], vec![]));
        board.store(0xcf9, Width::W1, 6).unwrap();
        board.store(0xcf9, Width::W2, 0x0706).unwrap();
        assert_eq!(reset.calls(), [Call::Write(0, 1, 6), Call::Write(0, 2, 0x0706)]);
        assert_eq!(board.load(0xcf8, Width::W8), Ok(0x1716_1514_1312_1110), "past the region's end");
        assert_eq!(address.calls(), [Call::Read(0, 4), Call::Read(4, 4)]);
        assert_eq!(reset.calls(), []);
    });
}

#[test]
fn an_access_from_ram_into_a_device_is_done_range_by_range() {
    for config in [MEMORY, big()] {
        each_door(config, |board| {
            let block = board.ram(0, 0x1000, 0);
            let device = board.mmio(0x1000, 0x100, AccessRules::new(), 0x80);
            let bytes = [0xfd, 0xfe, 0xff, 0x80, 0x81, 0x82, 0x83, 0x84];
            assert_eq!(board.load(0xffd, Width::W8), Ok(config.order.decode(&bytes)));
            assert_eq!(device.calls(), [Call::Read(0, 4), Call::Read(4, 1)]);
            let new = [1, 2, 3, 4, 5, 6, 7, 8];
            board.store(0xffd, Width::W8, config.order.decode(&new)).unwrap();
            assert_eq!(bytes_of(&block, 0xffd, 3), [1, 2, 3]);
            assert_eq!(board.read(0x1000, 6).0, [4, 5, 6, 7, 8, 0x85]);
        });
    }
}

#[test]
fn an_access_from_ram_into_a_hole_fails_and_still_writes_the_ram() {
    each_door(MEMORY, |board| {
        let block = board.ram(0, 0x1000, 0);
        assert_eq!(board.load(0xffe, Width::W4), Err(BusFault::DECODE));
        assert_eq!(board.store(0xffe, Width::W4, 0x4433_2211), Err(BusFault::DECODE));
        assert_eq!(bytes_of(&block, 0xffe, 2), [0x11, 0x22]);
    });
    each_door(ports(), |board| {
        board.ram(0, 0x1000, 0);
        assert_eq!(board.load(0xffe, Width::W4), Ok(0xffff_fffe));
    });
}

#[test]
fn an_access_over_the_seam_of_two_rams_sees_both() {
    each_door(MEMORY, |board| {
        let (low, high) = (board.ram(0, 0x1000, 0), board.ram(0x1000, 0x1000, 0xa0));
        assert_eq!(board.load(0xfff, Width::W2), Ok(0xa0ff));
        board.store(0xfff, Width::W2, 0x1234).unwrap();
        assert_eq!((bytes_of(&low, 0xfff, 1), bytes_of(&high, 0, 1)), (vec![0x34], vec![0x12]));
    });
}

#[test]
fn rom_is_written_by_loader_and_debugger_only() {
    each_door(MEMORY, |board| {
        let block = counting(0x1000, 0);
        let rom = board.memory().rom("rom", block.clone()).build().unwrap();
        board.map(0x1000, rom);
        assert_eq!(board.load(0x1004, Width::W4), Ok(0x0706_0504));
        for attrs in [ATTRS, TxAttrs::default(), TxAttrs::requester(3), TxAttrs::MEMORY_ONLY] {
            assert_eq!(board.store_as(attrs, 0x1004, Width::W4, 0), Err(BusFault::DECODE));
            assert_eq!(board.write_as(attrs, 0x1004, &[0; 4]), Err(BusFault::DECODE));
        }
        assert_eq!(bytes_of(&block, 4, 4), [4, 5, 6, 7], "unchanged");
        board.store_as(TxAttrs::DEBUG, 0x1004, Width::W2, 0xaabb).unwrap();
        board.space.write_rom(0x1006, &[0xcc, 0xdd]).unwrap();
        assert_eq!(board.load(0x1004, Width::W4), Ok(0xddcc_aabb));
    });
}

#[test]
fn read_only_binds_every_writer_and_only_where_it_is() {
    each_door(MEMORY, |board| {
        let block = board.ram(0, 0x1000, 0);
        let ram = board.memory().ram("other", block.clone()).identifier("other").build().unwrap();
        let ram = board.keep(ram);
        let window = board.memory().alias("window", &ram, 0, 0x1000u64).read_only().build().unwrap();
        board.map(0x8000, window);
        assert_eq!(board.load(0x8000, Width::W2), Ok(0x0100));
        assert_eq!(board.store(0x8000, Width::W2, 0), Err(BusFault::DECODE));
        assert_eq!(board.write_as(TxAttrs::requester(1), 0x8000, &[0; 2]), Err(BusFault::DECODE), "DMA");
        assert_eq!(board.exchange(0x8000, Width::W2, 0x0100, 0), Err(BusFault::ACCESS));
        assert_eq!(bytes_of(&block, 0, 2), [0, 1]);
        board.store(0, Width::W2, 0xbbaa).unwrap();
        assert_eq!(board.load(0x8000, Width::W2), Ok(0xbbaa), "the place itself is not read-only");
        board.space.write_rom(0x8000, &[0x55]).unwrap();
        assert_eq!(board.load(0, Width::W2), Ok(0xbb55));
    });
}

#[test]
fn a_read_only_window_onto_a_device_lets_no_write_through() {
    each_door(MEMORY, |board| {
        let device = Recorder::new(ByteOrder::Little, 0);
        let regs = board.memory().mmio("regs", 0x100u64, AccessRules::new(), device.clone()).build().unwrap();
        let regs = board.keep(regs);
        let window = board.memory().alias("window", &regs, 0, 0x100u64).read_only().build().unwrap();
        board.map(0x1000, window);
        assert_eq!(board.load(0x1001, Width::W1), Ok(1));
        assert_eq!(board.store(0x1001, Width::W1, 9), Err(BusFault::DECODE));
        assert_eq!(device.calls(), [Call::Read(1, 1)]);
    });
}

#[test]
fn a_rom_device_reads_directly_in_romd_mode_only() {
    each_door(MEMORY, |board| {
        let (block, device) = (counting(0x1000, 0), Recorder::new(ByteOrder::Little, 0x80));
        let flash = board.memory().rom_device("flash", block.clone(), AccessRules::new(), device.clone());
        let flash = flash.build().unwrap();
        let flash = board.map(0x1000, flash);
        assert_eq!(board.load(0x1002, Width::W2), Ok(0x0302));
        assert_eq!(board.read(0x1002, 2), (vec![2, 3], Ok(())));
        assert_eq!(device.calls(), []);
        board.store(0x1002, Width::W2, 0x7766).unwrap();
        assert_eq!(device.calls(), [Call::Write(2, 2, 0x7766)]);
        assert_eq!(bytes_of(&block, 2, 2), [2, 3], "what a write does is the device's business");
        flash.set_romd(false).unwrap();
        assert_eq!(board.load(0x1000, Width::W1), Ok(0x80));
        assert_eq!(board.read(0x1002, 2), (vec![0x66, 0x77], Ok(())));
        assert_eq!(device.calls(), [Call::Read(0, 1), Call::Read(2, 2)]);
        flash.set_romd(true).unwrap();
        assert_eq!(board.load(0x1002, Width::W2), Ok(0x0302));
        assert_eq!(device.calls(), []);
    });
}

#[test]
fn a_debugger_calls_no_device() {
    each_door(MEMORY, |board| {
        let device = board.mmio(0x1000, 0x100, AccessRules::new(), 0);
        let (block, flash) = (counting(0x1000, 0), Recorder::new(ByteOrder::Little, 0));
        let rom = board.memory().rom_device("flash", block.clone(), AccessRules::new(), flash.clone());
        let rom = rom.build().unwrap();
        board.map(0x2000, rom);
        let debug = TxAttrs::DEBUG;
        assert!(board.load_as(debug, 0x1000, Width::W4).is_err());
        assert!(board.store_as(debug, 0x1000, Width::W4, 0).is_err());
        assert!(board.read_as(debug, 0x1000, 4).1.is_err());
        assert!(board.write_as(debug, 0x1000, &[0; 4]).is_err());
        board.store_as(debug, 0x2000, Width::W4, 0x4433_2211).unwrap();
        board.write_as(debug, 0x2004, &[0x55]).unwrap();
        assert_eq!(bytes_of(&block, 0, 5), [0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!((device.calls(), flash.calls()), (vec![], vec![]));
    });
}

#[test]
fn memory_only_reaches_memory_only() {
    for config in [MEMORY, ports()] {
        each_door(config, |board| {
            board.ram(0, 0x1000, 0);
            let rom = board.memory().rom("rom", counting(0x1000, 0)).build().unwrap();
            board.map(0x1000, rom);
            let window = board.memory().ram_device("window", counting(0x1000, 0)).build().unwrap();
            board.map(0x2000, window);
            let device = board.mmio(0x3000, 0x1000, AccessRules::new(), 0);
            let flash =
                board.memory().rom_device("fl", counting(0x1000, 0), AccessRules::new(), device.clone());
            let flash = flash.build().unwrap();
            board.map(0x4000, flash);
            let reservation = board.memory().reservation("kernel", 0x1000u64).build().unwrap();
            board.map(0x5000, reservation);
            let only = TxAttrs::MEMORY_ONLY;
            for memory in [0, 0x1000, 0x2000] {
                assert_eq!(board.load_as(only, memory + 2, Width::W2), Ok(0x0302));
                assert_eq!(board.read_as(only, memory, 2), (vec![0, 1], Ok(())));
            }
            for other in [0x3000, 0x4000, 0x5000, 0x6000] {
                assert_eq!(board.load_as(only, other, Width::W2), Err(BusFault::ACCESS), "{other:#x}");
                assert_eq!(board.read_as(only, other, 2).1, Err(BusFault::ACCESS), "{other:#x}");
                assert_eq!(board.write_as(only, other, &[0; 2]), Err(BusFault::ACCESS), "{other:#x}");
                assert_eq!(board.store_as(only, other, Width::W2, 0), Err(BusFault::ACCESS), "{other:#x}");
            }
            assert_eq!(device.calls(), []);
            board.store_as(only, 0x2000, Width::W2, 0xabcd).unwrap();
            assert_eq!(board.load(0x2000, Width::W2), Ok(0xabcd));
        });
    }
}

#[test]
fn what_a_device_answers_is_cut_to_the_width_and_its_faults_come_through() {
    struct Loud;
    impl memory_core::Mmio for Loud {
        fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            if offset == 0 { Ok(u64::MAX) } else { Err(BusFault::ERROR) }
        }
        fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
            Err(BusFault::ACCESS)
        }
    }
    each_door(MEMORY, |board| {
        let loud = board.memory().mmio("loud", 0x100u64, AccessRules::new(), Arc::new(Loud)).build().unwrap();
        board.map(0, loud);
        assert_eq!(board.load(0, Width::W2), Ok(0xffff));
        assert_eq!(board.load(4, Width::W2), Err(BusFault::ERROR));
        assert_eq!(board.load(0, Width::W8), Err(BusFault::ERROR), "one half failed");
        assert_eq!(board.store(0, Width::W8, 1), Err(BusFault::ACCESS));
        let (bytes, result) = board.read(0, 8);
        assert_eq!((bytes, result), (vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], Err(BusFault::ERROR)));
    });
}

#[test]
fn a_write_overlay_shows_different_things_to_reads_and_writes() {
    each_door(MEMORY, |board| {
        let block = board.ram(0, 0x1000, 0);
        let device = Recorder::new(ByteOrder::Little, 0x80);
        let tap = board.memory().mmio("tap", 0x100u64, AccessRules::new(), device.clone()).build().unwrap();
        board.root.map_with(0x100, &tap, Mapping { shows: Shows::Writes, ..Mapping::overlap(1) }).unwrap();
        board.keep(tap);
        assert_eq!(board.load(0x104, Width::W4), Ok(0x0706_0504));
        board.store(0x104, Width::W4, 0x1234).unwrap();
        board.write(0xfe, &[0xaa, 0xbb, 0xcc]).unwrap();
        assert_eq!(device.calls(), [Call::Write(4, 4, 0x1234), Call::Write(0, 1, 0xcc)]);
        assert_eq!(bytes_of(&block, 0xfe, 4), [0xaa, 0xbb, 0, 1]);
        assert_eq!(board.exchange(0x108, Width::W4, 0, 0), Err(BusFault::ACCESS));
    });
}

#[test]
fn nothing_wraps_around_at_the_top() {
    each_door(MEMORY, |board| {
        board.ram(0, 0x1000, 0x77);
        let top = board.ram(u64::MAX - 0xfff, 0x1000, 0);
        assert_eq!(board.load(u64::MAX, Width::W1), Ok(0xff));
        assert_eq!(board.load(u64::MAX - 7, Width::W8), Ok(0xfffe_fdfc_fbfa_f9f8));
        assert_eq!(board.load(u64::MAX, Width::W2), Err(BusFault::DECODE));
        assert_eq!(board.store(u64::MAX - 1, Width::W4, 0x4433_2211), Err(BusFault::DECODE));
        assert_eq!(bytes_of(&top, 0xffe, 2), [0x11, 0x22]);
        assert_eq!(board.load(0, Width::W2), Ok(0x7877), "the bottom is untouched");
        assert_eq!(board.read(u64::MAX - 1, 4), (vec![0x11, 0x22, 0, 0], Err(BusFault::DECODE)));
        assert_eq!(board.write(u64::MAX, &[1, 2, 3]), Err(BusFault::DECODE));
        assert_eq!(board.load(0, Width::W2), Ok(0x7877));
    });
}

#[test]
fn a_device_at_the_top_keeps_accesses_that_start_in_it() {
    each_door(MEMORY, |board| {
        let rules = AccessRules::new().valid_unaligned().implements_unaligned();
        let device = board.mmio(u64::MAX - 0xf, 0x10, rules, 0);
        assert_eq!(board.load(u64::MAX - 1, Width::W4), Ok(0x1110_0f0e));
        assert_eq!(device.calls(), [Call::Read(0xe, 4)]);
        // a transfer has bytes beyond the top, and there is nobody
        assert_eq!(board.read(u64::MAX - 1, 4), (vec![0xe, 0xf, 0, 0], Err(BusFault::DECODE)));
        assert_eq!(device.calls(), [Call::Read(0xe, 2)]);
    });
}

#[test]
fn a_handle_sees_each_new_map_at_the_next_access() {
    each_door(MEMORY, |board| {
        for first in 0..4 {
            let ram = board.memory().ram("ram", counting(0x1000, first)).identifier(format!("{first}"));
            let ram = ram.build().unwrap();
            board.map(0x10_0000, ram);
            assert_eq!(board.load(0x10_0000, Width::W1), Ok(first.into()), "the last one mapped is on top");
        }
        for place in [0xcf8u64, 0xcf9, 0xcfa, 0xcfc] {
            let port = board.mmio(place, 1, AccessRules::new(), place as u8);
            assert_eq!(board.load(place, Width::W1), Ok(place & 0xff));
            assert_eq!(port.calls().len(), 1);
        }
        for place in [0xcf8u64, 0xcf9, 0xcfa, 0xcfc] {
            assert_eq!(board.load(place, Width::W1), Ok(place & 0xff), "neighbours do not mix");
        }
    });
}

#[test]
fn pages_are_lent_where_accesses_are_direct() {
    each_door(MEMORY, |board| {
        board.ram(0, 0x3000, 0);
        let rom = board.memory().rom("rom", counting(0x1000, 5)).build().unwrap();
        board.map(0x4000, rom);
        let device = board.mmio(0x6000, 0x1000, AccessRules::new(), 0);
        let flash = board.memory().rom_device("flash", counting(0x1000, 0), AccessRules::new(), device);
        let flash = flash.build().unwrap();
        let flash = board.map(0x8000, flash);
        let space = board.space.clone();
        let page = |address, write| space.page(address, write).is_some();
        assert!(page(0x1000, false) && page(0x1000, true));
        assert!(page(0x4000, false) && !page(0x4000, true));
        assert!(!page(0x6000, false) && !page(0x6000, true));
        assert!(page(0x8000, false) && !page(0x8000, true));
        assert!(!page(0x1001, false) && !page(0x7000, false));
        flash.set_romd(false).unwrap();
        assert!(!page(0x8000, false));
        let hole = board.memory().reservation("hole", 1u64).build().unwrap();
        board.map(0x1800, hole);
        assert!(!page(0x1000, false) && page(0x2000, false), "a page is lent whole or not at all");
    });
}
