//! What the writers' lock protects: the tree, and what it takes to roll a transaction back.

use crate::address::{AddrRange, Size};
use crate::damage::Damage;
use crate::error::MemoryError;
use crate::host::{DirtyClients, RamBlock};
use crate::id::{OwnerId, RegionId};
use crate::kind::Kind;
use crate::memory::{Blocks, SinkCell};
use crate::node::{Flags, Node, Placement};
use crate::sync::Arc;
use crate::tree::{Tree, Undo};
use std::collections::{BTreeSet, HashMap};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    undo: Vec<Undo>,
    /// Where in `undo` each open level of the transaction begins.
    levels: Vec<usize>,
    damage: Damage,
    /// A listener panicked at a removal, which stays: it is in `damage` until a commit has published it.
    is_behind: bool,
    /// Regions whose block may not be logged as it should be.
    relog: BTreeSet<RegionId>,
    blocks: Arc<Blocks>,
    /// The regions of each owner that has some.
    owners: HashMap<OwnerId, BTreeSet<RegionId>>,
}

impl State {
    pub(crate) fn new(blocks: Arc<Blocks>, sink: Arc<SinkCell>) -> Self {
        Self { blocks, tree: Tree::new(sink), ..Self::default() }
    }

    /// Notes how much of each resizeable block is in use now. Returns those of which somebody has to be told.
    pub(crate) fn settle_used(&mut self) -> Vec<Arc<RamBlock>> {
        let tree = &mut self.tree;
        let resized = |id: &RegionId| {
            let node = tree.get(*id)?;
            let (block, used) = (node.kind.block()?.clone(), node.used?);
            // what was settled once is not the wish of a later transaction
            let _ = tree.set_used(*id, None);
            block.set_used(used).then_some(block)
        };
        self.damage.changed().iter().filter_map(resized).collect()
    }

