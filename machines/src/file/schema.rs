//! What a machine file says, as plain data.

use std::fmt;

use devices::pci::SlotRequest;
use memory_core::Size;

use super::{Origin, Table};

/// A whole machine file, checked as far as the file alone allows: names are unique, references lead
/// somewhere, nothing ends above 2^64. Overlaps, cycles and what devices think of their properties show when
/// the machine is built.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineSpec {
    /// The machine's name.
    pub name: String,
    /// What it is, in a sentence.
    pub description: Option<String>,
    /// The size that [`Extent::Memory`] stands for.
    pub memory: Option<Size>,
    /// The regions that the machine itself declares.
    pub regions: Vec<RegionSpec>,
    /// The address spaces; the first is the CPU's, unless `[cpu]` names another.
    pub spaces: Vec<SpaceSpec>,
    /// The devices.
    pub devices: Vec<DeviceSpec>,
    /// The processor; `None` for a board without one.
    pub cpu: Option<CpuSpec>,
    /// Where `[machine]` was written.
    pub origin: Origin,
}

/// One `[[region]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionSpec {
    /// The name, unique among the regions of the file.
    pub name: String,
    /// What is behind it.
    pub kind: RegionKind,
    /// Its size.
    pub size: Extent,
    /// Where it is mapped; `None` for a region that only aliases and address spaces show.
    pub placement: Option<Placement>,
    /// Whether it is there at all when the machine starts.
    pub enabled: bool,
    /// Whether writes through it are refused.
    pub read_only: bool,
    /// Whether its contents outlive the machine.
    pub nonvolatile: bool,
    /// Whether its ranges stay apart from their neighbours in a flat view.
    pub unmergeable: bool,
    /// Where it was written.
    pub origin: Origin,
}

/// What is behind a declared region. The other kinds need code, and come from devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionKind {
    /// Nothing; it groups others.
    Container,
    /// Host memory.
    Ram {
        /// The file with the initial contents, as written; see [`MachineSpec::resolve`].
        file: Option<String>,
    },
    /// Host memory that the guest cannot write.
    Rom {
        /// The file with the initial contents, as written; see [`MachineSpec::resolve`].
        file: Option<String>,
    },
    /// A window of another region.
    Alias {
        /// The other region.
        target: RegionRef,
        /// Where in the other region the window begins, in bytes.
        offset: u64,
    },
    /// Space that is handled elsewhere.
    Reservation,
}

/// A size in a machine file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// That many bytes.
    Bytes(Size),
    /// `"memory"`: the size that `[machine]`, or `--memory`, gives; [`MachineSpec::size_of`] looks it up.
    Memory,
}

/// Where a region is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The region that it is mapped into.
    pub into: RegionRef,
    /// The offset in that region, in bytes.
    pub at: u64,
    /// The priority among its siblings; the highest wins.
    pub priority: i32,
    /// Whether it may overlap siblings of the same priority.
    pub overlap: bool,
    /// Which accesses it answers.
    pub shows: Shows,
}

/// Which accesses a mapping answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shows {
    /// Reads and writes.
    #[default]
    Both,
    /// Reads; writes go to what lies below.
    Reads,
    /// Writes; reads go to what lies below (a write overlay).
    Writes,
}

/// A region by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegionRef {
    /// One that the file declares.
    Declared(String),
    /// One that a device of the file exports. Whether it does shows when the machine is built.
    Exported {
        /// The device's name.
        device: String,
        /// The region's name in that device.
        region: String,
    },
}

/// `NAME`, or `DEVICE.REGION`, as in the file.
impl fmt::Display for RegionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(name) => f.write_str(name),
            Self::Exported { device, region } => write!(f, "{device}.{region}"),
        }
    }
}

/// One `[[space]]`: an address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceSpec {
    /// The name, unique among the spaces.
    pub name: String,
    /// The region that it shows.
    pub root: RegionRef,
    /// What an access finds where nothing is.
    pub unassigned: Unassigned,
    /// The byte order of typed accesses to RAM.
    pub endian: Endian,
    /// Where it was written.
    pub origin: Origin,
}

/// What an access finds where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unassigned {
    /// Reads give 0, and the access a decode error.
    #[default]
    DecodeError,
    /// Reads give all ones, writes vanish, neither is an error.
    AllOnes,
}

/// A byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Endian {
    /// The lowest byte first.
    #[default]
    Little,
    /// The highest byte first.
    Big,
}

