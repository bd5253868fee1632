//! What a device says of itself in a flattened device tree. The machine makes the tree out of it.

use memory_core::AddrRange;

/// A cell of 32 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// A number.
    Number(u32),
    /// The phandle of another node: a device's name, or `cpuN` for the interrupt controller of hart N.
    Phandle(String),
}

/// The value of a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FdtValue {
    /// No value: the property is there or it is not.
    Empty,
    /// Cells of 32 bits.
    Cells(Vec<Cell>),
    /// 64-bit numbers, two cells each.
    U64(Vec<u64>),
    /// Strings.
    Strings(Vec<String>),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

impl FdtValue {
    /// One number.
    pub fn u32(value: u32) -> Self {
        Self::Cells(vec![Cell::Number(value)])
    }

    /// One string.
    pub fn string(value: impl Into<String>) -> Self {
        Self::Strings(vec![value.into()])
    }

    /// One reference to another node.
    pub fn phandle(device: impl Into<String>) -> Self {
        Self::Cells(vec![Cell::Phandle(device.into())])
    }
}

/// A node below `/soc` (two address cells, two size cells).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FdtNode {
    /// The name with unit address: `serial@10000000`.
    pub name: String,
    /// Where the node stands: false for `/soc`, true for the root.
    pub at_root: bool,
    /// Whether the node is what [`Cell::Phandle`] with the device's name refers to.
    pub is_target: bool,
    /// The properties, in order.
    pub properties: Vec<(String, FdtValue)>,
    /// Nodes below.
    pub children: Vec<FdtNode>,
}

impl FdtNode {
    /// A node below `/soc` with the given name and `compatible` strings.
    pub fn new(name: impl Into<String>, compatible: &[&str]) -> Self {
        let compatible = FdtValue::Strings(compatible.iter().map(|text| (*text).to_owned()).collect());
        Self {
            name: name.into(),
            at_root: false,
            is_target: false,
            properties: vec![("compatible".to_owned(), compatible)],
            children: Vec::new(),
        }
    }

    /// Adds a property.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: FdtValue) -> Self {
        self.properties.push((name.into(), value));
        self
    }

    /// Adds `reg` with these ranges.
    #[must_use]
    pub fn reg(self, ranges: &[AddrRange]) -> Self {
        let cells = ranges.iter().flat_map(|range| {
            let size = u64::try_from(range.size().bytes()).unwrap_or(u64::MAX);
            [range.start(), size]
        });
        let cells = cells.collect();
        self.with("reg", FdtValue::U64(cells))
    }

    /// Adds `interrupts` and `interrupt-parent` for a line that leads to a controller with one interrupt cell.
    #[must_use]
    pub fn interrupt(self, interrupt: Option<&Interrupt>) -> Self {
        match interrupt {
            Some(to) => self
                .with("interrupts", FdtValue::u32(to.number))
                .with("interrupt-parent", FdtValue::phandle(&to.controller)),
            None => self,
        }
    }

    /// References to the device mean this node.
    #[must_use]
    pub fn target(mut self) -> Self {
        self.is_target = true;
        self
    }

    /// The node stands at the root.
    #[must_use]
    pub fn root(mut self) -> Self {
        self.at_root = true;
        self
    }
}

/// Where an output of a device leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// The device that it leads to.
    pub controller: String,
    /// The input there.
    pub number: u32,
}

/// Where the machine has put a device, as far as its node tells it.
pub struct FdtPlace<'a> {
    /// The device's name.
    pub name: &'a str,
    /// The exported regions that are mapped, with their addresses in the CPU's space.
    pub regions: &'a [(String, AddrRange)],
    /// The outputs that lead to another device: name, number among those of the name, where to.
    pub outputs: &'a [(String, u32, Interrupt)],
    /// How many harts there are.
    pub harts: u32,
}

impl FdtPlace<'_> {
    /// Where an exported region is mapped.
    pub fn region(&self, name: &str) -> Option<AddrRange> {
        self.regions.iter().find(|(region, _)| region == name).map(|(_, range)| *range)
    }

    /// Where an output leads.
    pub fn output(&self, name: &str) -> Option<&Interrupt> {
        self.outputs.iter().find(|(output, index, _)| output == name && *index == 0).map(|(_, _, to)| to)
    }
}
