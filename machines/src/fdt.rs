//! The flattened device tree of a machine, out of what its devices say of themselves.

use crate::file::{CpuSpec, CpuType};
use crate::machine::Machine;
use crate::plugged::Plugged;
use crate::wiring;
use devices::{Cell, FdtNode, FdtPlace, FdtValue};
use memory_core::{AddrRange, Backing};
use memory_dispatch::AddressSpace;
use memory_flatview::{RangeFlags, locate};
use std::collections::HashMap;
use vm_fdt::FdtWriter;

/// Why there is no device tree.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    /// A node refers to a device that has no node to refer to.
    #[error("node `{node}` refers to `{target}`, which has no node of its own")]
    NoPhandle {
        /// The node.
        node: String,
        /// What it refers to.
        target: String,
    },
    /// A name or a value that a device tree cannot have.
    #[error(transparent)]
    Write(#[from] vm_fdt::Error),
}

impl Machine {
    /// The device tree that the guest gets; `bootargs` goes to `/chosen`. A machine without a CPU has none, nor has one whose
    /// guests expect none: a PC's.
    ///
    /// # Errors
    /// What a device said that no device tree can say.
    pub fn device_tree(&self, bootargs: &str) -> Result<Option<Vec<u8>>, FdtError> {
        let spec = self.spec();
        let cpu = spec.cpu.as_ref().filter(|cpu| cpu.kind == CpuType::Rv64);
        let (Some(cpu), Some(space)) = (cpu, self.cpu_space()) else { return Ok(None) };
        let nodes = self.nodes(cpu, space);
        let mut tree = Writer::new(cpu.harts, &nodes)?;
        let root = tree.fdt.begin_node("")?;
        tree.fdt.property_u32("#address-cells", 2)?;
        tree.fdt.property_u32("#size-cells", 2)?;
        tree.fdt.property_string("compatible", "riscv-virtio")?;
        tree.fdt.property_string("model", &format!("flatland,{}", spec.name))?;
        tree.chosen(&nodes, bootargs)?;
        tree.cpus(cpu)?;
        tree.memory(space)?;
        for (device, node) in nodes.iter().filter(|(_, node)| node.at_root) {
            tree.node(node, node.is_target.then_some(device))?;
        }
        let soc = tree.fdt.begin_node("soc")?;
        tree.fdt.property_u32("#address-cells", 2)?;
        tree.fdt.property_u32("#size-cells", 2)?;
        tree.fdt.property_string("compatible", "simple-bus")?;
        tree.fdt.property_null("ranges")?;
        for (device, node) in nodes.iter().filter(|(_, node)| !node.at_root) {
            tree.node(node, node.is_target.then_some(device))?;
        }
        tree.fdt.end_node(soc)?;
        tree.fdt.end_node(root)?;
        Ok(Some(tree.fdt.finish()?))
    }

    /// Every device's nodes, with the device's name.
    fn nodes(&self, cpu: &CpuSpec, space: &AddressSpace) -> Vec<(String, FdtNode)> {
        let (spec, mut nodes) = (self.spec(), Vec::new());
        for plugged in self.devices() {
            let Some(device) = plugged.device() else { continue };
            let place = FdtPlace {
                name: &plugged.name,
                regions: &placed_regions(&plugged, space),
                outputs: &wiring::interrupts(&spec, &plugged),
                harts: cpu.harts,
            };
            nodes.extend(device.describe(&place).into_iter().map(|node| (plugged.name.clone(), node)));
        }
        nodes
    }
}

/// Where the exported regions of a device begin in `space`, with their whole size.
fn placed_regions(plugged: &Plugged, space: &AddressSpace) -> Vec<(String, AddrRange)> {
    let root = space.root();
    let find = |export: &devices::Export| {
        let start = root.memory().read(|tree| locate(tree, root.id(), export.region.id())).ok()??;
        Some((export.name.clone(), AddrRange::from_size(start, export.region.size().ok()?)?))
    };
    plugged.exports().iter().filter_map(find).collect()
}

struct Writer {
    fdt: FdtWriter,
    /// Phandles of devices, and of `cpuN`, the interrupt controller of hart N.
    phandles: HashMap<String, u32>,
}

impl Writer {
    fn new(harts: u32, nodes: &[(String, FdtNode)]) -> Result<Self, FdtError> {
        let cpus = (0..harts).map(|hart| format!("cpu{hart}"));
        let targets = nodes.iter().filter(|(_, node)| node.is_target).map(|(device, _)| device.clone());
        let phandles = cpus.chain(targets).zip(1..).collect();
        Ok(Self { fdt: FdtWriter::new()?, phandles })
    }

