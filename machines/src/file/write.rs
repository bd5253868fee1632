//! The way back: from a specification to the tree, and to TOML text.

use std::fmt::Write;

use super::read::{CPU_TYPES, ENDIAN, SHOWS, UNASSIGNED};
use super::{
    CpuSpec, CpuType, DeviceSpec, Extent, Kind, MachineSpec, MapSpec, Origin, Placement, RegionKind,
    RegionRef, RegionSpec, Shows, SpaceSpec, Table, Value, format_address, format_size,
};

impl MachineSpec {
    /// The machine as TOML text, which reads back as an equal machine.
    ///
    /// With the devices' state put in by [`replace_properties`](DeviceSpec::replace_properties) it is a
    /// snapshot of the devices. Comments are not kept, and most keys that hold their default are left out.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let Kind::Table(root) = self.document().kind else { return text };
        for entry in root.iter() {
            match &entry.value.kind {
                Kind::Table(table) => write_table(&mut text, &format!("[{}]", entry.key), &entry.key, table),
                Kind::Array(items) => {
                    for item in items {
                        if let Kind::Table(table) = &item.kind {
                            write_table(&mut text, &format!("[[{}]]", entry.key), &entry.key, table);
                        }
                    }
                }
                _ => {}
            }
        }
        text
    }

    /// The tree that this machine was read from, but for some keys that hold their default; places are kept.
    pub(super) fn document(&self) -> Value {
        let mut machine = Writer::new(&self.origin);
        machine.put("name", self.name.as_str());
        machine.put_some("description", self.description.as_deref());
        machine.put_some("memory", self.memory.map(format_size));

        let mut root = Table::default();
        root.set("machine", machine.finish());
        let first_root = self.spaces.first().map(|space| &space.root);
        let lists = [
            ("region", self.regions.iter().map(region).collect::<Vec<_>>()),
            ("space", self.spaces.iter().map(space).collect()),
            ("device", self.devices.iter().map(|spec| device(spec, first_root)).collect()),
        ];
        for (key, items) in lists {
            if !items.is_empty() {
                root.set(key, Value::new(items));
            }
        }
        if let Some(spec) = &self.cpu {
            root.set("cpu", cpu(spec));
        }
        Value::new(root)
    }
}

/// A table that is being put together, each value at the place where it was read.
struct Writer<'o> {
    origin: &'o Origin,
    table: Table,
}

impl<'o> Writer<'o> {
    fn new(origin: &'o Origin) -> Self {
        Self { origin, table: Table::default() }
    }

    fn put(&mut self, key: &str, value: impl Into<Kind>) {
        self.table.set(key, Value::new(value).at(self.origin.place_of(key)));
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Kind>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn put_unless(&mut self, default: bool, key: &str, value: bool) {
        if value != default {
            self.put(key, value);
        }
    }

    /// Writes the word for `value`, unless it is the default.
    fn put_word<T: PartialEq + Default>(&mut self, key: &str, words: &[(&str, T)], value: &T) {
        if *value != T::default() {
            self.put(key, word(words, value));
        }
    }

    fn placement(&mut self, placement: &Placement) {
        self.put("into", placement.into.to_string());
        self.put("at", format_address(placement.at));
        if placement.priority != 0 {
            self.put("priority", i128::from(placement.priority));
        }
        self.put_unless(false, "overlap", placement.overlap);
        self.put_word("shows", &SHOWS, &placement.shows);
    }

    fn finish(self) -> Value {
        Value::new(self.table).at(self.origin.place())
    }
}

/// The word that stands for `value`.
fn word<'w, T: PartialEq>(words: &[(&'w str, T)], value: &T) -> &'w str {
    words.iter().find(|(_, meaning)| meaning == value).map_or("", |(word, _)| word)
}

fn region(spec: &RegionSpec) -> Value {
    let mut writer = Writer::new(&spec.origin);
    writer.put("name", spec.name.as_str());
    let kind = match &spec.kind {
        RegionKind::Container => "container",
        RegionKind::Ram { .. } => "ram",
        RegionKind::Rom { .. } => "rom",
        RegionKind::Alias { .. } => "alias",
        RegionKind::Reservation => "reservation",
    };
    writer.put("kind", kind);
    writer.put(
        "size",
        match spec.size {
            Extent::Bytes(size) => format_size(size),
            Extent::Memory => "memory".to_owned(),
        },
    );
    match &spec.kind {
        RegionKind::Ram { file } | RegionKind::Rom { file } => writer.put_some("file", file.as_deref()),
        RegionKind::Alias { target, offset } => {
            writer.put("target", target.to_string());
            writer.put("offset", format_address(*offset));
        }
        RegionKind::Container | RegionKind::Reservation => {}
    }
    if let Some(placement) = &spec.placement {
        writer.placement(placement);
    }
    writer.put_unless(true, "enabled", spec.enabled);
    writer.put_unless(false, "read-only", spec.read_only);
    writer.put_unless(false, "nonvolatile", spec.nonvolatile);
    writer.put_unless(false, "unmergeable", spec.unmergeable);
    writer.finish()
}

fn space(spec: &SpaceSpec) -> Value {
    let mut writer = Writer::new(&spec.origin);
    writer.put("name", spec.name.as_str());
    writer.put("root", spec.root.to_string());
    writer.put_word("unassigned", &UNASSIGNED, &spec.unassigned);
    writer.put_word("endian", &ENDIAN, &spec.endian);
    writer.finish()
}

