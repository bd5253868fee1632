//! The test device, and what every PCI function does, by the example of it.

use super::*;
use crate::i440fx::I440fx;
use crate::pci::SlotRequest;
use crate::testing::{Bench, Board, PCI};
use serde_json::json;

const W1: Width = Width::W1;
const W2: Width = Width::W2;
const W4: Width = Width::W4;
const COMMAND: usize = 4;
const BAR0: usize = 0x10;
const BAR1: usize = 0x14;
const BAR2: usize = 0x18;

/// A host bridge whose ports are at the place that [`Board::plug`] gives them.
fn host(board: &Board) -> Bench<'_, I440fx> {
    board.plug(json!({}), 1 << 60)
}

/// The test device at 4.0, with 1 MiB of RAM in its register 2.
fn device(board: &Board) -> Bench<'_, PciTestdev> {
    board.plug_pci(json!({ "membar": 0x10_0000, "membar-backed": true }), "4.0")
}

#[test]
fn the_tests_count_the_writes_that_they_ask_for() {
    let board = Board::new();
    let (_host, _device) = (host(&board), device(&board));
    board.set_config("4.0", BAR0, W4, 0xfebf_0000);
    board.set_config("4.0", BAR1, W4, 0xc000);
    board.set_config("4.0", COMMAND, W2, 3);
    let mmio = PCI + 0xfebf_0000;
    for (test, name) in (0..).zip(["mmio-no-eventfd", "mmio-wildcard-eventfd", "mmio-datamatch-eventfd"]) {
        board.store(mmio, W1, test).unwrap();
        let offset = board.load(mmio + 4, W4).unwrap();
        let data = board.load(mmio + 8, W4).unwrap();
        assert_eq!(board.load(mmio + 1, W1), Ok(1));
        for _ in 0..5 {
            board.store(mmio + offset, W1, data).unwrap();
        }
        board.store(mmio + offset + 1, W1, data).unwrap();
        assert_eq!(board.load(mmio + 12, W4), Ok(5), "{name}");
        let found: Vec<u8> = (16..64).map(|at| board.load(mmio + at, W1).unwrap() as u8).collect();
        assert!(found.starts_with(name.as_bytes()) && found[name.len()] == 0);
    }
    board.store(mmio, W1, 3).unwrap();
    assert_eq!(board.load(mmio + 1, W1), Ok(0), "there is no test 3");
    // writes of other data run the callback of the last test, and count as well
    board.output(0xc000, W1, 2);
    let offset = 0xc000 + board.input(0xc004, W4);
    board.output(offset, W1, 0);
    board.output(offset, W1, board.input(0xc008, W4));
    assert_eq!(board.input(0xc00c, W4), 2);
    assert_eq!(board.load(mmio + 12, W4), Ok(0), "the test is one of the ports");
}

#[test]
fn a_functions_registers_are_sized_placed_enabled_and_forgotten() {
    let board = Board::new();
    let (_host, device) = (host(&board), device(&board));
    assert_eq!(board.config("4.0", 0, W4), 0x0005_1b36);
    assert_eq!(board.config("4.0", 0x2c, W4), 0x1100_1af4);
    for (register, low, size) in [(BAR0, 0, 0xffff_f000), (BAR1, 1, 0xffff_ff01), (BAR2, 0xc, 0xfff0_000c)] {
        assert_eq!(board.config("4.0", register, W4), low);
        board.set_config("4.0", register, W4, 0xffff_ffff);
        assert_eq!(board.config("4.0", register, W4), size);
    }
    board.set_config("4.0", BAR2 + 4, W4, 0xffff_ffff);
    assert_eq!(board.config("4.0", BAR2 + 4, W4), 0xffff_ffff);
    board.set_config("4.0", BAR2, W4, 0x4000_0000);
    board.set_config("4.0", BAR2 + 4, W4, 1);
    let ram = PCI + 0x1_4000_0000;
    assert!(board.load(ram, W4).is_err(), "memory is not enabled");
    board.set_config("4.0", COMMAND, W1, 2);
    board.store(ram + 0xf_fffc, W4, 42).unwrap();
    // byte by byte, as some firmware does
    for (at, byte) in [0x00, 0x00, 0x30, 0x40].into_iter().enumerate() {
        board.set_config("4.0", BAR2 + at, W1, byte);
    }
    assert!(board.load(ram, W4).is_err());
    assert_eq!(board.load(PCI + 0x1_403f_fffc, W4), Ok(42));
    board.set_config("4.0", COMMAND, W1, 0);
    assert!(board.load(PCI + 0x1_403f_fffc, W4).is_err());
    board.set_config("4.0", COMMAND, W1, 7);
    device.device.reset(ResetType::Cold);
    assert_eq!(board.config("4.0", COMMAND, W2), 0);
    assert_eq!([BAR0, BAR1, BAR2, BAR2 + 4].map(|at| board.config("4.0", at, W4)), [0, 1, 0xc, 0]);
    assert!(board.load(PCI + 0x1_403f_fffc, W4).is_err());
}

