//! `info mtree`: trees of regions.

use super::{PrintOptions, PrintedAttributes, PrintedOwner, Space, hex, is_false, kind, prefix};
use memory_core::{Flags, Kind, Node, RegionId, Shows, Tree};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The trees of a machine's address spaces, and then every region that an alias in them looks at, once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TreeMap {
    /// Address spaces by root, in the order in which they were given.
    pub spaces: Vec<PrintedRoot>,
    /// Targets of aliases, in the order in which they were met.
    pub targets: Vec<PrintedRoot>,
}

/// One tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedRoot {
    /// The address spaces that have this root, sorted, or the name of the alias target.
    pub names: Vec<String>,
    /// The regions, each before its children: by address, then by descending priority, then the upper one first.
    pub regions: Vec<PrintedRegion>,
}

/// A region in a tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedRegion {
    /// How deep it is, from 1 on.
    pub level: usize,
    /// Its first address, where the address of a target of aliases is that in its own parent.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// Its last address; that of a region without a byte is the first.
    #[serde(serialize_with = "hex")]
    pub last: u64,
    /// Whether it has no byte, which the text does not tell.
    #[serde(skip_serializing_if = "is_false")]
    pub empty: bool,
    /// Its priority among its siblings.
    pub priority: i32,
    /// `ram`, `rom`, `romd`, `ramd` or `i/o`, after `nv-` if it is non-volatile.
    pub kind: String,
    /// What the region is, more closely: `container`, `reservation` and so on.
    pub region: &'static str,
    /// Its name.
    pub name: String,
    /// What it looks at, if it is an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<PrintedAlias>,
    /// Whether it is absent from its address space.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// Whether it refuses writes to what shows through it, where the kind does not say so.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether its ranges are never merged.
    #[serde(skip_serializing_if = "is_false")]
    pub unmergeable: bool,
    /// `reads` or `writes`, if it shows itself to these only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shows: Option<&'static str>,
    /// Why its device may be reached from inside its own callback, if it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reentry: Option<&'static str>,
    /// Its further attributes, if they are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<PrintedAttributes>,
    /// Its owner, if owners are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrintedOwner>,
}

/// What an alias looks at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedAlias {
    /// The name of the target.
    pub target: String,
    /// The first offset in the target.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// The last offset in the target; that of an alias without a byte is the first.
    #[serde(serialize_with = "hex")]
    pub last: u64,
}

