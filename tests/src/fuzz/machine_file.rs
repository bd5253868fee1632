//! Machine files: any text is refused, with its place, or read; what was read is written and read the same again; and it
//! is built, or refused, as a machine that is only looked at.

use devices::{Clock, Console, Host};
use machines::file::{Extent, FileError, Kind, MachineSpec, Value, parse_number};
use machines::machine::Machine;

/// Bytes of memory that a machine is built with, at most, and the largest number that a device is told.
const MOST: u128 = 16 << 20;
/// Words that lead to the host's files and sockets: a machine that says them is not built.
const HOST: [&str; 5] = ["file", "image", "unix", "tcp", "socket"];

/// Reads the text: as JSON if it begins like that, else as TOML.
pub(super) fn body(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match read(&text) {
        Err(error) => assert!(error.to_string().starts_with("fuzzed"), "{error}: no place"),
        Ok(spec) => {
            let written = spec.to_toml();
            let again = MachineSpec::from_toml("written.toml", &written);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again, spec, "{written}");
            assert_eq!(again.to_toml(), written);
            if is_harmless(&spec) && !HOST.iter().any(|word| written.contains(word)) {
                build(spec);
            }
        }
    }
}

fn read(text: &str) -> Result<MachineSpec, FileError> {
    if text.trim_start().starts_with('{') {
        MachineSpec::from_json("fuzzed.json", text)
    } else {
        MachineSpec::from_toml("fuzzed.toml", text)
    }
}

fn is_harmless(spec: &MachineSpec) -> bool {
    let backed = spec.regions.iter().filter(|region| {
        use machines::file::RegionKind::{Ram, Rom};
        matches!(region.kind, Ram { .. } | Rom { .. })
    });
    let sizes = backed.map(|region| match region.size {
        Extent::Memory => spec.memory.map_or(0, |size| size.bytes()),
        Extent::Bytes(size) => size.bytes(),
    });
    sizes.sum::<u128>() <= MOST
        && spec.devices.iter().flat_map(|device| device.properties.iter()).all(|entry| is_small(&entry.value))
}

/// Whether all numbers in a property are small.
fn is_small(value: &Value) -> bool {
    match &value.kind {
        Kind::Boolean(_) | Kind::Float(_) => true,
        Kind::Integer(number) => number.unsigned_abs() <= MOST,
        Kind::String(text) => parse_number(text).is_none_or(|number| number <= MOST),
        Kind::Array(values) => values.iter().all(is_small),
        Kind::Table(table) => table.iter().all(|entry| is_small(&entry.value)),
    }
}

fn build(spec: MachineSpec) {
    let host = Host { looking: true, ..Host::new(Clock::stepped(), Console::new(std::io::sink())) };
    match Machine::build(spec, host) {
        Err(error) => assert!(error.to_string().starts_with("fuzzed"), "{error}: no place"),
        Ok(machine) => {
            // a snapshot is a machine file that builds the same machine
            let snapshot = machine.snapshot().unwrap().to_toml();
            let again = MachineSpec::from_toml("fuzzed.toml", &snapshot);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{snapshot}"));
            let host = Host { looking: true, ..Host::new(Clock::stepped(), Console::new(std::io::sink())) };
            let again = Machine::build(again, host).unwrap_or_else(|error| panic!("{error}\n{snapshot}"));
            assert_eq!(again.snapshot().unwrap().to_toml(), snapshot);
        }
    }
}
