//! From the lines of a dump to regions.

use super::dump::{Dump, TreeSection};
use super::error::{ImportError, Mistake};
use super::line::{AliasName, Kind, Marks, Named, RangeLine};
use crate::sync::Arc;
use memory_core::{
    AccessRules, BusFault, Flags, Mapping, Memory, MemoryError, Mmio, RamBlock, Region, RegionBuilder,
    RegionRef, Shows, Size, TxAttrs, Width,
};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// A device of which a dump tells no more than where it is: reads as 0, takes no notice of writes.
struct Silent;

impl Mmio for Silent {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

/// What is made of a dump.
pub(super) struct Built {
    /// The roots of the sections, in the order of the sections.
    pub roots: Vec<Option<RegionRef>>,
    /// All regions, which live as long as these handles.
    pub regions: Vec<Region>,
}

/// A line of a tree.
struct Node<'a> {
    number: usize,
    line: RangeLine<'a>,
    name: &'a str,
    marks: Marks,
    /// The name of the target, and the window, of an alias.
    alias: Option<(&'a str, AliasName<'a>)>,
    children: Vec<usize>,
    /// The first address of the parent, if the line has a parent.
    base: Option<u64>,
    state: State,
}

/// How far the making of a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    /// What it shows is being made.
    Begun,
    /// It is made: the index among the regions.
    Made(usize),
}

/// A node that is being made.
struct Begun {
    index: usize,
    /// Which of its children is next.
    next: usize,
    /// What it looks at, if it is an alias.
    target: Option<usize>,
}

/// Which names flat views have, by the kind with which they have them.
#[derive(Default)]
struct FlatNames<'a> {
    known: HashSet<&'a str>,
    io: HashSet<&'a str>,
    rom: HashSet<&'a str>,
}

impl<'a> FlatNames<'a> {
    fn new(dump: &Dump<'a>) -> Self {
        let mut names = Self::default();
        for (_, line) in dump.views.iter().flatten().flat_map(|view| &view.ranges) {
            for reading in Named::readings(line.rest, true) {
                names.known.insert(reading.name);
                match line.kind {
                    Kind::Io => names.io.insert(reading.name),
                    Kind::Rom => names.rom.insert(reading.name),
                    _ => false,
                };
            }
        }
        names
    }
}

pub(super) struct Builder<'a, 'd> {
    memory: &'d Memory,
    file: &'d str,
    dump: &'d Dump<'a>,
    flat: FlatNames<'a>,
    nodes: Vec<Node<'a>>,
    /// The first node of each section.
    roots: Vec<Option<usize>>,
    /// Targets of aliases by name: the sections of the name.
    targets: HashMap<&'a str, Vec<Option<usize>>>,
    /// All nodes by name, in printed order.
    named: HashMap<&'a str, Vec<usize>>,
    regions: Vec<Region>,
    silent: Arc<Silent>,
}

impl<'a, 'd> Builder<'a, 'd> {
    pub(super) fn new(memory: &'d Memory, file: &'d str, dump: &'d Dump<'a>) -> Self {
        let mut builder = Self {
            memory,
            file,
            dump,
            flat: FlatNames::new(dump),
            nodes: Vec::new(),
            roots: Vec::new(),
            targets: HashMap::new(),
            named: HashMap::new(),
            regions: Vec::new(),
            silent: Arc::new(Silent),
        };
        for section in &dump.trees {
            let root = builder.add_section(section);
            builder.roots.push(root);
            if let Some(target) = section.target {
                builder.targets.entry(target).or_default().push(root);
            }
        }
        builder.name_aliases();
        for (index, node) in builder.nodes.iter().enumerate() {
            builder.named.entry(node.name).or_default().push(index);
        }
        builder
    }

