//! Making a region.

use crate::address::Size;
use crate::error::MemoryError;
use crate::host::DirtyClients;
use crate::kind::Kind;
use crate::memory::Memory;
use crate::node::{Flags, Node, NodeOwner};
use crate::owner::Owner;
use crate::region::{Region, RegionRef};
use crate::sync::{Arc, Mutex, Weak};

/// A region to be made by [`RegionBuilder::build`]. It starts enabled, and unmapped.
#[must_use = "the region is made by `build`"]
pub struct RegionBuilder {
    memory: Memory,
    name: Arc<str>,
    kind: Result<Kind, MemoryError>,
    size: Size,
    flags: Flags,
    owner: Option<NodeOwner>,
    identifier: Option<String>,
    migrates: bool,
}

impl RegionBuilder {
    pub(crate) fn new(memory: &Memory, name: Arc<str>, kind: Result<Kind, MemoryError>, size: Size) -> Self {
        Self {
            memory: memory.clone(),
            name,
            kind,
            size,
            flags: Flags::ENABLED | Flags::ROMD,
            owner: None,
            identifier: None,
            migrates: true,
        }
    }

    /// The region belongs to `owner`, and not to the machine.
    pub fn owner(mut self, owner: &Owner) -> Self {
        self.owner = Some(owner.node_owner());
        self
    }

    /// Sets or clears attributes.
    pub fn flags(mut self, flags: Flags, value: bool) -> Self {
        self.flags.set(flags, value);
        self
    }

    /// The region starts disabled.
    pub fn disabled(self) -> Self {
        self.flags(Flags::ENABLED, false)
    }

    /// Writes are refused.
    pub fn read_only(self) -> Self {
        self.flags(Flags::READ_ONLY, true)
    }

    /// Overrides the size, for a region that shows less than its host memory has. What is in use of the memory stays.
    pub fn size(mut self, size: impl Into<Size>) -> Self {
        self.size = size.into();
        self
    }

    /// The identifier of the RAM block, which must be unique in the machine. Without this call it is the owner's path
    /// and the region's name, joined by a slash.
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = Some(identifier.into());
        self
    }

    /// The host memory is no part of a migration, and has no identifier. QEMU's name:
    /// `memory_region_init_ram_nomigrate`.
    pub fn nomigrate(mut self) -> Self {
        self.migrates = false;
        self
    }

    /// Makes the region. Dropping the handle removes it.
    ///
    /// # Errors
    /// A size that does not fit the alias's offset or the host memory, an identifier that is taken, an alias of
    /// another machine's region, an owner that was unplugged, or a call from a listener.
    pub fn build(self) -> Result<Region, MemoryError> {
        let kind = self.kind?;
        let name = self.name;
        if let Kind::Alias { offset, .. } = kind {
            check_alias(&name, offset, self.size)?;
        }
        let mut identifier = None;
        if let Some(block) = kind.block() {
            if self.size > block.size() {
                return Err(MemoryError::BlockSize { region: name, size: self.size, block: block.size() });
            }
            identifier = self.identifier.filter(|_| self.migrates).or_else(|| {
                if !self.migrates {
                    return None;
                }
                Some(match &self.owner {
                    Some(owner) => format!("{}/{name}", owner.path),
                    None => name.to_string(),
                })
            });
        }
        let node = Node {
            name: name.clone(),
            kind,
            size: self.size,
            flags: self.flags,
            guard: self.owner.as_ref().map_or_else(|| self.memory.unique(), |owner| owner.id.0),
            owner: self.owner,
            identifier,
            used: None,
            log: DirtyClients::empty(),
            block_log: DirtyClients::empty(),
            logged: DirtyClients::empty(),
            intercepts: None,
            placement: None,
            children: Default::default(),
            plain: Default::default(),
            extents: Default::default(),
            aliases: Default::default(),
            shown_by: Default::default(),
            bound: Mutex::new(Weak::new()),
        };
        let id = self.memory.change(|state| state.insert(node))?;
        Ok(Region::new(RegionRef::new(self.memory, id, name)))
    }
}

/// Checks that an alias looks at nothing beyond 2^64.
pub(crate) fn check_alias(name: &Arc<str>, offset: u64, size: Size) -> Result<(), MemoryError> {
    if u128::from(offset) + size.bytes() > Size::FULL.bytes() {
        return Err(MemoryError::AliasOverflow { region: name.clone(), offset, size });
    }
    Ok(())
}
