//! PCI in machine files, and functions that come and go while the machine runs.

use devices::{Clock, Console, Host};
use machines::file::MachineSpec;
use machines::machine::{Machine, PlugError, UnplugError};
use memory_core::{TxAttrs, Width};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BOARD: &str = r#"
[machine]
name = "board"

[[space]]
name = "memory"
root = "system"

[[space]]
name = "ports"
root = "io"
unassigned = "all-ones"

[[region]]
name = "system"
kind = "container"
size = "16E"

[[region]]
name = "pci"
kind = "container"
size = "16E"
into = "system"
priority = -1

[[region]]
name = "io"
kind = "container"
size = "64K"

[[device]]
type = "i440fx"
name = "host"

[[device.map]]
region = "config-address"
into = "io"
at = 0xcf8

[[device.map]]
region = "config-data"
into = "io"
at = 0xcfc

[[device]]
type = "piix3"
name = "isa"
addr = "1.0"

[[device.map]]
region = "reset-control"
into = "io"
at = 0xcf9
priority = 1

[[device]]
type = "pci-bridge"
name = "br1"
chassis-nr = 1
bus = "pci.0"
addr = "1e.0"
"#;

fn host() -> Host {
    Host::new(Clock::stepped(), Console::new(std::io::sink()))
}

fn build(devices: &str) -> Result<Machine, String> {
    let spec =
        MachineSpec::from_toml("board.toml", &format!("{BOARD}{devices}")).map_err(|e| e.to_string())?;
    Machine::build(spec, host()).map_err(|error| error.to_string())
}

fn device(machine: &Machine, text: &str) -> machines::file::DeviceSpec {
    machine.spec().device_from_toml("device.toml", text).unwrap()
}

/// A read of configuration space of bus 0 through the ports.
fn config(machine: &Machine, devfn: u64, at: u64) -> u64 {
    let ports = machine.space("ports").unwrap();
    ports.store(0xcf8, Width::W4, 1 << 31 | devfn << 8 | at & !3, TxAttrs::default()).unwrap();
    ports.load(0xcfc + (at & 3), Width::W4, TxAttrs::default()).unwrap()
}

fn set_config(machine: &Machine, devfn: u64, at: u64, value: u64) {
    let ports = machine.space("ports").unwrap();
    ports.store(0xcf8, Width::W4, 1 << 31 | devfn << 8 | at, TxAttrs::default()).unwrap();
    ports.store(0xcfc, Width::W4, value, TxAttrs::default()).unwrap();
}

#[test]
fn a_machine_file_says_where_functions_are_and_is_written_as_it_was_read() {
    let machine = build(
        r#"
[[device]]
type = "pci-testdev"
name = "card"
bus = "br1"
addr = "0x4.0"
multifunction = true
"#,
    )
    .unwrap();
    let text = machine.spec().to_toml();
    assert!(text.contains("addr = \"4.0\"") && text.contains("bus = \"br1\""), "{text}");
    assert_eq!(MachineSpec::from_toml("again.toml", &text).unwrap(), *machine.spec());
    let ids = [0x00, 0x08, 0xf0, 0x20].map(|devfn| config(&machine, devfn, 0));
    assert_eq!(ids, [0x1237_8086, 0x7000_8086, 0x0001_1b36, 0xffff_ffff]);
    set_config(&machine, 0xf0, 0x18, 0x0001_0100);
    assert_eq!(config(&machine, 0x1_20, 0), 0x0005_1b36);
    // the reset port lies inside the address port
    let ports = machine.space("ports").unwrap();
    ports.store(0xcf9, Width::W1, 2, TxAttrs::default()).unwrap();
    assert_eq!(ports.load(0xcf9, Width::W1, TxAttrs::default()), Ok(2));
    assert_eq!(config(&machine, 0, 0), 0x1237_8086);
    // a snapshot is a machine that goes on
    set_config(&machine, 0xf0, 0x20, 0xfe10_fe00);
    let snapshot = machine.snapshot().unwrap();
    let again = Machine::build(snapshot, host()).unwrap();
    assert_eq!(config(&again, 0xf0, 0x20), 0xfe10_fe00);
}

