//! The maps that the reference explains its rules with, range by range.

use devices::{Clock, Console, Host};
use machines::catalog;
use machines::machine::Machine;
use memory_core::{AccessRules, AddrRange, BusFault, Memory, Mmio, Region, Size, TxAttrs, Width};
use memory_dispatch::AddressSpace;
use memory_flatview::{View, render, resolve_root};
use std::sync::Arc;

/// First address, last address, region, offset in the region.
type Seen = (u64, u64, String, u64);

fn seen(view: &View) -> Vec<Seen> {
    view.ranges()
        .map(|range| {
            let part = range.read().unwrap();
            (range.range().start(), range.range().last(), part.target().name().to_owned(), part.offset())
        })
        .collect()
}

fn map(space: &AddressSpace) -> Vec<Seen> {
    space.with_view(seen)
}

fn is(found: &[Seen], expected: &[(u64, u64, &str, u64)]) {
    let expected: Vec<Seen> =
        expected.iter().map(|(a, b, name, offset)| (*a, *b, (*name).to_owned(), *offset)).collect();
    assert_eq!(found, expected);
}

struct Nothing;

impl Mmio for Nothing {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

/// Container A with C over B, where B holds D and E; B has callbacks of its own or not.
fn worked_example(b_answers: bool) -> Vec<Seen> {
    let memory = Memory::new();
    let mmio = |name: &str, size: u64| {
        memory.mmio(name, size, AccessRules::new(), Arc::new(Nothing)).build().unwrap()
    };
    let a = memory.container("A", 0x8000u64).build().unwrap();
    let b: Region =
        if b_answers { mmio("B", 0x4000) } else { memory.container("B", 0x4000u64).build().unwrap() };
    let (c, d, e) = (mmio("C", 0x6000), mmio("D", 0x1000), mmio("E", 0x1000));
    a.map_overlap(0, &c, 1).unwrap();
    a.map_overlap(0x2000, &b, 2).unwrap();
    b.map(0, &d).unwrap();
    b.map(0x2000, &e).unwrap();
    memory
        .read(|tree| {
            let root = resolve_root(tree, a.id());
            seen(&View::new(1, root, render(tree, root, AddrRange::ALL), None))
        })
        .unwrap()
}

#[test]
fn worked_example_lets_the_lower_region_show_through_a_container() {
    is(
        &worked_example(false),
        &[
            (0x0000, 0x1fff, "C", 0),
            (0x2000, 0x2fff, "D", 0),
            (0x3000, 0x3fff, "C", 0x3000),
            (0x4000, 0x4fff, "E", 0),
            (0x5000, 0x5fff, "C", 0x5000),
        ],
    );
}

#[test]
fn worked_example_shows_a_container_with_callbacks_between_its_children() {
    is(
        &worked_example(true),
        &[
            (0x0000, 0x1fff, "C", 0),
            (0x2000, 0x2fff, "D", 0),
            (0x3000, 0x3fff, "B", 0x1000),
            (0x4000, 0x4fff, "E", 0),
            (0x5000, 0x5fff, "B", 0x3000),
        ],
    );
}

fn pc() -> Machine {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Machine::build(catalog::load("pc-example").unwrap(), host).unwrap()
}

const LOW: (u64, u64, &str, u64) = (0, 0x9_ffff, "ram", 0);
const REST: (u64, u64, &str, u64) = (0xb_0000, 0xdfff_ffff, "ram", 0xb_0000);
const VRAM: (u64, u64, &str, u64) = (0xe100_0000, 0xe1ff_ffff, "vram", 0);
const REGS: (u64, u64, &str, u64) = (0xe200_0000, 0xe200_ffff, "vga-mmio", 0);
const HIGH: (u64, u64, &str, u64) = (0x1_0000_0000, 0x1_1fff_ffff, "ram", 0xe000_0000);

/// The window is open: two banks of video memory, and the RAM below them where the PCI bus has nothing.
#[test]
fn pc_map_shows_video_banks_through_the_window() {
    let machine = pc();
    is(
        &map(machine.cpu_space().unwrap()),
        &[
            LOW,
            (0xa_0000, 0xa_7fff, "vram", 0x1_0000),
            (0xa_8000, 0xa_ffff, "vram", 0x2_0000),
            REST,
            VRAM,
            REGS,
            HIGH,
        ],
    );
}

/// The guest reroutes memory through the controller's registers, which it does from inside its own callback.
#[test]
fn pc_map_follows_the_controllers_registers() {
    use devices::pc_memory_controller::registers::{BANK_HIGH, BANK_LOW, CONTROL, Control};
    let machine = pc();
    let space = machine.cpu_space().unwrap();
    let mut vcpu = space.handle(|| ());
    let mut write = |register: u64, value: u64| {
        vcpu.store(0xe200_0000 + register, Width::W4, value, TxAttrs::default()).unwrap();
    };
    write(BANK_LOW, 1);
    write(BANK_HIGH, 0);
    let switched = map(space);
    is(&switched[1..3], &[(0xa_0000, 0xa_7fff, "vram", 0x8000), (0xa_8000, 0xa_ffff, "vram", 0)]);
    write(BANK_LOW, 0);
    write(BANK_HIGH, 1);
    is(&map(space)[1..2], &[(0xa_0000, 0xa_ffff, "vram", 0)]);
    // without the window the RAM below is exposed, in one piece
    write(CONTROL, 0);
    is(&map(space), &[(0, 0xdfff_ffff, "ram", 0), VRAM, REGS, HIGH]);
    write(CONTROL, Control::WINDOW_OPEN.bits().into());
    assert_eq!(map(space).len(), 6);
}

#[test]
fn pc_map_without_the_vga_window_exposes_the_ram_below() {
    let machine = pc();
    let controller = machine.device("controller").unwrap();
    let window = &controller.exports().iter().find(|export| export.name == "window").unwrap().region;
    window.unmap().unwrap();
    is(&map(machine.cpu_space().unwrap()), &[(0, 0xdfff_ffff, "ram", 0), VRAM, REGS, HIGH]);
}

#[test]
fn pc_map_clips_a_bar_to_the_hole() {
    let machine = pc();
    let controller = machine.device("controller").unwrap();
    let vram = &controller.exports().iter().find(|export| export.name == "vram").unwrap().region;
    let space = machine.cpu_space().unwrap();
    // half of it below the hole: what lies there is RAM's
    vram.set_address(0xdf80_0000).unwrap();
    let clipped = map(space);
    is(&clipped[4..6], &[(0xe000_0000, 0xe07f_ffff, "vram", 0x80_0000), REGS]);
    vram.set_address(0xc000_0000).unwrap();
    is(&map(space)[3..], &[REST, REGS, HIGH]);
    // over the other BAR: the last one mapped is on top
    vram.set_address(0xe200_0000).unwrap();
    is(&map(space)[4..5], &[(0xe200_0000, 0xe2ff_ffff, "vram", 0)]);
}

#[test]
fn sizes_up_to_the_top_are_shown_whole() {
    let memory = Memory::new();
    let all = memory.reservation("all", Size::FULL).build().unwrap();
    let view =
        memory.read(|tree| View::new(1, Some(all.id()), render(tree, Some(all.id()), AddrRange::ALL), None));
    is(&seen(&view.unwrap()), &[(0, u64::MAX, "all", 0)]);
}
