//! Transfers: how they are cut.

use crate::board::{Call, bytes_of, counting, each_door, ports};
use memory_core::{AccessRules, BusFault, TxAttrs, Width};
use memory_dispatch::SpaceConfig;

fn memory() -> SpaceConfig {
    SpaceConfig::default()
}

/// Offsets and widths of the calls.
fn cuts(calls: &[Call]) -> Vec<(u64, u64)> {
    calls
        .iter()
        .map(|call| match *call {
            Call::Read(offset, width) | Call::Write(offset, width, _) => (offset, width),
        })
        .collect()
}

/// Both directions are cut alike.
fn assert_cut(rules: AccessRules, offset: u64, len: usize, expected: &[(u64, u64)]) {
    each_door(memory(), |board| {
        let device = board.mmio(0x1000, 0x100, rules.clone(), 0);
        let bytes: Vec<u8> = (0..len).map(|i| offset as u8 + i as u8).collect();
        assert_eq!(board.read(0x1000 + offset, len), (bytes.clone(), Ok(())));
        assert_eq!(cuts(&device.calls()), expected);
        let new: Vec<u8> = bytes.iter().map(|byte| byte ^ 0xff).collect();
        assert_eq!(board.write(0x1000 + offset, &new), Ok(()));
        assert_eq!(cuts(&device.calls()), expected);
        assert_eq!(board.read(0x1000 + offset, len), (new, Ok(())));
    });
}

#[test]
fn pieces_are_aligned_powers_of_two_up_to_the_rules() {
    let any = AccessRules::new();
    assert_cut(any.clone(), 1, 11, &[(1, 1), (2, 2), (4, 4), (8, 4)]);
    assert_cut(any.clone(), 0, 8, &[(0, 4), (4, 4)]);
    assert_cut(any.clone(), 0, 0, &[]);
    assert_cut(any.valid(Width::W1..=Width::W2), 3, 6, &[(3, 1), (4, 2), (6, 2), (8, 1)]);
    let wide = AccessRules::new().valid(Width::W1..=Width::W8).implements(Width::W1..=Width::W8);
    assert_cut(wide.clone(), 4, 16, &[(4, 4), (8, 8), (16, 4)]);
    assert_cut(AccessRules::new().valid(Width::W1..=Width::W1), 2, 3, &[(2, 1), (3, 1), (4, 1)]);
}

#[test]
fn pieces_need_no_alignment_where_the_callback_needs_none() {
    let rules = AccessRules::new().valid_unaligned().implements_unaligned();
    assert_cut(rules, 1, 7, &[(1, 4), (5, 2), (7, 1)]);
}

#[test]
fn pieces_are_split_as_the_callback_wants_them() {
    let rules = AccessRules::new().valid(Width::W1..=Width::W4).implements(Width::W1..=Width::W1);
    assert_cut(rules, 3, 4, &[(3, 1), (4, 1), (5, 1), (6, 1)]);
}

#[test]
fn alignment_is_that_of_the_offset_in_the_region() {
    each_door(memory(), |board| {
        // the region starts at an odd address
        let device = board.mmio(0x1001, 0x10, AccessRules::new(), 0);
        assert_eq!(board.read(0x1001, 4), (vec![0, 1, 2, 3], Ok(())));
        assert_eq!(device.calls(), [Call::Read(0, 4)]);
        assert_eq!(board.load(0x1004, Width::W4), Err(BusFault::DECODE), "aligned only in the space");
    });
}

#[test]
fn a_piece_that_the_rules_refuse_fails_alone() {
    let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
    each_door(memory(), |board| {
        let device = board.mmio(0x1000, 0x100, rules.clone(), 0);
        let (bytes, result) = board.read(0x1002, 7);
        assert_eq!((bytes, result), (vec![0, 0, 4, 5, 6, 7, 0], Err(BusFault::DECODE)));
        assert_eq!(device.calls(), [Call::Read(4, 4)]);
        assert_eq!(board.write(0x1002, &[9; 7]), Err(BusFault::DECODE));
        assert_eq!(device.calls(), [Call::Write(4, 4, 0x0909_0909)]);
    });
    each_door(ports(), |board| {
        board.mmio(0x1000, 0x100, rules.clone(), 0);
        assert_eq!(board.read(0x1002, 6), (vec![0xff, 0xff, 4, 5, 6, 7], Ok(())));
    });
}

#[test]
fn a_transfer_goes_through_memory_devices_and_holes() {
    each_door(memory(), |board| {
        let low = board.ram(0xff0, 0x10, 0x10);
        let device = board.mmio(0x1000, 8, AccessRules::new(), 0x80);
        let high = board.ram(0x100c, 0x10, 0x40);
        let (bytes, result) = board.read(0xffe, 18);
        let expected =
            [0x1e, 0x1f, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0, 0, 0, 0, 0x40, 0x41, 0x42, 0x43];
        assert_eq!((bytes.as_slice(), result), (&expected[..], Err(BusFault::DECODE)));
        assert_eq!(device.calls(), [Call::Read(0, 4), Call::Read(4, 4)]);
        let new: Vec<u8> = (1..=18).collect();
        assert_eq!(board.write(0xffe, &new), Err(BusFault::DECODE));
        assert_eq!(bytes_of(&low, 0xe, 2), [1, 2]);
        assert_eq!(device.calls(), [Call::Write(0, 4, 0x0605_0403), Call::Write(4, 4, 0x0a09_0807)]);
        assert_eq!(bytes_of(&high, 0, 5), [15, 16, 17, 18, 0x44]);
    });
}