#[test]
fn places_on_buses_that_cannot_be_are_errors_of_their_keys() {
    for (device, key, words) in [
        ("type = \"pci-testdev\"\nbus = \"pci.9\"", "device.card.bus", "`pci.9`"),
        ("type = \"pci-testdev\"\naddr = \"1.0\"", "device.card.addr", "taken"),
        ("type = \"pci-testdev\"\naddr = \"1e.3\"", "device.card.addr", "multifunction"),
        ("type = \"pci-testdev\"\naddr = \"40\"", "device.card.addr", "1f.3"),
        ("type = \"pci-testdev\"\nromfile = \"no-such-rom\"", "device.card", "no-such-rom"),
        ("type = \"sifive-test\"\naddr = \"4\"", "device.card.addr", "no bus"),
        ("type = \"pci-bridge\"\nchassis-nr = 0", "device.card.chassis-nr", "1 to 255"),
    ] {
        let error = build(&format!("[[device]]\nname = \"card\"\n{device}\n")).expect_err("refused");
        assert!(error.contains(key) && error.contains(words), "{device}: {error}");
    }
}

#[test]
fn functions_are_plugged_and_unplugged_while_others_look() {
    let machine = build("").unwrap();
    let stop = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // it is there, or it is not
                let found = config(&machine, 0x20, 0);
                assert!([0x0005_1b36, 0xffff_ffff].contains(&found), "{found:#x}");
            }
        });
        let space = machine.space("memory").unwrap();
        for _ in 0..200 {
            let said = device(&machine, "type = \"pci-testdev\"\nname = \"card\"\naddr = \"4.0\"\n");
            machine.plug_device(said).unwrap();
            let bus = machine.device("host").unwrap().buses()[0].clone();
            bus.config_write(0, 0x20, 0x10, Width::W4, 0xe000_0000);
            bus.config_write(0, 0x20, 4, Width::W2, 7);
            space.store(0xe000_0000, Width::W1, 1, TxAttrs::default()).unwrap();
            assert_eq!(space.load(0xe000_0001, Width::W1, TxAttrs::default()), Ok(1));
            let detached = machine.unplug("card").unwrap();
            assert!(space.load(0xe000_0000, Width::W1, TxAttrs::default()).is_err());
            assert_eq!(bus.config_read(0, 0x20, 0, Width::W4), 0xffff_ffff);
            detached.wait(Instant::now() + Duration::from_secs(60)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        looker.join()
    });
    result.unwrap();
}

#[test]
fn a_bridge_with_functions_behind_it_stays_and_a_place_that_is_taken_is_refused() {
    let machine = build("").unwrap();
    let card = "type = \"pci-testdev\"\nname = \"card\"\nbus = \"br1\"\naddr = \"2\"\n";
    machine.plug_device(device(&machine, card)).unwrap();
    let second = card.replace("\"card\"", "\"second\"");
    let refused = machine.plug_device(device(&machine, &second));
    assert!(
        matches!(&refused, Err(PlugError::Device(error)) if error.to_string().contains("taken")),
        "{refused:?}"
    );
    let refused = machine.unplug("br1").map(drop);
    assert!(matches!(&refused, Err(UnplugError::InUse { by, .. }) if by.contains("card")), "{refused:?}");
    machine.unplug("card").unwrap().wait(Instant::now() + Duration::from_secs(60)).unwrap();
    machine.plug_device(device(&machine, &second)).unwrap();
    machine.unplug("second").unwrap().wait(Instant::now() + Duration::from_secs(60)).unwrap();
    machine.unplug("br1").unwrap().wait(Instant::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(config(&machine, 0xf0, 0), 0xffff_ffff);
}
