//! The tree of regions: an arena of nodes, changed under the writers' lock.
//!
//! Every change that a transaction can take back is recorded in [`Undo`] entries; see [`crate::state`].

use crate::address::{AddrRange, Size};
use crate::error::MemoryError;
use crate::host::{DirtyClients, RamBlock};
use crate::id::RegionId;
use crate::intercept::Intercepts;
use crate::kind::Kind;
use crate::memory::SinkCell;
use crate::node::{Flags, Node, Placement, Shows};
use crate::sync::{Arc, PoisonError};
use crate::target::Target;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Children that are looked through one by one rather than by where they are.
const FEW: usize = 4;

/// How to take back one change.
pub(crate) enum Undo {
    Placement(RegionId, Option<Placement>),
    Flags(RegionId, Flags),
    Size(RegionId, Size),
    Used(RegionId, Option<u64>),
    AliasOffset(RegionId, u64),
    Log(RegionId, DirtyClients),
    GlobalLog(DirtyClients),
    Intercepts(RegionId, Option<Arc<Intercepts>>),
}

/// What tells a block from the others in a tree, which holds them all.
fn block_key(block: &Arc<RamBlock>) -> usize {
    Arc::as_ptr(block) as usize
}

struct Slot {
    generation: u32,
    node: Option<Node>,
}

/// The regions of a machine. Readers get it by [`Memory::read`](crate::Memory::read), or when they are told of
/// a commit.
#[derive(Default)]
pub struct Tree {
    slots: Vec<Slot>,
    free: Vec<u32>,
    next_order: u64,
    /// Mappings that show something to reads or to writes only.
    overlays: usize,
    /// Who wants to know of writes to any region.
    global_log: DirtyClients,
    /// The regions of each block, by its address; nearly all blocks have one.
    by_block: HashMap<usize, BTreeSet<RegionId>>,
    /// Who takes the last reference to what is bound.
    sink: Arc<SinkCell>,
}

impl Tree {
    pub(crate) fn new(sink: Arc<SinkCell>) -> Self {
        Self { sink, ..Self::default() }
    }

    /// The region, unless it is gone.
    pub fn get(&self, id: RegionId) -> Option<&Node> {
        let slot = self.slots.get(id.index as usize)?;
        if slot.generation == id.generation { slot.node.as_ref() } else { None }
    }

