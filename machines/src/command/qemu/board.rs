//! The machine that a command line means.

use super::backends::absolute;
use super::keys::Keys;
use super::options::{Chardev, CommandLine};
use anyhow::{Context, anyhow, bail};
use machines::catalog;
use machines::file::MachineSpec;
use machines::plugging::{self, DeviceOptions};
use serde_json::{Map, Value, json};

/// The board that is meant if none is named.
const DEFAULT: &str = "pc";

/// Names that QEMU has for boards of the catalog.
pub(super) fn catalog_name(name: &str) -> &str {
    match name {
        _ if name.starts_with("pc-q35-") => "q35",
        _ if name.starts_with("pc-i440fx-") => "pc",
        "virt" => "riscv-virt",
        "microvm" => "x86-mini",
        _ => name,
    }
}

/// Options of boards that change nothing here: parts that are not there, and what only matters to guests that run.
const IDLE: &[&str] = &[
    "usb",
    "vmport",
    "graphics",
    "hpet",
    "acpi",
    "sata",
    "dump-guest-core",
    "mem-merge",
    "kernel-irqchip",
    "kernel_irqchip",
    "smm",
    "i8042",
    "pit",
    "pic",
    "fd-bootchk",
    "smbus",
    "nvdimm",
    "default-bus-bypass-iommu",
];

impl CommandLine {
    /// The board with all that the command line says about it. Nothing is made yet, and no file written.
    pub(super) fn board(&self) -> anyhow::Result<MachineSpec> {
        let mut keys = self.machine.clone();
        let name = keys.take("type").unwrap_or_else(|| DEFAULT.to_owned());
        let known = catalog_name(&name);
        let unsupported =
            || anyhow!("-machine {name}: unsupported machine type; use -machine help to list them");
        // a file is no type
        let mut spec = match catalog::names().any(|other| other == known) {
            true => catalog::load(known)?,
            false => return Err(unsupported()),
        };
        let flash = ["pflash0", "pflash1"].map(|chip| keys.take(chip));
        keys.ignore(IDLE);
        if let Some((key, _)) = keys.rest().first() {
            bail!("-machine {name}: Property '{name}-machine.{key}' not found");
        }
        // none is what the board has by itself
        if let Some(memory) = self.memory.as_ref().filter(|memory| *memory != "0") {
            // a number alone counts MiB
            let unit = if memory.bytes().all(|byte| byte.is_ascii_digit()) { "M" } else { "" };
            spec.set("machine.memory", &format!("{memory}{unit}")).with_context(|| format!("-m {memory}"))?;
        }
        self.processors(&mut spec)?;
        self.firmware(&mut spec, flash)?;
        self.configure(&mut spec)?;
        self.serials(&mut spec)?;
        self.display(&mut spec)?;
        let left = self.globals(&mut spec)?;
        for device in &self.devices {
            self.plug(&mut spec, device.clone(), &left)?;
        }
        Ok(spec)
    }

    /// `-rtc`, `-boot`, `-uuid`, `-fw_cfg` and what else the parts of a PC are told.
    fn configure(&self, spec: &mut MachineSpec) -> anyhow::Result<()> {
        for name in named(spec, "mc146818rtc") {
            let mut clock = "host";
            for (key, value) in &self.rtc {
                match key.as_str() {
                    "base" => put(spec, &name, "base", &json!(value))
                        .with_context(|| format!("-rtc base={value}"))?,
                    "clock" => {
                        clock = match value.as_str() {
                            "host" => "host",
                            "vm" | "rt" => "vm",
                            _ => bail!("-rtc clock={value}: invalid option value"),
                        }
                    }
                    "driftfix" => {}
                    _ => bail!("-rtc: Invalid parameter '{key}'"),
                }
            }
            put(spec, &name, "clock", &json!(clock))?;
            for (key, property) in [("order", "boot"), ("once", "boot-once")] {
                // what was said last counts
                if let Some((_, devices)) = self.boot.iter().rfind(|(said, _)| said == key) {
                    put(spec, &name, property, &json!(devices))
                        .with_context(|| format!("-boot {key}={devices}"))?;
                }
            }
            if let Some(cpus) = self.cpus {
                put(spec, &name, "cpus", &json!(cpus.now))?;
            }
            if let Some(check) = self.floppy_check {
                put(spec, &name, "floppy-check", &json!(check))?;
            }
        }
        for (key, _) in &self.boot {
            let known = ["order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict"];
            if !known.contains(&key.as_str()) {
                bail!("-boot: Invalid parameter '{key}'");
            }
        }
        for name in named(spec, "fw-cfg-io") {
            self.configure_fw_cfg(spec, &name)?;
        }
        Ok(())
    }