impl TreeMap {
    /// Prints the trees of `spaces`.
    pub fn new(tree: &Tree, spaces: &[Space<'_>], options: PrintOptions) -> Self {
        let mut walk = Walk { tree, options, targets: Vec::new(), met: HashSet::new() };
        let mut roots: Vec<RegionId> = Vec::new();
        let mut names: HashMap<RegionId, Vec<String>> = HashMap::new();
        for space in spaces {
            let sharing = names.entry(space.root).or_default();
            if sharing.is_empty() {
                roots.push(space.root);
            }
            sharing.push(space.name.to_owned());
        }
        let mut printed = Vec::new();
        for root in roots {
            let mut names = names.remove(&root).unwrap_or_default();
            names.sort();
            printed.push(PrintedRoot { names, regions: walk.regions(root) });
        }
        let mut targets = Vec::new();
        // the trees of targets may have aliases that look at further targets
        while let Some(target) = walk.targets.get(targets.len()).copied() {
            let name = tree.get(target).map(|node| node.name().to_string());
            targets.push(PrintedRoot { names: name.into_iter().collect(), regions: walk.regions(target) });
        }
        Self { spaces: printed, targets }
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    options: PrintOptions,
    targets: Vec<RegionId>,
    met: HashSet<RegionId>,
}

impl Walk<'_> {
    /// The region and all below it.
    fn regions(&mut self, root: RegionId) -> Vec<PrintedRegion> {
        let mut printed = Vec::new();
        let mut steps = vec![(root, 1, 0)];
        while let Some((id, level, base)) = steps.pop() {
            let Some(node) = self.tree.get(id) else { continue };
            if !node.is_enabled() && !self.options.disabled {
                continue;
            }
            let region = self.region((id, node), level, base);
            let start = region.start;
            printed.push(region);
            if let Kind::Alias { target, .. } = node.kind()
                && self.met.insert(*target)
            {
                self.targets.push(*target);
            }
            let place = |id| self.tree.get(id).and_then(Node::placement).copied();
            let mut children: Vec<_> = node.children().filter_map(|id| Some((place(id)?, id))).collect();
            children.sort_by_key(|(place, _)| (place.address, Reverse(place.priority)));
            steps.extend(children.into_iter().rev().map(|(_, id)| (id, level + 1, start)));
        }
        printed
    }

    fn region(&self, (id, node): (RegionId, &Node), level: usize, base: u64) -> PrintedRegion {
        let place = node.placement();
        // below a window on its middle a region may begin above 2^64, where nobody sees it
        let start = base.wrapping_add(place.map_or(0, |place| place.address));
        let length = node.size().last().unwrap_or(0);
        let flags = node.flags();
        let kind = kind(self.tree, node);
        let alias = match node.kind() {
            Kind::Alias { target, offset } => Some(PrintedAlias {
                target: self.tree.get(*target).map(|target| target.name().to_string()).unwrap_or_default(),
                start: *offset,
                last: offset.wrapping_add(length),
            }),
            _ => None,
        };
        PrintedRegion {
            level,
            start,
            last: start.wrapping_add(length),
            empty: node.size().is_zero(),
            priority: place.map_or(0, |place| place.priority),
            kind: format!("{}{kind}", prefix(flags.contains(Flags::NONVOLATILE))),
            region: node.kind().name(),
            name: node.name().to_string(),
            disabled: !node.is_enabled(),
            read_only: flags.contains(Flags::READ_ONLY) && (kind != "rom" || alias.is_some()),
            unmergeable: flags.contains(Flags::UNMERGEABLE),
            shows: match place.map_or(Shows::Both, |place| place.shows) {
                Shows::Both => None,
                Shows::Reads => Some("reads"),
                Shows::Writes => Some("writes"),
            },
            reentry: node.kind().rules().and_then(|rules| rules.reentry()),
            attributes: self.options.attributes.then(|| PrintedAttributes::new(self.tree, id, node)),
            owner: self.options.owners.then(|| PrintedOwner(node.owner_path().map(str::to_owned))),
            alias,
        }
    }
}

impl fmt::Display for PrintedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, start, last, priority, kind, name, .. } = self;
        write!(f, "{:1$}", "", 2 * level)?;
        write!(f, "{start:016x}-{last:016x} (prio {priority}, {kind}): ")?;
        match &self.alias {
            Some(PrintedAlias { target, start, last }) => {
                write!(f, "alias {name} @{target} {start:016x}-{last:016x}")?;
            }
            None => f.write_str(name)?,
        }
        for (set, word) in [
            (self.disabled, "disabled"),
            (self.read_only, "read-only"),
            (self.unmergeable, "unmergeable"),
            (self.shows.is_some(), self.shows.unwrap_or_default()),
        ] {
            if set {
                write!(f, " [{word}]")?;
            }
        }
        if let Some(reason) = self.reentry {
            write!(f, " [re-entry: {reason}]")?;
        }
        if let Some(attributes) = &self.attributes {
            write!(f, "{attributes}")?;
        }
        match &self.owner {
            Some(owner) => write!(f, "{owner}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TreeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [("address-space", &self.spaces), ("memory-region", &self.targets)];
        for (what, roots) in groups {
            for root in roots {
                for name in &root.names {
                    writeln!(f, "{what}: {name}")?;
                }
                for region in &root.regions {
                    writeln!(f, "{region}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
