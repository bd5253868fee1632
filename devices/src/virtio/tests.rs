use super::registers::*;
use super::*;
use crate::testing::{Bench, Board, RAM};
use memory_core::{TxAttrs, Width};
use serde_json::json;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const REGS: u64 = 0x1_0000;
const DESC: u64 = RAM + 0x1000;
const AVAIL: u64 = RAM + 0x2000;
const USED: u64 = RAM + 0x3000;
/// Distance between the queues.
const STEP: u64 = 0x4000;
const DATA: u64 = RAM + 0x2_0000;
const QUEUE: u64 = 16;

/// A driver, as small as can be.
struct Driver<'a> {
    board: &'a Board,
    bench: Bench<'a, VirtioMmio>,
    /// Buffers offered and seen used, by queue.
    counts: [(u16, u16); 2],
    /// Agrees on event indexes, and notifies only where they ask for it.
    event_idx: bool,
}

#[derive(Clone, Copy)]
enum Part {
    Read(u64, u32),
    Written(u64, u32),
}

impl<'a> Driver<'a> {
    fn new(board: &'a Board, backend: serde_json::Value) -> Self {
        let bench = board.plug(json!({ "backend": backend }), REGS);
        Self { board, bench, counts: Default::default(), event_idx: false }
    }

    fn get(&self, register: u64) -> u64 {
        self.board.load(REGS + register, Width::W4).unwrap()
    }

    fn set(&self, register: u64, value: u64) {
        self.board.store(REGS + register, Width::W4, value).unwrap();
    }

    fn ram(&self, address: u64, bytes: &[u8]) {
        self.board.space.write(address, bytes, TxAttrs::default()).unwrap();
    }

    fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.board.space.read(address, &mut bytes, TxAttrs::default()).unwrap();
        bytes
    }

    /// Agrees on all features, but on event indexes, which spare interrupts, only if it is to.
    fn negotiate(&self) {
        self.set(STATUS, 0);
        self.set(STATUS, 3);
        let event_idx = if self.event_idx { 0 } else { F_EVENT_IDX };
        for (half, dropped) in [(0, event_idx), (1, 0)] {
            self.set(DEVICE_FEATURES_SEL, half);
            self.set(DRIVER_FEATURES_SEL, half);
            let offered = self.get(DEVICE_FEATURES);
            self.set(DRIVER_FEATURES, offered & !dropped);
        }
        self.set(STATUS, 3 | u64::from(FEATURES_OK));
        assert_eq!(self.get(STATUS), 3 | u64::from(FEATURES_OK));
    }

    fn queue(&self, index: u64, addresses: [u64; 3]) {
        self.set(QUEUE_SEL, index);
        self.set(QUEUE_NUM, QUEUE);
        let registers = [QUEUE_DESC_LOW, QUEUE_DRIVER_LOW, QUEUE_DEVICE_LOW];
        for (register, address) in registers.into_iter().zip(addresses) {
            self.set(register, address & 0xffff_ffff);
            self.set(register + 4, address >> 32);
        }
        self.set(QUEUE_READY, 1);
    }

    fn start(&self) {
        self.negotiate();
        for index in 0..self.bench.device.sizes().len() as u64 {
            let at = index * STEP;
            self.queue(index, [DESC + at, AVAIL + at, USED + at]);
            assert_eq!(self.get(QUEUE_READY), 1);
        }
        self.set(STATUS, 3 | u64::from(FEATURES_OK | DRIVER_OK));
    }

    fn descriptor(&self, queue: usize, index: u16, part: Part, next: Option<u16>) {
        let (address, len, flags) = match part {
            Part::Read(address, len) => (address, len, 0),
            Part::Written(address, len) => (address, len, 2u16),
        };
        let flags = flags | u16::from(next.is_some());
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.unwrap_or(0).to_le_bytes());
        self.ram(DESC + queue as u64 * STEP + u64::from(index) * 16, &bytes);
    }

    /// Offers one buffer and tells the device.
    fn offer(&mut self, queue: usize, parts: &[Part]) {
        for (index, part) in parts.iter().enumerate() {
            let next = (index + 1 < parts.len()).then_some(index as u16 + 1);
            self.descriptor(queue, index as u16, *part, next);
        }
        self.publish(queue, 0);
    }

    fn publish(&mut self, queue: usize, head: u16) {
        let at = AVAIL + queue as u64 * STEP;
        let (offered, _) = &mut self.counts[queue];
        let slot = u64::from(*offered) % QUEUE;
        *offered = offered.wrapping_add(1);
        let offered = *offered;
        self.ram(at + 4 + slot * 2, &head.to_le_bytes());
        self.ram(at + 2, &offered.to_le_bytes());
        let wanted = self.bytes(USED + queue as u64 * STEP + 4 + 8 * QUEUE, 2);
        // `vring_need_event`, for one buffer more
        if !self.event_idx || u16::from_le_bytes(wanted.try_into().unwrap()) == offered.wrapping_sub(1) {
            self.set(QUEUE_NOTIFY, queue as u64);
        }
    }

    /// Waits until the device has used the buffer, and returns how much it wrote.
    fn used(&mut self, queue: usize) -> u32 {
        let at = USED + queue as u64 * STEP;
        let seen = self.counts[queue].1;
        wait("a used buffer", || self.bytes(at + 2, 2) != seen.to_le_bytes());
        self.counts[queue].1 = seen.wrapping_add(1);
        let element = self.bytes(at + 4 + u64::from(seen) % QUEUE * 8, 8);
        u32::from_le_bytes(element[4..].try_into().unwrap())
    }

    /// A request to a disk: its status and what was read.
    fn disk(&mut self, kind: u32, sector: u64, data: Part) -> (u8, Vec<u8>) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.ram(DATA, &header);
        self.ram(DATA + 0x100, &[0xff]);
        self.offer(0, &[Part::Read(DATA, 16), data, Part::Written(DATA + 0x100, 1)]);
        let written = self.used(0);
        let (Part::Read(address, len) | Part::Written(address, len)) = data;
        let expected = if matches!(data, Part::Written(..)) { len + 1 } else { 1 };
        assert_eq!(written, expected);
        (self.bytes(DATA + 0x100, 1)[0], self.bytes(address, len as usize))
    }

    fn wait_for_reset_wanted(&self) {
        wait("a call for a reset", || self.get(STATUS) & u64::from(NEEDS_RESET) != 0);
        assert!(self.get(INTERRUPT_STATUS) & u64::from(CONFIGURATION) != 0 && self.bench.level("irq"));
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::yield_now();
    }
}

/// 64 sectors, each full of its number.
fn image() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    (0..64u8).for_each(|sector| file.write_all(&[sector; 512]).unwrap());
    file
}

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

#[test]
fn the_registers_are_those_of_the_specification() {
    let board = Board::new();
    let empty: Bench<'_, VirtioMmio> = board.plug(json!({}), 0x2_0000);
    let at = |register: u64| board.load(0x2_0000 + register, Width::W4).unwrap();
    assert_eq!((at(MAGIC_VALUE), at(VERSION), at(DEVICE_ID)), (MAGIC, 2, 0), "an empty slot");
    let file = image();
    let driver = Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path() }));
    assert_eq!((driver.get(MAGIC_VALUE), driver.get(VERSION), driver.get(DEVICE_ID)), (MAGIC, 2, 2));
    assert_eq!((driver.get(QUEUE_NUM_MAX), driver.get(SHM_LEN_LOW)), (128, 0xffff_ffff));
    assert_eq!(board.load(REGS + CONFIG, Width::W4), Ok(64), "sectors");
    assert_eq!(
        (board.load(REGS + CONFIG + 20, Width::W2), board.load(REGS + CONFIG + 0x50, Width::W1)),
        (Ok(512), Ok(0))
    );
    // features that nobody offered are not agreed on
    driver.set(STATUS, 3);
    driver.set(DRIVER_FEATURES_SEL, 1);
    driver.set(DRIVER_FEATURES, 3);
    driver.set(STATUS, 3 | u64::from(FEATURES_OK));
    assert_eq!(driver.get(STATUS), 3);
    driver.start();
    driver.set(STATUS, 0);
    assert_eq!((driver.get(STATUS), driver.get(QUEUE_READY)), (0, 0));
    drop(empty);
}

