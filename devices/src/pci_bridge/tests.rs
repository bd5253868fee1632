use super::*;
use crate::i440fx::I440fx;
use crate::pci::SlotRequest;
use crate::pci_testdev::PciTestdev;
use crate::piix3::Piix3;
use crate::testing::{Bench, Board, PCI};
use serde_json::json;

const W1: Width = Width::W1;
const W2: Width = Width::W2;
const W4: Width = Width::W4;

/// A device at `addr` of the bus called `bus`.
fn plug<'a, D: Device + serde::de::DeserializeOwned>(
    board: &'a Board,
    properties: serde_json::Value,
    (bus, addr): (&str, &str),
) -> Bench<'a, D> {
    let bus = Some(bus.to_owned());
    let slot = SlotRequest { bus, addr: Some(addr.parse().unwrap()), ..SlotRequest::default() };
    board.try_plug_at(properties, 0, Some(&slot)).unwrap()
}

/// Configuration space by numbers of bus, and device and function.
struct Config<'a>(&'a Board);

impl Config<'_> {
    fn read(&self, bus: u8, devfn: u8, at: usize, width: Width) -> u64 {
        let root = self.0.buses.lock().unwrap()[0].clone();
        root.config_read(bus, devfn, at, width)
    }

    fn write(&self, bus: u8, devfn: u8, at: usize, width: Width, value: u64) {
        let root = self.0.buses.lock().unwrap()[0].clone();
        root.config_write(bus, devfn, at, width, value);
    }
}

const BRIDGE: u8 = 0x28;
const DEVICE: u8 = 0x18;

/// A bridge at 5.0, one behind it at 2.0, and behind that a device at 3.0 with pin A.
fn tree(board: &Board) -> (Bench<'_, I440fx>, [Bench<'_, PciBridge>; 2], Bench<'_, PciTestdev>) {
    let host = board.plug(json!({}), 1 << 60);
    let outer = plug(board, json!({ "chassis-nr": 1, "bus-name": "outer" }), ("pci.0", "5.0"));
    let inner = plug(board, json!({ "chassis-nr": 2, "bus-name": "inner" }), ("outer", "2.0"));
    let device = plug(board, json!({ "pin": 1 }), ("inner", "3.0"));
    (host, [outer, inner], device)
}

/// Numbers the buses 1 and 2.
fn number(config: &Config<'_>) {
    config.write(0, BRIDGE, 0x18, W4, 0x0002_0100);
    config.write(1, 0x10, 0x18, W4, 0x0002_0201);
}

#[test]
fn a_bridges_registers_are_those_of_qemu() {
    let board = Board::new();
    let (_host, [outer, _], _device) = tree(&board);
    let read = |at| board.config("5.0", at, W4);
    assert_eq!([0, 4, 8, 0xc].map(read), [0x0001_1b36, 0x00b0_0000, 0x0604_0000, 0x0001_0000]);
    assert_eq!(
        [0x18, 0x1c, 0x20, 0x24, 0x34, 0x40].map(read),
        [0, 0x00a0_0000, 0, 0x0001_0001, 0x40, 0x0120_0004]
    );
    for at in (0x10..0x40).step_by(4) {
        board.set_config("5.0", at, W4, 0xffff_ffff);
    }
    assert_eq!([0x10, 0x14, 0x18, 0x1c].map(read), [0, 0, 0xffff_ffff, 0x00a0_f0f0]);
    assert_eq!(
        [0x20, 0x24, 0x28, 0x2c, 0x38].map(read),
        [0xfff0_fff0, 0xfff1_fff1, 0xffff_ffff, 0xffff_ffff, 0]
    );
    assert_eq!(read(0x3c), 0x0bff_00ff);
    outer.device.reset(ResetType::Cold);
    assert_eq!(
        [0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x3c].map(read),
        [0, 0x00a0_0000, 0, 0x0001_0001, 0, 0, 0]
    );
}

#[test]
fn functions_behind_bridges_are_found_by_the_numbers_of_their_buses() {
    let board = Board::new();
    let (_host, _bridges, device) = tree(&board);
    let config = Config(&board);
    let found = |bus| config.read(bus, DEVICE, 0, W4);
    assert_eq!([0, 1, 2].map(found), [0xffff_ffff; 3], "buses have no numbers yet");
    number(&config);
    assert_eq!([1, 2, 3].map(found), [0xffff_ffff, 0x0005_1b36, 0xffff_ffff]);
    assert_eq!(config.read(1, 0x10, 0, W4), 0x0001_1b36);
    assert_eq!(device.device.function().requester(), 0x0218);
    // another number, and a bridge that passes nothing on so far
    config.write(1, 0x10, 0x19, W1, 7);
    config.write(1, 0x10, 0x1a, W1, 7);
    assert_eq!(found(7), 0xffff_ffff);
    config.write(0, BRIDGE, 0x1a, W1, 7);
    assert_eq!(found(7), 0x0005_1b36);
}