fn device(spec: &DeviceSpec, first_root: Option<&RegionRef>) -> Value {
    let mut writer = Writer::new(&spec.origin);
    writer.put("type", spec.type_name.as_str());
    writer.put("name", spec.name.as_str());
    match spec.maps.as_slice() {
        [] => {}
        [only] if is_short(only, first_root) => writer.put("at", format_address(only.placement.at)),
        maps => writer.put("map", maps.iter().map(map).collect::<Vec<_>>()),
    }
    if let Some(space) = &spec.dma {
        writer.put("dma", space.as_str());
    }
    if spec.requester != 0 {
        writer.put("requester", i128::from(spec.requester));
    }
    writer.put_some("bus", spec.slot.bus.as_deref());
    writer.put_some("addr", spec.slot.addr.map(|addr| addr.to_string()));
    writer.put_unless(false, "multifunction", spec.slot.multifunction);
    writer.put_some("romfile", spec.slot.romfile.as_ref().and_then(|file| file.to_str()));
    if !spec.wires.is_empty() {
        let mut wires = Table::default();
        for wire in &spec.wires {
            let place = wire.origin.place();
            let mut ends: Vec<Value> =
                wire.targets.iter().map(|target| Value::new(target.to_string()).at(place)).collect();
            let value = match ends.pop() {
                Some(only) if ends.is_empty() => only,
                Some(last) => {
                    ends.push(last);
                    Value::new(ends).at(place)
                }
                None => continue,
            };
            wires.set(wire.output.as_str(), value);
        }
        writer.put("wire", wires);
    }
    for entry in spec.properties.iter() {
        writer.table.set(entry.key.as_str(), entry.value.clone());
    }
    writer.finish()
}

/// Whether the short form `at` says all of `map`.
fn is_short(map: &MapSpec, first_root: Option<&RegionRef>) -> bool {
    let placement = &map.placement;
    map.region.is_none()
        && first_root == Some(&placement.into)
        && placement.priority == 0
        && !placement.overlap
        && placement.shows == Shows::Both
}

fn map(spec: &MapSpec) -> Value {
    let mut writer = Writer::new(&spec.origin);
    writer.put_some("region", spec.region.as_deref());
    writer.placement(&spec.placement);
    writer.finish()
}

fn cpu(spec: &CpuSpec) -> Value {
    let mut writer = Writer::new(&spec.origin);
    writer.put("type", word(&CPU_TYPES, &spec.kind));
    writer.put("harts", i128::from(spec.harts));
    writer.put("space", spec.space.as_str());
    writer.put_some("ports", spec.ports.as_deref());
    writer.put_some("reset-pc", spec.reset_pc.map(format_address));
    if spec.kind == CpuType::Rv64 {
        writer.put("timebase", i128::from(spec.timebase));
    }
    let boot = &spec.boot;
    let mut parts = Table::default();
    for (key, at) in [
        ("firmware-at", boot.firmware_at),
        ("firmware-end", boot.firmware_end),
        ("kernel-at", boot.kernel_at),
        ("dtb-at", boot.dtb_at),
    ] {
        if let Some(at) = at {
            parts.set(key, Value::new(format_address(at)).at(spec.origin.place_of("boot")));
        }
    }
    if !parts.is_empty() {
        writer.put("boot", parts);
    }
    writer.finish()
}

/// Writes `table` under `header`. Tables in it that are not part of the schema (a device's state) get a
/// header of their own below `path`; the schema's own are written on one line.
fn write_table(text: &mut String, header: &str, path: &str, table: &Table) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(header);
    text.push('\n');
    let mut later = Vec::new();
    for entry in table.iter() {
        match &entry.value.kind {
            Kind::Table(inner) if !matches!(entry.key.as_str(), "wire" | "map" | "boot") => {
                later.push((entry.key.as_str(), inner));
            }
            _ => {
                write_key(text, &entry.key);
                text.push_str(" = ");
                write_value(text, &entry.value, true);
                text.push('\n');
            }
        }
    }
    for (key, inner) in later {
        let mut path = format!("{path}.");
        write_key(&mut path, key);
        write_table(text, &format!("[{path}]"), &path, inner);
    }
}

/// Writes a value; an array of tables takes a line for each where `spread` allows it.
fn write_value(text: &mut String, value: &Value, spread: bool) {
    match &value.kind {
        Kind::Boolean(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Kind::Integer(integer) => text.push_str(&integer.to_string()),
        Kind::Float(float) if float.is_nan() => text.push_str("nan"),
        Kind::Float(float) => text.push_str(&format!("{float:?}")),
        Kind::String(string) => write_string(text, string),
        Kind::Array(items) => {
            let lines = spread && items.iter().any(|item| matches!(item.kind, Kind::Table(_)));
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                match (lines, n) {
                    (true, _) => text.push_str("\n    "),
                    (false, 0) => {}
                    (false, _) => text.push_str(", "),
                }
                write_value(text, item, false);
                if lines {
                    text.push(',');
                }
            }
            text.push_str(if lines { "\n]" } else { "]" });
        }
        Kind::Table(table) => {
            text.push('{');
            for (n, entry) in table.iter().enumerate() {
                text.push_str(if n == 0 { " " } else { ", " });
                write_key(text, &entry.key);
                text.push_str(" = ");
                write_value(text, &entry.value, false);
            }
            text.push_str(if table.is_empty() { "}" } else { " }" });
        }
    }
}

fn write_key(text: &mut String, key: &str) {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) {
        text.push_str(key);
    } else {
        write_string(text, key);
    }
}

/// Writes a TOML basic string.
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
