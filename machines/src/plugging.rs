//! Devices by QEMU's names and options, as `-device` and `device_add` have them.

use crate::file::{DeviceSpec, FileError, Kind, MachineSpec, RegionRef, SpaceSpec};
use devices::{PlugInfo, device_types, plug_info, plug_names};
use serde_json::{Map, Value, json};

/// Keys of a machine file that are options of every device.
const PLACING: [&str; 9] =
    ["at", "map", "dma", "requester", "wire", "bus", "addr", "multifunction", "romfile"];

/// What is plugged into a serial device.
const SERIAL_PORT: &str = "virtserialport";

/// A device as QEMU's `-device` and `device_add` describe it.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Its type by QEMU's name.
    pub driver: String,
    /// Its name.
    pub id: Option<String>,
    /// Everything else. A text may stand for a number or a truth.
    pub options: Map<String, Value>,
}

/// Why options describe no device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// There is no such type.
    #[error("'{0}' is not a valid device model name")]
    UnknownType(String),
    /// The type has no such option.
    #[error("Property '{driver}.{option}' not found")]
    UnknownOption {
        /// The type.
        driver: String,
        /// The option.
        option: String,
    },
    /// The machine has a device of that name.
    #[error("Duplicate device ID '{0}'")]
    Duplicate(String),
    /// A device has no such name.
    #[error("Parameter 'id' expects an identifier")]
    BadName,
    /// The machine has not what the device needs.
    #[error("the machine has no {what} for '{driver}'")]
    NoSpace {
        /// What is missing.
        what: &'static str,
        /// The type.
        driver: String,
    },
    /// An option has a value that makes no sense.
    #[error("Parameter '{option}' expects {expected}")]
    BadValue {
        /// The option.
        option: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Nothing of the host has the name that an option says.
    #[error("Property '{driver}.{option}' can't find value '{id}'")]
    NoBackend {
        /// The type.
        driver: String,
        /// The option.
        option: &'static str,
        /// The name.
        id: String,
    },
    /// No memory has that name.
    #[error("Device '{0}' not found")]
    NoMemory(String),
    /// The machine has no bus of that name.
    #[error("Bus '{0}' not found")]
    NoBus(String),
    /// The machine has no bus for the device.
    #[error("No '{kind}' bus found for device '{driver}'")]
    NoBusOfKind {
        /// What kind of bus it needs.
        kind: &'static str,
        /// The type.
        driver: String,
    },
    /// A disk without anything in it.
    #[error("Device needs media, but drive is empty")]
    Empty,
    /// What the device itself says of its properties.
    #[error(transparent)]
    Device(#[from] FileError),
}

impl DeviceOptions {
    /// The device as a part of `machine`, not plugged in yet; errors are about `place`, for example `-device`.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn to_spec(&self, machine: &MachineSpec, place: &str) -> Result<DeviceSpec, OptionsError> {
        let unknown = || OptionsError::UnknownType(self.driver.clone());
        let info = plug_info(&self.driver).ok_or_else(unknown)?;
        // what is no object is no preset
        let mut table: Map<String, Value> = serde_json::from_str(info.preset).unwrap_or_default();
        table.insert("type".to_owned(), json!(info.tag));
        table.insert("name".to_owned(), json!(self.name(machine)?));
        let mut options = self.options.clone();
        if info.tag == SERIAL_PORT {
            self.check_serial_bus(machine, options.remove("bus"))?;
        }
        let mut maps = Vec::new();
        for said in info.ports {
            let space = machine.port_space().ok_or_else(|| self.no_space("ports"))?;
            let asked = said.option.and_then(|option| self.options.get(option).map(|at| (option, at)));
            let at = match asked {
                Some((option, at)) => port(at).ok_or_else(|| bad(option, "a port"))?,
                None => said.at,
            };
            maps.push(json!({ "region": said.region, "into": root(space), "at": at, "overlap": true }));
        }
        for (region, at) in info.memory {
            let space = machine.spaces.first().ok_or_else(|| self.no_space("memory"))?;
            maps.push(
                json!({ "region": region, "into": root(space), "at": at.to_string(), "overlap": true }),
            );
        }
        if !maps.is_empty() {
            table.insert("map".to_owned(), Value::Array(maps));
        }
        let wires = info.wires.iter().filter_map(|(output, end)| {
            let device = machine.devices.iter().find(|said| said.type_name == end.tag)?;
            Some(((*output).to_owned(), json!(format!("{}:{}:{}", device.name, end.group, end.first))))
        });
        let wires: Map<String, Value> = wires.collect();
        if !wires.is_empty() {
            table.insert("wire".to_owned(), Value::Object(wires));
        }
        for (option, value) in &options {
            if info.ports.iter().any(|said| said.option == Some(option)) {
                continue;
            }
            let (name, value) = property_of(&info, option, value)?;
            insert(&mut table, &name, value);
        }
        Ok(machine.device_from_json(place, &Value::Object(table).to_string())?)
    }

    fn no_space(&self, what: &'static str) -> OptionsError {
        OptionsError::NoSpace { what, driver: self.driver.clone() }
    }

    /// Whether the machine has the bus of a serial device that a port is to be plugged into: `DEVICE.0`, or any.
    fn check_serial_bus(&self, machine: &MachineSpec, bus: Option<Value>) -> Result<(), OptionsError> {
        let is_serial = |said: &&DeviceSpec| {
            let backend = said.properties.get("backend").map(|entry| &entry.value.kind);
            let Some(Kind::Table(backend)) = backend else { return false };
            let kind = backend.get("type").map(|entry| &entry.value.kind);
            said.type_name == "virtio-pci" && kind == Some(&Kind::String("virtio-console".to_owned()))
        };
        let mut serial = machine.devices.iter().filter(is_serial);
        match bus.map(|bus| text(&bus)) {
            Some(bus) if !serial.any(|said| bus.strip_suffix(".0") == Some(&said.name)) => {
                Err(OptionsError::NoBus(bus))
            }
            None if serial.next().is_none() => {
                Err(OptionsError::NoBusOfKind { kind: "virtio-serial-bus", driver: self.driver.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The name that people gave, or one of the machine's own.
    fn name(&self, machine: &MachineSpec) -> Result<String, OptionsError> {
        match &self.id {
            Some(id) => {
                let mut letters = id.chars();
                let good = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
                    && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
                match (good && !matches!(id.as_str(), "cpu" | "machine"), machine.device(id)) {
                    (false, _) => Err(OptionsError::BadName),
                    (true, Some(_)) => Err(OptionsError::Duplicate(id.clone())),
                    (true, None) => Ok(id.clone()),
                }
            }
            None => {
                let name = |number: usize| format!("{}[{number}]", self.driver);
                let free = (0..=machine.devices.len()).map(name).find(|name| machine.device(name).is_none());
                Ok(free.unwrap_or_else(|| self.driver.clone()))
            }
        }
    }
}

/// How the type that QEMU calls `driver` is plugged in, in any case.
fn info_of(driver: &str) -> Option<PlugInfo> {
    let same = |name: &&str| name.eq_ignore_ascii_case(driver);
    plug_info(driver).or_else(|| plug_info(plug_names().into_iter().find(same)?))
}

/// The type of device that QEMU calls `driver`, in any case: the `type` of a machine file.
pub fn type_of(driver: &str) -> Option<&'static str> {
    info_of(driver).map(|info| info.tag)
}

/// The key of a machine file, and the value there, that an option of a type stands for.
///
/// # Errors
/// If there is no such type, or it has no such option, or not with that value.
pub fn property(driver: &str, option: &str, value: &Value) -> Result<(String, Value), OptionsError> {
    let info = info_of(driver).ok_or_else(|| OptionsError::UnknownType(driver.to_owned()))?;
    property_of(&info, option, value)
}

fn property_of(info: &PlugInfo, option: &str, value: &Value) -> Result<(String, Value), OptionsError> {
    let renamed = info.options.iter().find(|(theirs, _)| *theirs == option);
    let name = renamed.map_or(option, |(_, ours)| ours);
    let types = device_types();
    let properties =
        types.iter().find(|known| known.tag == info.tag).map_or(&[][..], |known| known.properties);
    if renamed.is_some() && name.contains('.') {
        return Ok((name.to_owned(), value.clone()));
    }
    // QEMU takes a name with either
    let dashed = name.replace('_', "-");
    let found = properties.iter().find(|known| known.name == name || known.name == dashed);
    if let Some(property) = found {
        let value = if property.kind == "bool" { truth(option, value)? } else { value.clone() };
        return Ok((property.name.to_owned(), value));
    }
    match name {
        "multifunction" => Ok((name.to_owned(), truth(option, value)?)),
        "addr" => {
            let slot = value.as_u64().map_or_else(|| text(value), |slot| format!("{slot:x}"));
            Ok((name.to_owned(), json!(slot)))
        }
        _ if PLACING.contains(&name) => Ok((name.to_owned(), value.clone())),
        _ => Err(OptionsError::UnknownOption { driver: info.name.to_owned(), option: option.to_owned() }),
    }
}

/// Sets a property, which stands in tables if there are dots in its name.
fn insert(table: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => _ = table.insert(name.to_owned(), value),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| json!({}));
            inner.as_object_mut().into_iter().for_each(|inner| insert(inner, rest, value.clone()));
        }
    }
}

fn bad(option: &str, expected: &'static str) -> OptionsError {
    OptionsError::BadValue { option: option.to_owned(), expected }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn truth(option: &str, value: &Value) -> Result<Value, OptionsError> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        _ => match value.as_str() {
            Some("on" | "yes" | "true" | "y") => Ok(json!(true)),
            Some("off" | "no" | "false" | "n") => Ok(json!(false)),
            _ => Err(bad(option, "'on' or 'off'")),
        },
    }
}

fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64().map(u128::from);
    let number = number.or_else(|| value.as_str().and_then(crate::file::parse_number));
    number.and_then(|number| u16::try_from(number).ok())
}

fn root(space: &SpaceSpec) -> String {
    match &space.root {
        RegionRef::Declared(name) => name.clone(),
        exported => exported.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use devices::{Clock, Console, Host};
    use memory_core::{TxAttrs, Width};

    const BOARD: &str = r#"
        machine = { name = "board" }
        space = [{ name = "memory", root = "system" }, { name = "ports", root = "io", unassigned = "all-ones" }]
        [[region]]
        name = "system"
        kind = "container"
        size = "16E"
        [[region]]
        name = "io"
        kind = "container"
        size = "64K"
    "#;

    fn options(driver: &str, id: Option<&str>, options: Value) -> DeviceOptions {
        let Value::Object(options) = options else { panic!("no object") };
        DeviceOptions { driver: driver.to_owned(), id: id.map(str::to_owned), options }
    }

    fn board() -> MachineSpec {
        MachineSpec::from_toml("board.toml", BOARD).unwrap()
    }

    fn refused(device: &DeviceOptions) -> String {
        device.to_spec(&board(), "-device").unwrap_err().to_string()
    }

    #[test]
    fn a_device_goes_where_qemu_has_it() {
        let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
        let machine = Machine::build(board(), host).unwrap();
        let device = options("pc-testdev", Some("t0"), json!({}));
        machine.plug_device(device.to_spec(&machine.spec(), "-device").unwrap()).unwrap();
        let load = |space: &str, at| machine.space(space).unwrap().load(at, Width::W4, TxAttrs::default());
        assert_eq!((load("ports", 0xe0), load("ports", 0xec)), (Ok(0), Ok(0xffff_ffff)));
        assert_eq!((load("memory", 0xff00_0000).is_ok(), load("memory", 0xfeff_0000).is_ok()), (true, false));
        let again = device.to_spec(&machine.spec(), "-device").unwrap_err();
        assert_eq!(again.to_string(), "Duplicate device ID 't0'");
    }

    #[test]
    fn options_are_properties_and_texts_stand_for_values() {
        let device = options("dimm", None, json!({ "size": "16M", "at": "0x1000_0000" }));
        let spec = device.to_spec(&board(), "-device").unwrap();
        assert_eq!((spec.name.as_str(), spec.maps.len()), ("dimm[0]", 1));
        let device = options("mc146818rtc", Some("rtc"), json!({ "floppy_check": "off", "cpus": "4" }));
        let spec = device.to_spec(&board(), "-device").unwrap();
        let kind = spec.properties.get("floppy-check").map(|entry| &entry.value.kind);
        assert!(matches!(kind, Some(crate::file::Kind::Boolean(false))), "{kind:?}");
        let (slot, truth) = (json!({ "addr": 5, "multifunction": "on" }), json!(true));
        let info = plug_info("dimm").unwrap();
        let device = options("dimm", None, slot);
        let told = |name: &str| property_of(&info, name, &device.options[name]).unwrap().1;
        assert_eq!((told("addr"), told("multifunction")), (json!("5"), truth));
    }

    #[test]
    fn a_name_may_stand_for_a_transport_with_a_device_behind_it() {
        let of = |driver: &str, said: Value| {
            options(driver, None, said).to_spec(&board(), "-device").unwrap().properties
        };
        let disk = of("virtio-blk-pci", json!({ "image": "d.img", "read-only": true, "addr": "4.0" }));
        let modern = of("virtio-rng-pci-non-transitional", json!({ "vectors": "2" }));
        for (properties, wanted) in [
            (&disk, r#"{ type = "virtio-blk", image = "d.img", read-only = true }"#),
            (&modern, r#"{ type = "virtio-rng" }"#),
        ] {
            let wanted = format!("type = \"virtio-pci\"\nname = \"d\"\nbackend = {wanted}");
            let wanted = board().device_from_toml("d.toml", &wanted).unwrap().properties;
            let told =
                |properties: &crate::file::Table| properties.get("backend").map(|entry| entry.value.clone());
            assert_eq!(told(properties), told(&wanted));
        }
        assert!(modern.get("disable-legacy").is_some() && disk.get("disable-legacy").is_none());
        let presets = plug_names().into_iter().filter_map(plug_info).map(|info| info.preset);
        for preset in presets.filter(|preset| !preset.is_empty()) {
            assert!(serde_json::from_str::<Map<String, Value>>(preset).is_ok(), "{preset}");
        }
    }

    #[test]
    fn a_port_is_plugged_into_a_serial_device() {
        let mut machine = board();
        let mut plug = |driver: &str, id: &str, said: Value| {
            let spec = options(driver, Some(id), said).to_spec(&machine, "-device");
            spec.map(|spec| machine.devices.push(spec)).map_err(|error| error.to_string())
        };
        let none = "No 'virtio-serial-bus' bus found for device 'virtconsole'";
        assert_eq!(plug("virtconsole", "p", json!({})), Err(none.to_owned()));
        plug("virtio-serial-pci", "vser0", json!({})).unwrap();
        plug("virtio-rng-pci", "rng", json!({})).unwrap();
        plug("virtconsole", "p", json!({})).unwrap();
        plug("virtserialport", "q", json!({ "bus": "vser0.0", "name": "org.x", "nr": 1 })).unwrap();
        for bus in ["rng.0", "vser0", "vser1.0"] {
            let refused = plug("virtserialport", "r", json!({ "bus": bus }));
            assert_eq!(refused, Err(format!("Bus '{bus}' not found")));
        }
    }

    #[test]
    fn what_describes_no_device_is_refused_as_qemu_does() {
        assert_eq!(refused(&options("nope", None, json!({}))), "'nope' is not a valid device model name");
        for (option, message) in [
            (json!({ "foo": 1 }), "Property 'ib700.foo' not found"),
            (json!({ "foo.bar": 1 }), "Property 'ib700.foo.bar' not found"),
        ] {
            assert_eq!(refused(&options("ib700", None, option)), message);
        }
        for id in ["", "5", "a b", "a.b", "cpu"] {
            let message = refused(&options("ib700", Some(id), json!({})));
            assert_eq!(message, "Parameter 'id' expects an identifier", "{id}");
        }
        let message = refused(&options("mc146818rtc", None, json!({ "floppy-check": "maybe" })));
        assert_eq!(message, "Parameter 'floppy-check' expects 'on' or 'off'");
        let without = MachineSpec::from_toml("board.toml", "machine = { name = \"board\" }").unwrap();
        let error = options("ib700", None, json!({})).to_spec(&without, "-device").unwrap_err();
        assert_eq!(error.to_string(), "the machine has no ports for 'ib700'");
    }
}
