//! From the tree of regions to flat views.
//!
//! A [`View`] is what an address space shows: sorted, disjoint ranges, immutable once made. [`render`] computes
//! the ranges of a region as the rules of visibility have it, [`View::new`] lays them out for look-up and shares with
//! an older view what did not change. Who publishes views, and to whom, this crate does not know.
//!
//! ```
//! use memory_core::{AddrRange, Memory, RamBlock, Size};
//! use memory_flatview::{View, render, resolve_root};
//!
//! let memory = Memory::new();
//! let system = memory.container("system", Size::FULL).build()?;
//! let ram = memory.ram("ram", RamBlock::anonymous(0x4000u64)?).build()?;
//! let rom = memory.rom("rom", RamBlock::anonymous(0x1000u64)?).build()?;
//! system.map(0, &ram)?;
//! system.map_overlap(0x1000, &rom, 1)?;
//! let view = memory.read(|tree| {
//!     let root = resolve_root(tree, system.id());
//!     View::new(1, root, render(tree, root, AddrRange::ALL), None)
//! })?;
//! let names: Vec<_> = view.ranges().filter_map(|range| Some(range.read()?.target().name())).collect();
//! assert_eq!(names, ["ram", "rom", "ram"]);
//! assert_eq!(view.find(0x1fff).and_then(|range| Some(range.read()?.offset())), Some(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod chunk;
mod difference;
mod explain;
pub mod oracle;
pub mod print;
mod range;
mod render;
mod root;
mod spread;
mod sync;
mod view;

pub use difference::{Difference, Kept, difference};
pub use explain::{Candidate, explain, is_present, locate};
pub use range::{FlatRange, Part, RangeFlags};
pub use render::render;
pub use root::{resolve_root, resolve_root_by};
pub use spread::Spread;
pub use view::{Position, View};