#[test]
fn windows_show_what_is_behind_and_follow_their_registers() {
    let board = Board::new();
    let (_host, _bridges, _device) = tree(&board);
    let config = Config(&board);
    number(&config);
    config.write(2, DEVICE, 0x10, W4, 0xfe10_0000);
    config.write(2, DEVICE, 0x14, W4, 0xc100);
    config.write(2, DEVICE, 4, W2, 3);
    let window = |bus, devfn, base: u64, limit: u64| config.write(bus, devfn, 0x20, W4, limit << 16 | base);
    let shows = || {
        let _ = board.store(PCI + 0xfe10_0000, W1, 1);
        board.load(PCI + 0xfe10_0001, W1) == Ok(1)
    };
    window(1, 0x10, 0xfe10, 0xfe10);
    window(0, BRIDGE, 0xfe10, 0xfe20);
    config.write(1, 0x10, 4, W2, 2);
    assert!(!shows(), "the outer bridge does not pass memory on");
    config.write(0, BRIDGE, 4, W2, 2);
    assert!(shows());
    window(0, BRIDGE, 0xfe20, 0xfe20);
    assert!(!shows(), "the device lies below the window");
    window(0, BRIDGE, 0xfe20, 0xfe10);
    assert!(!shows(), "a window whose end lies before its start is closed");
    window(0, BRIDGE, 0x0000, 0xfff0);
    assert!(shows());
    // prefetchable memory above 4 GiB shows what the others do not
    window(0, BRIDGE, 0x10, 0);
    config.write(0, BRIDGE, 0x24, W4, 0xfe10_fe10);
    assert!(shows());
    config.write(0, BRIDGE, 0x28, W4, 1);
    config.write(0, BRIDGE, 0x2c, W4, 1);
    assert!(!shows());
    // ports in steps of 4 KiB
    let ports = |base: u64, limit: u64| {
        config.write(1, 0x10, 0x1c, W2, 0xf000);
        config.write(0, BRIDGE, 0x1c, W2, limit << 8 | base);
        board.output(0xc100, W1, 1);
        board.input(0xc101, W1) == 1
    };
    assert!(!ports(0xc0, 0xc0), "no bridge passes ports on");
    config.write(0, BRIDGE, 4, W2, 3);
    config.write(1, 0x10, 4, W2, 3);
    assert!(ports(0xc0, 0xc0) && !ports(0xd0, 0xe0) && ports(0xb0, 0xd0) && !ports(0xd0, 0xc0));
}

#[test]
fn a_bridge_with_the_vga_bit_passes_the_legacy_window_on() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    let bridge: Bench<'_, PciBridge> = plug(&board, json!({ "chassis-nr": 1 }), ("pci.0", "5.0"));
    let bus = bridge.device.secondary_bus().unwrap();
    let ram = memory_core::RamBlock::anonymous(0x2_0000u64).unwrap();
    let vram = board.memory().ram("vram", ram).build().unwrap();
    bus.memory().map(0xa_0000, &vram).unwrap();
    // after power on windows begin and end in the first megabyte
    board.set_config("5.0", 0x20, W4, 0x10);
    board.set_config("5.0", 0x24, W4, 0x10);
    assert!(board.load(PCI + 0xa_0000, W4).is_err());
    board.set_config("5.0", 4, W2, 3);
    assert!(board.load(PCI + 0xa_0000, W4).is_err());
    board.set_config("5.0", 0x3e, W2, 8);
    assert_eq!([0xa_0000, 0xb_fffc].map(|at| board.load(PCI + at, W4)), [Ok(0); 2]);
    board.set_config("5.0", 4, W2, 1);
    assert!(board.load(PCI + 0xa_0000, W4).is_err());
}

#[test]
fn pins_behind_bridges_are_swizzled_by_slot() {
    let board = Board::new();
    let (_host, _bridges, device) = tree(&board);
    let isa: Bench<'_, Piix3> = board.plug_pci(json!({}), "1.0");
    for (at, line) in [(0x60, 3), (0x61, 4), (0x62, 5), (0x63, 11)] {
        board.set_config("1.0", at, W1, line);
    }
    let high = || (0..16).filter(|line| isa.output("isa", *line).level()).collect::<Vec<_>>();
    device.device.function().set_irq(true);
    // pin A of slot 3 is D of the inner bridge, in slot 2: B of the outer one, in slot 5: request B
    assert_eq!(high(), [4]);
    let other: Bench<'_, PciTestdev> = plug(&board, json!({ "pin": 2 }), ("inner", "2.0"));
    other.device.function().set_irq(true);
    device.device.function().set_irq(false);
    assert_eq!(high(), [4], "another function behind the same pin is high still");
    drop(other);
    assert_eq!(high(), Vec::<usize>::new());
}

#[test]
fn a_bus_that_is_reset_resets_what_is_on_it_and_behind() {
    let board = Board::new();
    let (_host, _bridges, _device) = tree(&board);
    let config = Config(&board);
    number(&config);
    config.write(2, DEVICE, 4, W2, 7);
    config.write(2, DEVICE, 0x10, W4, 0xfe10_0000);
    config.write(0, BRIDGE, 0x3e, W2, 0x40);
    assert_eq!(config.read(2, DEVICE, 0, W4), 0xffff_ffff, "nobody answers meanwhile");
    config.write(0, BRIDGE, 0x3e, W2, 0);
    assert_eq!(config.read(0, BRIDGE, 0x19, W2), 0x0201, "the bridge itself goes on");
    config.write(1, 0x10, 0x18, W4, 0x0002_0201);
    assert_eq!([4, 0x10].map(|at| config.read(2, DEVICE, at, W4)), [0, 0]);
}
