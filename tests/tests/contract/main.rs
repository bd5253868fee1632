//! The contract of devices: what every registered one does, whatever it is.
//!
//! Nothing here knows a device but the list of types, and the programs of those that can do DMA.

mod dma;
mod guest;

use devices::{DeviceInfo, Inspector, ResetType, device_types};
use guest::{Dice, in_time, misbehave};
use memory_core::{MemoryError, TxAttrs, Width};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;
use tests::board::{self, Board, RAM, load, minimal, save};

/// Every type that a program which links `devices` has.
const TYPES: &[&str] = &[
    "VGA",
    "acpi-pcihp",
    "cfi-flash",
    "cfi.pflash02",
    "dimm",
    "dma-test",
    "dma-test-locked",
    "doorbell-test",
    "framebuffer",
    "fw-cfg-io",
    "fw-cfg-mmio",
    "goldfish-rtc",
    "i440fx",
    "i8042",
    "i8259",
    "ib700",
    "ich9-lpc",
    "ioapic",
    "ioport80",
    "isa-debug-exit",
    "isa-debugcon",
    "isa-pit",
    "ivshmem-plain",
    "mc146818rtc",
    "pc-gsi",
    "pc-memory-controller",
    "pc-testdev",
    "pci-bridge",
    "pci-testdev",
    "piix3",
    "piix4-pm",
    "port92",
    "pvpanic",
    "pvpanic-pci",
    "q35",
    "riscv-aclint-mswi",
    "riscv-aclint-mtimer",
    "riscv-aclint-sswi",
    "riscv-clint",
    "riscv-plic",
    "sifive-test",
    "test-iommu",
    "uart16550",
    "virtio-mmio",
    "virtio-pci",
    "virtserialport",
];

/// Types that are something else with a property that they do without, and that property.
fn variants(tag: &str) -> Vec<Value> {
    match tag {
        "pci-testdev" => vec![json!({ "membar": 0x10_0000 })],
        "virtio-pci" => vec![
            json!({ "backend": { "type": "virtio-console", "backend": "stdio" } }),
            json!({ "backend": { "type": "virtio-blk", "image": "/dev/null" }, "disable-legacy": true }),
        ],
        "virtio-mmio" => vec![
            json!({ "backend": { "type": "virtio-rng" } }),
            json!({ "backend": { "type": "virtio-console", "backend": "stdio" } }),
            json!({ "backend": { "type": "virtio-blk", "image": "/dev/null" } }),
        ],
        _ => Vec::new(),
    }
}

