use super::*;
use crate::i440fx::I440fx;
use crate::testing::{Bench, Board, PCI, RAM};
use serde_json::json;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const W1: Width = Width::W1;
const W2: Width = Width::W2;
const W4: Width = Width::W4;
const PORTS: u64 = 0xc000;
const TABLE: u64 = PCI + 0xfe00_0000;
const BAR4: u64 = PCI + 0xfd00_0000;
/// Descriptors, then what is offered, then on the next page what was used: as the legacy interface has it.
const RING: u64 = RAM + 0x1_0000;
const OFFERED: u64 = RING + 128 * 16;
const USED: u64 = RING + 0x1000;
const DATA: u64 = RAM + 0x2_0000;
const MESSAGE: u64 = RAM + 0x3_0000;
const PLACE: &str = "4.0";

/// A disk of eight sectors, each with its number in every byte.
fn disk() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    (0..8).for_each(|sector| file.write_all(&[sector; 512]).unwrap());
    file
}

fn blk(file: &NamedTempFile) -> serde_json::Value {
    json!({ "type": "virtio-blk", "image": file.path() })
}

/// A device whose registers show, and which masters the bus.
fn plug(board: &Board, properties: serde_json::Value) -> (Bench<'_, I440fx>, Bench<'_, VirtioPci>) {
    let host = board.plug(json!({}), 1 << 60);
    let device = board.plug_pci(properties, PLACE);
    place(board);
    (host, device)
}

fn place(board: &Board) {
    for (at, value) in [(0x10, PORTS), (0x14, TABLE - PCI), (0x20, BAR4 - PCI), (0x24, 0)] {
        board.set_config(PLACE, at, W4, value);
    }
    board.set_config(PLACE, 4, W2, 7);
}

