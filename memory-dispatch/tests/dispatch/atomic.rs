//! Compare-and-exchange on RAM.

use crate::board::{big, bytes_of, counting, each_door};
use memory_core::{AccessRules, BusFault, Width};
use memory_dispatch::SpaceConfig;

const REFUSED: Result<Result<u64, u64>, BusFault> = Err(BusFault::ACCESS);

#[test]
fn the_old_value_comes_back_and_the_new_one_is_there_if_it_matched() {
    each_door(SpaceConfig::default(), |board| {
        board.ram(0, 0x1000, 0);
        for width in Width::ALL {
            let old = board.load(0x40, width).unwrap();
            assert_eq!(board.exchange(0x40, width, old, u64::MAX), Ok(Ok(old)));
            assert_eq!(board.exchange(0x40, width, old, 0), Ok(Err(width.mask())));
            assert_eq!(board.load(0x40, width), Ok(width.mask()));
            board.write(0x40, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        }
    });
}

#[test]
fn values_are_in_the_order_of_the_space_and_bits_above_the_width_do_not_count() {
    each_door(big(), |board| {
        let block = board.ram(0, 0x1000, 0);
        assert_eq!(board.exchange(4, Width::W4, 0xdead_0405_0607, 0xbeef_1122_3344), Ok(Ok(0x0405_0607)));
        assert_eq!(bytes_of(&block, 3, 6), [3, 0x11, 0x22, 0x33, 0x44, 8]);
    });
}

#[test]
fn anything_but_an_aligned_place_in_one_range_of_ram_is_refused() {
    each_door(SpaceConfig::default(), |board| {
        board.ram(0, 0x1000, 0);
        // aligned in the space, not in the host
        board.ram(0x2001, 0x1000, 0);
        let rom = board.memory().rom("rom", counting(0x1000, 0)).build().unwrap();
        board.map(0x4000, rom);
        let device = board.mmio(0x5000, 0x1000, AccessRules::new(), 0);
        // the seam of two ranges inside an aligned word
        board.ram(0x6000, 6, 0);
        board.ram(0x6006, 10, 0);
        for (address, why) in [
            (0x801, "not aligned"),
            (0x2004, "not aligned in the host"),
            (0x4000, "ROM"),
            (0x5000, "a device"),
            (0x6004, "two ranges"),
            (0x7000, "nobody"),
            (u64::MAX - 3, "nobody at the top"),
        ] {
            let old = board.read(address, 4).0;
            assert_eq!(board.exchange(address, Width::W4, 0x0302_0100, 0), REFUSED, "{why}");
            assert_eq!(board.read(address, 4).0, old, "{why}");
        }
        let reads_only = device.calls().iter().all(|call| matches!(call, crate::board::Call::Read(..)));
        assert!(reads_only);
    });
}

#[test]
fn threads_that_count_lose_nothing() {
    const COUNT: u64 = 20_000;
    each_door(SpaceConfig::default(), |board| {
        let block = board.ram(0, 0x1000, 0);
        assert!(block.store(0x80, Width::W4, 0));
        let space = &board.space;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(move || {
                    let mut vcpu = space.handle(|| ());
                    let attrs = crate::board::ATTRS;
                    for _ in 0..COUNT {
                        let mut old = vcpu.load(0x80, Width::W4, attrs).unwrap();
                        while let Err(now) =
                            vcpu.compare_exchange(0x80, Width::W4, old, old + 1, attrs).unwrap()
                        {
                            old = now;
                        }
                    }
                });
            }
        });
        assert_eq!(board.load(0x80, Width::W4), Ok(3 * COUNT));
    });
}
