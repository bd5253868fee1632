use super::registers::{DST_HIGH, DST_LOW, GO, LEN, MAX_LEN, SRC_HIGH, SRC_LOW, STATUS};
use super::*;
use crate::{Clock, Console, Host, Surroundings};
use memory_core::{Plug, RamBlock, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};

const REGS: u64 = 0x1_0000;
const HIGH: u64 = 0x1_0000_0000;
const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

/// RAM at 0 and above 4 GiB, the device between.
struct Board {
    space: Arc<AddressSpace>,
    _plug: Plug<dyn Device>,
    _regions: Vec<Region>,
}

fn board(tag: &str) -> Board {
    restored(&format!(r#"{{ "type": "{tag}" }}"#))
}

fn restored(device: &str) -> Board {
    let system = MemorySystem::new();
    let memory = system.memory();
    let root = memory.container("system", Size::FULL).build().unwrap();
    let ram = |name| memory.ram(name, RamBlock::anonymous(0x4000u64).unwrap()).build().unwrap();
    let (low, high) = (ram("low"), ram("high"));
    root.map(0, &low).unwrap();
    root.map(HIGH, &high).unwrap();
    let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
    let device: Box<dyn Device> = serde_json::from_str(device).unwrap();
    let device: Arc<dyn Device> = device.into();
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let owner = memory.owner("/machine/dma", Arc::downgrade(&device) as _);
    let around =
        Surroundings { host: &host, dma: &space, requester: 0, region: &|_| None, buses: Default::default() };
    let mut ctx = Realize::new(memory, owner.clone(), around);
    device.clone().realize(&mut ctx).unwrap();
    let exports = ctx.finish().exports;
    root.map(REGS, &exports[0].region).unwrap();
    let _plug = memory.plug(&owner, device);
    Board { space, _plug, _regions: vec![root, low, high] }
}

impl Board {
    fn set(&self, register: u64, value: u64) {
        self.space.store(REGS + register, Width::W4, value, ATTRS).unwrap();
    }

    fn get(&self, register: u64) -> u64 {
        self.space.load(REGS + register, Width::W4, ATTRS).unwrap()
    }

    fn copy(&self, src: u64, dst: u64, len: u64) -> u64 {
        self.space.store(REGS + SRC_LOW, Width::W8, src, ATTRS).unwrap();
        self.space.store(REGS + DST_LOW, Width::W8, dst, ATTRS).unwrap();
        self.set(LEN, len);
        self.set(GO, 1);
        self.get(STATUS)
    }
}

fn on_both(test: impl Fn(Board)) {
    test(board("dma-test"));
    test(board("dma-test-locked"));
}

#[test]
fn a_copy_goes_from_source_to_destination() {
    on_both(|board| {
        board.space.write(0x100, b"flatland", ATTRS).unwrap();
        assert_eq!(board.copy(0x100, HIGH + 0x203, 8), 1);
        let mut bytes = [0; 10];
        board.space.read(HIGH + 0x202, &mut bytes, ATTRS).unwrap();
        assert_eq!(&bytes, b"\0flatland\0");
        assert_eq!((board.get(SRC_LOW), board.get(SRC_HIGH)), (0x100, 0));
        assert_eq!((board.get(DST_LOW), board.get(DST_HIGH)), (0x203, 1));
        assert_eq!((board.get(LEN), board.get(GO)), (8, 0));
    });
}

#[test]
fn faults_show_in_the_status() {
    on_both(|board| {
        assert_eq!(board.copy(0x10_0000, 0, 8), 0b11);
        assert_eq!(board.copy(0, 0x10_0000, 8), 0b101);
        assert_eq!(board.copy(0x10_0000, 0x10_0000, 0), 1, "no bytes, no fault");
    });
}

#[test]
fn a_copy_out_of_the_devices_own_registers_is_a_fault() {
    on_both(|board| {
        assert_eq!(board.copy(REGS, 0, 4), 0b11);
        assert_eq!(board.copy(0, REGS + GO, 4), 0b101);
    });
}

#[test]
fn no_copy_is_longer_than_the_most() {
    on_both(|board| {
        board.space.write(0, &[7; 0x2000], ATTRS).unwrap();
        assert_eq!(board.copy(0, HIGH, u32::MAX.into()), 1);
        assert_eq!(board.get(LEN), u64::from(MAX_LEN));
        let byte = |offset| board.space.load(HIGH + offset, Width::W1, ATTRS).unwrap();
        assert_eq!((byte(u64::from(MAX_LEN) - 1), byte(MAX_LEN.into())), (7, 0));
    });
}

#[test]
fn registers_in_a_file_are_masked() {
    for tag in ["dma-test", "dma-test-locked"] {
        let state = r#"{ "src": 5, "len": 4294967295, "status": 4294967295 }"#;
        let board = restored(&format!(r#"{{ "type": "{tag}", "state": {state} }}"#));
        assert_eq!(board.get(SRC_LOW), 5);
        assert_eq!((board.get(LEN), board.get(STATUS)), (u64::from(MAX_LEN), 7));
    }
}

#[test]
fn a_device_that_says_why_may_reach_its_own_registers() {
    let done = |faults: Status| u64::from((faults | Status::DONE).bits());
    for reentrant in [false, true] {
        let board = restored(&format!(r#"{{ "type": "dma-test", "reentrant": {reentrant} }}"#));
        // its own length onto memory, and memory onto its own source
        let (read, write) = (board.copy(REGS + LEN, 0x100, 4), board.copy(0x100, REGS + SRC_LOW, 4));
        let source = board.get(SRC_LOW);
        if reentrant {
            assert_eq!((read, write, source), (done(Status::empty()), done(Status::empty()), 4));
        } else {
            let faults = (done(Status::READ_FAULT), done(Status::WRITE_FAULT));
            assert_eq!(((read, write), source), (faults, 0x100));
        }
    }
}