    /// How many levels are open.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    pub(crate) fn open_level(&mut self) {
        self.levels.push(self.undo.len());
    }

    /// Closes the innermost level and keeps its changes, for the level above to decide.
    pub(crate) fn keep_level(&mut self) {
        self.levels.pop();
    }

    /// Takes back everything since level `level` began, and closes it and all above.
    pub(crate) fn roll_back(&mut self, level: usize) {
        let Some(start) = self.levels.get(level).copied() else { return };
        while self.undo.len() > start {
            if let Some(undo) = self.undo.pop() {
                self.tree.take_back(undo);
            }
        }
        self.levels.truncate(level);
    }

    /// Forgets how to take back, and what was touched, which is published.
    pub(crate) fn settle(&mut self) {
        self.levels.clear();
        self.undo.clear();
        self.damage.clear();
        self.is_behind = false;
    }

    /// The same once all levels are closed, by a panic maybe: what no level could take back is still to be published.
    pub(crate) fn abandon(&mut self) {
        self.is_behind |= !self.undo.is_empty();
        self.undo.clear();
        if !self.is_behind {
            self.damage.clear();
        }
    }

    /// What the transaction has changed.
    pub(crate) fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Whether the transaction has changed anything that somebody has to be told of.
    pub(crate) fn is_changed(&self) -> bool {
        !(self.damage.is_empty() && self.undo.is_empty())
    }

    /// Everything that a region shows is to be looked at again.
    pub(crate) fn touch(&mut self, id: RegionId) {
        self.damage.change(id);
        self.damage.add(id, self.tree.get(id).and_then(|node| AddrRange::from_size(0, node.size)));
    }

    /// The commit is to be told of even if nothing has changed.
    pub(crate) fn ask(&mut self) {
        self.damage.ask();
    }

    /// Checks the promises of all plain mappings that may have changed.
    pub(crate) fn check(&self) -> Result<(), MemoryError> {
        self.damage.touched().iter().try_for_each(|id| self.tree.check_overlap(*id))
    }

    pub(crate) fn place(&mut self, id: RegionId, placement: Option<Placement>) {
        let Some(node) = self.tree.get(id) else { return };
        let (size, places) = (node.size, [node.placement, placement]);
        if let Some(undo) = self.tree.place(id, placement) {
            self.undo.push(undo);
            self.damage.change(id);
            for place in places.into_iter().flatten() {
                self.damage.add(place.parent, AddrRange::from_size(place.address, size));
            }
        }
    }

    /// Records a change that the tree has made.
    pub(crate) fn changed(&mut self, id: RegionId, undo: Option<Undo>) {
        if let Some(undo) = undo {
            let node = self.tree.get(id);
            let (size, place) = node.map_or((Size::ZERO, None), |node| (node.size, node.placement));
            let mut largest = size;
            if let Undo::Size(_, old) = undo {
                largest = old.max(size);
                // it may be mapped elsewhere before the commit, where nothing tells how much was seen here
                if let Some(place) = place {
                    self.damage.add(place.parent, AddrRange::from_size(place.address, largest));
                }
            }
            self.undo.push(undo);
            self.damage.change(id);
            self.damage.add(id, AddrRange::from_size(0, largest));
        }
    }

    pub(crate) fn insert(&mut self, node: Node) -> Result<RegionId, MemoryError> {
        if let Some(identifier) = &node.identifier
            && self.blocks.contains_key(identifier)
        {
            return Err(MemoryError::DuplicateIdentifier(identifier.clone()));
        }
        if node.is_unplugged() {
            return Err(MemoryError::Unplugged(node.name.clone()));
        }
        let (owner, identifier) = (node.owner(), node.identifier.clone());
        let block = node.kind.block().map(Arc::downgrade);
        let id = self.tree.insert(node);
        if !self.tree.log(id).is_empty() {
            self.relog.insert(id);
        }
        if let Some(owner) = owner {
            self.owners.entry(owner).or_default().insert(id);
        }
        if let Some((identifier, block)) = identifier.zip(block) {
            self.blocks.insert(identifier, (id, block));
        }
        Ok(id)
    }

    /// Changes who wants to know of writes to a region.
    pub(crate) fn set_log(&mut self, id: RegionId, log: DirtyClients) {
        let undo = self.tree.set_log(id, log);
        self.changed(id, undo);
        self.relog.insert(id);
        // what is written through another region of the same host memory is to be noted, too
        let others: Vec<_> = self.tree.same_block(id).filter(|other| *other != id).collect();
        others.into_iter().for_each(|other| self.touch(other));
    }

    /// Changes who wants to know of writes to any region.
    pub(crate) fn set_global_log(&mut self, log: DirtyClients) {
        let undo = self.tree.set_global_log(log);
        self.undo.push(undo);
        let backed = self.tree.regions().filter(|(_, node)| node.kind.block().is_some());
        let backed: Vec<_> = backed.map(|(id, _)| id).collect();
        backed.iter().for_each(|id| self.touch(*id));
        self.relog.extend(backed);
    }

    /// Starts the logs that the transaction wants, before anybody is told of it.
    pub(crate) fn start_logs(&mut self) {
        self.relog.iter().for_each(|id| self.tree.apply_log(*id, false));
    }

    /// Makes the logs what they should be, now that it is known what becomes of the transaction.
    pub(crate) fn settle_logs(&mut self) {
        for id in std::mem::take(&mut self.relog) {
            self.tree.apply_log(id, true);
        }
    }

    /// Makes a region invisible for good: unmapped, without children, and seen through no alias.
    pub(crate) fn condemn(&mut self, id: RegionId) {
        let Some(node) = self.tree.get(id) else { return };
        let (flags, log, children) = (node.flags, node.log, node.children().collect::<Vec<_>>());
        if !log.is_empty() {
            self.set_log(id, DirtyClients::empty());
        }
        for child in children {
            self.place(child, None);
        }
        self.place(id, None);
        let undo = self.tree.set_flags(id, flags - Flags::ENABLED);
        self.changed(id, undo);
    }

    /// Lets others have the identifier of a region, which after its owner was unplugged may be another one's by now.
    fn free_identifier(&mut self, id: RegionId) {
        let identifier = self.tree.get(id).and_then(|node| node.identifier.clone());
        if let Some(identifier) = identifier {
            self.blocks.remove_if(&identifier, |_, taken| taken.0 == id);
        }
    }

    /// Takes a condemned region out of the tree.
    pub(crate) fn bury(&mut self, id: RegionId) -> Option<Node> {
        self.free_identifier(id);
        let node = self.tree.remove(id)?;
        if let Some(block) = node.kind.block() {
            block.dirty().stop(node.logged);
        }
        if let Some(owner) = node.owner()
            && let Some(regions) = self.owners.get_mut(&owner)
        {
            regions.remove(&id);
            if regions.is_empty() {
                self.owners.remove(&owner);
            }
        }
        Some(node)
    }

    /// Unmaps all regions of an owner. Once it is marked as unplugged none is mapped again. Their identifiers are free: a
    /// pin may keep a region for long.
    pub(crate) fn unplug(&mut self, owner: OwnerId) {
        for id in self.owners.get(&owner).cloned().unwrap_or_default() {
            self.place(id, None);
            // an alias of somebody else's may still look at it
            let hidden = self.tree.get(id).map(|node| node.flags - Flags::ENABLED);
            let undo = hidden.and_then(|flags| self.tree.set_flags(id, flags));
            self.changed(id, undo);
            self.free_identifier(id);
        }
    }

    /// The alias's target and offset, if `id` is an alias.
    pub(crate) fn alias(&self, id: RegionId) -> Option<(RegionId, u64)> {
        match self.tree.get(id)?.kind {
            Kind::Alias { target, offset } => Some((target, offset)),
            _ => None,
        }
    }
}
