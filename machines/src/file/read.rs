//! The schema: from the tree to a [`MachineSpec`].

use super::names::{Names, Scope};
use super::section::{Section, items, name_of, text, wrong_type};
use super::{
    BootSpec, CpuSpec, CpuType, DeviceSpec, Endian, Extent, FileError, Kind, MachineSpec, MapSpec, Origin,
    Placement, Problem, RegionKind, RegionRef, RegionSpec, Shows, SpaceSpec, Unassigned, Value, WireSpec,
    check,
};
use crate::sync::Arc;
use devices::pci::{BadPciAddress, SlotRequest};
use std::path::PathBuf;

const PLACEMENT_KEYS: [&str; 5] = ["into", "at", "priority", "overlap", "shows"];
const REGION_KEYS: [&str; 15] = [
    "name",
    "kind",
    "size",
    "target",
    "offset",
    "file",
    "into",
    "at",
    "priority",
    "overlap",
    "shows",
    "enabled",
    "read-only",
    "nonvolatile",
    "unmergeable",
];
const KINDS: [&str; 5] = ["container", "ram", "rom", "alias", "reservation"];
/// The kinds of region that need code behind them.
const DEVICE_KINDS: [&str; 4] = ["mmio", "iommu", "ram-device", "rom-device"];
const MAP_KEYS: [&str; 6] = ["region", "into", "at", "priority", "overlap", "shows"];

/// The timer's frequency in Hz where a file gives none.
const DEFAULT_TIMEBASE: u64 = 10_000_000;

/// The words of the schema, which the writer shares.
pub(super) const SHOWS: [(&str, Shows); 3] =
    [("both", Shows::Both), ("reads", Shows::Reads), ("writes", Shows::Writes)];
pub(super) const UNASSIGNED: [(&str, Unassigned); 2] =
    [("decode-error", Unassigned::DecodeError), ("all-ones", Unassigned::AllOnes)];
pub(super) const ENDIAN: [(&str, Endian); 2] = [("little", Endian::Little), ("big", Endian::Big)];
pub(super) const CPU_TYPES: [(&str, CpuType); 2] = [("rv64", CpuType::Rv64), ("x86-64", CpuType::X86_64)];

/// Reads and checks the machine that `root` says.
pub(super) fn machine(file: &Arc<str>, root: Value) -> Result<MachineSpec, FileError> {
    let mut root = Section::with_keys(file, "", root, &["machine", "region", "space", "device", "cpu"])?;
    let machine = root.take("machine").ok_or_else(|| root.missing("machine"))?;
    let mut machine = Section::with_keys(file, "machine", machine, &["name", "description", "memory"])?;
    let name = machine.required_text("name")?;
    let description = machine.text("description")?;
    let memory = machine.size("memory")?;

    let regions = items(file, "region", root.take("region"))?;
    let spaces = items(file, "space", root.take("space"))?;
    let devices = items(file, "device", root.take("device"))?;
    let cpu = root.take("cpu");
    let scope = Scope {
        regions: Names::collect(file, "region", &regions)?,
        spaces: Names::collect(file, "space", &spaces)?,
        devices: Names::collect(file, "device", &devices)?,
        cpu: cpu.is_some(),
    };
    let reader = Reader { file, scope };
    let regions = regions.into_iter().map(|item| reader.region(item)).collect::<Result<_, _>>()?;
    let spaces: Vec<SpaceSpec> =
        spaces.into_iter().map(|item| reader.space(item)).collect::<Result<_, _>>()?;
    let first_root = spaces.first().map(|space| &space.root);
    let devices =
        devices.into_iter().map(|item| reader.device(item, first_root)).collect::<Result<_, _>>()?;
    let cpu = cpu.map(|cpu| reader.cpu(cpu, spaces.first())).transpose()?;

    let spec =
        MachineSpec { name, description, memory, regions, spaces, devices, cpu, origin: machine.origin };
    check::machine(&spec)?;
    Ok(spec)
}