#[test]
fn a_disk_reads_writes_flushes_and_has_a_name() {
    let (board, file) = (Board::new(), image());
    let mut driver =
        Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path(), "serial": "disk-7" }));
    driver.start();
    let (status, data) = driver.disk(IN, 5, Part::Written(DATA + 0x1000, 1024));
    assert_eq!((status, data), (0, [[5; 512], [6; 512]].concat()));
    // the ring is written first, and the line raised after it
    wait("an interrupt", || driver.bench.level("irq"));
    driver.set(INTERRUPT_ACK, u64::from(USED_BUFFER));
    assert!(!driver.bench.level("irq"));
    driver.ram(DATA + 0x1000, &[0xee; 512]);
    assert_eq!(driver.disk(OUT, 9, Part::Read(DATA + 0x1000, 512)).0, 0);
    assert_eq!(driver.disk(FLUSH, 0, Part::Read(DATA + 0x1000, 0)).0, 0);
    assert_eq!(&std::fs::read(file.path()).unwrap()[9 * 512..10 * 512], [0xee; 512]);
    let (status, name) = driver.disk(GET_ID, 0, Part::Written(DATA + 0x1000, 20));
    assert_eq!((status, &name[..8]), (0, &b"disk-7\0\0"[..]));
    assert_eq!(driver.disk(77, 0, Part::Written(DATA + 0x1000, 4)).0, 2, "not supported");
}

#[test]
fn a_disk_refuses_what_is_not_on_it_and_what_it_may_not_write() {
    let (board, file) = (Board::new(), image());
    let mut driver =
        Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path(), "read-only": true }));
    driver.start();
    driver.set(DEVICE_FEATURES_SEL, 0);
    assert!(driver.get(DEVICE_FEATURES) & 1 << 5 != 0, "VIRTIO_BLK_F_RO");
    let data = Part::Written(DATA + 0x1000, 512);
    assert_eq!(driver.disk(IN, 63, data).0, 0);
    assert_eq!(driver.disk(IN, 64, data).0, 1, "beyond the end");
    assert_eq!(driver.disk(IN, u64::MAX, data).0, 1);
    assert_eq!(driver.disk(IN, 0, Part::Written(DATA + 0x1000, 100)).0, 1, "no whole sector");
    assert_eq!(driver.disk(OUT, 0, Part::Read(DATA + 0x1000, 512)).0, 1, "read-only");
    assert_eq!(std::fs::read(file.path()).unwrap()[..512], [0; 512]);
}

#[test]
fn a_disk_without_its_file_is_an_error_that_names_it() {
    let board = Board::new();
    let backend = json!({ "type": "virtio-blk", "image": "no/such.img" });
    let refused = board.try_plug::<VirtioMmio>(json!({ "backend": backend }), REGS).err().unwrap();
    assert!(refused.to_string().contains("no/such.img"), "{refused}");
    for backend in
        [json!({ "type": "virtio-blk" }), json!({ "type": "virtio-blk", "image": "a", "size": 512 })]
    {
        let refused = board.try_plug::<VirtioMmio>(json!({ "backend": backend }), REGS).err().unwrap();
        assert_eq!(refused.to_string(), "property `image`: a disk has either this or a `size`");
    }
}

