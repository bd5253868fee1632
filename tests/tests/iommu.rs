//! DMA of devices through an IOMMU, each with an address space of its own, on a machine made of a file.

use devices::test_iommu::registers::{
    CONTEXT_VALID, CONTEXTS_LOW, CONTROL, FAULT, FAULT_LOW, FAULT_REQUESTER, INVALIDATE, NO_CONTEXT,
    NOT_ALLOWED, NOT_MAPPED, READ, REQUESTER, VALID, WRITE,
};
use devices::{Clock, Console, Host};
use machines::file::MachineSpec;
use machines::machine::Machine;
use memory_core::{AddrRange, IommuEvents, TxAttrs, Width};
use memory_dispatch::AddressSpace;
use std::sync::{Arc, Mutex};

const MACHINE: &str = r#"
[machine]
name = "iommu-board"
memory = "4M"

[[region]]
name = "system"
kind = "container"
size = "16E"

[[region]]
name = "ram"
kind = "ram"
size = "memory"
into = "system"
at = 0

[[space]]
name = "memory"
root = "system"

[[device]]
type = "test-iommu"
name = "iommu"
map = { region = "regs", into = "system", at = "0x1000_0000" }

[[space]]
name = "dma1"
root = "iommu.requester1"

[[space]]
name = "dma2"
root = "iommu.requester2"

[[device]]
type = "dma-test"
name = "one"
at = "0x1000_1000"
dma = "dma1"
requester = 1

[[device]]
type = "dma-test-locked"
name = "two"
at = "0x1000_2000"
dma = "dma2"
requester = 2
"#;

const IOMMU: u64 = 0x1000_0000;
const ONE: u64 = 0x1000_1000;
const TWO: u64 = 0x1000_2000;
const CONTEXTS: u64 = 0x1_0000;
/// Tables of the two requesters, three levels each.
const TABLES: [u64; 2] = [0x2_0000, 0x3_0000];
const BOTH: u64 = READ | WRITE;

struct Board {
    machine: Machine,
    space: Arc<AddressSpace>,
}

impl Board {
    fn new() -> Self {
        let spec = MachineSpec::from_toml("iommu.toml", MACHINE).unwrap();
        let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
        let machine = Machine::build(spec, host).unwrap();
        let space = machine.spaces()[0].clone();
        let board = Self { machine, space };
        for (number, table) in (1u64..).zip(TABLES) {
            board.set64(CONTEXTS + 8 * number, table | CONTEXT_VALID);
            board.set64(table, (table + 0x1000) | VALID);
            board.set64(table + 0x1000, (table + 0x2000) | VALID);
        }
        board.set(IOMMU + CONTEXTS_LOW, CONTEXTS);
        board.set(IOMMU + CONTROL, 1);
        board
    }

    fn set(&self, address: u64, value: u64) {
        self.space.store(address, Width::W4, value, TxAttrs::default()).unwrap();
    }

    fn get(&self, address: u64) -> u64 {
        self.space.load(address, Width::W4, TxAttrs::default()).unwrap()
    }

    fn set64(&self, address: u64, value: u64) {
        self.space.store(address, Width::W8, value, TxAttrs::default()).unwrap();
    }

    /// Maps a page of 4 KiB for a requester.
    fn map(&self, requester: u64, page: u64, to: u64, rights: u64) {
        let entry = if rights == 0 { 0 } else { to | VALID | rights };
        self.set64(TABLES[requester as usize - 1] + 0x2000 + 8 * page, entry);
    }

    fn bytes(&self, address: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        self.space.read(address, &mut bytes, TxAttrs::default()).unwrap();
        bytes
    }

    /// Has a DMA tester copy 4 bytes; its status.
    fn copy(&self, device: u64, from: u64, to: u64) -> u64 {
        self.set64(device, from);
        self.set64(device + 8, to);
        self.set(device + 0x10, 4);
        self.set(device + 0x14, 1);
        self.get(device + 0x18)
    }

    /// The fault that was noted: kind, requester, address.
    fn fault(&self) -> (u64, u64, u64) {
        let fault = [FAULT, FAULT_REQUESTER, FAULT_LOW].map(|register| self.get(IOMMU + register));
        self.set(IOMMU + FAULT, 1);
        fault.into()
    }

    fn region(&self, name: &str) -> memory_core::RegionRef {
        let exports = self.machine.device("iommu").unwrap().exports().to_vec();
        exports.into_iter().find(|export| export.name == name).unwrap().region
    }
}

const DONE: u64 = 1;
const READ_FAULT: u64 = 2;
const WRITE_FAULT: u64 = 4;