/// Reads one device, in whose references the names of `spec` stand for what they stand for there.
pub(super) fn device(file: &Arc<str>, root: Value, spec: &MachineSpec) -> Result<DeviceSpec, FileError> {
    let scope = Scope {
        regions: Names::of(spec.regions.iter().map(|said| &said.name)),
        spaces: Names::of(spec.spaces.iter().map(|said| &said.name)),
        devices: Names::of(spec.devices.iter().map(|said| &said.name)),
        cpu: spec.cpu.is_some(),
    };
    let first_root = spec.spaces.first().map(|space| &space.root);
    Reader { file, scope }.device(("device".to_owned(), root), first_root)
}

/// What every part of the schema needs to be read.
struct Reader<'f> {
    file: &'f Arc<str>,
    scope: Scope,
}

impl Reader<'_> {
    /// The path of an item: by its name if it has one.
    fn path(&self, what: &str, item: &(String, Value)) -> String {
        name_of(&item.1).map_or_else(|| item.0.clone(), |(name, _)| format!("{what}.{name}"))
    }

    fn region(&self, item: (String, Value)) -> Result<RegionSpec, FileError> {
        let mut section = Section::with_keys(self.file, self.path("region", &item), item.1, &REGION_KEYS)?;
        let name = self.name(&mut section)?;
        if let Some(kind) = section.peek_text("kind").filter(|kind| DEVICE_KINDS.contains(kind)) {
            let message =
                format!("regions of kind `{kind}` come from devices; a file declares {}", KINDS.join(", "));
            return Err(section.origin.error("kind", message));
        }
        let kind =
            section.word("kind", &KINDS.map(|kind| (kind, kind)))?.ok_or_else(|| section.missing("kind"))?;
        let allowed: &[&str] = match kind {
            "ram" | "rom" => &["file"],
            "alias" => &["target", "offset"],
            _ => &[],
        };
        for key in ["file", "target", "offset"] {
            if section.has(key) && !allowed.contains(&key) {
                return Err(section.origin.error(key, format!("a region of kind `{kind}` has no `{key}`")));
            }
        }
        let kind = match kind {
            "container" => RegionKind::Container,
            "ram" => RegionKind::Ram { file: section.text("file")? },
            "rom" => RegionKind::Rom { file: section.text("file")? },
            "alias" => RegionKind::Alias {
                target: self.region_ref(&mut section, "target")?.ok_or_else(|| section.missing("target"))?,
                offset: section.address("offset")?.unwrap_or(0),
            },
            _ => RegionKind::Reservation,
        };
        Ok(RegionSpec {
            name,
            kind,
            size: extent(&mut section)?,
            placement: self.placement(&mut section, None)?,
            enabled: section.flag("enabled", true)?,
            read_only: section.flag("read-only", false)?,
            nonvolatile: section.flag("nonvolatile", false)?,
            unmergeable: section.flag("unmergeable", false)?,
            origin: section.origin,
        })
    }

    fn space(&self, item: (String, Value)) -> Result<SpaceSpec, FileError> {
        let known = ["name", "root", "unassigned", "endian"];
        let mut section = Section::with_keys(self.file, self.path("space", &item), item.1, &known)?;
        Ok(SpaceSpec {
            name: self.name(&mut section)?,
            root: self.region_ref(&mut section, "root")?.ok_or_else(|| section.missing("root"))?,
            unassigned: section.word("unassigned", &UNASSIGNED)?.unwrap_or_default(),
            endian: section.word("endian", &ENDIAN)?.unwrap_or_default(),
            origin: section.origin,
        })
    }

    fn device(&self, item: (String, Value), first_root: Option<&RegionRef>) -> Result<DeviceSpec, FileError> {
        let mut section = Section::new(self.file, self.path("device", &item), item.1)?;
        let name = self.name(&mut section)?;
        if name == "cpu" || name == "machine" || name.contains(['.', ':']) {
            let message =
                format!("a device cannot be named `{name}` (not `cpu`, not `machine`, no `.`, no `:`)");
            return Err(section.origin.error("name", message));
        }
        let type_name = section.required_text("type")?;
        let maps = self.maps(&mut section, first_root)?;
        let wires = match section.take("wire") {
            Some(wires) => self.wires(section.origin.path_of("wire"), wires)?,
            None => Vec::new(),
        };
        let dma = section.text("dma")?;
        if let Some(space) = dma.as_ref().filter(|space| !self.scope.spaces.contains(space)) {
            return Err(section.origin.problem("dma", self.scope.spaces.unknown("address space", space)));
        }
        let requester = section.integer("requester", 0, u16::MAX)?.unwrap_or(0);
        let slot = slot(&mut section)?;
        let origin = section.origin.clone();
        let properties = section.rest();
        Ok(DeviceSpec { type_name, name, maps, dma, requester, slot, wires, properties, origin })
    }

    /// `map`, as an array or a single table, or its short form `at`.
    fn maps(&self, device: &mut Section, first_root: Option<&RegionRef>) -> Result<Vec<MapSpec>, FileError> {
        if device.has("at") && device.has("map") {
            return Err(device.origin.error("at", "`at` and `map` exclude each other"));
        }
        if let Some(at) = device.address("at")? {
            let into = first_root.cloned().ok_or_else(|| {
                device.origin.error("at", "`at` is in the first address space, and the machine has none")
            })?;
            let origin =
                Origin::of_value(self.file, device.origin.path().to_owned(), device.origin.place_of("at"));
            let placement = Placement { into, at, priority: 0, overlap: false, shows: Shows::Both };
            return Ok(vec![MapSpec { region: None, placement, origin }]);
        }
        let path = device.origin.path_of("map");
        match device.take("map") {
            None => Ok(Vec::new()),
            Some(Value { kind: Kind::Array(maps), .. }) => maps
                .into_iter()
                .enumerate()
                .map(|(n, map)| self.map(format!("{path}[{n}]"), map, first_root))
                .collect(),
            Some(map) if matches!(map.kind, Kind::Table(_)) => Ok(vec![self.map(path, map, first_root)?]),
            Some(other) => {
                let problem = wrong_type("a table or an array of tables", &other);
                Err(FileError::new(self.file.clone(), other.place, path, problem))
            }
        }
    }

    fn map(&self, path: String, map: Value, first_root: Option<&RegionRef>) -> Result<MapSpec, FileError> {
        let mut section = Section::with_keys(self.file, path, map, &MAP_KEYS)?;
        let region = section.text("region")?;
        let placement = self.placement(&mut section, first_root)?.ok_or_else(|| section.missing("into"))?;
        Ok(MapSpec { region, placement, origin: section.origin })
    }

    fn wires(&self, path: String, wires: Value) -> Result<Vec<WireSpec>, FileError> {
        let section = Section::new(self.file, path, wires)?;
        let path = section.origin.path().to_owned();
        let mut specs = Vec::new();
        for entry in section.rest().iter() {
            let path = format!("{path}.{}", entry.key);
            let origin = Origin::of_value(self.file, path, entry.value.place);
            let ends = match &entry.value.kind {
                Kind::Array(ends) => ends.iter().collect(),
                _ => vec![&entry.value],
            };
            if ends.is_empty() {
                return Err(origin.error("", "a wire without an end"));
            }
            let targets = ends
                .into_iter()
                .map(|end| {
                    text(end.clone()).and_then(|text| self.scope.wire_target(&text)).map_err(|problem| {
                        FileError::new(self.file.clone(), end.place, origin.path(), problem)
                    })
                })
                .collect::<Result<_, _>>()?;
            specs.push(WireSpec { output: entry.key.clone(), targets, origin });
        }
        Ok(specs)
    }

    fn cpu(&self, cpu: Value, first_space: Option<&SpaceSpec>) -> Result<CpuSpec, FileError> {
        let known = ["type", "harts", "space", "ports", "reset-pc", "timebase", "boot"];
        let mut section = Section::with_keys(self.file, "cpu", cpu, &known)?;
        let kind = section.word("type", &CPU_TYPES)?.ok_or_else(|| section.missing("type"))?;
        let others: &[&str] = match kind {
            CpuType::Rv64 => &["ports"],
            CpuType::X86_64 => &["reset-pc", "timebase"],
        };
        not_of(kind, &section, others)?;
        let space = self.space_name(&mut section, "space")?;
        let space = space.or_else(|| first_space.map(|space| space.name.clone())).ok_or_else(|| {
            section.origin.error("", "a CPU needs an address space, and the machine has none")
        })?;
        let boot = match section.take("boot") {
            Some(boot) => self.boot(kind, boot)?,
            None => BootSpec::default(),
        };
        Ok(CpuSpec {
            kind,
            harts: section.integer("harts", 1, kind.most_harts())?.unwrap_or(1),
            space,
            ports: self.space_name(&mut section, "ports")?,
            reset_pc: section.address("reset-pc")?,
            timebase: section.integer("timebase", 1, u64::MAX)?.unwrap_or(DEFAULT_TIMEBASE),
            boot,
            origin: section.origin,
        })
    }

    /// The name of an address space of the file.
    fn space_name(&self, section: &mut Section, key: &str) -> Result<Option<String>, FileError> {
        section.convert(key, |value| {
            let name = text(value)?;
            if self.scope.spaces.contains(&name) {
                Ok(name)
            } else {
                Err(self.scope.spaces.unknown("space", &name))
            }
        })
    }

    fn boot(&self, kind: CpuType, boot: Value) -> Result<BootSpec, FileError> {
        let known = ["firmware-at", "firmware-end", "kernel-at", "dtb-at"];
        let mut section = Section::with_keys(self.file, "cpu.boot", boot, &known)?;
        let others: &[&str] = match kind {
            CpuType::Rv64 => &["firmware-end"],
            CpuType::X86_64 => &["firmware-at", "kernel-at", "dtb-at"],
        };
        not_of(kind, &section, others)?;
        Ok(BootSpec {
            firmware_at: section.address("firmware-at")?,
            firmware_end: section.address("firmware-end")?,
            kernel_at: section.address("kernel-at")?,
            dtb_at: section.address("dtb-at")?,
        })
    }

    /// The name of a thing, which must not be empty.
    fn name(&self, section: &mut Section) -> Result<String, FileError> {
        let name = section.required_text("name")?;
        if name.is_empty() { Err(section.origin.error("name", "the name is empty")) } else { Ok(name) }
    }

    fn region_ref(&self, section: &mut Section, key: &str) -> Result<Option<RegionRef>, FileError> {
        section.convert(key, |value| self.scope.region(&text(value)?))
    }

    /// The placement that `section` holds; `default_into` stands in for an `into` that it leaves out.
    fn placement(
        &self,
        section: &mut Section,
        default_into: Option<&RegionRef>,
    ) -> Result<Option<Placement>, FileError> {
        let Some(into) = self.region_ref(section, "into")?.or_else(|| default_into.cloned()) else {
            return match PLACEMENT_KEYS.into_iter().find(|key| section.has(key)) {
                Some(key) => Err(section.origin.error(key, format!("`{key}` says nothing without `into`"))),
                None => Ok(None),
            };
        };
        Ok(Some(Placement {
            into,
            at: section.address("at")?.unwrap_or(0),
            priority: section.integer("priority", i32::MIN, i32::MAX)?.unwrap_or(0),
            overlap: section.flag("overlap", false)?,
            shows: section.word("shows", &SHOWS)?.unwrap_or_default(),
        }))
    }
}

