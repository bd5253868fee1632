//! The schema from outside: what is read, what is refused and with which words, and the way back.

mod errors;
mod overrides;
mod properties;
mod round_trip;

use super::*;
use memory_core::Size;

/// A board with one of everything.
const BOARD: &str = r#"
[machine]
name = "board"
description = "one of \"everything\""
memory = "128M"

[[region]]
name = "system"
kind = "container"
size = "16E"

[[region]]
name = "ram"
kind = "ram"
size = "memory"
into = "system"
at = "0x80000000"
nonvolatile = true

[[region]]
name = "boot"
kind = "rom"
size = 0x1000
file = "boot.bin"
into = "system"
unmergeable = true

[[region]]
name = "window"
kind = "alias"
target = "vga.vram"
offset = "64K"
size = "32K"
into = "system"
at = 0xa0000
priority = -1
overlap = true
shows = "reads"
read-only = true

[[region]]
name = "kernel-irqchip"
kind = "reservation"
size = "4K"
enabled = false

[[space]]
name = "memory"
root = "system"

[[space]]
name = "ports"
root = "vga.ports"
unassigned = "all-ones"
endian = "big"

[[device]]
type = "uart16550"
name = "uart0"
at = "0x10000000"
wire = { irq = "plic:10" }
backend = "stdio"
state = { lcr = 3, fifo = [1, 2], "odd key" = { x = 1.5 } }

[[device]]
type = "plic"
name = "plic"
map = { into = "system", at = "0x0c000000", priority = 2 }
wire = { ext = ["cpu:mei", "cpu:mei:1"] }
big = 0xffff_ffff_ffff_ffff

[[device]]
type = "vga"
name = "vga"
map = [
    { region = "vram", into = "system", at = "0xe0000000", overlap = true },
    { region = "regs", at = "0xe2000000", shows = "writes" },
]

[cpu]
type = "rv64"
harts = 4
space = "memory"
reset-pc = "0x80000000"
timebase = 10000000
boot = { firmware-at = "0x80000000", kernel-at = "0x80200000", dtb-at = "0x82200000" }
"#;

fn board() -> MachineSpec {
    MachineSpec::from_toml("board.toml", BOARD).unwrap()
}

fn declared(name: &str) -> RegionRef {
    RegionRef::Declared(name.to_owned())
}

fn exported(device: &str, region: &str) -> RegionRef {
    RegionRef::Exported { device: device.to_owned(), region: region.to_owned() }
}

#[test]
fn every_key_of_a_region_is_read() {
    let board = board();
    assert_eq!(board.region("system").unwrap().size, Extent::Bytes(Size::FULL));
    let ram = board.region("ram").unwrap();
    assert_eq!(board.size_of(ram.size), Size::new(128 << 20));
    assert!(ram.nonvolatile && !ram.unmergeable && ram.enabled && !ram.read_only);
    let boot = board.region("boot").unwrap();
    assert_eq!(boot.kind, RegionKind::Rom { file: Some("boot.bin".into()) });
    assert_eq!(boot.placement.as_ref().unwrap().at, 0);
    assert!(boot.unmergeable);
    let window = board.region("window").unwrap();
    assert_eq!(window.kind, RegionKind::Alias { target: exported("vga", "vram"), offset: 0x10000 });
    let placement =
        Placement { into: declared("system"), at: 0xa0000, priority: -1, overlap: true, shows: Shows::Reads };
    assert_eq!(window.placement, Some(placement));
    assert!(window.read_only);
    let reservation = board.region("kernel-irqchip").unwrap();
    assert_eq!((&reservation.kind, reservation.enabled), (&RegionKind::Reservation, false));
    assert_eq!(reservation.placement, None);
}

