//! Overrides from the command line.

use super::{FileError, Kind, MachineSpec, Place, Problem, Table, Value, read, toml};

/// How far a key may lead into tables.
const MAX_DEPTH: usize = 16;

impl MachineSpec {
    /// Overrides one key: `DEVICE.KEY`, `machine.KEY` or `cpu.KEY`, where `KEY` may lead into tables
    /// (`boot.dtb-at`).
    ///
    /// `value` is what could stand behind `=` in the file (`4`, `true`, `"text"`, `{ a = 1 }`), or else plain
    /// text: no quotes are needed around `stdio`. Any key can be set that the file could hold, a device's
    /// placement included.
    ///
    /// # Errors
    ///
    /// If there is no such device or table, or the file would be wrong with that value; the machine is
    /// unchanged then. A device's own properties are checked when the device is built, and such an error says
    /// `--set` too.
    ///
    /// ```
    /// # use machines::file::MachineSpec;
    /// let mut board = MachineSpec::from_toml("b.toml", "[machine]\nname = \"b\"\nmemory = \"128M\"")?;
    /// board.set("machine.memory", "1G")?;
    /// assert_eq!(board.memory.map(|size| size.bytes()), Some(1 << 30));
    ///
    /// let error = board.set("uart0.backend", "stdio").unwrap_err();
    /// assert_eq!(error.to_string(), "--set: uart0.backend: there is no device `uart0`");
    /// # Ok::<(), machines::file::FileError>(())
    /// ```
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), FileError> {
        let file = self.origin.shared_file().clone();
        let refuse = |problem| FileError::new(file.clone(), Place::CommandLine, key, problem);
        let malformed = || refuse(Problem::Other("not of the form `device.property`".to_owned()));
        let (head, path) = key.split_once('.').ok_or_else(malformed)?;
        let keys: Vec<&str> = path.split('.').collect();
        if keys.len() > MAX_DEPTH {
            return Err(refuse(Problem::Other(format!("more than {MAX_DEPTH} keys deep"))));
        }
        if head.is_empty() || keys.iter().any(|key| key.is_empty()) {
            return Err(malformed());
        }
        let kind = toml::parse_value(value).unwrap_or_else(|| value.into());
        let value = Value { kind, place: Place::CommandLine };

        let mut document = self.document();
        let table = match head {
            "machine" | "cpu" => table_of(&mut document, head),
            device => device_table(&mut document, device),
        };
        let table = table.ok_or_else(|| {
            refuse(match head {
                "cpu" => Problem::Other("the machine has no [cpu]".to_owned()),
                device => Problem::UnknownReference {
                    what: "device",
                    name: device.to_owned(),
                    known: self.devices.iter().map(|device| device.name.clone()).collect(),
                },
            })
        })?;
        assign(table, &keys, value).map_err(refuse)?;
        *self = read::machine(&file, document)?;
        Ok(())
    }
}

/// The type of device that is a slot for a virtio device.
const SLOT: &str = "virtio-mmio";

impl MachineSpec {
    /// Puts a virtio device into the first slot that is empty, and returns the slot's name. `backend` is what would stand
    /// behind `backend =` in the file.
    ///
    /// # Errors
    ///
    /// If the machine has no empty slot, or as for [`MachineSpec::set`].
    ///
    /// ```
    /// let mut board = machines::catalog::load("riscv-virt")?;
    /// assert_eq!(board.attach(r#"{ type = "virtio-rng" }"#)?, "virtio0");
    /// assert_eq!(board.attach(r#"{ type = "virtio-rng" }"#)?, "virtio1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(&mut self, backend: &str) -> Result<String, FileError> {
        let mut slots = self.devices.iter().filter(|device| device.type_name == SLOT);
        let empty = slots.find(|device| device.properties.get("backend").is_none());
        let Some(name) = empty.map(|device| device.name.clone()) else {
            let problem = Problem::Other(format!("the machine has no empty `{SLOT}` to put it into"));
            let file = self.origin.shared_file().clone();
            return Err(FileError::new(file, Place::CommandLine, backend, problem));
        };
        self.set(&format!("{name}.backend"), backend)?;
        Ok(name)
    }
}

/// Gives the key at the end of the path `keys` a value, and makes the tables on the way that are not there.
fn assign(table: &mut Table, keys: &[&str], value: Value) -> Result<(), Problem> {
    let Some((&key, rest)) = keys.split_first() else { return Ok(()) };
    if rest.is_empty() {
        table.set(key, value);
        return Ok(());
    }
    if table.get(key).is_none() {
        table.set(key, Value { kind: Kind::Table(Table::default()), place: value.place });
    }
    match table.get_mut(key) {
        Some(Value { kind: Kind::Table(inner), .. }) => assign(inner, rest, value),
        _ => Err(Problem::Other(format!("`{key}` is not a table"))),
    }
}

/// The table `key` of the document.
fn table_of<'d>(document: &'d mut Value, key: &str) -> Option<&'d mut Table> {
    let Kind::Table(root) = &mut document.kind else { return None };
    match &mut root.get_mut(key)?.kind {
        Kind::Table(table) => Some(table),
        _ => None,
    }
}

/// The table of the device called `name`.
fn device_table<'d>(document: &'d mut Value, name: &str) -> Option<&'d mut Table> {
    let Kind::Table(root) = &mut document.kind else { return None };
    let Kind::Array(devices) = &mut root.get_mut("device")?.kind else { return None };
    devices.iter_mut().find_map(|device| match &mut device.kind {
        Kind::Table(table) => match table.get("name") {
            Some(entry) if entry.value == Value::new(name) => Some(table),
            _ => None,
        },
        _ => None,
    })
}
