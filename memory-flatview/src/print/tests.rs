use super::*;
use crate::{View, render, resolve_root};
use memory_core::{
    AccessRules, AddrRange, BusFault, Mapping, Memory, Mmio, RamBlock, Region, Shows, Size, TxAttrs, Width,
};
use std::any::Any;
use std::sync::{Arc, Weak};

struct Registers;

impl Mmio for Registers {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

const ALL: PrintOptions = PrintOptions { owners: true, disabled: true, dispatch: true, attributes: false };
const PLAIN: PrintOptions =
    PrintOptions { owners: false, disabled: false, dispatch: false, attributes: false };

fn trees(memory: &Memory, spaces: &[(&str, &Region)], options: PrintOptions) -> TreeMap {
    let spaces: Vec<_> = spaces.iter().map(|(name, root)| Space { name, root: root.id() }).collect();
    memory.read(|tree| TreeMap::new(tree, &spaces, options)).unwrap()
}

fn flat(memory: &Memory, spaces: &[(&str, &Region)], options: PrintOptions) -> FlatMap {
    memory
        .read(|tree| {
            let mut views: Vec<Arc<View>> = Vec::new();
            for (_, root) in spaces {
                let root = resolve_root(tree, root.id());
                let shared = views.iter().find(|view| view.root() == root).cloned();
                views.push(shared.unwrap_or_else(|| {
                    let generation = views.len() as u64 + 1;
                    Arc::new(View::new(generation, root, render(tree, root, AddrRange::ALL), None))
                }));
            }
            let spaces: Vec<_> = spaces
                .iter()
                .zip(&views)
                .map(|((name, root), view)| (Space { name, root: root.id() }, &**view))
                .collect();
            FlatMap::new(tree, &spaces, options)
        })
        .unwrap()
}

struct Machine {
    memory: Memory,
    system: Region,
    empty: Region,
    parts: Vec<Region>,
    _device: Arc<Registers>,
}

/// One of everything that a line can say.
fn machine() -> Machine {
    let memory = Memory::new();
    let device = Arc::new(Registers);
    let weak: Weak<dyn Any + Send + Sync> = Arc::<Registers>::downgrade(&device);
    let owner = memory.owner("/machine/dev", weak);
    let callbacks = Arc::downgrade(&device);
    let rules = AccessRules::new();
    let system = memory.container("system", Size::FULL).build().unwrap();
    let ram = memory.ram("ram", RamBlock::unbacked(0x4000u64)).build().unwrap();
    let flash = memory
        .rom_device("flash", RamBlock::unbacked(0x1000u64), rules.clone(), callbacks.clone())
        .owner(&owner)
        .build()
        .unwrap();
    let registers = memory
        .mmio("registers", 0x100u64, rules.clone().allow_reentry("it queues"), callbacks.clone())
        .owner(&owner)
        .build()
        .unwrap();
    let window = memory.alias("window", &ram, 0x1000, 0x1000u64).read_only().build().unwrap();
    let again = memory.alias("again", &window, 0, 0x1000u64).build().unwrap();
    let off = memory.container("off", 0x1000u64).disabled().build().unwrap();
    let below = memory.mmio("below", 0x10u64, rules, callbacks).build().unwrap();
    let stored = memory.ram("stored", RamBlock::unbacked(0x1000u64));
    let stored = stored.flags(Flags::NONVOLATILE | Flags::UNMERGEABLE, true).build().unwrap();
    let shadow = memory.rom("shadow", RamBlock::unbacked(0x1000u64)).build().unwrap();
    let nothing = memory.container("nothing", Size::ZERO).build().unwrap();
    let empty = memory.container("empty", Size::FULL).build().unwrap();
    system.map(0, &ram).unwrap();
    system.map(0x1_0000, &flash).unwrap();
    system.map(0x2_0000, &registers).unwrap();
    system.map_overlap(0x3_0000, &window, -7).unwrap();
    system.map(0x3_1000, &again).unwrap();
    system.map(0x4_0000, &off).unwrap();
    off.map(0x20, &below).unwrap();
    system.map(0x5_0000, &stored).unwrap();
    system.map_with(0, &shadow, Mapping { priority: 1, overlap: true, shows: Shows::Reads }).unwrap();
    system.map(0x6_0000, &nothing).unwrap();
    let parts = vec![ram, flash, registers, window, again, off, below, stored, shadow, nothing];
    Machine { memory, system, empty, parts, _device: device }
}

#[test]
fn tree_with_everything_prints_as_the_monitor_does() {
    let m = machine();
    let spaces = [("memory", &m.system), ("nobody", &m.empty), ("cpu", &m.system)];
    assert_eq!(
        trees(&m.memory, &spaces, PLAIN).to_string(),
        "\
address-space: cpu
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-0000000000000fff (prio 1, rom): shadow [reads]
    0000000000000000-0000000000003fff (prio 0, ram): ram
    0000000000010000-0000000000010fff (prio 0, romd): flash
    0000000000020000-00000000000200ff (prio 0, i/o): registers [re-entry: it queues]
    0000000000030000-0000000000030fff (prio -7, ram): alias window @ram 0000000000001000-0000000000001fff [read-only]
    0000000000031000-0000000000031fff (prio 0, ram): alias again @window 0000000000000000-0000000000000fff
    0000000000050000-0000000000050fff (prio 0, nv-ram): stored [unmergeable]
    0000000000060000-0000000000060000 (prio 0, i/o): nothing

address-space: nobody
  0000000000000000-ffffffffffffffff (prio 0, i/o): empty

memory-region: ram
  0000000000000000-0000000000003fff (prio 0, ram): ram

memory-region: window
  0000000000030000-0000000000030fff (prio -7, ram): alias window @ram 0000000000001000-0000000000001fff [read-only]

"
    );
}

#[test]
fn owners_and_disabled_regions_are_printed_on_request() {
    let m = machine();
    let text = trees(&m.memory, &[("memory", &m.system)], ALL).to_string();
    for line in [
        "    0000000000020000-00000000000200ff (prio 0, i/o): registers [re-entry: it queues] \
         owner:{obj path=/machine/dev}",
        "    0000000000040000-0000000000040fff (prio 0, i/o): off [disabled] orphan",
        "      0000000000040020-000000000004002f (prio 0, i/o): below orphan",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let text = trees(&m.memory, &[("memory", &m.system)], PLAIN).to_string();
    assert!(!text.contains("below") && !text.contains("off"), "{text}");
}

#[test]
fn rom_device_out_of_romd_mode_prints_as_io() {
    let m = machine();
    m.parts[1].set_romd(false).unwrap();
    let line = "(prio 0, i/o): flash";
    assert!(trees(&m.memory, &[("memory", &m.system)], PLAIN).to_string().contains(line));
    assert!(flat(&m.memory, &[("memory", &m.system)], PLAIN).to_string().contains(line));
}

#[test]
fn flat_views_print_as_the_monitor_does() {
    let m = machine();
    let root = m.memory.alias("root", &m.system, 0, Size::FULL).build().unwrap();
    let spaces = [("memory", &m.system), ("nobody", &m.empty), ("cpu", &root)];
    assert_eq!(
        flat(&m.memory, &spaces, PLAIN).to_string(),
        "\
FlatView #0
 AS \"memory\", root: system
 AS \"cpu\", root: root, alias system
 Root memory region: system
  0000000000000000-0000000000000fff (prio 1, rom): shadow [reads]
  0000000000000000-0000000000000fff (prio 0, ram): ram [writes]
  0000000000001000-0000000000003fff (prio 0, ram): ram @0000000000001000
  0000000000010000-0000000000010fff (prio 0, romd): flash
  0000000000020000-00000000000200ff (prio 0, i/o): registers
  0000000000030000-0000000000030fff (prio 0, rom): ram @0000000000001000
  0000000000031000-0000000000031fff (prio 0, rom): ram @0000000000001000
  0000000000050000-0000000000050fff (prio 0, nv-ram): stored [unmergeable]

FlatView #1
 AS \"nobody\", root: empty
 Root memory region: (none)
  No rendered FlatView

"
    );
}

#[test]
fn dispatch_prints_sections_and_chunks() {
    let m = machine();
    let options = PrintOptions { dispatch: true, ..PLAIN };
    let text = flat(&m.memory, &[("memory", &m.system), ("nobody", &m.empty)], options).to_string();
    let (_, dispatch) = text.split_once("  Dispatch\n").unwrap();
    assert_eq!(
        dispatch.split_once("\n\n").unwrap().0,
        "    Physical sections
      #0 @0000000000000000..0000000000000fff shadow [writes: ram] [ROM]
      #1 @0000000000001000..0000000000003fff ram
      #2 @0000000000010000..0000000000010fff flash
      #3 @0000000000020000..00000000000200ff registers
      #4 @0000000000030000..0000000000030fff ram [ROM]
      #5 @0000000000031000..0000000000031fff ram [ROM]
      #6 @0000000000050000..0000000000050fff stored
    Chunks, generation 1
      [0] @0000000000000000..0000000000050fff sections #0..#6"
    );
}

#[test]
fn json_has_the_data_of_the_text() {
    let m = machine();
    let trees = serde_json::to_value(trees(&m.memory, &[("memory", &m.system)], ALL)).unwrap();
    let regions = &trees["spaces"][0]["regions"];
    assert_eq!(regions[0]["last"], "0xffffffffffffffff");
    let named =
        |name: &str| regions.as_array().unwrap().iter().find(|region| region["name"] == name).unwrap();
    assert_eq!(named("window")["alias"]["target"], "ram");
    assert_eq!(named("window")["read_only"], true);
    assert_eq!(named("off")["disabled"], true);
    assert_eq!(named("below")["level"], 3);
    assert_eq!(named("registers")["owner"], "/machine/dev");
    assert_eq!(named("nothing")["empty"], true);
    assert_eq!(trees["targets"][1]["names"][0], "window");
    let flat = serde_json::to_value(flat(&m.memory, &[("memory", &m.system)], ALL)).unwrap();
    let ranges = &flat["views"][0]["ranges"];
    assert_eq!(ranges[0]["read"]["name"], "shadow");
    assert_eq!(ranges[0]["write"]["name"], "ram");
    assert_eq!(ranges[1]["read"]["offset"], "0x1000");
    assert_eq!(flat["views"][0]["chunks"][0]["ranges"], 7);
}

#[test]
fn deep_tree_prints_without_recursion() {
    let memory = Memory::new();
    const DEEP: usize = if cfg!(miri) { 100 } else { 3000 };
    let chain: Vec<_> = (0..DEEP)
        .map(|level| memory.container(format!("level{level}"), 0x1000u64).build().unwrap())
        .collect();
    for pair in chain.windows(2).rev() {
        pair[0].map(0, &pair[1]).unwrap();
    }
    let map = trees(&memory, &[("memory", &chain[0])], PLAIN);
    assert_eq!(map.spaces[0].regions.last().unwrap().level, DEEP);
    assert!(map.to_string().ends_with(&format!("level{}\n\n", DEEP - 1)));
    for region in &chain {
        region.unmap().unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "there is no kernel for eventfds")]
fn attributes_that_the_monitor_has_no_place_for_are_printed_on_request() {
    use memory_core::{AddrRange, DirtyClients, EventNotifier, IoEvent, Width};
    let memory = Memory::new();
    let root = memory.container("root", 0x10000u64).build().unwrap();
    let ram = memory.ram("ram", RamBlock::unbacked(0x1000u64)).identifier("pc.ram").build().unwrap();
    ram.set_log(DirtyClients::DISPLAY, true).unwrap();
    let regs = memory.mmio("regs", 0x100u64, AccessRules::new(), Arc::new(Registers)).build().unwrap();
    regs.add_ioevent(IoEvent::new(0x50, Width::W4, EventNotifier::new().unwrap()).value(3)).unwrap();
    regs.add_coalesced(AddrRange::new(0x80, 0x8f).unwrap()).unwrap();
    root.map(0, &ram).unwrap();
    root.map(0x2000, &regs).unwrap();
    memory.set_global_log(DirtyClients::MIGRATION).unwrap();
    let low = memory.alias("low", &regs, 0x40, 0x48u64).build().unwrap();
    root.map(0x4000, &low).unwrap();
    let flat = |options| flat(&memory, &[("memory", &root)], options).to_string();
    let print = |options| {
        let spaces = [Space { name: "memory", root: root.id() }];
        memory.read(|tree| TreeMap::new(tree, &spaces, options).to_string()).unwrap()
    };
    let plain = print(PrintOptions::default());
    assert!(!plain.contains('[') && !flat(PrintOptions::default()).contains('['), "{plain}");
    let all = print(PrintOptions { attributes: true, ..PrintOptions::default() });
    assert!(all.contains("ram): ram [log: display migration] [id: pc.ram]\n"), "{all}");
    let regs = "regs [flush-coalesced] [coalesced: 0000000000000080-000000000000008f] [ioeventfd: 0x50 width 4 value 0x3]\n";
    assert!(all.contains(regs), "{all}");
    // a range of a flat view has what is seen of it, by addresses
    let all = flat(PrintOptions { attributes: true, ..PrintOptions::default() });
    assert!(all.contains("ram): ram [log: display migration] [id: pc.ram]\n"), "{all}");
    let low = "regs @0000000000000040 [flush-coalesced] [coalesced: 0000000000004040-0000000000004047] \
        [ioeventfd: 0x4010 width 4 value 0x3]\n";
    assert!(all.contains(low), "{all}");
}