#[test]
fn addresses_that_cannot_be_show_nowhere() {
    let board = Board::new();
    let (_host, _device) = (host(&board), device(&board));
    board.set_config("4.0", COMMAND, W1, 7);
    let shows = |at: u64| {
        board.store(at, W1, 0).unwrap_or_default();
        board.load(at + 1, W1) == Ok(1)
    };
    for (value, shown) in [(0, false), (0xffff_f000, false), (0xffff_e000, true), (0x1fff, true)] {
        board.set_config("4.0", BAR0, W4, value);
        assert_eq!(shows(PCI + (value & !0xfff)), shown, "{value:#x}");
    }
    board.set_config("4.0", BAR0, W4, 0);
    // ports beyond the bus are placed, and show nowhere
    for (value, shown) in [(0, false), (0xffff_ff00, false), (0x1_0000, false), (0xff00, true)] {
        board.set_config("4.0", BAR1, W4, value);
        let at = value & 0xffff;
        board.output(at, W1, 0);
        assert_eq!(board.input(at + 1, W1) == 1, shown, "{value:#x}");
    }
    // the last megabyte of 64 bits ends where no address does
    board.set_config("4.0", BAR2, W4, 0xffff_ffff);
    board.set_config("4.0", BAR2 + 4, W4, 0xffff_ffff);
    let bars = board.buses.lock().unwrap()[0].functions();
    let bars = bars.iter().find(|(devfn, _)| *devfn == 0x20).unwrap().1.function().bars();
    assert_eq!(bars[2].3, None);
}

#[test]
fn of_overlapping_functions_the_one_that_was_placed_last_is_on_top() {
    let board = Board::new();
    let (_host, _device) = (host(&board), device(&board));
    let _other: Bench<'_, PciTestdev> = board.plug_pci(json!({}), "5.0");
    for place in ["4.0", "5.0"] {
        board.set_config(place, COMMAND, W1, 2);
    }
    let top = || {
        board.store(PCI + 0xe000_0000, W1, 1).unwrap();
        ["4.0", "5.0"].map(|place| {
            board.set_config(place, COMMAND, W1, 0);
            let alone = board.load(PCI + 0xe000_0000 + 1, W1) == Ok(1);
            board.set_config(place, COMMAND, W1, 2);
            !alone
        })
    };
    board.set_config("4.0", BAR0, W4, 0xe000_0000);
    board.set_config("5.0", BAR0, W4, 0xe000_0000);
    assert_eq!(top(), [false, true]);
    assert_eq!(board.config("4.0", BAR0, W4), 0xe000_0000, "nothing is refused");
    board.set_config("5.0", BAR0, W4, 0xd000_0000);
    assert_eq!(board.load(PCI + 0xd000_0000 + 1, W1), Ok(1));
    assert_eq!(board.load(PCI + 0xe000_0000 + 1, W1), Ok(0), "the other one shows again");
}

#[test]
fn the_ports_take_addresses_whole_and_data_of_any_width() {
    let board = Board::new();
    let (host, _device) = (host(&board), device(&board));
    let (address, data) = (host.at("config-address", 0), host.at("config-data", 0));
    let select = |value| board.store(address, W4, value).unwrap();
    let read = |offset, width| board.load(data + offset, width).unwrap();
    assert_eq!(read(0, W4), 0xffff_ffff, "nothing is selected");
    select(0x8000_2000);
    assert_eq!(board.load(address, W4), Ok(0x8000_2000));
    assert_eq!([read(0, W2), read(2, W2), read(1, W1), read(0, W4)], [0x1b36, 5, 0x1b, 0x0005_1b36]);
    // a narrow write to the address is none
    board.store(address, W1, 0x10).unwrap();
    board.store(address, W2, 0x10).unwrap();
    board.store(address + 1, W1, 0).unwrap();
    assert_eq!(board.load(address, W4), Ok(0x8000_2000));
    select(0x8000_2000 | COMMAND as u64);
    board.store(data, W1, 7).unwrap();
    board.store(data + 1, W1, 4).unwrap();
    assert_eq!(read(0, W4), 0x0407);
    board.store(data, W2, 0).unwrap();
    assert_eq!(read(0, W4), 0);
    // low bits of the address do not count, those of the port do
    select(0x8000_2003);
    assert_eq!(read(0, W1), 0x00, "offset 3, the upper byte of the device id");
    // neither another bus, nor an empty slot, nor with the enable bit clear
    for nobody in [0x8001_2000, 0x8000_2800, 0x8000_2100, 0x0000_2000] {
        select(nobody);
        board.store(data, W4, 0).unwrap();
        assert_eq!([read(0, W4), read(1, W1)], [0xffff_ffff, 0xff], "{nobody:#x}");
    }
}

