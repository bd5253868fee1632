//! Byte orders: whatever the order of the space, of the device and of its callback's pieces, memory is bytes.

use crate::board::{Recorder, each_door};
use memory_core::{AccessRules, BusFault, ByteOrder, Endian, Width};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use Width::{W1, W2, W4, W8};

/// The registers as bytes, `first` and up at power on.
const FIRST: u8 = 0x31;

fn contents(device: &Recorder) -> Vec<u8> {
    device.bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
}

/// Tries a device of every order, with callbacks of every range of widths, on a space of every order.
fn every_order(test: impl Fn(&mut crate::board::Board, &Arc<Recorder>, ByteOrder, (Width, Width))) {
    for bus in [ByteOrder::Little, ByteOrder::Big] {
        for endian in [Endian::Little, Endian::Big, Endian::Native] {
            let callback = match endian {
                Endian::Little => ByteOrder::Little,
                Endian::Big => ByteOrder::Big,
                Endian::Native => bus,
            };
            let widths =
                [(W1, W1), (W1, W2), (W1, W4), (W1, W8), (W2, W2), (W2, W4), (W4, W4), (W4, W8), (W8, W8)];
            for (min, max) in widths {
                each_door(SpaceConfig { order: bus, ..SpaceConfig::default() }, |board| {
                    let device = Recorder::new(callback, FIRST);
                    let rules = AccessRules::new()
                        .valid(W1..=W8)
                        .valid_unaligned()
                        .implements(min..=max)
                        .endian(endian);
                    let regs = board.memory().mmio("regs", 0x100u64, rules, device.clone()).build().unwrap();
                    board.map(0x1000, regs);
                    test(board, &device, bus, (min, max));
                });
            }
        }
    }
}

#[test]
fn a_load_gives_the_bytes_of_its_place_in_the_order_of_the_space() {
    every_order(|board, device, bus, widths| {
        let bytes = contents(device);
        for width in Width::ALL {
            for offset in 0..24 {
                let expected = bus.decode(&bytes[offset..offset + width.len()]);
                let value = board.load(0x1000 + offset as u64, width);
                assert_eq!(value, Ok(expected), "{bus:?} {widths:?} {width:?} at {offset}");
            }
        }
    });
}

#[test]
fn a_transfer_reads_bytes_as_they_lie() {
    every_order(|board, device, bus, widths| {
        let bytes = contents(device);
        for offset in 0..9 {
            let (read, result) = board.read(0x1000 + offset as u64, 21);
            assert_eq!(
                (read.as_slice(), result),
                (&bytes[offset..offset + 21], Ok(())),
                "{bus:?} {widths:?}"
            );
        }
    });
}

#[test]
fn a_store_changes_the_bytes_of_its_place_and_no_others_before_it() {
    const VALUE: u64 = 0xf1e2_d3c4_b5a6_9788;
    every_order(|board, device, bus, (min, max)| {
        for width in Width::ALL {
            for offset in 8..24 {
                let before = contents(device);
                let what = format!("{bus:?} {min:?} {max:?} {width:?} at {offset}");
                let result = board.store(0x1000 + offset as u64, width, VALUE);
                let after = contents(device);
                if result == Err(BusFault::DECODE) {
                    // aligned pieces of at least `min` cannot make it up
                    assert!(!width.min(max).aligned(offset as u64) && min > W1, "{what}");
                    assert_eq!(after, before, "{what}");
                    continue;
                }
                result.unwrap();
                let mut expected = before;
                // a callback that is wider than the access gets zeros for the rest
                let reach = if width < min { min } else { width };
                expected[offset..offset + reach.len()].fill(0);
                bus.encode(VALUE & width.mask(), &mut expected[offset..offset + width.len()]);
                assert_eq!(after, expected, "{what}");
            }
        }
    });
}

#[test]
fn what_a_store_wrote_a_transfer_reads_and_the_other_way_round() {
    every_order(|board, _, bus, (min, _)| {
        for width in Width::ALL.into_iter().filter(|width| *width >= min) {
            let value = 0x0123_4567_89ab_cdef & width.mask();
            board.store(0x1040, width, value).unwrap();
            let (bytes, _) = board.read(0x1040, width.len());
            assert_eq!(bus.decode(&bytes), value);
            let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
            board.write(0x1040, &reversed).unwrap();
            assert_eq!(board.load(0x1040, width), Ok(width.swap_bytes(value)));
        }
    });
}
