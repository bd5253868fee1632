//! A snapshot is a machine file with state in it: building it is restoring.

use devices::pc_memory_controller::registers::{BANK_LOW, CONTROL};
use devices::{Clock, Console, Host};
use machines::catalog;
use machines::file::MachineSpec;
use machines::machine::Machine;
use memory_core::{TxAttrs, Width};

fn build(spec: MachineSpec) -> Machine {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Machine::build(spec, host).unwrap()
}

fn flat(machine: &Machine) -> String {
    machines::maps::flat_map(machine.memory(), machine.spaces(), Default::default()).unwrap().to_string()
}

#[test]
fn restored_pc_shows_the_map_that_its_controller_had_made() {
    let machine = build(catalog::load("pc-example").unwrap());
    let before = flat(&machine);
    let space = machine.cpu_space().unwrap();
    for (register, value) in [(BANK_LOW, 9), (CONTROL, 0), (CONTROL, 1)] {
        space.store(0xe200_0000 + register, Width::W4, value, TxAttrs::default()).unwrap();
    }
    let text = machine.snapshot().unwrap().to_toml();
    let restored = build(MachineSpec::from_toml("snapshot.toml", &text).unwrap());
    assert_ne!(flat(&machine), before);
    assert_eq!(flat(&restored), flat(&machine));
    assert_eq!(restored.snapshot().unwrap().to_toml(), text);
}

#[test]
fn every_machine_of_the_catalog_is_saved_and_built_again() {
    for name in catalog::names() {
        let machine = build(catalog::load(name).unwrap());
        let text = machine.snapshot().unwrap().to_toml();
        let restored = build(MachineSpec::from_toml("snapshot.toml", &text).unwrap());
        assert_eq!(flat(&restored), flat(&machine), "{name}");
        assert_eq!(restored.snapshot().unwrap().to_toml(), text, "{name}");
    }
}

/// `mtime` of the board's timer, which the harts' `time` registers show, too.
const MTIME: u64 = 0x200_bff8;

#[test]
fn written_time_counter_is_what_harts_see_and_goes_on_after_restoring() {
    let machine = build(catalog::load("riscv-virt").unwrap());
    let mtime =
        |machine: &Machine| machine.cpu_space().unwrap().load(MTIME, Width::W8, TxAttrs::default()).unwrap();
    machine.host().clock.step(1_000_000);
    assert_eq!((mtime(&machine), machine.host().mtime_offset.get()), (10_000, 0));
    machine.cpu_space().unwrap().store(MTIME, Width::W8, 5_000_000, TxAttrs::default()).unwrap();
    machine.host().clock.step(1_000);
    assert_eq!((mtime(&machine), machine.host().mtime_offset.get()), (5_000_010, 4_990_000));
    let text = machine.snapshot().unwrap().to_toml();
    let restored = build(MachineSpec::from_toml("snapshot.toml", &text).unwrap());
    assert_eq!((mtime(&restored), restored.host().mtime_offset.get()), (5_000_010, 5_000_010));
}