#[test]
fn places_that_are_taken_missing_or_wrong_are_refused_with_the_reason() {
    let board = Board::new();
    let slot = |text: &str, multifunction| SlotRequest {
        bus: None,
        addr: Some(text.parse().unwrap()),
        multifunction,
        romfile: None,
    };
    let plug = |slot: &SlotRequest| board.try_plug_at::<PciTestdev>(json!({}), 0, Some(slot));
    let error = |slot: &SlotRequest| plug(slot).err().expect("refused").to_string();
    assert!(error(&slot("4.0", false)).contains("needs a PCI bus"));
    let _host = host(&board);
    let named = SlotRequest { bus: Some("pci.7".to_owned()), ..SlotRequest::default() };
    assert!(error(&named).contains("`pci.7`") && error(&named).contains("pci.0"));
    assert!(error(&slot("0.0", false)).contains("0.0 of bus `pci.0` is taken"));
    let single = plug(&slot("4.0", false)).unwrap();
    assert!(error(&slot("4.1", false)).contains("multifunction"));
    let _several = plug(&slot("5.0", true)).unwrap();
    let _second = plug(&slot("5.1", false)).unwrap();
    assert_eq!(board.config("5.0", 0xe, W1), 0x80);
    assert_eq!(board.config("5.1", 0xe, W1), 0);
    // a place is free again when its device goes, and without a place it is the first free one
    drop(single);
    assert_eq!(board.config("4.0", 0, W4), 0xffff_ffff);
    let free = plug(&SlotRequest::default()).unwrap();
    assert_eq!(free.seats[0].address().to_string(), "1.0");
    for property in [3, 0x1800, 8] {
        let error = board.try_plug::<PciTestdev>(json!({ "membar": property }), 0).err().expect("refused");
        assert!(error.to_string().contains("membar"), "{error}");
    }
}

#[test]
fn a_function_goes_on_where_its_snapshot_was_made_and_another_ones_is_refused() {
    let board = Board::new();
    let (_host, first) = (host(&board), device(&board));
    board.set_config("4.0", BAR0, W4, 0xe000_0000);
    board.set_config("4.0", COMMAND, W1, 2);
    board.store(PCI + 0xe000_0000, W1, 2).unwrap();
    let saved = first.save();
    let other = Board::new();
    let _bridge = host(&other);
    let second: Bench<'_, PciTestdev> = other.plug_pci(saved.clone(), "4.0");
    assert_eq!(other.load(PCI + 0xe000_0000, W1), Ok(2), "it shows where it did");
    assert_eq!(second.save(), saved);
    let mut wrong = saved.clone();
    let config = saved["pci"]["config"].as_str().unwrap();
    wrong["pci"]["config"] = json!(format!("8680{}", &config[4..]));
    let third = Board::new();
    let _bridge = host(&third);
    let error = third.try_plug::<PciTestdev>(wrong, 0).err().expect("refused").to_string();
    assert!(error.contains("another function"), "{error}");
    let mut wrong = saved;
    wrong["pci"]["config"] = json!("1b");
    wrong["membar"] = json!(0);
    assert!(third.try_plug::<PciTestdev>(wrong, 0).is_err());
}

#[test]
fn the_expansion_rom_shows_what_the_file_has_once_it_is_enabled() {
    let board = Board::new();
    let _host = host(&board);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0x55, 0xaa, 1].repeat(1000)).unwrap();
    let slot = SlotRequest { romfile: Some(file.path().to_owned()), ..SlotRequest::default() };
    let _device = board.try_plug_at::<PciTestdev>(json!({}), 0, Some(&slot)).unwrap();
    board.set_config("1.0", 0x30, W4, 0xffff_ffff);
    assert_eq!(board.config("1.0", 0x30, W4), 0xffff_f001);
    board.set_config("1.0", 0x30, W4, 0xe000_0000);
    board.set_config("1.0", COMMAND, W1, 2);
    assert!(board.load(PCI + 0xe000_0000, W2).is_err());
    board.set_config("1.0", 0x30, W4, 0xe000_0001);
    assert_eq!(board.load(PCI + 0xe000_0000, W2), Ok(0xaa55));
    assert!(board.store(PCI + 0xe000_0000, W2, 0).is_err());
    let slot = SlotRequest { romfile: Some("/no/such/file".into()), ..SlotRequest::default() };
    let error = board.try_plug_at::<PciTestdev>(json!({}), 0, Some(&slot)).err().expect("refused");
    assert!(error.to_string().contains("/no/such/file"));
}