    fn chosen(&mut self, nodes: &[(String, FdtNode)], bootargs: &str) -> Result<(), FdtError> {
        let chosen = self.fdt.begin_node("chosen")?;
        if !bootargs.is_empty() {
            self.fdt.property_string("bootargs", bootargs)?;
        }
        let is_serial = |node: &FdtNode| node.name.starts_with("serial@");
        if let Some((_, serial)) = nodes.iter().find(|(_, node)| is_serial(node)) {
            self.fdt.property_string("stdout-path", &format!("/soc/{}", serial.name))?;
        }
        Ok(self.fdt.end_node(chosen)?)
    }

    fn cpus(&mut self, cpu: &CpuSpec) -> Result<(), FdtError> {
        let cpus = self.fdt.begin_node("cpus")?;
        self.fdt.property_u32("#address-cells", 1)?;
        self.fdt.property_u32("#size-cells", 0)?;
        self.fdt.property_u32("timebase-frequency", u32::try_from(cpu.timebase).unwrap_or(u32::MAX))?;
        for hart in 0..cpu.harts {
            let node = self.fdt.begin_node(&format!("cpu@{hart:x}"))?;
            self.fdt.property_string("device_type", "cpu")?;
            self.fdt.property_u32("reg", hart)?;
            self.fdt.property_string("status", "okay")?;
            self.fdt.property_string("compatible", "riscv")?;
            self.fdt.property_string("riscv,isa", "rv64imac_zicsr_zifencei")?;
            self.fdt.property_string("mmu-type", "riscv,sv39")?;
            let controller = self.fdt.begin_node("interrupt-controller")?;
            self.fdt.property_u32("#interrupt-cells", 1)?;
            self.fdt.property_null("interrupt-controller")?;
            self.fdt.property_string("compatible", "riscv,cpu-intc")?;
            if let Some(phandle) = self.phandles.get(&format!("cpu{hart}")) {
                self.fdt.property_phandle(*phandle)?;
            }
            self.fdt.end_node(controller)?;
            self.fdt.end_node(node)?;
        }
        Ok(self.fdt.end_node(cpus)?)
    }

    /// One node for each range of RAM that the CPU sees.
    fn memory(&mut self, space: &AddressSpace) -> Result<(), FdtError> {
        for range in ram_ranges(space) {
            let node = self.fdt.begin_node(&format!("memory@{:x}", range.start()))?;
            self.fdt.property_string("device_type", "memory")?;
            let size = u64::try_from(range.size().bytes()).unwrap_or(u64::MAX);
            self.fdt.property_array_u64("reg", &[range.start(), size])?;
            self.fdt.end_node(node)?;
        }
        Ok(())
    }

    /// Writes a node; `target` is the name under which others refer to it, if they do.
    fn node(&mut self, node: &FdtNode, target: Option<&String>) -> Result<(), FdtError> {
        let open = self.fdt.begin_node(&node.name)?;
        for (name, value) in &node.properties {
            match value {
                FdtValue::Empty => self.fdt.property_null(name)?,
                FdtValue::U64(values) => self.fdt.property_array_u64(name, values)?,
                FdtValue::Strings(strings) => self.fdt.property_string_list(name, strings.clone())?,
                FdtValue::Bytes(bytes) => self.fdt.property(name, bytes)?,
                FdtValue::Cells(cells) => {
                    let numbers: Result<Vec<u32>, FdtError> =
                        cells.iter().map(|cell| self.number(node, cell)).collect();
                    self.fdt.property_array_u32(name, &numbers?)?;
                }
            }
        }
        let phandle = target.and_then(|name| self.phandles.get(name));
        if let Some(phandle) = phandle {
            self.fdt.property_phandle(*phandle)?;
        }
        for child in &node.children {
            self.node(child, None)?;
        }
        Ok(self.fdt.end_node(open)?)
    }

    fn number(&self, node: &FdtNode, cell: &Cell) -> Result<u32, FdtError> {
        match cell {
            Cell::Number(number) => Ok(*number),
            Cell::Phandle(target) => self
                .phandles
                .get(target)
                .copied()
                .ok_or_else(|| FdtError::NoPhandle { node: node.name.clone(), target: target.clone() }),
        }
    }
}

/// The ranges of writable RAM that `space` shows, ascending; neighbours count as one.
pub(crate) fn ram_ranges(space: &AddressSpace) -> Vec<AddrRange> {
    space.with_view(|view| {
        let mut found: Vec<AddrRange> = Vec::new();
        for range in view.ranges() {
            let is_ram = range.write().is_some_and(|part| matches!(part.target().backing(), Backing::Ram(_)));
            if !is_ram || range.flags().contains(RangeFlags::READ_ONLY) {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.last().checked_add(1) == Some(range.range().start()) => {
                    *last = last.hull(range.range());
                }
                _ => found.push(range.range()),
            }
        }
        found
    })
}
