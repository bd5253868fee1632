//! The printed forms of a machine's memory: trees and flat views, for people and as JSON.
//!
//! The text is the one that people know from QEMU's monitor, `info mtree` and `info mtree -f`, so that what reads
//! those reads these. What QEMU has no word for is added at the end of a line, in brackets, where it is set.
//! [`TreeMap`] and [`FlatMap`] are the data; their `Display` is the text, their `Serialize` the JSON. Both are
//! lists of lines and not nested, so that no tree is too deep for them.
//!
//! ```
//! use memory_core::{Memory, RamBlock, Size};
//! use memory_flatview::print::{PrintOptions, Space, TreeMap};
//!
//! let memory = Memory::new();
//! let system = memory.container("system", Size::FULL).build()?;
//! let ram = memory.ram("ram", RamBlock::unbacked(0x1000u64)).build()?;
//! let low = memory.alias("low", &ram, 0, 0x800u64).build()?;
//! system.map(0x8000_0000, &ram)?;
//! system.map(0, &low)?;
//! let spaces = [Space { name: "memory", root: system.id() }];
//! let map = memory.read(|tree| TreeMap::new(tree, &spaces, PrintOptions::default()))?;
//! assert_eq!(
//!     map.to_string(),
//!     "\
//! address-space: memory
//!   0000000000000000-ffffffffffffffff (prio 0, i/o): system
//!     0000000000000000-00000000000007ff (prio 0, ram): alias low @ram 0000000000000000-00000000000007ff
//!     0000000080000000-0000000080000fff (prio 0, ram): ram
//!
//! memory-region: ram
//!   0000000080000000-0000000080000fff (prio 0, ram): ram
//!
//! "
//! );
//! # Ok::<(), memory_core::MemoryError>(())
//! ```

mod attributes;
mod flat;
mod owner;
mod tree;

pub use attributes::PrintedAttributes;
pub use flat::{FlatMap, PrintedChunk, PrintedPart, PrintedRange, PrintedSpace, PrintedView};
pub use owner::PrintedOwner;
pub use tree::{PrintedAlias, PrintedRegion, PrintedRoot, TreeMap};

use memory_core::{Flags, Kind, Node, RegionId, Tree};
use serde::Serializer;

/// An address space to be printed.
#[derive(Clone, Copy, Debug)]
pub struct Space<'a> {
    /// The name.
    pub name: &'a str,
    /// The region at its root.
    pub root: RegionId,
}

/// What is printed besides the map itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrintOptions {
    /// Owners of regions (`-o`).
    pub owners: bool,
    /// Disabled regions, and what is below them (`-D`).
    pub disabled: bool,
    /// How flat views are laid out for look-up (`-d`).
    pub dispatch: bool,
    /// Dirty logs, coalesced ranges, ioeventfds and identifiers of RAM blocks (`-a`), which the monitor does not print.
    pub attributes: bool,
}

/// The kind of region as maps print it: that of its target for an alias.
fn kind(tree: &Tree, node: &Node) -> &'static str {
    let mut node = node;
    while let Kind::Alias { target, .. } = node.kind() {
        match tree.get(*target) {
            Some(target) => node = target,
            None => return "i/o",
        }
    }
    match node.kind() {
        Kind::RamDevice(_) => "ramd",
        Kind::RomDevice(..) if node.flags().contains(Flags::ROMD) => "romd",
        Kind::Rom(_) => "rom",
        Kind::Ram(_) if node.flags().contains(Flags::READ_ONLY) => "rom",
        Kind::Ram(_) => "ram",
        _ => "i/o",
    }
}

/// `nv-` for what outlives the machine.
fn prefix(nonvolatile: bool) -> &'static str {
    if nonvolatile { "nv-" } else { "" }
}

/// Numbers as `"0x..."`: JSON readers of many languages hold no 64 bits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde skips by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