#[test]
fn a_disk_without_an_image_has_a_size_and_zeroes() {
    let board = Board::new();
    let mut driver = Driver::new(&board, json!({ "type": "virtio-blk", "size": 1 << 30 }));
    driver.start();
    assert_eq!(board.load(REGS + CONFIG, Width::W4), Ok(1 << 21), "sectors");
    driver.ram(DATA + 0x1000, &[0xee; 512]);
    assert_eq!(driver.disk(OUT, 9, Part::Read(DATA + 0x1000, 512)).0, 0);
    assert_eq!(driver.disk(FLUSH, 0, Part::Read(DATA + 0x1000, 0)).0, 0);
    assert_eq!(driver.disk(IN, 9, Part::Written(DATA + 0x1000, 512)), (0, vec![0; 512]));
    assert_eq!(driver.disk(IN, 1 << 21, Part::Written(DATA + 0x1000, 512)).0, 1, "beyond the end");
}

#[test]
fn the_entropy_source_fills_buffers() {
    let board = Board::new();
    let mut driver = Driver::new(&board, json!({ "type": "virtio-rng" }));
    driver.start();
    driver.offer(0, &[Part::Written(DATA, 64)]);
    assert_eq!(driver.used(0), 64);
    assert_ne!(driver.bytes(DATA, 64), [0; 64]);
}

#[test]
fn the_console_writes_and_reads() {
    let board = Board::new();
    let mut driver = Driver::new(&board, json!({ "type": "virtio-console", "backend": "stdio" }));
    driver.start();
    driver.ram(DATA, b"hello");
    driver.offer(1, &[Part::Read(DATA, 5)]);
    assert_eq!((driver.used(1), board.take_output()), (0, b"hello".to_vec()));
    board.host.console.feed(b"abc");
    driver.offer(0, &[Part::Written(DATA, 2)]);
    assert_eq!((driver.used(0), driver.bytes(DATA, 2)), (2, b"ab".to_vec()));
    driver.offer(0, &[Part::Written(DATA, 16)]);
    assert_eq!((driver.used(0), driver.bytes(DATA, 1)), (1, b"c".to_vec()), "what had no room is not lost");
    driver.offer(0, &[Part::Written(DATA, 16)]);
    board.host.console.feed(b"later");
    assert_eq!((driver.used(0), driver.bytes(DATA, 5)), (5, b"later".to_vec()), "input wakes the device");
}

#[test]
fn a_queue_that_points_at_what_is_no_memory_is_refused() {
    let board = Board::new();
    let rom =
        board.memory().rom("rom", memory_core::RamBlock::anonymous(0x4000u64).unwrap()).build().unwrap();
    board.root.map(0x10_0000, &rom).unwrap();
    let driver = Driver::new(&board, json!({ "type": "virtio-rng" }));
    for addresses in
        [[DESC, AVAIL, 0x10_0000], [REGS, AVAIL, USED], [DESC, 0x4000_0000, USED], [DESC + 8, AVAIL, USED]]
    {
        driver.negotiate();
        driver.queue(0, addresses);
        assert_eq!(driver.get(QUEUE_READY), 0, "{addresses:x?}");
        driver.wait_for_reset_wanted();
    }
    // what is only read may be in ROM
    driver.negotiate();
    driver.queue(0, [0x10_0000, 0x10_1000, USED]);
    assert_eq!(driver.get(QUEUE_READY), 1);
}