    fn get_mut(&mut self, id: RegionId) -> Option<&mut Node> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation == id.generation { slot.node.as_mut() } else { None }
    }

    /// Every region.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &Node)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = RegionId { index: u32::try_from(index).ok()?, generation: slot.generation };
            Some((id, slot.node.as_ref()?))
        })
    }

    /// Whether some mapping shows something to reads or to writes only.
    pub fn has_overlays(&self) -> bool {
        self.overlays > 0
    }

    /// Who wants to know of writes to any region with host memory.
    pub fn global_log(&self) -> DirtyClients {
        self.global_log
    }

    /// Who wants to know of writes to a region's host memory, through whichever region they come: nobody, if it has none.
    pub fn log(&self, id: RegionId) -> DirtyClients {
        let logged = self.get(id).filter(|node| node.kind.block().is_some());
        logged.map_or(DirtyClients::empty(), |node| node.block_log | self.global_log)
    }

    /// The regions that have the same host memory as `id`, which is one of them if it has any.
    pub(crate) fn same_block(&self, id: RegionId) -> impl Iterator<Item = RegionId> {
        let key = self.get(id).and_then(|node| node.kind.block()).map(block_key);
        key.and_then(|key| self.by_block.get(&key)).into_iter().flatten().copied()
    }

    /// Works out anew who wants to know of writes to a block.
    fn join_logs(&mut self, key: usize) {
        let Some(regions) = self.by_block.remove(&key) else { return };
        let logs = regions.iter().filter_map(|id| Some(self.get(*id)?.log));
        let joined = logs.fold(DirtyClients::empty(), |all, log| all | log);
        for id in &regions {
            if let Some(node) = self.get_mut(*id) {
                node.block_log = joined;
            }
        }
        self.by_block.insert(key, regions);
    }

    /// Makes a block's log note what it should for region `id`; with `stop` also no more than that.
    pub(crate) fn apply_log(&mut self, id: RegionId, stop: bool) {
        let global = self.global_log;
        let Some(node) = self.get_mut(id) else { return };
        let Some(block) = node.kind.block() else { return };
        let wanted = node.log | global;
        let started = wanted - node.logged;
        if !started.is_empty() {
            block.dirty().start(started);
        }
        node.logged |= started;
        if stop {
            block.dirty().stop(node.logged - wanted);
            node.logged = wanted;
        }
    }

    /// The region bound to its device, shared with the views that already hold it; `None` if the device is gone or
    /// the region answers nothing itself.
    pub fn bind(&self, id: RegionId) -> Option<Arc<Target>> {
        let node = self.get(id)?;
        let mut bound = node.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = bound.upgrade() {
            return Some(target);
        }
        let target = Arc::new(Target::bind(id, node, &self.sink)?);
        *bound = Arc::downgrade(&target);
        Some(target)
    }

    pub(crate) fn insert(&mut self, node: Node) -> RegionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, node: None });
            (self.slots.len() - 1) as u32
        });
        let mut id = RegionId { index, generation: 0 };
        let (shown, block) = (node.shown(), node.kind.block().map(block_key));
        if let Some(slot) = self.slots.get_mut(index as usize) {
            id.generation = slot.generation;
            slot.node = Some(node);
        }
        if let Some((target, extent)) = shown
            && let Some(target) = self.get_mut(target)
        {
            target.aliases.insert(id);
            target.shown_by.insert(extent, id);
        }
        if let Some(block) = block {
            let regions = self.by_block.entry(block).or_default();
            let other = regions.first().copied();
            regions.insert(id);
            // it asks for nothing itself
            let log = other.and_then(|other| self.get(other)).map(|other| other.block_log);
            if let Some((node, log)) = self.get_mut(id).zip(log) {
                node.block_log = log;
            }
        }
        id
    }

    /// Takes a region that is not mapped and has no children out of the tree.
    pub(crate) fn remove(&mut self, id: RegionId) -> Option<Node> {
        self.get(id)?;
        let slot = self.slots.get_mut(id.index as usize)?;
        let node = slot.node.take()?;
        // an index whose generations are used up is not used again
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.index);
        }
        if let Some((target, extent)) = node.shown()
            && let Some(target) = self.get_mut(target)
        {
            target.aliases.remove(&id);
            target.shown_by.remove(extent, id);
        }
        if let Some(block) = node.kind.block().map(block_key)
            && let Some(regions) = self.by_block.get_mut(&block)
        {
            regions.remove(&id);
            if regions.is_empty() {
                self.by_block.remove(&block);
            } else if !node.log.is_empty() {
                self.join_logs(block);
            }
        }
        Some(node)
    }

    /// The enabled children of a region that have a byte in `window`, in bytes from its start, from the top one down.
    ///
    /// They are added to `found`, for whoever asks often.
    pub fn children_in(&self, id: RegionId, window: AddrRange, found: &mut Vec<RegionId>) {
        let Some(node) = self.get(id) else { return };
        let is_there = |child: &&Node| {
            let there = child.range().is_some_and(|range| range.overlaps(window));
            there && child.is_enabled()
        };
        if node.children.len() <= FEW {
            let children = node.children.values().copied();
            return found.extend(children.filter(|child| self.get(*child).as_ref().is_some_and(is_there)));
        }
        let placed = node.extents.near(window).filter_map(|child| {
            let node = self.get(child).filter(is_there)?;
            Some((node.placement?.rank(), child))
        });
        let mut placed: Vec<_> = placed.collect();
        placed.sort_unstable_by_key(|(rank, _)| *rank);
        found.extend(placed.into_iter().map(|(_, child)| child));
    }

    /// Changes a node, and the indexes of its parent and its target with it.
    fn change<R>(&mut self, id: RegionId, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        if let Some((target, extent)) = self.get(id)?.shown()
            && let Some(target) = self.get_mut(target)
        {
            target.shown_by.remove(extent, id);
        }
        if let Some((parent, extent)) = self.get(id)?.extent()
            && let Some(parent) = self.get_mut(parent)
        {
            parent.extents.remove(extent, id);
        }
        if let Some((parent, entry)) = self.get(id)?.plain_entry(id)
            && let Some(parent) = self.get_mut(parent)
        {
            parent.plain.remove(&entry);
        }
        let result = change(self.get_mut(id)?);
        if let Some((parent, entry)) = self.get(id)?.plain_entry(id)
            && let Some(parent) = self.get_mut(parent)
        {
            parent.plain.insert(entry);
        }
        if let Some((parent, extent)) = self.get(id)?.extent()
            && let Some(parent) = self.get_mut(parent)
        {
            parent.extents.insert(extent, id);
        }
        if let Some((target, extent)) = self.get(id)?.shown()
            && let Some(target) = self.get_mut(target)
        {
            target.shown_by.insert(extent, id);
        }
        Some(result)
    }

    /// Puts a region where `placement` says, or nowhere, and tells how to take that back.
    pub(crate) fn place(&mut self, id: RegionId, placement: Option<Placement>) -> Option<Undo> {
        let old = self.get(id)?.placement;
        if let Some(old) = old {
            self.overlays -= usize::from(old.shows != Shows::Both);
            if let Some(parent) = self.get_mut(old.parent) {
                parent.children.remove(&old.rank());
            }
        }
        self.change(id, |node| node.placement = placement)?;
        if let Some(new) = placement {
            self.overlays += usize::from(new.shows != Shows::Both);
            if let Some(parent) = self.get_mut(new.parent) {
                parent.children.insert(new.rank(), id);
            }
        }
        Some(Undo::Placement(id, old))
    }

    /// The order of the next mapping, above all before it.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    pub(crate) fn set_flags(&mut self, id: RegionId, flags: Flags) -> Option<Undo> {
        self.change(id, |node| Undo::Flags(id, std::mem::replace(&mut node.flags, flags)))
    }

    pub(crate) fn set_size(&mut self, id: RegionId, size: Size) -> Option<Undo> {
        self.change(id, |node| Undo::Size(id, std::mem::replace(&mut node.size, size)))
    }

    /// Notes how much of its block a region will have in use once the transaction is over, if it resizes it.
    pub(crate) fn set_used(&mut self, id: RegionId, used: Option<u64>) -> Option<Undo> {
        self.get_mut(id).map(|node| Undo::Used(id, std::mem::replace(&mut node.used, used)))
    }

    pub(crate) fn set_alias_offset(&mut self, id: RegionId, new: u64) -> Option<Undo> {
        self.change(id, |node| match &mut node.kind {
            Kind::Alias { offset, .. } => Some(Undo::AliasOffset(id, std::mem::replace(offset, new))),
            _ => None,
        })?
    }

    pub(crate) fn set_log(&mut self, id: RegionId, log: DirtyClients) -> Option<Undo> {
        let node = self.get_mut(id)?;
        let old = std::mem::replace(&mut node.log, log);
        if let Some(block) = node.kind.block().map(block_key) {
            self.join_logs(block);
        }
        Some(Undo::Log(id, old))
    }

    pub(crate) fn set_intercepts(&mut self, id: RegionId, new: Option<Arc<Intercepts>>) -> Option<Undo> {
        self.get_mut(id).map(|node| Undo::Intercepts(id, std::mem::replace(&mut node.intercepts, new)))
    }

    pub(crate) fn set_global_log(&mut self, log: DirtyClients) -> Undo {
        Undo::GlobalLog(std::mem::replace(&mut self.global_log, log))
    }

    pub(crate) fn take_back(&mut self, undo: Undo) {
        // the entries that these make in turn take the undoing back, which nobody wants
        let _ = match undo {
            Undo::Placement(id, old) => self.place(id, old),
            Undo::Flags(id, old) => self.set_flags(id, old),
            Undo::Size(id, old) => self.set_size(id, old),
            Undo::Used(id, old) => self.set_used(id, old),
            Undo::AliasOffset(id, old) => self.set_alias_offset(id, old),
            Undo::Log(id, old) => self.set_log(id, old),
            Undo::Intercepts(id, old) => self.set_intercepts(id, old),
            Undo::GlobalLog(old) => Some(self.set_global_log(old)),
        };
    }

    /// Whether `region` is seen through `from`, over children and aliases, or is `from` itself.
    pub(crate) fn sees(&self, from: RegionId, region: RegionId) -> bool {
        let shows = |node: &Node| !node.children.is_empty() || matches!(node.kind, Kind::Alias { .. });
        if from != region && !self.get(from).is_some_and(shows) {
            return false;
        }
        // upwards from `region`: it has one parent and few aliases, while `from` may have many children
        let mut seen = HashSet::from([region]);
        let mut rest = vec![region];
        while let Some(id) = rest.pop() {
            if id == from {
                return true;
            }
            let Some(node) = self.get(id) else { continue };
            for up in node.aliases.iter().copied().chain(node.placement.map(|place| place.parent)) {
                if seen.insert(up) {
                    rest.push(up);
                }
            }
        }
        false
    }

    /// Checks that a region's plain mapping overlaps no enabled plain sibling of the same priority.
    pub(crate) fn check_overlap(&self, id: RegionId) -> Result<(), MemoryError> {
        let Some(node) = self.get(id) else { return Ok(()) };
        let Some((parent, entry)) = node.plain_entry(id) else { return Ok(()) };
        let (Some(container), Some(range)) = (self.get(parent), node.range()) else { return Ok(()) };
        // if any two overlap, two neighbours by start do
        let below = container.plain.range(..entry).next_back();
        let above = container.plain.range(entry..).nth(1);
        for &(priority, _, sibling) in below.into_iter().chain(above) {
            let Some(other) = self.get(sibling) else { continue };
            let Some(other_range) = other.range() else { continue };
            if priority == entry.0 && range.overlaps(other_range) {
                let this = (range, &node.name);
                let other = (other_range, &other.name);
                let (first, second) =
                    if other_range.start() < range.start() { (other, this) } else { (this, other) };
                return Err(overlap(&container.name, first, second));
            }
        }
        Ok(())
    }
}

fn overlap(
    container: &Arc<str>,
    first: (AddrRange, &Arc<str>),
    second: (AddrRange, &Arc<str>),
) -> MemoryError {
    MemoryError::Overlap {
        container: container.clone(),
        first: first.1.clone(),
        first_range: first.0,
        second: second.1.clone(),
        second_range: second.0,
    }
}
