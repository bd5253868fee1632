//! The printed maps of address spaces.

use crate::sync::Arc;
use memory_core::{Memory, MemoryError, Tree};
use memory_dispatch::AddressSpace;
use memory_flatview::View;
use memory_flatview::print::{FlatMap, PrintOptions, Space, TreeMap};

/// The trees of `spaces`, as `info mtree` prints them.
///
/// # Errors
/// Inside a listener.
pub fn tree_map(
    memory: &Memory,
    spaces: &[Arc<AddressSpace>],
    options: PrintOptions,
) -> Result<TreeMap, MemoryError> {
    let spaces: Vec<_> =
        spaces.iter().map(|space| Space { name: space.name(), root: space.root().id() }).collect();
    memory.read(|tree| TreeMap::new(tree, &spaces, options))
}

/// The flat views of `spaces`, as `info mtree -f` prints them.
///
/// # Errors
/// Inside a listener.
pub fn flat_map(
    memory: &Memory,
    spaces: &[Arc<AddressSpace>],
    options: PrintOptions,
) -> Result<FlatMap, MemoryError> {
    memory.read(|tree| with_views(tree, spaces, &[], options))
}

/// Takes one view after the other, so that all of them are held when the map is made.
fn with_views(
    tree: &Tree,
    rest: &[Arc<AddressSpace>],
    known: &[(Space<'_>, &View)],
    options: PrintOptions,
) -> FlatMap {
    let Some((space, rest)) = rest.split_first() else { return FlatMap::new(tree, known, options) };
    space.with_view(|view| {
        let mut known = known.to_vec();
        known.push((Space { name: space.name(), root: space.root().id() }, view));
        with_views(tree, rest, &known, options)
    })
}