#[test]
fn malformed_buffers_call_for_a_reset_and_nothing_else() {
    let (board, file) = (Board::new(), image());
    let mut driver = Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path() }));
    let header = Part::Read(DATA, 16);
    let cases: [&[Part]; 5] = [
        &[Part::Read(DATA, 8), Part::Written(DATA + 0x100, 1)],
        &[header, Part::Read(DATA, 1)],
        &[header, Part::Written(0x10_0000_0000, 1)],
        &[header, Part::Written(REGS, 4)],
        &[Part::Written(DATA, 16), header, Part::Written(DATA, 1)],
    ];
    for parts in cases {
        driver.start();
        driver.counts = Default::default();
        driver.offer(0, parts);
        driver.wait_for_reset_wanted();
        for queue in [AVAIL, USED] {
            driver.ram(queue, &[0; 0x100]);
        }
    }
    // a loop of descriptors
    driver.start();
    driver.counts = Default::default();
    driver.descriptor(0, 0, header, Some(1));
    driver.descriptor(0, 1, Part::Written(DATA + 0x1000, 512), Some(1));
    driver.publish(0, 0);
    driver.wait_for_reset_wanted();
    // and all is well after it
    driver.ram(AVAIL, &[0; 0x100]);
    driver.ram(USED, &[0; 0x100]);
    driver.start();
    driver.counts = Default::default();
    assert_eq!(driver.disk(IN, 1, Part::Written(DATA + 0x1000, 512)), (0, vec![1; 512]));
}

#[test]
fn a_disk_goes_on_where_its_snapshot_was_made() {
    let (board, file) = (Board::new(), image());
    let mut driver = Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path() }));
    driver.start();
    driver.disk(IN, 1, Part::Written(DATA + 0x1000, 512));
    // the registers follow the ring when the queue has been served
    wait("a served queue", || {
        driver.bench.device.state().queues[0].next_used == 1 && driver.bench.level("irq")
    });
    let saved = serde_json::to_value(&*driver.bench.device).unwrap();
    let counts = driver.counts;
    drop(driver);
    let bench = board.plug(saved, REGS);
    let mut driver = Driver { board: &board, bench, counts, event_idx: false };
    assert!(driver.bench.level("irq"), "not yet acknowledged");
    assert_eq!(driver.disk(IN, 2, Part::Written(DATA + 0x1000, 512)), (0, vec![2; 512]));
}

#[test]
fn a_driver_with_event_indexes_is_asked_for_each_notification_that_is_needed() {
    let (board, file) = (Board::new(), image());
    let mut driver = Driver::new(&board, json!({ "type": "virtio-blk", "image": file.path() }));
    driver.event_idx = true;
    driver.start();
    for sector in 0..40u8 {
        // the device asks before or after the driver looks: it has gone to sleep if it has nothing to do
        let (asks_at, offered) = (USED + 4 + 8 * QUEUE, driver.counts[0].0);
        wait("a device that asks", || driver.bytes(asks_at, 2) == offered.to_le_bytes());
        let read = driver.disk(IN, sector.into(), Part::Written(DATA + 0x1000, 512));
        assert_eq!(read, (0, vec![sector; 512]));
    }
}

/// An output that is stuck until it is let go.
struct Stuck(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

impl std::io::Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(()).unwrap();
        self.1.recv().unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_queue_that_was_stopped_is_not_written_any_more() {
    let mut board = Board::new();
    let ((inside, is_inside), (go_on, goes_on)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    board.host.console = crate::Console::new(Stuck(inside, goes_on));
    let mut driver = Driver::new(&board, json!({ "type": "virtio-console", "backend": "stdio" }));
    driver.start();
    driver.offer(1, &[Part::Read(DATA, 5)]);
    is_inside.recv().unwrap();
    driver.set(QUEUE_SEL, 1);
    let space = &board.space;
    let used = || space.load(USED + STEP + 2, Width::W2, TxAttrs::default()).unwrap();
    let at_stop = std::thread::scope(|scope| {
        let stops = scope.spawn(|| {
            space.store(REGS + QUEUE_READY, Width::W4, 0, TxAttrs::default()).unwrap();
            used()
        });
        std::thread::sleep(Duration::from_millis(100));
        go_on.send(()).unwrap();
        stops.join().unwrap()
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((driver.get(QUEUE_READY), used()), (0, at_stop), "the memory is the driver's again");
}
