//! Memory maps that QEMU's monitor printed, read back.
//!
//! [`import`] takes what `info mtree -D` printed and makes the regions that it speaks of, with the real types, so that
//! they can be rendered and printed like any machine's. With what `info mtree -f` printed of the same machine beside it,
//! [`Imported::differences`] tells where the two disagree.
//!
//! ```
//! use machines::import::{Source, import};
//!
//! let tree = Source { file: "board.mtree", text: "\
//! address-space: memory
//!   0000000000000000-ffffffffffffffff (prio 0, i/o): system
//!     0000000000000000-0000000000003fff (prio 0, ram): ram
//!     0000000000001000-00000000000010ff (prio 1, i/o): uart
//! " };
//! let flat = Source { file: "board.flat", text: "\
//! FlatView #0
//!  AS \"memory\", root: system
//!  Root memory region: system
//!   0000000000000000-0000000000000fff (prio 0, ram): ram
//!   0000000000001000-00000000000010ff (prio 1, i/o): uart
//!   0000000000001100-0000000000002fff (prio 0, ram): ram @0000000000001100
//! " };
//! let differences = import(tree, Some(flat))?.differences();
//! assert_eq!(
//!     differences[0].to_string(),
//!     "address space `memory`: the map has 0000000000001100-0000000000003fff `ram` @0x1100, \
//!      the flat view has 0000000000001100-0000000000002fff `ram` @0x1100 (board.flat:6)"
//! );
//! # Ok::<(), machines::import::ImportError>(())
//! ```
//!
//! # What a dump does not say
//!
//! - An `i/o` line may be a device or a container. It is a device if its name shows up in a flat view. Without a
//!   flat view a region without children is taken for a device.
//! - An alias names its target. That is the first `memory-region:` of the name, otherwise the first region of
//!   the name in the trees; of several, one of the kind that the alias was printed with, and none that would show the
//!   alias in itself.
//! - Of siblings of equal priority that overlap the smaller one is on top, and of equally large ones the one printed
//!   first, since the monitor prints the upper one first where both begin at the same address.
//! - Read-only aliases are not marked, so a comparison is made after merging neighbours of one region whose
//!   offsets are contiguous.
//! - A region without a byte is printed like one of a single byte, and is taken for that.

mod build;
mod difference;
mod dump;
mod error;
mod imported;
mod line;

pub use difference::{Difference, Run};
pub use error::{ImportError, Mistake};
pub use imported::{Imported, ImportedSpace};

/// A text, and the file that it is from, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file's name.
    pub file: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// Makes the regions of a dump.
///
/// `tree` is what `info mtree -D` printed, `flat` what `info mtree -f` printed. Flat views may also stand in the same text
/// as the trees; those of `flat` come first.
///
/// # Errors
/// The first line of either text that no such dump has, an alias whose target is not in the dump, or regions that
/// would show themselves.
pub fn import(tree: Source<'_>, flat: Option<Source<'_>>) -> Result<Imported, ImportError> {
    let mut dump = dump::Dump::parse(tree)?;
    if dump.has_no_space() {
        return Err(ImportError::new(tree.file, 0, Mistake::NoSpace));
    }
    if let Some(flat) = flat {
        dump.views = Some(dump::Dump::parse(flat)?.views.unwrap_or_default());
    }
    Imported::new(&dump, tree.file, flat.map_or(tree.file, |flat| flat.file))
}

#[cfg(test)]
mod tests;
