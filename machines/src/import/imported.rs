//! A dump that was read back.

use super::build::Builder;
use super::difference::{Difference, Run, Shown, compare, runs, runs_of};
use super::dump::Dump;
use super::error::{ImportError, Mistake};
use super::line::Named;
use crate::sync::Arc;
use memory_core::{AddrRange, Memory, MemoryError, Region, RegionId, RegionRef, Size};
use memory_flatview::print::{FlatMap, PrintOptions, Space, TreeMap};
use memory_flatview::{View, render, resolve_root};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The regions of a dump, made with the real types and rendered.
///
/// Host memory is [unbacked](memory_core::RamBlock::unbacked), devices read as 0.
pub struct Imported {
    memory: Memory,
    spaces: Vec<ImportedSpace>,
    /// What the flat views of the dump show.
    printed: Vec<Shown>,
    /// The file of these.
    flat_file: String,
    /// All regions: dropped last, and with them the tree.
    _regions: Vec<Region>,
}

/// An address space of a dump.
#[derive(Clone)]
pub struct ImportedSpace {
    name: String,
    root: RegionRef,
    view: Arc<View>,
}

impl ImportedSpace {
    /// The name; several spaces may have the same.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The region at its root.
    pub fn root(&self) -> &RegionRef {
        &self.root
    }

    /// What it shows; spaces whose roots come down to the same region share one view.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }
}

impl Imported {
    pub(super) fn new(dump: &Dump<'_>, file: &str, flat_file: &str) -> Result<Self, ImportError> {
        let memory = Memory::new();
        let builder = Builder::new(&memory, file, dump);
        let names = builder.names();
        let mut built = builder.build()?;
        let refused = |error| ImportError::new(file, 0, Mistake::Refused(error));
        let mut roots = Vec::new();
        for (section, root) in dump.trees.iter().zip(&built.roots) {
            if section.spaces.is_empty() {
                continue;
            }
            let root = match root {
                Some(root) => root.clone(),
                // a disabled root that was not printed
                None => {
                    let none = memory.container("(none)", Size::FULL).disabled().build().map_err(refused)?;
                    let root = none.by_ref().clone();
                    built.regions.push(none);
                    root
                }
            };
            roots.extend(section.spaces.iter().map(|name| ((*name).to_owned(), root.clone())));
        }
        let spaces = show(&memory, roots).map_err(refused)?;
        let printed = printed(dump, &spaces, &names, flat_file)?;
        Ok(Self { memory, spaces, printed, flat_file: flat_file.to_owned(), _regions: built.regions })
    }

    /// The memory that all regions are of.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The address spaces, in printed order.
    pub fn spaces(&self) -> &[ImportedSpace] {
        &self.spaces
    }

    /// Prints the trees.
    ///
    /// # Errors
    /// If a listener of this memory calls it.
    pub fn tree_map(&self, options: PrintOptions) -> Result<TreeMap, MemoryError> {
        let spaces: Vec<_> = self.spaces.iter().map(ImportedSpace::to_print).collect();
        self.memory.read(|tree| TreeMap::new(tree, &spaces, options))
    }

    /// Prints the flat views.
    ///
    /// # Errors
    /// If a listener of this memory calls it.
    pub fn flat_map(&self, options: PrintOptions) -> Result<FlatMap, MemoryError> {
        let spaces: Vec<_> = self.spaces.iter().map(|space| (space.to_print(), &*space.view)).collect();
        self.memory.read(|tree| FlatMap::new(tree, &spaces, options))
    }

    /// Where the rendering and the flat views of the dump disagree; that there are no flat views is a difference.
    ///
    /// Compared are, for each address space, start, end, name and offset of what answers reads, and its kind
    /// as far as the dump tells it, after merging neighbours of one region with contiguous offsets. How spaces share
    /// views is not compared.
    pub fn differences(&self) -> Vec<Difference> {
        let mut known: HashMap<u64, Arc<[Run]>> = HashMap::new();
        let rendered: Vec<_> = self
            .spaces
            .iter()
            .map(|space| Shown {
                name: space.name.clone(),
                line: 0,
                runs: known
                    .entry(space.view.generation())
                    .or_insert_with(|| runs_of(&space.view).into())
                    .clone(),
            })
            .collect();
        compare(&rendered, &self.printed, &self.flat_file)
    }
}

impl ImportedSpace {
    fn to_print(&self) -> Space<'_> {
        Space { name: &self.name, root: self.root.id() }
    }
}

/// Renders address spaces with these roots.
fn show(memory: &Memory, roots: Vec<(String, RegionRef)>) -> Result<Vec<ImportedSpace>, MemoryError> {
    let mut views: HashMap<Option<RegionId>, Arc<View>> = HashMap::new();
    memory.read(|tree| {
        let show = |(name, root): (String, RegionRef)| {
            let shown = resolve_root(tree, root.id());
            let view = views.entry(shown).or_insert_with(|| {
                let ranges = render(tree, shown, AddrRange::ALL);
                Arc::new(View::new(memory.unique(), shown, ranges, None))
            });
            ImportedSpace { name, root, view: view.clone() }
        };
        roots.into_iter().map(show).collect()
    })
}

/// What the flat views of a dump show.
fn printed(
    dump: &Dump<'_>,
    spaces: &[ImportedSpace],
    names: &HashSet<&str>,
    file: &str,
) -> Result<Vec<Shown>, ImportError> {
    let known: HashSet<&str> = spaces.iter().map(ImportedSpace::name).collect();
    let mut printed = Vec::new();
    for view in dump.views.iter().flatten() {
        let mut ranges: Vec<Run> = Vec::new();
        for (number, line) in &view.ranges {
            let Named { name, marks } = Named::in_flat_view(line.rest, |name| names.contains(name));
            // reads are compared, and where only writes are answered there are none
            if marks.writes {
                continue;
            }
            if ranges.last().is_some_and(|before| line.start <= before.last) {
                return Err(ImportError::new(file, *number, Mistake::Unsorted));
            }
            ranges.push(Run::new((line.start, line.last), name, marks.offset, line.kind, *number));
        }
        let runs: Arc<[Run]> = runs(ranges.into_iter()).into();
        for (number, text) in &view.spaces {
            const ROOT: &str = "\", root: ";
            let mut splits = text.match_indices(ROOT).take(16).filter_map(|(at, _)| text.get(..at));
            let name = splits.find(|name| known.contains(name));
            let name = name.or_else(|| text.rsplit_once(ROOT).map(|(name, _)| name)).ok_or_else(|| {
                let mistake = Mistake::NoLine("no root follows the name of the address space");
                ImportError::new(file, *number, mistake)
            })?;
            printed.push(Shown { name: name.to_owned(), line: *number, runs: runs.clone() });
        }
    }
    Ok(printed)
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.spaces.iter().map(ImportedSpace::name);
        f.debug_list().entries(names).finish()
    }
}