/// One `[[device]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSpec {
    /// The tag of the device's type.
    pub type_name: String,
    /// The name, unique among the devices; never empty, `cpu` or `machine`, and without `.` and `:`.
    pub name: String,
    /// Where its regions are mapped.
    pub maps: Vec<MapSpec>,
    /// The address space that its DMA goes to, instead of the first one: one behind an IOMMU, for example.
    pub dma: Option<String>,
    /// The requester id that its DMA carries.
    pub requester: u16,
    /// Where it is plugged in, if that is a bus.
    pub slot: SlotRequest,
    /// Where its outputs lead.
    pub wires: Vec<WireSpec>,
    /// The device's own properties and state; [`deserialize_properties`](Self::deserialize_properties) reads
    /// them.
    pub properties: Table,
    /// Where it was written.
    pub origin: Origin,
}

/// Where one region of a device is mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSpec {
    /// The region's name in the device; `None` for the only one of a device that exports one.
    pub region: Option<String>,
    /// Where it is mapped.
    pub placement: Placement,
    /// Where it was written.
    pub origin: Origin,
}

/// Where one output, or consecutive outputs of one group, lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireSpec {
    /// The output's name in the device.
    pub output: String,
    /// The targets: the first is that of output 0 of the group, and so on; never empty.
    pub targets: Vec<WireTarget>,
    /// Where it was written.
    pub origin: Origin,
}

/// The far end of a wire: `TARGET[:GROUP][:INDEX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireTarget {
    /// Who has the input.
    pub end: WireEnd,
    /// The group of inputs; `None` for the only one, or the unnamed one.
    pub group: Option<String>,
    /// The number of the input in its group.
    pub index: u32,
}

/// Who has an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireEnd {
    /// The processor.
    Cpu,
    /// A device of the file.
    Device(String),
}

/// `TARGET`, `TARGET:INDEX`, `TARGET:GROUP` or `TARGET:GROUP:INDEX`, without an index of 0.
impl fmt::Display for WireTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.end {
            WireEnd::Cpu => "cpu",
            WireEnd::Device(name) => name,
        })?;
        if let Some(group) = &self.group {
            write!(f, ":{group}")?;
        }
        if self.index != 0 {
            write!(f, ":{}", self.index)?;
        }
        Ok(())
    }
}

/// `[cpu]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSpec {
    /// What it is.
    pub kind: CpuType,
    /// The number of harts, 1 to [`CpuType::most_harts`]; 1 if not given.
    pub harts: u32,
    /// The name of the address space that it sees; the first if not given.
    pub space: String,
    /// The name of the address space that port instructions reach; without one a port reads as all ones. Of x86-64 alone.
    pub ports: Option<String>,
    /// The address of the first instruction; the CPU's own choice if not given. Of RV64 alone.
    pub reset_pc: Option<u64>,
    /// The frequency of the timer, in Hz, above 0; 10 MHz if not given. Of RV64 alone.
    pub timebase: u64,
    /// Where the parts of a boot are loaded.
    pub boot: BootSpec,
    /// Where it was written.
    pub origin: Origin,
}

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuType {
    /// RISC-V with 64 bits; the embedded core runs it.
    Rv64,
    /// x86 with 64 bits, without a local APIC; a host's own processor runs it.
    X86_64,
}

impl CpuType {
    /// The most harts that a machine of this CPU can have: without a local APIC there is nothing to start a second by.
    pub fn most_harts(self) -> u32 {
        match self {
            Self::Rv64 => 32,
            Self::X86_64 => 1,
        }
    }
}

/// `boot` in `[cpu]`: where raw images go, in the CPU's address space. An ELF says so itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootSpec {
    /// The firmware. Of RV64 alone, as all that begins somewhere.
    pub firmware_at: Option<u64>,
    /// The address after the firmware's last byte; 4 GiB if not given. Of x86-64 alone.
    pub firmware_end: Option<u64>,
    /// The kernel.
    pub kernel_at: Option<u64>,
    /// The device tree.
    pub dtb_at: Option<u64>,
}

impl MachineSpec {
    /// The size that `extent` stands for in this machine; `None` if it is [`Extent::Memory`] and the machine
    /// has none, which no machine that was read does.
    pub fn size_of(&self, extent: Extent) -> Option<Size> {
        match extent {
            Extent::Bytes(size) => Some(size),
            Extent::Memory => self.memory,
        }
    }

    /// The address space that the CPU's port instructions reach; in a machine without a CPU the one that is called `ports`,
    /// `io` or `I/O`.
    pub fn port_space(&self) -> Option<&SpaceSpec> {
        let called = |name: &str| self.spaces.iter().find(|space| space.name == name);
        match &self.cpu {
            Some(cpu) => called(cpu.ports.as_ref()?),
            None => ["ports", "io", "I/O"].into_iter().find_map(called),
        }
    }

    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<&DeviceSpec> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The device of that name, to change.
    pub fn device_mut(&mut self, name: &str) -> Option<&mut DeviceSpec> {
        self.devices.iter_mut().find(|device| device.name == name)
    }

    /// The declared region of that name.
    pub fn region(&self, name: &str) -> Option<&RegionSpec> {
        self.regions.iter().find(|region| region.name == name)
    }
}
