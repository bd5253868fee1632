//! `info mtree -f`: flat views.

use super::{PrintOptions, PrintedAttributes, PrintedOwner, Space, hex, is_false, prefix};
use crate::range::{FlatRange, Part, RangeFlags};
use crate::view::View;
use memory_core::{Backing, Kind, Node, Tree};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// The flat views of a machine, each once, with the address spaces that share it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FlatMap {
    /// The views, in the order of their first address space.
    pub views: Vec<PrintedView>,
}

/// A flat view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedView {
    /// The address spaces that show it.
    pub spaces: Vec<PrintedSpace>,
    /// The name of the region that it is the rendering of, if there is one.
    pub root: Option<String>,
    /// What tells it from every other view of the machine.
    pub generation: u64,
    /// The ranges, ascending.
    pub ranges: Vec<PrintedRange>,
    /// The table that look-ups go through, if it is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Vec<PrintedChunk>>,
}

/// An address space that shows a view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedSpace {
    /// Its name.
    pub name: String,
    /// The name of the region at its root.
    pub root: String,
    /// The name of the region that the root looks at, if it is an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// A range of a view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedRange {
    /// The first address.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// The last address.
    #[serde(serialize_with = "hex")]
    pub last: u64,
    /// Whether writes are refused, whatever the region is.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether it is never merged with its neighbours.
    #[serde(skip_serializing_if = "is_false")]
    pub unmergeable: bool,
    /// Who answers reads.
    pub read: Option<PrintedPart>,
    /// Who answers writes.
    pub write: Option<PrintedPart>,
    /// How writes are tracked, if that is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<PrintedAttributes>,
}

/// Who answers in a range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedPart {
    /// The region's name.
    pub name: String,
    /// The offset in the region of the range's first byte.
    #[serde(serialize_with = "hex")]
    pub offset: u64,
    /// The region's priority among its siblings.
    pub priority: i32,
    /// `ram`, `rom`, `romd`, `ramd` or `i/o`, after `nv-` if the range is non-volatile.
    pub kind: String,
    /// The region's owner, if owners are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrintedOwner>,
}

/// A chunk of a view's table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrintedChunk {
    /// The first address of its first range, by which it is found.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// The last address of its last range.
    #[serde(serialize_with = "hex")]
    pub last: u64,
    /// The index of its first range.
    pub first: usize,
    /// How many ranges it holds, at least 1.
    pub ranges: usize,
}

impl FlatMap {
    /// Prints the views that `spaces` show.
    pub fn new(tree: &Tree, spaces: &[(Space<'_>, &View)], options: PrintOptions) -> Self {
        let mut views: Vec<PrintedView> = Vec::new();
        let mut known: HashMap<u64, usize> = HashMap::new();
        for (space, view) in spaces {
            let index = *known.entry(view.generation()).or_insert_with(|| {
                views.push(PrintedView::new(tree, view, options));
                views.len() - 1
            });
            if let Some(printed) = views.get_mut(index) {
                printed.spaces.push(PrintedSpace::new(tree, *space));
            }
        }
        Self { views }
    }
}

impl PrintedView {
    fn new(tree: &Tree, view: &View, options: PrintOptions) -> Self {
        let ranges: Vec<_> = view.ranges().map(|range| PrintedRange::new(tree, range, options)).collect();
        let chunks = options.dispatch.then(|| {
            let mut first = 0;
            let mut chunks = Vec::new();
            for length in view.chunk_lengths() {
                let end = first + length;
                if let Some([start, .., last] | [start @ last]) = ranges.get(first..end) {
                    chunks.push(PrintedChunk { start: start.start, last: last.last, first, ranges: length });
                }
                first = end;
            }
            chunks
        });
        let root = view.root().and_then(|root| Some(tree.get(root)?.name().to_string()));
        Self { spaces: Vec::new(), root, generation: view.generation(), ranges, chunks }
    }
}

impl PrintedSpace {
    fn new(tree: &Tree, space: Space<'_>) -> Self {
        let root = tree.get(space.root);
        let name = |node: &Node| node.name().to_string();
        let alias = match root.map(Node::kind) {
            Some(Kind::Alias { target, .. }) => tree.get(*target).map(name),
            _ => None,
        };
        Self { name: space.name.to_owned(), root: root.map(name).unwrap_or_default(), alias }
    }
}

impl PrintedRange {
    fn new(tree: &Tree, range: &FlatRange, options: PrintOptions) -> Self {
        let part = |part: &Part| PrintedPart::new(tree, part, range.flags(), options);
        Self {
            start: range.range().start(),
            last: range.range().last(),
            read_only: range.flags().contains(RangeFlags::READ_ONLY),
            unmergeable: range.flags().contains(RangeFlags::UNMERGEABLE),
            read: range.read().map(part),
            write: range.write().map(part),
            attributes: options.attributes.then(|| PrintedAttributes::of_range(tree, range)),
        }
    }
}

impl PrintedPart {
    fn new(tree: &Tree, part: &Part, flags: RangeFlags, options: PrintOptions) -> Self {
        let target = part.target();
        let kind = match target.backing() {
            Backing::Rom(_) => "rom",
            Backing::Ram(_) | Backing::RamDevice(_) if flags.contains(RangeFlags::READ_ONLY) => "rom",
            Backing::Ram(_) => "ram",
            Backing::RamDevice(_) => "ramd",
            Backing::RomDevice(..) if flags.contains(RangeFlags::ROMD) => "romd",
            _ => "i/o",
        };
        let place = tree.get(target.region()).and_then(Node::placement);
        Self {
            name: target.name().to_owned(),
            offset: part.offset(),
            priority: place.map_or(0, |place| place.priority),
            kind: format!("{}{kind}", prefix(flags.contains(RangeFlags::NONVOLATILE))),
            owner: options.owners.then(|| PrintedOwner(target.owner_path().map(str::to_owned))),
        }
    }
}

/// The line of a range, or the two of one that shows different regions to reads and to writes.
impl fmt::Display for PrintedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the attributes are about writes
        let attributes = self.attributes.as_ref();
        if self.read == self.write {
            return self.read.as_ref().map_or(Ok(()), |part| self.line(f, part, "", attributes));
        }
        if let Some(part) = &self.read {
            self.line(f, part, " [reads]", None)?;
        }
        if self.read.is_some() && self.write.is_some() {
            writeln!(f)?;
        }
        if let Some(part) = &self.write {
            self.line(f, part, " [writes]", attributes)?;
        }
        Ok(())
    }
}