/// Offers a read of sector `sector`: the header at [`DATA`], the sector at 0x1000 from there, the status at 0x2000.
fn offer(board: &Board, index: u64, sector: u64) {
    board.store(DATA, Width::W8, 0).unwrap();
    board.store(DATA + 8, Width::W8, sector).unwrap();
    board.store(DATA + 0x2000, W1, 0xff).unwrap();
    for (number, (address, len, flags)) in
        (0..).zip([(DATA, 16, 1), (DATA + 0x1000, 512, 3), (DATA + 0x2000, 1, 2)])
    {
        let at = RING + 16 * number;
        board.store(at, Width::W8, address).unwrap();
        board.store(at + 8, W4, len).unwrap();
        board.store(at + 12, W2, flags).unwrap();
        board.store(at + 14, W2, number + 1).unwrap();
    }
    board.store(OFFERED + 4 + 2 * (index % 128), W2, 0).unwrap();
    board.store(OFFERED + 2, W2, index + 1).unwrap();
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn check(board: &Board, index: u64, sector: u64) {
    assert_eq!(board.load(USED + 2, W2), Ok(index + 1));
    assert_eq!(board.load(DATA + 0x2000, W1), Ok(0));
    assert_eq!([0x1000, 0x11ff].map(|at| board.load(DATA + at, W1)), [Ok(sector); 2]);
}

fn common(board: &Board, offset: u64, width: Width) -> u64 {
    board.load(BAR4 + offset, width).unwrap()
}

fn set_common(board: &Board, offset: u64, width: Width, value: u64) {
    board.store(BAR4 + offset, width, value).unwrap();
}

/// Brings the device up by the modern interface, with queue 0 at [`RING`].
fn bring_up(board: &Board) {
    for (select, features) in [(0, 0), (1, 1)] {
        set_common(board, registers::DRIVER_FEATURE_SELECT, W4, select);
        set_common(board, registers::DRIVER_FEATURE, W4, features);
    }
    set_common(board, registers::DEVICE_STATUS, W1, 0xb);
    assert_eq!(common(board, registers::DEVICE_STATUS, W1), 0xb);
    set_common(board, registers::QUEUE_SELECT, W2, 0);
    for (register, address) in
        [(registers::QUEUE_DESC, RING), (registers::QUEUE_DRIVER, OFFERED), (registers::QUEUE_DEVICE, USED)]
    {
        set_common(board, register, W4, address & 0xffff_ffff);
        set_common(board, register + 4, W4, address >> 32);
        assert_eq!(common(board, register, W4), address);
    }
    set_common(board, registers::QUEUE_ENABLE, W2, 1);
    assert_eq!(common(board, registers::QUEUE_ENABLE, W2), 1);
    set_common(board, registers::DEVICE_STATUS, W1, 0xf);
}

#[test]
fn ids_registers_and_capabilities_are_those_of_qemu() {
    let file = disk();
    for (backend, device, class, subsystem, ports, legacy) in [
        (blk(&file), 0x1001_1af4, 0x0100_0000, 0x0002_1af4, 0xffff_ff81u64, true),
        (json!({ "type": "virtio-rng" }), 0x1005_1af4, 0x00ff_0000, 0x0004_1af4, 0xffff_ffe1, true),
        (json!({ "type": "virtio-console" }), 0x1003_1af4, 0x0780_0000, 0x0003_1af4, 0xffff_ffc1, true),
        (blk(&file), 0x1042_1af4, 0x0100_0001, 0x1100_1af4, 0, false),
    ] {
        let board = Board::new();
        let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
        let _device: Bench<'_, VirtioPci> =
            board.plug_pci(json!({ "backend": backend, "disable-legacy": !legacy }), PLACE);
        let read = |at| board.config(PLACE, at, W4);
        assert_eq!(
            [0, 4, 8, 0x2c, 0x34, 0x3c].map(read),
            [device, 0x0010_0000, class, subsystem, 0x98, 0x100]
        );
        for at in (0x10..0x28).step_by(4) {
            board.set_config(PLACE, at, W4, 0xffff_ffff);
        }
        assert_eq!([0x10, 0x14, 0x18, 0x1c].map(read), [ports, 0xffff_f000, 0, 0]);
        assert_eq!([0x20, 0x24].map(read), [0xffff_c00c, 0xffff_ffff]);
        let list: Vec<_> = (0x40..0xa4).step_by(4).map(read).collect();
        let vectors = if device == 0x1003_1af4 { 2 } else { 1 };
        let expected = [
            0x0110_0009,
            4,
            0,
            0x1000,
            0x0310_4009,
            4,
            0x1000,
            0x1000,
            0x0410_5009,
            4,
            0x2000,
            0x1000,
            0x0214_6009,
            4,
            0x3000,
            0x1000,
            4,
            0x0514_7009,
            0,
            0,
            0,
            0,
            vectors << 16 | 0x8411,
            1,
            0x801,
        ];
        assert_eq!(list, expected);
    }
}

#[test]
fn a_legacy_driver_reads_a_disk_and_is_interrupted_by_the_pin() {
    let (board, file) = (Board::new(), disk());
    let (_host, device) = plug(&board, json!({ "backend": blk(&file) }));
    let get = |at, width| board.input(PORTS + at, width);
    let set = |at, width, value| board.output(PORTS + at, width, value);
    let features = get(registers::HOST_FEATURES, W4);
    assert_eq!(features & (1 << 6 | 1 << 9), 1 << 6 | 1 << 9, "block size and flush");
    set(registers::GUEST_FEATURES, W4, features & !(F_EVENT_IDX | F_INDIRECT_DESC));
    set(registers::STATUS, W1, 1);
    set(registers::STATUS, W1, 3);
    assert_eq!((get(registers::QUEUE_NUM, W2), get(registers::QUEUE_PFN, W4)), (128, 0));
    set(registers::QUEUE_SEL, W2, 1);
    assert_eq!(get(registers::QUEUE_SEL, W2), 0, "there is one queue");
    set(registers::QUEUE_PFN, W4, RING >> 12);
    assert_eq!(get(registers::QUEUE_PFN, W4), RING >> 12);
    set(registers::STATUS, W1, 7);
    assert_eq!(
        [0, 4, 8].map(|at| get(registers::LEGACY_CONFIG + at, W4)),
        [8, 0, 0],
        "sectors, and no limit"
    );
    for (index, sector) in [(0, 5), (1, 2)] {
        offer(&board, index, sector);
        set(registers::QUEUE_NOTIFY, W2, 0);
        wait("the pin", || board.config(PLACE, 6, W2) & 8 != 0);
        assert_eq!([get(registers::ISR, W1), get(registers::ISR, W1)], [1, 0]);
        assert_eq!(board.config(PLACE, 6, W2) & 8, 0, "what is read is cleared");
        check(&board, index, sector);
    }
    // with the table enabled there are registers for vectors before the configuration
    board.set_config(PLACE, 0x9a, W2, 0x8000);
    set(registers::CONFIG_VECTOR, W2, 0);
    set(registers::QUEUE_VECTOR, W2, 7);
    assert_eq!([registers::CONFIG_VECTOR, registers::QUEUE_VECTOR].map(|at| get(at, W2)), [0, 0xffff]);
    assert_eq!(get(registers::LEGACY_CONFIG_MSIX, W4), 8);
    set(registers::QUEUE_PFN, W4, 0);
    assert_eq!((get(registers::STATUS, W1), get(registers::QUEUE_PFN, W4)), (0, 0), "which is a reset");
    assert_eq!(device.save()["state"]["queues"][0]["ready"], false);
}

#[test]
fn a_modern_driver_reads_a_disk_and_gets_messages() {
    let (board, file) = (Board::new(), disk());
    let (_host, _device) = plug(&board, json!({ "backend": blk(&file), "disable-legacy": true }));
    assert_eq!(common(&board, registers::NUM_QUEUES, W2), 1);
    set_common(&board, registers::DEVICE_FEATURE_SELECT, W4, 1);
    assert_eq!(common(&board, registers::DEVICE_FEATURE, W4), 1);
    // features that are not agreed on
    set_common(&board, registers::DEVICE_STATUS, W1, 0xb);
    assert_eq!(common(&board, registers::DEVICE_STATUS, W1), 3);
    bring_up(&board);
    assert_eq!(common(&board, registers::DEVICE, Width::W8), 8);
    board.set_config(PLACE, 0x9a, W2, 0x8000);
    board.store(TABLE + 16, Width::W8, MESSAGE).unwrap();
    board.store(TABLE + 24, W4, 0x55).unwrap();
    board.store(TABLE + 28, W4, 0).unwrap();
    set_common(&board, registers::QUEUE_MSIX_VECTOR, W2, 1);
    assert_eq!(common(&board, registers::QUEUE_MSIX_VECTOR, W2), 1);
    set_common(&board, registers::CONFIG_MSIX_VECTOR, W2, 2);
    assert_eq!(common(&board, registers::CONFIG_MSIX_VECTOR, W2), 0xffff, "there are two vectors");
    offer(&board, 0, 3);
    set_common(&board, registers::NOTIFY, W2, 0);
    wait("the message", || board.load(MESSAGE, W4) == Ok(0x55));
    check(&board, 0, 3);
    // a notification of another width, and a vector that is masked
    board.store(MESSAGE, W4, 0).unwrap();
    board.store(TABLE + 28, W4, 1).unwrap();
    offer(&board, 1, 4);
    set_common(&board, registers::NOTIFY, W4, 0);
    wait("the pending bit", || board.load(TABLE + 0x800, W4) == Ok(2));
    check(&board, 1, 4);
    board.store(TABLE + 28, W4, 0).unwrap();
    assert_eq!((board.load(MESSAGE, W4), board.load(TABLE + 0x800, W4)), (Ok(0x55), Ok(0)));
    assert_eq!(common(&board, registers::ISR_STATUS, W1), 1, "which says so besides");
    set_common(&board, registers::DEVICE_STATUS, W1, 0);
    assert_eq!(
        [registers::DEVICE_STATUS, registers::QUEUE_ENABLE].map(|at| common(&board, at, W2) & 0xff),
        [0, 0]
    );
}

#[test]
fn a_device_that_may_not_master_the_bus_takes_no_queue_up() {
    let (board, file) = (Board::new(), disk());
    let (_host, _device) = plug(&board, json!({ "backend": blk(&file) }));
    board.set_config(PLACE, 4, W2, 3);
    set_common(&board, registers::QUEUE_DESC, W4, RING);
    set_common(&board, registers::QUEUE_ENABLE, W2, 1);
    assert_eq!(common(&board, registers::QUEUE_ENABLE, W2), 0);
    assert_eq!(common(&board, registers::DEVICE_STATUS, W1), u64::from(NEEDS_RESET));
    assert_eq!(common(&board, registers::ISR_STATUS, W1), 2);
}

#[test]
fn structures_are_reached_through_configuration_space() {
    let (board, file) = (Board::new(), disk());
    let (_host, _device) = plug(&board, json!({ "backend": blk(&file) }));
    board.set_config(PLACE, 4, W2, 0);
    let aim = |offset, length| {
        board.set_config(PLACE, registers::CONFIG_ACCESS_OFFSET, W4, offset);
        board.set_config(PLACE, registers::CONFIG_ACCESS_LENGTH, W4, length);
    };
    let data = registers::CONFIG_ACCESS_DATA;
    aim(registers::DEVICE, 4);
    assert_eq!(board.config(PLACE, data, W4), 8, "sectors");
    aim(registers::DEVICE_STATUS, 1);
    board.set_config(PLACE, data, W1, 3);
    assert_eq!(board.config(PLACE, data, W1), 3);
    // what cannot be is nothing
    for (offset, length) in [(registers::DEVICE_STATUS, 3), (0x4000, 4), (u32::MAX.into(), 1), (0x15, 2)] {
        aim(offset, length);
        board.set_config(PLACE, data, W4, 0);
        let _ = board.config(PLACE, data, W4);
    }
    aim(registers::DEVICE_STATUS, 1);
    assert_eq!(board.config(PLACE, data, W1), 3);
}

#[test]
fn a_disk_on_pci_goes_on_where_its_snapshot_was_made() {
    let (board, file) = (Board::new(), disk());
    let (_host, device) = plug(&board, json!({ "backend": blk(&file) }));
    bring_up(&board);
    offer(&board, 0, 1);
    set_common(&board, registers::NOTIFY, W2, 0);
    wait("the pin", || board.config(PLACE, 6, W2) & 8 != 0);
    let saved = device.save();
    let other = Board::new();
    let _bridge: Bench<'_, I440fx> = other.plug(json!({}), 1 << 60);
    let mut ring = vec![0; 0x2000];
    board.space.read(RING, &mut ring, Default::default()).unwrap();
    other.space.write(RING, &ring, Default::default()).unwrap();
    let again: Bench<'_, VirtioPci> = other.plug_pci(saved.clone(), PLACE);
    assert_eq!(again.save(), saved);
    assert_eq!(other.config(PLACE, 6, W2) & 8, 8, "it asks for an interrupt still");
    assert_eq!(common(&other, registers::ISR_STATUS, W1), 1);
    offer(&other, 1, 6);
    set_common(&other, registers::NOTIFY, W2, 0);
    wait("the pin", || other.config(PLACE, 6, W2) & 8 != 0);
    check(&other, 1, 6);
}

#[test]
fn a_driver_is_told_of_a_disks_new_size_when_it_works_with_the_disk() {
    let (board, file) = (Board::new(), disk());
    let backend = json!({ "type": "virtio-blk", "image": file.path(), "name": "d0" });
    let (_host, bench) = plug(&board, json!({ "backend": backend, "disable-legacy": true }));
    let told =
        || (common(&board, registers::CONFIG_GENERATION, W1), common(&board, registers::ISR_STATUS, W1));
    let resize = |name: &str, bytes| bench.device.resize_disk(name, bytes).map(|resized| resized.unwrap());
    assert_eq!((resize("d1", 512), told()), (None, (0, 0)));
    assert_eq!((resize("d0", 16 * 512), told()), (Some(()), (1, 0)), "nobody works with it");
    bring_up(&board);
    assert_eq!((resize("d0", 6 * 512 + 1), told(), told()), (Some(()), (2, 3), (2, 0)));
    assert_eq!(common(&board, registers::DEVICE, Width::W8), 6);
    assert_eq!(file.as_file().metadata().unwrap().len(), 6 * 512 + 1);
}