    fn configure_fw_cfg(&self, spec: &mut MachineSpec, name: &str) -> anyhow::Result<()> {
        if let Some(uuid) = &self.uuid {
            put(spec, name, "uuid", &json!(uuid)).with_context(|| format!("-uuid {uuid}"))?;
        }
        if let Some(cpus) = self.cpus {
            put(spec, name, "cpus", &json!(cpus.now))?;
            put(spec, name, "max-cpus", &json!(cpus.most))?;
        }
        if self.no_graphic {
            put(spec, name, "nographic", &json!(true))?;
        }
        for (key, value) in &self.boot {
            match key.as_str() {
                "menu" => put(spec, name, "boot-menu", &json!(value == "on"))?,
                "splash-time" => put(spec, name, "splash-time", &json!(value))?,
                "reboot-timeout" => put(spec, name, "reboot-timeout", &json!(value.parse::<i32>()?))?,
                _ => {}
            }
        }
        if self.fw_cfg.is_empty() {
            return Ok(());
        }
        let files =
            self.fw_cfg.iter().map(|keys| fw_cfg_file(keys.clone())).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(spec.set(&format!("{name}.files"), &format!("[{}]", files.join(", ")))?)
    }

    fn serials(&self, spec: &mut MachineSpec) -> anyhow::Result<()> {
        let ports = named(spec, "uart16550");
        for (number, text) in self.serials.iter().enumerate() {
            let place = || format!("-serial {text}");
            let chardev = self.chardev(text).with_context(place)?;
            let Some(port) = ports.get(number) else {
                if chardev == Chardev::Null {
                    continue;
                }
                bail!("-serial {text}: the machine has {} serial ports", ports.len());
            };
            let backend = backend(&chardev).with_context(place)?;
            spec.set(&format!("{port}.backend"), &backend)?;
        }
        Ok(())
    }

    /// Sets properties of parts of the board, and returns those that are left for devices to come.
    fn globals(&self, spec: &mut MachineSpec) -> anyhow::Result<Vec<(String, String, String)>> {
        let mut left = Vec::new();
        for (driver, property, value) in &self.globals {
            let place = || format!("-global {driver}.{property}={value}");
            let Some(tag) = plugging::type_of(driver) else {
                eprintln!("warning: {}: there is no such type of device", place());
                continue;
            };
            for name in named(spec, tag) {
                let (key, value) = plugging::property(driver, property, &json!(value)).with_context(place)?;
                put(spec, &name, &key, &value).with_context(place)?;
            }
            left.push((tag.to_owned(), property.clone(), value.clone()));
        }
        Ok(left)
    }

    /// `-device`.
    fn plug(
        &self,
        spec: &mut MachineSpec,
        mut keys: Keys,
        globals: &[(String, String, String)],
    ) -> anyhow::Result<()> {
        let driver = keys.take("driver").context("-device: Parameter 'driver' is missing")?;
        let id = keys.take("id");
        let place = format!("-device {driver}");
        let mut options = Map::new();
        let tag = plugging::type_of(&driver);
        let defaults = globals.iter().filter(|(of, ..)| Some(of.as_str()) == tag);
        options.extend(defaults.map(|(_, key, value)| (key.clone(), json!(value))));
        options.extend(keys.rest().into_iter().map(|(key, value)| (key, json!(value))));
        let mut device = DeviceOptions { driver, id, options };
        self.backends()?.resolve(&mut device).with_context(|| place.clone())?;
        let said = device.to_spec(spec, &place).with_context(|| place.clone())?;
        spec.devices.push(said);
        Ok(())
    }

    /// The drive that is called `id`.
    pub(super) fn drive_called(&self, id: &str) -> anyhow::Result<&Keys> {
        let called = |keys: &&Keys| Keys::clone(keys).take("id").as_deref() == Some(id);
        let drive = self.drives.iter().find(called);
        drive.with_context(|| format!("Property 'drive' can't find value '{id}'"))
    }
}

/// The devices of that type, by name.
fn named(spec: &MachineSpec, tag: &str) -> Vec<String> {
    spec.devices.iter().filter(|said| said.type_name == tag).map(|said| said.name.clone()).collect()
}

/// Gives a property of a device a value that is no table.
fn put(spec: &mut MachineSpec, device: &str, key: &str, value: &Value) -> anyhow::Result<()> {
    // what is plain in JSON is so in TOML
    Ok(spec.set(&format!("{device}.{key}"), &value.to_string())?)
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// What stands behind `backend =` in a machine file.
fn backend(chardev: &Chardev) -> anyhow::Result<String> {
    Ok(match chardev {
        Chardev::Null => quoted("none"),
        Chardev::Stdio => quoted("stdio"),
        Chardev::File(path) => format!("{{ file = {} }}", quoted(&absolute(path)?)),
        Chardev::Socket { path, server: false } => {
            format!("{{ socket = {} }}", quoted(&format!("unix:{}", absolute(path)?)))
        }
        Chardev::Socket { .. } => bail!("a device connects to a socket, and does not listen"),
    })
}

fn fw_cfg_file(mut keys: Keys) -> anyhow::Result<String> {
    let name = keys.take("name").context("-fw_cfg: Parameter 'name' is missing")?;
    let (file, text) = (keys.take("file"), keys.take("string"));
    keys.end().with_context(|| format!("-fw_cfg {name}"))?;
    match (file, text) {
        (Some(file), None) => {
            Ok(format!("{{ name = {}, file = {} }}", quoted(&name), quoted(&absolute(&file)?)))
        }
        (None, Some(text)) => Ok(format!("{{ name = {}, text = {} }}", quoted(&name), quoted(&text))),
        _ => bail!("-fw_cfg {name}: expects one of 'file' and 'string'"),
    }
}