impl PrintedRange {
    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        part: &PrintedPart,
        shows: &str,
        attributes: Option<&PrintedAttributes>,
    ) -> fmt::Result {
        let Self { start, last, .. } = self;
        let PrintedPart { name, offset, priority, kind, .. } = part;
        write!(f, "  {start:016x}-{last:016x} (prio {priority}, {kind}): {name}")?;
        if *offset != 0 {
            write!(f, " @{offset:016x}")?;
        }
        if self.read_only && !kind.ends_with("rom") {
            f.write_str(" [read-only]")?;
        }
        if self.unmergeable {
            f.write_str(" [unmergeable]")?;
        }
        f.write_str(shows)?;
        if let Some(attributes) = attributes {
            write!(f, "{attributes}")?;
        }
        match &part.owner {
            Some(owner) => write!(f, "{owner}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PrintedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, last, first, ranges } = self;
        write!(f, "@{start:016x}..{last:016x} sections #{first}..#{}", first + ranges - 1)
    }
}

impl PrintedView {
    fn dispatch(&self, f: &mut fmt::Formatter<'_>, chunks: &[PrintedChunk]) -> fmt::Result {
        writeln!(f, "  Dispatch")?;
        writeln!(f, "    Physical sections")?;
        for (index, range) in self.ranges.iter().enumerate() {
            write!(f, "      #{index} @{:016x}..{:016x}", range.start, range.last)?;
            match (&range.read, &range.write) {
                (Some(read), Some(write)) if read == write => write!(f, " {}", read.name)?,
                (read, write) => {
                    let name = |part: &Option<PrintedPart>| match part {
                        Some(part) => part.name.clone(),
                        None => "(unassigned)".to_owned(),
                    };
                    write!(f, " {} [writes: {}]", name(read), name(write))?;
                }
            }
            let rom = range.read.as_ref().is_some_and(|read| read.kind.ends_with("rom"));
            writeln!(f, "{}", if rom { " [ROM]" } else { "" })?;
        }
        writeln!(f, "    Chunks, generation {}", self.generation)?;
        for (index, chunk) in chunks.iter().enumerate() {
            writeln!(f, "      [{index}] {chunk}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FlatMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, view) in self.views.iter().enumerate() {
            writeln!(f, "FlatView #{number}")?;
            for PrintedSpace { name, root, alias } in &view.spaces {
                write!(f, " AS \"{name}\", root: {root}")?;
                match alias {
                    Some(alias) => writeln!(f, ", alias {alias}")?,
                    None => writeln!(f)?,
                }
            }
            writeln!(f, " Root memory region: {}", view.root.as_deref().unwrap_or("(none)"))?;
            if view.ranges.is_empty() {
                writeln!(f, "  No rendered FlatView")?;
            }
            for range in &view.ranges {
                writeln!(f, "{range}")?;
            }
            if let Some(chunks) = view.chunks.as_ref().filter(|_| !view.ranges.is_empty()) {
                view.dispatch(f, chunks)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