/// `bus`, `addr`, `multifunction`, `romfile`: where a device is plugged in.
fn slot(section: &mut Section) -> Result<SlotRequest, FileError> {
    let bus = section.text("bus")?;
    let addr = section.convert("addr", |value| {
        text(value)?.parse().map_err(|error: BadPciAddress| Problem::Other(error.to_string()))
    })?;
    let multifunction = section.flag("multifunction", false)?;
    let romfile = section.text("romfile")?.map(PathBuf::from);
    Ok(SlotRequest { bus, addr, multifunction, romfile })
}

/// Refuses the keys that only CPUs of another type have.
fn not_of(kind: CpuType, section: &Section, keys: &[&str]) -> Result<(), FileError> {
    let Some(key) = keys.iter().find(|key| section.has(key)) else { return Ok(()) };
    let name = CPU_TYPES.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
    Err(section.origin.error(key, format!("a CPU of type `{name}` has no `{key}`")))
}

/// `size`: a size, or `"memory"`.
fn extent(section: &mut Section) -> Result<Extent, FileError> {
    let extent = section.convert("size", |value| match &value.kind {
        Kind::String(text) if text == "memory" => Ok(Extent::Memory),
        _ => super::number::size(&value).map(Extent::Bytes),
    })?;
    extent.ok_or_else(|| section.missing("size"))
}
