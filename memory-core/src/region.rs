//! Handles of regions.

use crate::address::{AddrRange, Size};
use crate::builder::check_alias;
use crate::error::MemoryError;
use crate::host::DirtyClients;
use crate::id::RegionId;
use crate::kind::Kind;
use crate::memory::{Condemned, Memory};
use crate::node::{Flags, Node, Placement, Shows};
use crate::state::State;
use crate::sync::Arc;
use crate::tree::Tree;
use std::fmt;
use std::ops::Deref;

/// How a region is mapped, besides where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mapping {
    /// Among overlapping siblings the highest priority is seen, and of equal ones the last mapped.
    pub priority: i32,
    /// The region may overlap siblings of the same priority. Without this, it promises not to, and the outermost
    /// commit checks that.
    pub overlap: bool,
    /// Who sees it; an overlay (anything but `Both`) may always overlap.
    pub shows: Shows,
}

impl Mapping {
    /// A mapping of `priority` that may overlap others.
    pub const fn overlap(priority: i32) -> Self {
        Self { priority, overlap: true, shows: Shows::Both }
    }
}

/// Refers to a region without owning it. Clones refer to the same one.
///
/// Each change is a transaction of its own, or part of the one that the thread is in. Setting a value that
/// already holds changes nothing. All methods wait while another thread is in a transaction, and return
/// [`MemoryError::InsideCommit`] in a listener and [`MemoryError::Gone`] once the region has been dropped.
#[derive(Clone)]
pub struct RegionRef {
    memory: Memory,
    id: RegionId,
    name: Arc<str>,
}

impl RegionRef {
    pub(crate) fn new(memory: Memory, id: RegionId, name: Arc<str>) -> Self {
        Self { memory, id, name }
    }

    /// The id.
    pub fn id(&self) -> RegionId {
        self.id
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The machine's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    fn node<'a>(&self, tree: &'a Tree) -> Result<&'a Node, MemoryError> {
        tree.get(self.id).ok_or_else(|| MemoryError::Gone(self.name.clone()))
    }

    fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> Result<R, MemoryError> {
        self.memory.read(|tree| self.node(tree).map(look))?
    }

    /// The address in the region that this one is mapped into, if it is mapped.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn address(&self) -> Result<Option<u64>, MemoryError> {
        self.look(|node| node.placement.map(|place| place.address))
    }

    /// Whether the region is mapped into another, itself or through an alias of it. QEMU's name:
    /// `memory_region_is_mapped`.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn is_mapped(&self) -> Result<bool, MemoryError> {
        self.memory.read(|tree| {
            let node = self.node(tree)?;
            let mapped = |id| tree.get(id).is_some_and(|alias| alias.placement.is_some());
            Ok(node.placement.is_some() || node.aliases().any(mapped))
        })?
    }