/// Each type with just what it requires, and each variant.
fn every_case(test: impl Fn(&'static DeviceInfo, Value)) {
    every_device(|info| {
        test(info, minimal(info));
        for variant in variants(info.tag) {
            let mut value = minimal(info);
            value.as_object_mut().unwrap().extend(variant.as_object().unwrap().clone());
            test(info, value);
        }
    });
}

/// Accesses of a guest that does anything at all, per device.
const ACCESSES: u64 = 20_000;

/// No type may be forgotten: a test over an empty list would pass.
fn every_device(test: impl Fn(&'static DeviceInfo)) {
    let types = device_types();
    assert!(types.len() >= TYPES.len());
    types.into_iter().for_each(test);
}

fn names(expected: &str) -> BTreeSet<&str> {
    expected.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_program_has_all_types_and_each_is_described_and_loads() {
    let described: Vec<_> = device_types().into_iter().map(|info| info.tag).collect();
    assert_eq!(described, TYPES);
    // typetag's own list, which machine files are read with
    let error = load(json!({ "type": "no-such-type" })).err().expect("refused").to_string();
    let (_, expected) = error.split_once("expected").unwrap();
    assert_eq!(names(expected), TYPES.iter().copied().collect::<BTreeSet<_>>());
    every_device(|info| {
        let device = load(minimal(info)).unwrap_or_else(|error| panic!("{}: {error}", info.tag));
        assert_eq!(save(&*device)["type"], info.tag);
        Board::new().plug(0, device);
    });
}

#[test]
fn the_example_has_the_required_properties_and_no_others() {
    every_device(|info| {
        let minimal = minimal(info);
        let given: BTreeSet<&str> = minimal.as_object().unwrap().keys().map(String::as_str).collect();
        let required = info.properties.iter().filter(|property| property.default.is_none());
        let required: BTreeSet<&str> = required.map(|property| property.name).chain(["type"]).collect();
        assert_eq!(given, required, "{}", info.tag);
        for property in required.into_iter().filter(|property| *property != "type") {
            let mut without = minimal.clone();
            without.as_object_mut().unwrap().remove(property);
            let error = load(without).err().unwrap_or_else(|| panic!("{} does without {property}", info.tag));
            assert!(error.to_string().contains(property), "{}: {error}", info.tag);
        }
    });
}

#[test]
fn the_described_properties_are_those_that_are_read() {
    every_device(|info| {
        let mut value = minimal(info);
        value["no-such-property"] = json!(1);
        let error =
            load(value).err().unwrap_or_else(|| panic!("{} takes any property", info.tag)).to_string();
        let (unknown, expected) = error.split_once("expected").unwrap_or((&error, ""));
        assert!(unknown.contains("`no-such-property`"), "{}: {error}", info.tag);
        let mut read = names(expected);
        let stateful = read.remove("state");
        let described: BTreeSet<&str> = info.properties.iter().map(|property| property.name).collect();
        let function = !described.contains("pci") && read.remove("pci");
        assert_eq!(read, described, "{}", info.tag);
        assert!(info.properties.iter().all(|property| !property.about.is_empty()), "{}", info.tag);
        if stateful {
            let mut value = minimal(info);
            value["state"] = json!({ "no-such-state": 1 });
            let error = load(value).err().unwrap_or_else(|| panic!("{} takes any state", info.tag));
            assert!(error.to_string().contains("`no-such-state`"), "{}: {error}", info.tag);
        }
        if function {
            let mut value = minimal(info);
            value["pci"] = json!({ "no-such-state": 1 });
            let error = load(value).err().unwrap_or_else(|| panic!("{} takes any function", info.tag));
            assert!(error.to_string().contains("`no-such-state`"), "{}: {error}", info.tag);
        }
    });
}

#[test]
fn nothing_that_a_guest_does_is_a_panic_or_a_hang() {
    every_case(|info, value| {
        let board = Board::new();
        let slot = board.plug(0, load(value.clone()).unwrap());
        in_time(info.tag, || misbehave(&board, &[&slot], &mut Dice::new(info.tag), ACCESSES));
        // the device still answers and still tells people about itself
        let mut out = Inspector::new();
        slot.device().inspect(&mut out);
        let _ = out.to_string();
        for (_, address, _) in &slot.regions {
            let _ = board.space.load(*address, Width::W4, TxAttrs::default());
        }
    });
}

#[test]
fn resetting_twice_is_resetting_once() {
    every_case(|info, value| {
        for kind in [ResetType::Cold, ResetType::Warm] {
            let board = Board::new();
            let slot = board.plug(0, load(value.clone()).unwrap());
            misbehave(&board, &[&slot], &mut Dice::new(info.tag), 2000);
            slot.device().reset(kind);
            let once = save(&*slot.device());
            let edges = slot.edges.load(Ordering::Relaxed);
            slot.device().reset(kind);
            assert_eq!(save(&*slot.device()), once, "{} {kind:?}", info.tag);
            assert_eq!(slot.edges.load(Ordering::Relaxed), edges, "{} {kind:?}: a line moved", info.tag);
        }
    });
}

#[test]
fn a_device_is_saved_and_restored_as_it_is() {
    every_case(|info, value| {
        for accesses in [0, 50, ACCESSES] {
            let board = Board::new();
            let slot = board.plug(0, load(value.clone()).unwrap());
            misbehave(&board, &[&slot], &mut Dice::new(info.tag), accesses);
            let saved = save(&*slot.device());
            let restored =
                load(saved.clone()).unwrap_or_else(|error| panic!("{}: {error}: {saved}", info.tag));
            assert_eq!(save(&*restored), saved, "{}: unrealised", info.tag);
            // and on a machine that has just begun: the device goes on from there
            let other = Board::new();
            let slot = other.plug(0, restored);
            assert_eq!(save(&*slot.device()), saved, "{}: realised", info.tag);
        }
    });
}

#[test]
fn any_state_in_a_file_is_refused_or_lived_with() {
    every_case(|info, value| {
        let state = save(&*load(value.clone()).unwrap()).get("state").cloned();
        let Some(Value::Object(fields)) = state else { return };
        for (field, old) in &fields {
            for wrong in mutations(old) {
                let mut file = value.clone();
                file["state"] = json!({ field: wrong });
                let Ok(device) = load(file) else { continue };
                let board = Board::new();
                let Ok(slot) = board.try_plug(0, device) else { continue };
                in_time(info.tag, || misbehave(&board, &[&slot], &mut Dice::new(field), 500));
                slot.device().reset(ResetType::Cold);
            }
        }
    });
}

/// Other values of the same type.
fn mutations(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(_) => {
            [1, 0xff, 0xffff, u64::from(u32::MAX), u64::MAX].map(Value::from).into_iter().collect()
        }
        Value::Bool(value) => vec![json!(!value)],
        Value::Array(values) => {
            let first = values.first().cloned().unwrap_or_else(|| json!(0xff));
            let long = vec![first.clone(); 3 * values.len() + 1];
            let worse = mutations(&first).into_iter().map(|value| json!(vec![value; values.len()]));
            worse.chain([json!([]), json!(long)]).collect()
        }
        Value::String(_) => vec![json!(""), json!("ffffffff"), json!("é".repeat(9))],
        Value::Object(_) | Value::Null => vec![json!(null), json!({}), json!(7)],
    }
}

#[test]
fn unplugging_unmaps_everything_and_drops_the_device_once() {
    every_case(|info, value| {
        let board = Board::new();
        let alone = board.space.with_view(|view| view.len());
        let mut slot = board.plug(0, load(value.clone()).unwrap());
        misbehave(&board, &[&slot], &mut Dice::new(info.tag), 500);
        let kicks = Arc::<AtomicUsize>::default();
        let count = kicks.clone();
        let mut vcpu = board.space.handle(move || _ = count.fetch_add(1, Ordering::SeqCst));
        vcpu.load(RAM, Width::W4, TxAttrs::default()).unwrap();
        let shown = board.space.with_view(|view| view.len());

        let detached = board.system.detach(slot.plug.take().unwrap());
        let left = board.space.with_view(|view| view.len());
        assert_eq!(left, alone, "{}: the board is left", info.tag);
        for (export, address, _) in &slot.regions {
            assert_eq!(export.region.address().unwrap_or(None), None, "{}: {}", info.tag, export.name);
            assert!(board.space.load(*address, Width::W1, TxAttrs::default()).is_err(), "{}", info.tag);
            let again = board.root.map_overlap(*address, &export.region, 0);
            let refused = matches!(again, Err(MemoryError::Unplugged(_) | MemoryError::Gone(_)));
            assert!(refused, "{}: {again:?}", info.tag);
        }
        if shown > alone {
            board.system.reclaim();
            assert!(slot.device.strong_count() > 0, "{}: a vCPU is still on the old map", info.tag);
            assert_eq!(kicks.load(Ordering::SeqCst), 1, "{}: and is told so", info.tag);
            assert!(detached.wait(Instant::now()).is_err(), "{}: and is waited for", info.tag);
        }
        vcpu.park();
        assert_eq!(detached.wait(Instant::now()), Ok(()), "{}: nobody is inside", info.tag);
        assert_eq!(slot.device.strong_count(), 0, "{}: somebody holds it", info.tag);
        board.host.clock.step(u64::MAX / 2);
        slot.inputs.iter().for_each(|line| line.set(!line.level()));
    });
}

#[test]
fn two_threads_in_two_devices_that_reach_for_each_other_do_not_hang() {
    every_case(|info, value| {
        let board = Board::new();
        let slots = [0, 1].map(|slot| board.plug(slot, load(value.clone()).unwrap()));
        let [one, two] = &slots;
        let start = Barrier::new(2);
        in_time(info.tag, || {
            thread::scope(|scope| {
                for (name, slots) in [("one", [one, two]), ("two", [two, one])] {
                    let (board, start) = (&board, &start);
                    scope.spawn(move || {
                        start.wait();
                        match dma::program(info.tag) {
                            Some(program) => program(board, slots[0], slots[1]),
                            None => misbehave(board, &slots, &mut Dice::new(name), ACCESSES),
                        }
                    });
                }
            });
        });
        if let Some(check) = dma::check(info.tag) {
            check(&board, one, two);
        }
    });
}
