//! Why a change of the tree is refused.

use crate::address::{AddrRange, Size};
use crate::sync::Arc;
use std::error::Error;

/// A region as messages name it.
type Name = Arc<str>;

/// Why a change of the tree was refused. What was refused has changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The region was dropped.
    #[error("region `{0}` is gone")]
    Gone(Name),
    /// The two regions belong to different machines.
    #[error("region `{0}` belongs to another machine")]
    Foreign(Name),
    /// The region would end above 2^64.
    #[error("region `{region}` of {size} bytes at {address:#x} ends above 2^64")]
    AddressOverflow {
        /// The region.
        region: Name,
        /// Where it was to start.
        address: u64,
        /// Its size.
        size: Size,
    },
    /// The alias would look beyond offset 2^64 of its target.
    #[error("alias `{region}` of {size} bytes at offset {offset:#x} looks beyond 2^64")]
    AliasOverflow {
        /// The alias.
        region: Name,
        /// Its offset in its target.
        offset: u64,
        /// Its size.
        size: Size,
    },
    /// A region has one place only; a second appearance is an alias.
    #[error("region `{region}` is already mapped into `{parent}`")]
    AlreadyMapped {
        /// The region.
        region: Name,
        /// Where it is mapped.
        parent: Name,
    },
    /// The region is not mapped, so it has no address or priority.
    #[error("region `{0}` is not mapped")]
    NotMapped(Name),
    /// A region would show itself.
    #[error("mapping `{region}` into `{parent}` makes a cycle: `{parent}` is seen through `{region}`")]
    Cycle {
        /// The region to be mapped.
        region: Name,
        /// Where it was to be mapped.
        parent: Name,
    },
    /// Two plain mappings of the same priority overlap.
    #[error(
        "in `{container}`, `{first}` at {first_range} overlaps `{second}` at {second_range} with the same \
         priority, and neither mapping allows it"
    )]
    Overlap {
        /// The container that both are in.
        container: Name,
        /// The region with the lower start.
        first: Name,
        /// Its range in the container.
        first_range: AddrRange,
        /// The other region.
        second: Name,
        /// Its range in the container.
        second_range: AddrRange,
    },
    /// The operation is not for this kind of region.
    #[error("region `{region}` is {kind}, which {why}")]
    WrongKind {
        /// The region.
        region: Name,
        /// Its kind.
        kind: &'static str,
        /// What this kind has not.
        why: &'static str,
    },
    /// The size of a region with host memory is that of its block.
    #[error("region `{region}` needs {size} bytes, its host memory has {block}")]
    BlockSize {
        /// The region.
        region: Name,
        /// The size asked for.
        size: Size,
        /// The size of the block.
        block: Size,
    },
    /// The event cannot be one of the region's.
    #[error("event at offset {offset:#x} of region `{region}`: {why}")]
    IoEvent {
        /// The region.
        region: Name,
        /// Where the event is.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The region has no such range.
    #[error("coalesced range {range} of region `{region}` ends beyond its {size} bytes")]
    Coalesced {
        /// The region.
        region: Name,
        /// The range.
        range: AddrRange,
        /// The size of the region.
        size: Size,
    },
    /// Two RAM blocks of one machine have the same identifier.
    #[error("RAM block identifier `{0}` is already taken")]
    DuplicateIdentifier(String),
    /// The owner's plug guard is gone: its regions can be mapped no more.
    #[error("region `{0}` belongs to a device that was unplugged")]
    Unplugged(Name),
    /// This thread is inside a commit: a listener cannot start a transaction.
    #[error("a listener cannot start a transaction")]
    InsideCommit,
    /// The levels of a transaction were not closed in the reverse order of their opening.
    #[error("transaction levels were closed out of order")]
    Unbalanced,
    /// Somebody who was told of the change refused it.
    #[error("the change was refused: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}
