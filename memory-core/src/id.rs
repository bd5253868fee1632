//! Identities, unique in a machine and never used twice.

/// Names a region. An id outlives its region and then names nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Names the owner of regions, usually a device: what the re-entrancy guard and removal go by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnerId(pub(crate) u64);

impl OwnerId {
    /// The number, never 0.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Names an address space without keeping it alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(pub(crate) u64);

impl SpaceId {
    /// The number, never 0.
    pub const fn number(self) -> u64 {
        self.0
    }
}