#[test]
fn each_requester_s_dma_goes_by_its_own_table() {
    let board = Board::new();
    for (address, byte) in [(0x10_0000, 0x11), (0x10_1000, 0x22)] {
        board.space.fill(address, 0x1000, byte, TxAttrs::default()).unwrap();
    }
    // the same addresses lead each elsewhere
    board.map(1, 4, 0x10_0000, READ);
    board.map(1, 5, 0x11_0000, BOTH);
    board.map(2, 4, 0x10_1000, READ);
    board.map(2, 5, 0x12_0000, BOTH);
    assert_eq!(board.copy(ONE, 0x4000, 0x5000), DONE);
    assert_eq!(board.copy(TWO, 0x4000, 0x5000), DONE);
    assert_eq!((board.bytes(0x11_0000), board.bytes(0x12_0000)), (vec![0x11; 4], vec![0x22; 4]));
    assert_eq!(board.fault(), (0, 0, 0));
    let stats = board.machine.system().iotlb_stats();
    assert!(
        board.copy(ONE, 0x4008, 0x5008) == DONE
            && board.machine.system().iotlb_stats().hits >= stats.hits + 2
    );
}

#[test]
fn what_is_not_mapped_or_not_allowed_is_a_fault_that_the_device_and_the_iommu_tell() {
    let board = Board::new();
    board.map(1, 4, 0x10_0000, READ);
    assert_eq!(board.copy(ONE, 0x4000, 0x4000) & WRITE_FAULT, WRITE_FAULT);
    assert_eq!(board.fault(), (NOT_ALLOWED.into(), 1, 0x4000));
    assert_eq!(board.copy(ONE, 0x9000, 0x4000) & READ_FAULT, READ_FAULT);
    assert_eq!(board.fault(), (NOT_MAPPED.into(), 1, 0x9000));
    assert_eq!(board.copy(TWO, 1 << 35, 0) & READ_FAULT, READ_FAULT);
    assert_eq!(board.fault().0, u64::from(NOT_MAPPED));
    board.set(IOMMU + CONTROL, 0);
    assert_eq!(board.copy(ONE, 0x4000, 0x4000) & READ_FAULT, READ_FAULT);
    assert_eq!(board.fault(), (NO_CONTEXT.into(), 1, 0x4000));
}

#[test]
fn a_guest_that_changes_its_tables_says_so() {
    let board = Board::new();
    board.space.fill(0x10_0000, 0x1000, 0x11, TxAttrs::default()).unwrap();
    board.space.fill(0x10_1000, 0x1000, 0x22, TxAttrs::default()).unwrap();
    board.map(1, 4, 0x10_0000, READ);
    board.map(1, 5, 0x11_0000, BOTH);
    let heard: Arc<Mutex<Vec<AddrRange>>> = Arc::default();
    let ear = heard.clone();
    let region = board.region("requester1");
    let everything = (0, AddrRange::ALL);
    let guard = board
        .machine
        .system()
        .notify_iommu(&region, everything, (IommuEvents::all(), true), move |notice| {
            ear.lock().unwrap().push(notice.range);
        })
        .unwrap();
    let pages =
        |range: &[(u64, u64)]| range.iter().map(|(a, b)| AddrRange::new(*a, *b).unwrap()).collect::<Vec<_>>();
    assert_eq!(*heard.lock().unwrap(), pages(&[(0x4000, 0x4fff), (0x5000, 0x5fff)]), "what is mapped");
    assert_eq!(board.copy(ONE, 0x4000, 0x5000), DONE);
    board.map(1, 4, 0x10_1000, READ);
    assert_eq!(board.copy(ONE, 0x4000, 0x5000), DONE);
    assert_eq!(board.bytes(0x11_0000), [0x11; 4], "as it was, until it is said");
    board.set(IOMMU + REQUESTER, 1);
    board.set(IOMMU + 0x14, 0x4123);
    board.set(IOMMU + INVALIDATE, 3);
    assert_eq!(board.copy(ONE, 0x4000, 0x5000), DONE);
    assert_eq!(board.bytes(0x11_0000), [0x22; 4]);
    assert_eq!(
        heard.lock().unwrap()[2..],
        pages(&[(0x4000, 0x4fff), (0x4000, 0x4fff)]),
        "unmapped, for both kinds"
    );
    drop(guard);
}

#[test]
fn spaces_behind_an_iommu_are_checked_in_the_file() {
    let build = |text: &str| {
        let spec = MachineSpec::from_toml("iommu.toml", text).map_err(|error| error.to_string())?;
        let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
        Machine::build(spec, host).map(drop).map_err(|error| error.to_string())
    };
    let error = build(&MACHINE.replace("dma = \"dma1\"", "dma = \"dma9\"")).unwrap_err();
    assert!(error.starts_with("iommu.toml:39:7: device.one.dma: ") && error.contains("`dma9`"), "{error}");
    let error = build(&MACHINE.replace("root = \"iommu.requester1\"", "root = \"two.regs\"")).unwrap_err();
    assert!(error.contains("device.one.dma") && error.contains("comes after this one"), "{error}");
    let error = build(&MACHINE.replace("requester = 1", "requester = 70000")).unwrap_err();
    assert!(error.contains("device.one.requester"), "{error}");
    // written and read again it is the same machine
    let spec = MachineSpec::from_toml("iommu.toml", MACHINE).unwrap();
    let again = MachineSpec::from_toml("iommu.toml", &spec.to_toml()).unwrap();
    assert_eq!((again.devices[1].dma.as_deref(), again.devices[1].requester), (Some("dma1"), 1));
}