    /// The names of all regions that may be seen in a flat view.
    pub(super) fn names(&self) -> HashSet<&'a str> {
        self.nodes.iter().filter(|node| node.alias.is_none()).map(|node| node.name).collect()
    }

    /// Tells the names of aliases from those of their targets, for which all other names must be known.
    fn name_aliases(&mut self) {
        let names = self.names();
        for node in &mut self.nodes {
            if let Some((target, alias)) = &mut node.alias {
                let known = |name: &str| self.targets.contains_key(name) || names.contains(name);
                (node.name, *target) = alias.split(known);
            }
        }
    }

    /// Adds the lines of a tree, and returns its root.
    fn add_section(&mut self, section: &TreeSection<'a>) -> Option<usize> {
        // the lines above the next one that are its parents
        let mut above: Vec<(usize, usize)> = Vec::new();
        let mut root = None;
        for (number, line) in &section.regions {
            while above.last().is_some_and(|(level, _)| *level >= line.level) {
                above.pop();
            }
            let index = self.nodes.len();
            // without -D the children of a disabled region stand there without it: nobody sees them
            let parent = above.last().filter(|(level, _)| level + 1 == line.level).map(|(_, parent)| *parent);
            let base = parent.and_then(|parent| self.nodes.get(parent)).map(|parent| parent.line.start);
            if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
                parent.children.push(index);
            }
            if line.level == 1 {
                root = Some(index);
            }
            above.push((line.level, index));
            let node = self.node(*number, *line, base);
            self.nodes.push(node);
        }
        root
    }

    fn node(&self, number: usize, line: RangeLine<'a>, base: Option<u64>) -> Node<'a> {
        let Named { name, marks } = Named::in_tree(line.rest, |name| self.flat.known.contains(name));
        let (children, state) = (Vec::new(), State::Untouched);
        let alias = AliasName::read(name);
        // which part of it is the name of the target is known later
        let alias = alias.map(|alias| (name, alias));
        Node { number, line, name, marks, alias, children, base, state }
    }

    /// Makes all regions. Each is made after all that it shows, so that it is never looked for upwards, and mapping
    /// thousands of them stays cheap.
    pub(super) fn build(mut self) -> Result<Built, ImportError> {
        for start in 0..self.nodes.len() {
            // a stack of our own: dumps may be deep
            let mut begun = Vec::new();
            self.begin(start, &mut begun)?;
            while let Some(Begun { index, next, target }) = begun.pop() {
                let child = self.nodes.get(index).and_then(|node| node.children.get(next)).copied();
                match child {
                    Some(child) => {
                        begun.push(Begun { index, next: next + 1, target });
                        self.begin(child, &mut begun)?;
                    }
                    None => self.make(index, target)?,
                }
            }
        }
        for root in self.roots.clone().into_iter().flatten() {
            self.place_root(root)?;
        }
        let roots = self.roots.iter().map(|root| self.made((*root)?).cloned()).collect();
        Ok(Built { roots, regions: self.regions })
    }

    /// Gives a root that is printed with an address or a priority a parent in which it has them. What that really is
    /// was not printed here, and plays no part in what the root shows.
    fn place_root(&mut self, index: usize) -> Result<(), ImportError> {
        let (Some(node), Some(region)) = (self.nodes.get(index), self.made(index)) else { return Ok(()) };
        let RangeLine { start, priority, .. } = node.line;
        let fits = length(&node.line) <= to_the_top(start).bytes();
        if (start, priority) == (0, 0) || !fits {
            return Ok(());
        }
        let refused = |error| ImportError::new(self.file, node.number, Mistake::Refused(error));
        let parent = self.memory.container("(not printed)", Size::FULL).build().map_err(refused)?;
        parent.map_overlap(start, region, priority).map_err(refused)?;
        self.regions.push(parent);
        Ok(())
    }

    /// Begins a node, and if it is an alias its target, and the target of that.
    fn begin(&mut self, mut index: usize, begun: &mut Vec<Begun>) -> Result<(), ImportError> {
        loop {
            let Some(node) = self.nodes.get_mut(index).filter(|node| node.state == State::Untouched) else {
                return Ok(());
            };
            node.state = State::Begun;
            let target = match node.alias {
                Some((target, _)) => self.target(index, target)?,
                None => None,
            };
            begun.push(Begun { index, next: 0, target });
            match target {
                Some(target) => index = target,
                None => return Ok(()),
            }
        }
    }

    /// The node that an alias looks at, or `None` if that was not printed.
    fn target(&self, index: usize, target: &str) -> Result<Option<usize>, ImportError> {
        let Some(node) = self.nodes.get(index) else { return Ok(None) };
        let sections = self.targets.get(target).map(Vec::as_slice).unwrap_or_default();
        let anywhere = self.named.get(target).map(Vec::as_slice).unwrap_or_default();
        // what is begun shows this alias
        let free = |index: &usize| self.nodes.get(*index).is_some_and(|node| node.state != State::Begun);
        let alike = |index: &usize| self.nodes.get(*index).is_some_and(|to| to.line.kind == node.line.kind);
        let candidates = || sections.iter().flatten().chain(anywhere).filter(|index| free(index));
        let found = candidates().find(|index| alike(index)).or_else(|| candidates().next()).copied();
        if found.is_none() && !sections.contains(&None) {
            let none = sections.is_empty() && anywhere.is_empty();
            let mistake = if none { Mistake::NoTarget } else { Mistake::Cycle };
            return Err(ImportError::new(self.file, node.number, mistake(node.name.to_owned())));
        }
        Ok(found)
    }

    fn made(&self, index: usize) -> Option<&RegionRef> {
        match self.nodes.get(index)?.state {
            State::Made(region) => self.regions.get(region).map(Region::by_ref),
            _ => None,
        }
    }

    /// Makes a region of which all that it shows is made, and maps its children into it.
    fn make(&mut self, index: usize, target: Option<usize>) -> Result<(), ImportError> {
        let Some(node) = self.nodes.get(index) else { return Ok(()) };
        let refused = |error| ImportError::new(self.file, node.number, Mistake::Refused(error));
        let builder = match node.alias {
            Some((_, alias)) => self.alias(node, alias, target)?,
            None => self.leaf_or_container(node),
        };
        let builder = builder
            .flags(Flags::ENABLED, !node.marks.disabled)
            .flags(Flags::NONVOLATILE, node.line.nonvolatile)
            .flags(Flags::READ_ONLY, node.marks.read_only)
            .flags(Flags::UNMERGEABLE, node.marks.unmergeable);
        let built = builder.build().map_err(refused)?;
        // of equal priorities the last mapped is on top: the smallest, and of these the first printed
        let mut children = node.children.clone();
        children
            .sort_by_key(|child| Reverse((self.nodes.get(*child).map(|child| length(&child.line)), *child)));
        for child in children {
            let (Some(node), Some(region)) = (self.nodes.get(child), self.made(child)) else {
                // it was begun before this node, which it shows
                let mistake = Mistake::Cycle(node.name.to_owned());
                return Err(ImportError::new(self.file, node.number, mistake));
            };
            region_into(&built, node, region).map_err(refused)?;
        }
        let made = State::Made(self.regions.len());
        self.regions.push(built);
        if let Some(node) = self.nodes.get_mut(index) {
            node.state = made;
        }
        Ok(())
    }

    fn alias(
        &self,
        node: &Node<'a>,
        alias: AliasName<'a>,
        target: Option<usize>,
    ) -> Result<RegionBuilder, ImportError> {
        if alias.last.wrapping_sub(alias.start) != node.line.last.wrapping_sub(node.line.start) {
            let mistake = Mistake::Window(node.name.to_owned());
            return Err(ImportError::new(self.file, node.number, mistake));
        }
        let size = size(node).min(to_the_top(alias.start));
        Ok(match target.and_then(|target| self.made(target)) {
            Some(target) => self.memory.alias(node.name, target, alias.start, size),
            None => self.memory.container(node.name, size),
        })
    }

    fn leaf_or_container(&self, node: &Node<'a>) -> RegionBuilder {
        let size = size(node);
        let block = || RamBlock::unbacked(size);
        let (memory, name) = (self.memory, node.name);
        let identified = |builder: RegionBuilder| builder.identifier(format!("{name}:{}", node.number));
        let (rules, silent) = (AccessRules::new(), self.silent.clone());
        match node.line.kind {
            Kind::Ram => identified(memory.ram(name, block())),
            Kind::Rom => identified(memory.rom(name, block())),
            Kind::Ramd => identified(memory.ram_device(name, block())),
            Kind::Romd => identified(memory.rom_device(name, block(), rules, silent)),
            Kind::Io if self.answers(node) => memory.mmio(name, size, rules, silent),
            Kind::Io => memory.container(name, size),
        }
    }

    /// Whether an `i/o` region is a device and no container.
    fn answers(&self, node: &Node<'a>) -> bool {
        if self.dump.views.is_none() {
            return node.children.is_empty();
        }
        // a device is printed as `rom` where it is seen through something read-only
        let named = self.named.get(node.name).map(Vec::as_slice).unwrap_or_default();
        let is_memory =
            |index: &usize| self.nodes.get(*index).is_some_and(|other| other.line.kind != Kind::Io);
        self.flat.io.contains(node.name) || self.flat.rom.contains(node.name) && !named.iter().any(is_memory)
    }
}