#[test]
fn a_piece_belongs_to_the_region_that_it_starts_in() {
    let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
    each_door(memory(), |board| {
        let device = board.mmio(0x1000, 6, rules.clone(), 0);
        let ram = board.ram(0x1006, 0x10, 0x50);
        assert_eq!(board.read(0x1000, 9), (vec![0, 1, 2, 3, 4, 5, 6, 7, 0x52], Ok(())));
        assert_eq!(device.calls(), [Call::Read(0, 4), Call::Read(4, 4)]);
        assert_eq!(board.write(0x1004, &[9; 5]), Ok(()));
        assert_eq!(device.calls(), [Call::Write(4, 4, 0x0909_0909)]);
        assert_eq!(bytes_of(&ram, 0, 4), [0x50, 0x51, 9, 0x53], "two bytes went to the device");
    });
}

#[test]
fn a_transfer_over_the_top_of_2_to_the_64_is_cut_there() {
    each_door(memory(), |board| {
        let device = board.mmio(u64::MAX, 1, AccessRules::new(), 7);
        assert_eq!(board.read(u64::MAX, 2), (vec![7, 0], Err(BusFault::DECODE)));
        assert_eq!(board.write(u64::MAX, &[1, 2, 3, 4]), Err(BusFault::DECODE));
        assert_eq!(device.calls(), [Call::Read(0, 1), Call::Write(0, 1, 1)]);
    });
}

#[test]
fn every_piece_is_looked_up_anew() {
    each_door(memory(), |board| {
        let below = board.mmio(0x1000, 0x20, AccessRules::new(), 0);
        let above = board.mmio(0x1008, 8, AccessRules::new(), 0x80);
        let (bytes, result) = board.read(0x1004, 16);
        let expected = [4, 5, 6, 7, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x10, 0x11, 0x12, 0x13];
        assert_eq!((bytes.as_slice(), result), (&expected[..], Ok(())));
        assert_eq!(below.calls(), [Call::Read(4, 4), Call::Read(0x10, 4)]);
        assert_eq!(above.calls(), [Call::Read(0, 4), Call::Read(4, 4)]);
    });
}

#[test]
fn the_faults_of_all_pieces_are_ored_and_none_stops_the_rest() {
    each_door(memory(), |board| {
        let device = board.mmio(0, 0x10, AccessRules::new(), 0);
        *device.faulty_from.lock().unwrap() = 4;
        let ram = board.ram(0x18, 8, 0x60);
        let (bytes, result) = board.read(0, 0x1a);
        assert_eq!(result, Err(BusFault::ERROR.union(BusFault::DECODE)));
        assert_eq!((&bytes[..4], &bytes[0x18..]), (&[0, 1, 2, 3][..], &[0x60, 0x61][..]));
        assert!(bytes[4..0x18].iter().all(|byte| *byte == 0));
        assert_eq!(device.calls().len(), 4);
        assert_eq!(board.write(0xc, &[7; 0xe]), Err(BusFault::ERROR.union(BusFault::DECODE)));
        assert_eq!(bytes_of(&ram, 0, 3), [7, 7, 0x62]);
    });
}

#[test]
fn memory_of_a_real_device_is_accessed_whole_and_in_place() {
    each_door(memory(), |board| {
        let block = counting(0x1000, 0);
        let window = board.memory().ram_device("window", block.clone()).build().unwrap();
        board.map(0x1000, window);
        assert_eq!(board.read(0x1003, 9).0, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        board.write(0x1ffd, &[1, 2, 3]).unwrap();
        assert_eq!(bytes_of(&block, 0xffd, 3), [1, 2, 3]);
        assert_eq!(board.write(0x1ffe, &[4, 5, 6]), Err(BusFault::DECODE));
        assert_eq!(bytes_of(&block, 0xffd, 3), [1, 4, 5]);
        // typed accesses that are unaligned are pieces, and end where the memory does
        assert_eq!(board.load(0x1005, Width::W4), Ok(0x0807_0605));
        board.store(0x1003, Width::W8, 0x8877_6655_4433_2211).unwrap();
        assert_eq!(bytes_of(&block, 3, 9), [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 11]);
        assert_eq!(board.load(0x1ffe, Width::W4), Err(BusFault::DECODE));
    });
}

#[test]
fn a_loader_writes_what_is_memory_and_says_what_is_not() {
    each_door(memory(), |board| {
        let ram = board.ram(0, 0x10, 0);
        let device = board.mmio(0x10, 0x10, AccessRules::new(), 0);
        let rom = counting(0x10, 0);
        let region = board.memory().rom("rom", rom.clone()).build().unwrap();
        board.map(0x20, region);
        assert!(board.space.write_rom(0xe, &[0x55; 0x14]).is_err());
        assert_eq!((bytes_of(&ram, 0xe, 2), bytes_of(&rom, 0, 3)), (vec![0x55; 2], vec![0x55, 0x55, 2]));
        assert_eq!(device.calls(), []);
        assert_eq!(board.space.write_rom(0x20, &[1]), Ok(()));
        assert_eq!(board.read_as(TxAttrs::DEBUG, 0x20, 2), (vec![1, 0x55], Ok(())));
    });
}
