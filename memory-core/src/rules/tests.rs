use super::*;
use Width::{W1, W2, W4, W8};
use std::cell::RefCell;

/// Registers that read as their own addresses, byte by byte, and record every call.
struct Bytes {
    order: ByteOrder,
    calls: RefCell<Vec<(u64, u64, Option<u64>)>>,
}

impl Bytes {
    fn new(order: ByteOrder) -> Self {
        Self { order, calls: RefCell::default() }
    }

    fn read(&self, offset: u64, width: Width) -> Result<u64, BusFault> {
        self.calls.borrow_mut().push((offset, width.bytes(), None));
        let bytes: Vec<u8> = (0..width.bytes()).map(|i| (offset + i) as u8 + 0x10).collect();
        Ok(self.order.decode(&bytes))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.calls.borrow_mut().push((offset, width.bytes(), Some(value)));
        Ok(())
    }

    fn calls(&self) -> Vec<(u64, u64, Option<u64>)> {
        self.calls.take()
    }
}

fn read(rules: &AccessRules, device: &Bytes, offset: u64, width: Width) -> Option<u64> {
    let callback = |offset, width| device.read(offset, width);
    rules.read(offset, width, TxAttrs::default(), ByteOrder::Little, callback).map(|(value, _)| value)
}

fn write(rules: &AccessRules, device: &Bytes, offset: u64, width: Width, value: u64) -> bool {
    let callback = |offset, width, value| device.write(offset, width, value);
    rules.write(offset, width, value, TxAttrs::default(), ByteOrder::Little, callback).is_some()
}

#[test]
fn accept_checks_predicate_then_alignment_then_width() {
    let request = |offset, width| Request { offset, width, write: false, attrs: TxAttrs::default() };
    let rules = AccessRules::new().valid(W2..=W4);
    assert!(rules.accept(request(4, W4)) && !rules.accept(request(2, W4)) && !rules.accept(request(0, W1)));
    assert!(rules.clone().valid_unaligned().accept(request(1, W4)));
    assert!(!rules.accepts(|request| request.offset != 4).accept(request(4, W4)));
    assert!(AccessRules::new().accept(request(8, W8)), "no widths named: any");
}

#[test]
fn wide_accesses_are_split_in_address_order() {
    let device = Bytes::new(ByteOrder::Little);
    let rules = AccessRules::new().implements(W1..=W2);
    assert_eq!(read(&rules, &device, 8, W8), Some(0x1f1e_1d1c_1b1a_1918));
    assert_eq!(device.calls(), [(8, 2, None), (10, 2, None), (12, 2, None), (14, 2, None)]);
    assert!(write(&rules, &device, 4, W4, 0x4433_2211));
    assert_eq!(device.calls(), [(4, 2, Some(0x2211)), (6, 2, Some(0x4433))]);
}

#[test]
fn big_endian_pieces_come_from_the_top_and_the_bus_sees_its_own_order() {
    let device = Bytes::new(ByteOrder::Big);
    let rules = AccessRules::new().implements(W1..=W2).endian(Endian::Big);
    // the bytes in memory are 14 15 16 17; a little-endian bus reads them as such
    assert_eq!(read(&rules, &device, 4, W4), Some(0x1716_1514));
    assert!(write(&rules, &device, 4, W4, 0x4433_2211));
    assert_eq!(device.calls().split_off(2), [(4, 2, Some(0x1122)), (6, 2, Some(0x3344))]);
}

#[test]
fn narrow_accesses_use_the_least_width_at_their_own_offset() {
    let rules = AccessRules::new().implements(W4..=W4);
    let device = Bytes::new(ByteOrder::Little);
    assert_eq!(read(&rules, &device, 1, W1), Some(0x11));
    assert!(write(&rules, &device, 2, W2, 0xffff_aabb));
    assert_eq!(device.calls(), [(1, 4, None), (2, 4, Some(0xaabb))]);
    let device = Bytes::new(ByteOrder::Big);
    let rules = rules.endian(Endian::Big);
    assert_eq!(read(&rules, &device, 1, W1), Some(0x11));
    assert!(write(&rules, &device, 3, W1, 0xab));
    assert_eq!(device.calls(), [(1, 4, None), (3, 4, Some(0xab00_0000))]);
}

#[test]
fn unaligned_reads_take_the_aligned_reads_that_cover_them() {
    for (order, endian) in [(ByteOrder::Little, Endian::Little), (ByteOrder::Big, Endian::Big)] {
        let device = Bytes::new(order);
        let rules = AccessRules::new().valid_unaligned().implements(W4..=W4).endian(endian);
        assert_eq!(read(&rules, &device, 3, W4), Some(0x1615_1413), "{order:?}");
        assert_eq!(device.calls(), [(0, 4, None), (4, 4, None)]);
        assert_eq!(read(&rules, &device, 1, W2), Some(0x1211));
        assert_eq!(device.calls(), [(0, 4, None)]);
        assert_eq!(read(&rules, &device, 5, W8), Some(0x1c1b_1a19_1817_1615));
        assert_eq!(device.calls(), [(4, 4, None), (8, 4, None), (12, 4, None)]);
    }
    let device = Bytes::new(ByteOrder::Little);
    let rules = AccessRules::new().valid_unaligned().implements_unaligned();
    assert_eq!(read(&rules, &device, 3, W4), Some(0x1615_1413));
    assert_eq!(device.calls(), [(3, 4, None)]);
}

#[test]
fn unaligned_writes_take_aligned_pieces_or_are_refused_whole() {
    let device = Bytes::new(ByteOrder::Little);
    let rules = AccessRules::new().valid_unaligned();
    assert!(write(&rules, &device, 3, W4, 0x4433_2211));
    assert_eq!(device.calls(), [(3, 1, Some(0x11)), (4, 2, Some(0x3322)), (6, 1, Some(0x44))]);
    assert!(!write(&rules.clone().implements(W2..=W4), &device, 3, W4, 1));
    assert!(device.calls().is_empty());
    assert!(write(&rules.implements(W2..=W4), &device, 2, W4, 0x4433_2211));
    assert_eq!(device.calls(), [(2, 2, Some(0x2211)), (4, 2, Some(0x4433))]);
}

#[test]
fn faults_of_pieces_are_combined_and_read_as_zero() {
    let rules = AccessRules::new().implements(W1..=W1);
    let callback = |offset, _| match offset {
        1 => Err(BusFault::ERROR),
        2 => Err(BusFault::ACCESS),
        _ => Ok(0xff),
    };
    let read = rules.read(0, W4, TxAttrs::default(), ByteOrder::Little, callback);
    assert_eq!(read, Some((0xff00_00ff, Err(BusFault::ERROR.union(BusFault::ACCESS)))));
}

#[test]
fn offsets_at_the_top_of_the_address_space_do_not_overflow() {
    let device = Bytes::new(ByteOrder::Little);
    let rules = AccessRules::new().valid_unaligned().implements(W4..=W4);
    let calls = |offset, _| {
        device.calls.borrow_mut().push((offset, 4, None));
        Ok(0)
    };
    let read = rules.read(u64::MAX, W8, TxAttrs::default(), ByteOrder::Little, calls);
    assert_eq!(read, Some((0, Ok(()))));
    assert!(rules.write(u64::MAX, W8, 1, TxAttrs::default(), ByteOrder::Big, |_, _, _| Ok(())).is_none());
}