/// Maps the region of a node into that of its parent.
fn region_into(parent: &Region, node: &Node<'_>, region: &RegionRef) -> Result<(), MemoryError> {
    let shows = match (node.marks.reads, node.marks.writes) {
        (true, false) => Shows::Reads,
        (false, true) => Shows::Writes,
        _ => Shows::Both,
    };
    let mapping = Mapping { priority: node.line.priority, overlap: true, shows };
    parent.map_with(address(node), region, mapping)
}

/// The bytes of a line's range, at least 1; where it goes beyond 2^64, as far as it says.
fn length(line: &RangeLine<'_>) -> u128 {
    u128::from(line.last.wrapping_sub(line.start)) + 1
}

/// Where a node is in its parent.
fn address(node: &Node<'_>) -> u64 {
    node.base.map_or(0, |base| node.line.start.wrapping_sub(base))
}

/// The size of a node, without what would end above 2^64 in its parent: nobody sees it there.
fn size(node: &Node<'_>) -> Size {
    Size::new(length(&node.line)).unwrap_or(Size::FULL).min(to_the_top(address(node)))
}

/// The bytes from an address to 2^64.
fn to_the_top(address: u64) -> Size {
    Size::new(Size::FULL.bytes() - u128::from(address)).unwrap_or(Size::FULL)
}