    /// The size in bytes.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn size(&self) -> Result<Size, MemoryError> {
        self.look(|node| node.size)
    }

    /// The yes-or-no attributes.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn flags(&self) -> Result<Flags, MemoryError> {
        self.look(|node| node.flags)
    }

    /// Maps `child` into this region at `address`. It promises to overlap no sibling of priority 0 mapped the same
    /// way.
    ///
    /// # Errors
    /// If the child is mapped already, would end above 2^64, or would show itself, if this region is an alias, if
    /// the commit finds an overlap, and as in [`RegionRef`].
    pub fn map(&self, address: u64, child: &RegionRef) -> Result<(), MemoryError> {
        self.map_with(address, child, Mapping::default())
    }

    /// Maps `child` into this region at `address`, where it may overlap its siblings.
    ///
    /// # Errors
    /// As [`RegionRef::map`].
    pub fn map_overlap(&self, address: u64, child: &RegionRef, priority: i32) -> Result<(), MemoryError> {
        self.map_with(address, child, Mapping::overlap(priority))
    }

    /// Maps `child` into this region at `address`.
    ///
    /// # Errors
    /// As [`RegionRef::map`].
    pub fn map_with(&self, address: u64, child: &RegionRef, mapping: Mapping) -> Result<(), MemoryError> {
        if !self.memory.is_same(&child.memory) {
            return Err(MemoryError::Foreign(child.name.clone()));
        }
        self.memory.change(|state| {
            let tree = &state.tree;
            let (parent, node) = (self.node(tree)?, child.node(tree)?);
            if matches!(parent.kind, Kind::Alias { .. }) {
                return Err(self.wrong_kind(parent, "has no children of its own"));
            }
            if let Some(old) = node.placement {
                let parent = tree.get(old.parent).map_or_else(|| self.name.clone(), |node| node.name.clone());
                return Err(MemoryError::AlreadyMapped { region: child.name.clone(), parent });
            }
            child.check_address(node, address, node.size)?;
            if tree.sees(child.id, self.id) {
                let (region, parent) = (child.name.clone(), self.name.clone());
                return Err(MemoryError::Cycle { region, parent });
            }
            if node.is_unplugged() {
                return Err(MemoryError::Unplugged(child.name.clone()));
            }
            let placement = Placement {
                parent: self.id,
                address,
                priority: mapping.priority,
                overlap: mapping.overlap || mapping.shows != Shows::Both,
                shows: mapping.shows,
                order: state.tree.next_order(),
            };
            state.place(child.id, Some(placement));
            Ok(())
        })
    }

    /// Unmaps the region. One that is not mapped stays so.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn unmap(&self) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            if self.node(&state.tree)?.placement.is_some() {
                state.place(self.id, None);
            }
            Ok(())
        })
    }

    /// Moves the region inside the one that it is mapped into, as if it were mapped anew.
    ///
    /// # Errors
    /// If it is not mapped or would end above 2^64, and as in [`RegionRef`].
    pub fn set_address(&self, address: u64) -> Result<(), MemoryError> {
        self.replace(|node, place| {
            self.check_address(node, address, node.size)?;
            Ok(Placement { address, ..place })
        })
    }

    /// Changes the priority, as if the region were mapped anew.
    ///
    /// # Errors
    /// If it is not mapped, and as in [`RegionRef`].
    pub fn set_priority(&self, priority: i32) -> Result<(), MemoryError> {
        self.replace(|_, place| Ok(Placement { priority, ..place }))
    }

    /// Changes who sees the mapping, as if the region were mapped anew. One that has shown itself to reads or to writes alone
    /// may overlap its siblings from then on.
    ///
    /// # Errors
    /// If it is not mapped, and as in [`RegionRef`].
    pub fn set_shows(&self, shows: Shows) -> Result<(), MemoryError> {
        let overlap = |place: Placement| place.overlap || shows != Shows::Both;
        self.replace(|_, place| Ok(Placement { shows, overlap: overlap(place), ..place }))
    }

    fn replace(
        &self,
        new: impl FnOnce(&Node, Placement) -> Result<Placement, MemoryError>,
    ) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            let old = node.placement.ok_or_else(|| MemoryError::NotMapped(self.name.clone()))?;
            let new = new(node, old)?;
            if new != old {
                let order = state.tree.next_order();
                state.place(self.id, Some(Placement { order, ..new }));
            }
            Ok(())
        })
    }

    /// Changes the size. What of host memory is in use stays, see [`RegionRef::resize_ram`].
    ///
    /// # Errors
    /// If the region would end above 2^64, look at more than its target or host memory can have, and as in
    /// [`RegionRef`].
    pub fn set_size(&self, size: impl Into<Size>) -> Result<(), MemoryError> {
        let size = size.into();
        self.memory.change(|state| self.set_size_in(state, size))
    }

    fn set_size_in(&self, state: &mut State, size: Size) -> Result<(), MemoryError> {
        let node = self.node(&state.tree)?;
        if node.size == size {
            return Ok(());
        }
        if let Some(place) = node.placement {
            self.check_address(node, place.address, size)?;
        }
        if let Some((_, offset)) = state.alias(self.id) {
            check_alias(&self.name, offset, size)?;
        }
        if let Some(block) = node.kind.block().map(|block| block.size()).filter(|block| size > *block) {
            return Err(MemoryError::BlockSize { region: self.name.clone(), size, block });
        }
        let undo = state.tree.set_size(self.id, size);
        state.changed(self.id, undo);
        Ok(())
    }

    /// Changes how much of a resizeable block is in use, in whole pages, and the region's size with it. The block's owner
    /// is told when the change is committed. Shrinking unmaps nothing under a guard. QEMU's name: `memory_region_ram_resize`.
    ///
    /// ```
    /// use memory_core::{Memory, RamBlock, Size};
    /// let memory = Memory::new();
    /// let block = RamBlock::builder(0x10000u64).resizeable(0x1000u64, |used| println!("{used} bytes")).build()?;
    /// let acpi = memory.ram("acpi", block.clone()).build()?;
    /// acpi.resize_ram(0x1800u64)?;
    /// assert_eq!((acpi.size()?, block.used()), (Size::from(0x2000u64), 0x2000));
    /// assert!(acpi.resize_ram(0x20000u64).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the block cannot be resized, or not to so much, and as for [`RegionRef::set_size`].
    pub fn resize_ram(&self, used: impl Into<Size>) -> Result<(), MemoryError> {
        let used = used.into();
        let block = self.look(|node| node.kind.block().filter(|block| block.is_resizeable()).cloned())?;
        let block = block.ok_or_else(|| MemoryError::WrongKind {
            region: self.name.clone(),
            kind: "of a fixed size",
            why: "cannot be resized",
        })?;
        let used = block.rounded(used).max(u64::try_from(used.bytes()).unwrap_or(u64::MAX));
        self.memory.change(|state| {
            self.set_size_in(state, Size::from(used))?;
            let before = self.node(&state.tree)?.used.unwrap_or_else(|| block.used());
            if before != used {
                let undo = state.tree.set_used(self.id, Some(used));
                state.changed(self.id, undo);
            }
            Ok(())
        })
    }

    /// Changes the first byte of the target that an alias shows.
    ///
    /// # Errors
    /// If the region is no alias or would look beyond 2^64, and as in [`RegionRef`].
    pub fn set_alias_offset(&self, offset: u64) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            let (_, old) =
                state.alias(self.id).ok_or_else(|| self.wrong_kind(node, "has no target to look at"))?;
            check_alias(&self.name, offset, node.size)?;
            if old != offset {
                let undo = state.tree.set_alias_offset(self.id, offset);
                state.changed(self.id, undo);
            }
            Ok(())
        })
    }

    /// Enables the region, or makes it absent.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn set_enabled(&self, enabled: bool) -> Result<(), MemoryError> {
        self.set_flags(Flags::ENABLED, enabled)
    }

    /// Refuses or allows writes to all that shows through the region.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn set_read_only(&self, read_only: bool) -> Result<(), MemoryError> {
        self.set_flags(Flags::READ_ONLY, read_only)
    }

    /// Marks what shows through the region as non-volatile.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn set_nonvolatile(&self, nonvolatile: bool) -> Result<(), MemoryError> {
        self.set_flags(Flags::NONVOLATILE, nonvolatile)
    }

    /// Keeps what shows through the region from being merged with neighbours.
    ///
    /// # Errors
    /// See [`RegionRef`].
    pub fn set_unmergeable(&self, unmergeable: bool) -> Result<(), MemoryError> {
        self.set_flags(Flags::UNMERGEABLE, unmergeable)
    }

    /// Switches a ROM device between reads of host memory (ROMD mode) and reads by callback.
    ///
    /// # Errors
    /// If the region is no ROM device, and as in [`RegionRef`].
    pub fn set_romd(&self, romd: bool) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            if !matches!(node.kind, Kind::RomDevice(..)) {
                return Err(self.wrong_kind(node, "has no ROMD mode"));
            }
            self.set_flags_in(state, Flags::ROMD, romd)
        })
    }

    /// Begins or ends to note writes to the region for `clients`; see [`RamBlock::dirty`](crate::RamBlock::dirty). QEMU's
    /// name: `memory_region_set_log`.
    ///
    /// # Errors
    /// If the region has no host memory, and as in [`RegionRef`].
    pub fn set_log(&self, clients: DirtyClients, value: bool) -> Result<(), MemoryError> {
        self.memory.change(|state| {
            let node = self.node(&state.tree)?;
            if node.kind.block().is_none() {
                return Err(self.wrong_kind(node, "has no host memory to log"));
            }
            let mut log = node.log;
            log.set(clients, value);
            if log != node.log {
                state.set_log(self.id, log);
            }
            Ok(())
        })
    }

    fn set_flags(&self, flags: Flags, value: bool) -> Result<(), MemoryError> {
        self.memory.change(|state| self.set_flags_in(state, flags, value))
    }

    fn set_flags_in(&self, state: &mut State, flags: Flags, value: bool) -> Result<(), MemoryError> {
        let node = self.node(&state.tree)?;
        if flags == Flags::ENABLED && value && node.is_unplugged() {
            return Err(MemoryError::Unplugged(self.name.clone()));
        }
        let old = node.flags;
        let mut new = old;
        new.set(flags, value);
        if new != old {
            let undo = state.tree.set_flags(self.id, new);
            state.changed(self.id, undo);
        }
        Ok(())
    }

    fn check_address(&self, node: &Node, address: u64, size: Size) -> Result<(), MemoryError> {
        let fits = size.is_zero() || AddrRange::from_size(address, size).is_some();
        fits.then_some(()).ok_or_else(|| MemoryError::AddressOverflow {
            region: node.name.clone(),
            address,
            size,
        })
    }

    fn wrong_kind(&self, node: &Node, why: &'static str) -> MemoryError {
        MemoryError::WrongKind { region: self.name.clone(), kind: node.kind.name(), why }
    }
}

impl fmt::Debug for RegionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.name, self.id)
    }
}

/// Owns a region: the handle that a device keeps.
///
/// Dropping it unmaps the region, unmaps what is mapped into it, and removes it; aliases of it show nothing from
/// then on. That never fails and never blocks: inside a listener or a transaction, or while another thread is in
/// one, it is done at the end of that.
#[derive(Debug)]
#[must_use = "a region lives as long as its handle"]
pub struct Region {
    region: RegionRef,
}

impl Region {
    pub(crate) fn new(region: RegionRef) -> Self {
        Self { region }
    }

    /// A reference that does not own the region.
    pub fn by_ref(&self) -> &RegionRef {
        &self.region
    }
}

impl Deref for Region {
    type Target = RegionRef;

    fn deref(&self) -> &RegionRef {
        &self.region
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.region.memory.condemn(Condemned::Region(self.region.id));
    }
}

mod intercept;
#[cfg(test)]
mod tests;