#[test]
fn every_key_of_spaces_devices_and_the_cpu_is_read() {
    let board = board();
    let ports = &board.spaces[1];
    assert_eq!(
        (&ports.root, ports.unassigned, ports.endian),
        (&exported("vga", "ports"), Unassigned::AllOnes, Endian::Big)
    );

    let uart = board.device("uart0").unwrap();
    assert_eq!(uart.maps.len(), 1);
    assert_eq!((&uart.maps[0].placement.into, uart.maps[0].placement.at), (&declared("system"), 0x1000_0000));
    assert_eq!(uart.wires[0].output, "irq");
    let target = WireTarget { end: WireEnd::Device("plic".into()), group: None, index: 10 };
    assert_eq!(uart.wires[0].targets, [target]);
    let keys: Vec<_> = uart.properties.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["backend", "state"]);

    let plic = board.device("plic").unwrap();
    assert_eq!((plic.maps[0].placement.at, plic.maps[0].placement.priority), (0x0c00_0000, 2));
    let mei = |index| WireTarget { end: WireEnd::Cpu, group: Some("mei".into()), index };
    assert_eq!(plic.wires[0].targets, [mei(0), mei(1)]);

    let vga = board.device("vga").unwrap();
    assert_eq!(vga.maps[1].region.as_deref(), Some("regs"));
    assert_eq!(vga.maps[1].placement.into, declared("system"));
    assert_eq!(vga.maps[1].placement.shows, Shows::Writes);

    let cpu = board.cpu.as_ref().unwrap();
    assert_eq!((cpu.harts, cpu.space.as_str(), cpu.timebase), (4, "memory", 10_000_000));
    assert_eq!((cpu.reset_pc, cpu.boot.dtb_at), (Some(0x8000_0000), Some(0x8220_0000)));
}

#[test]
fn a_cpu_has_defaults_and_a_board_may_have_none() {
    let text = r#"
        machine = { name = "m" }
        region = [{ name = "all", kind = "container", size = "16E" }]
        space = [{ name = "memory", root = "all" }]
        cpu = { type = "rv64" }
    "#;
    let spec = MachineSpec::from_toml("m.toml", text).unwrap();
    let cpu = spec.cpu.unwrap();
    assert_eq!((cpu.harts, cpu.space.as_str(), cpu.timebase), (1, "memory", 10_000_000));
    assert_eq!((cpu.reset_pc, cpu.boot), (None, BootSpec::default()));
    assert_eq!(MachineSpec::from_toml("m.toml", "[machine]\nname = \"m\"").unwrap().cpu, None);
}

#[test]
fn named_files_are_relative_to_the_machine_file() {
    let resolve = |file: &str, named: &str| {
        MachineSpec::from_toml(file, "[machine]\nname = \"m\"").unwrap().resolve(named)
    };
    assert_eq!(resolve("boards/m.toml", "bios.bin"), std::path::Path::new("boards/bios.bin"));
    assert_eq!(resolve("m.toml", "bios.bin"), std::path::Path::new("bios.bin"));
    assert_eq!(resolve("boards/m.toml", "/rom/bios.bin"), std::path::Path::new("/rom/bios.bin"));
}

#[test]
fn the_extension_chooses_the_language_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (toml, json) = (dir.path().join("m.toml"), dir.path().join("m.JSON"));
    std::fs::write(&toml, "machine = { name = \"m\" }").unwrap();
    std::fs::write(&json, "{\"machine\": {\"name\": \"m\"}}").unwrap();
    assert_eq!(MachineSpec::load(&toml).unwrap(), MachineSpec::load(&json).unwrap());
    let missing = dir.path().join("none.toml");
    let error = MachineSpec::load(&missing).unwrap_err();
    assert!(matches!(error.problem(), Problem::Unreadable(_)));
    assert!(error.to_string().starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");
}

#[test]
fn a_later_error_can_be_placed_at_a_key() {
    let board = board();
    let window = board.region("window").unwrap();
    assert_eq!(
        window.origin.error("at", "overlaps").to_string(),
        "board.toml:35:6: region.window.at: overlaps"
    );
    assert_eq!(window.origin.error("", "odd").to_string(), "board.toml:28:1: region.window: odd");
    let map = &board.device("vga").unwrap().maps[1];
    assert_eq!(map.origin.error("at", "odd").to_string(), "board.toml:77:29: device.vga.map[1].at: odd");
    let short = &board.device("uart0").unwrap().maps[0];
    assert_eq!(short.origin.error("at", "odd").to_string(), "board.toml:60:6: device.uart0.at: odd");
}
