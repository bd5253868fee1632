//! The address spaces of a machine, and what a commit does to them.

use crate::chain::{self, WritersMark};
use crate::coalesced::Coalesced;
use crate::entry::Door;
use crate::iommu::{Iotlb, Notifiers, hear_late};
use crate::listener::{Batch, Change, Listeners, Refusal};
use crate::reclaim::Reclaim;
use crate::removal::Waiters;
use crate::rerender::Fresh;
use crate::space::{AddressSpace, SpaceConfig};
use crate::spaces::{Publications, Spaces};
use crate::sync::{
    Arc, AtomicBool, AtomicU8, AtomicUsize, Condvar, DashMap, Mutex, MutexGuard, Ordering, PoisonError,
    ViewArc, Weak,
};
use memory_core::{
    CommitSink, Damage, DirtyClients, Memory, MemoryError, OwnerId, RegionRef, SpaceId, Tree, fence,
};
use memory_flatview::{Spread, View};
use std::any::Any;
use std::error::Error;
use std::fmt;

/// The memory of a machine with its address spaces. Clones are the same system.
///
/// Dropping the last clone and the last address space lets everything go.
#[derive(Clone)]
pub struct MemorySystem {
    inner: Arc<SystemInner>,
}

pub(crate) struct SystemInner {
    memory: Memory,
    /// For translation, by any thread.
    by_id: DashMap<SpaceId, Weak<AddressSpace>>,
    spaces: Spaces,
    publications: Publications,
    empty: ViewArc<View>,
    /// For what outlives a borrow.
    me: Weak<SystemInner>,
    listeners: Listeners,
    coalesced: Coalesced,
    iotlb: Iotlb,
    notifiers: Notifiers,
    /// The clients that listeners were told want to know of writes to all memory. Changed with the writers' lock held.
    told_global: AtomicU8,
    /// Views of spaces that are gone, of which listeners have yet to be told. Held for an instant.
    departed: Mutex<Vec<(SpaceId, ViewArc<View>)>>,
    /// One more has departed.
    departure: Condvar,
    reclaim: Reclaim,
    /// The doors of owners that are plugged in.
    doors: DashMap<OwnerId, Arc<Door>>,
    waiters: Waiters,
    /// How many regions the change before was seen in: the next one is likely to be alike.
    spread: AtomicUsize,
    /// Each view that is rendered by windows is compared with the whole rendering.
    checks: AtomicBool,
}

impl Default for MemorySystem {
    fn default() -> Self {
        Self::new()
    }
}

impl MemorySystem {
    /// A system with no region and no address space.
    pub fn new() -> Self {
        let memory = Memory::new();
        let empty = ViewArc::new(View::empty(memory.unique()));
        let inner = Arc::new_cyclic(|me: &Weak<SystemInner>| SystemInner {
            memory,
            by_id: DashMap::new(),
            spaces: Spaces::default(),
            publications: Publications::default(),
            empty,
            me: me.clone(),
            listeners: Listeners::default(),
            coalesced: Coalesced::default(),
            iotlb: Iotlb::default(),
            notifiers: Notifiers::default(),
            told_global: AtomicU8::new(0),
            departed: Mutex::default(),
            departure: Condvar::new(),
            reclaim: Reclaim::default(),
            doors: DashMap::new(),
            waiters: Waiters::default(),
            spread: AtomicUsize::new(0),
            checks: AtomicBool::new(false),
        });
        let sink: Weak<SystemInner> = Arc::downgrade(&inner);
        inner.memory.set_sink(sink);
        Self { inner }
    }

    pub(crate) fn from_inner(inner: Arc<SystemInner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<SystemInner> {
        &self.inner
    }

    /// The regions.
    pub fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Makes an address space that shows `root` at address 0, wherever that is mapped. Inside a transaction it shows
    /// nothing until the commit.
    ///
    /// # Errors
    /// If `root` belongs to another machine, or in a listener.
    pub fn address_space(
        &self,
        name: impl Into<Arc<str>>,
        root: &RegionRef,
        config: SpaceConfig,
    ) -> Result<Arc<AddressSpace>, MemoryError> {
        let inner = &self.inner;
        if !inner.memory.is_same(root.memory()) {
            return Err(MemoryError::Foreign(root.name().clone()));
        }
        let id = inner.memory.new_space_id();
        let (root, view) = (root.clone(), inner.empty.clone());
        let space = Arc::new(AddressSpace::new(id, name.into(), root, config, view, inner.clone()));
        inner.memory.transaction(|transaction| {
            inner.by_id.insert(id, Arc::downgrade(&space));
            inner.spaces.insert(&space);
            transaction.ask()
        })?;
        Ok(space)
    }

    /// The address spaces that are alive, in the order of their making.
    pub fn spaces(&self) -> Vec<Arc<AddressSpace>> {
        self.inner.live_spaces()
    }

    /// Drops what was replaced and is used no more: destructors of devices run here. Does nothing inside an
    /// access, a transaction or a listener. Returns how many replaced views are still in use.
    pub fn reclaim(&self) -> usize {
        self.inner.run_reclaim()
    }

    /// From here on each commit compares what it rendered, which is where something changed, with a rendering of the whole, and
    /// panics if that is different: for tests, since it takes as long as the map is large.
    pub fn check_rendering(&self) {
        self.inner.checks.store(true, Ordering::Relaxed);
    }

    /// Names who is told that a call of [`MemorySystem::reclaim`] may find something to do, once; false if that was done
    /// before. `notify` is called from any thread, inside accesses too: it must not block, nor reclaim itself.
    pub fn on_reclaimable(&self, notify: impl Fn() + Send + Sync + 'static) -> bool {
        self.inner.reclaim.set_notify(Box::new(notify))
    }
}

impl fmt::Debug for MemorySystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySystem").field("spaces", &self.spaces()).finish()
    }
}

impl SystemInner {
    pub(crate) fn live_spaces(&self) -> Vec<Arc<AddressSpace>> {
        self.spaces.live()
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn publications(&self) -> &Publications {
        &self.publications
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    pub(crate) fn iotlb(&self) -> &Iotlb {
        &self.iotlb
    }

    pub(crate) fn notifiers(&self) -> &Notifiers {
        &self.notifiers
    }

    pub(crate) fn coalesced(&self) -> &Coalesced {
        &self.coalesced
    }

    pub(crate) fn checks_rendering(&self) -> bool {
        self.checks.load(Ordering::Relaxed)
    }

    pub(crate) fn told_global(&self) -> DirtyClients {
        DirtyClients::from_bits_truncate(self.told_global.load(Ordering::Relaxed))
    }

    fn lock_departed(&self) -> MutexGuard<'_, Vec<(SpaceId, ViewArc<View>)>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn departed(&self) -> Vec<(SpaceId, ViewArc<View>)> {
        self.lock_departed().clone()
    }

    /// The spaces that are gone, of which listeners have yet to be told, when all of `gone` are among them. Their last
    /// references have been dropped, and whoever did that waits for nobody before he says so here: this waits for him.
    pub(crate) fn departed_with(&self, gone: &[SpaceId]) -> Vec<(SpaceId, ViewArc<View>)> {
        let mut departed = self.lock_departed();
        while !gone.iter().all(|id| departed.iter().any(|(known, _)| known == id)) {
            departed = self.departure.wait(departed).unwrap_or_else(PoisonError::into_inner);
        }
        departed.clone()
    }

    pub(crate) fn empty_view(&self) -> ViewArc<View> {
        self.empty.clone()
    }

    pub(crate) fn space(&self, id: SpaceId) -> Option<Arc<AddressSpace>> {
        self.by_id.get(&id)?.upgrade()
    }

    pub(crate) fn reclaim(&self) -> &Reclaim {
        &self.reclaim
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Runs `late` where destructors may run: with no lock held, and outside of any access.
    pub(crate) fn when_idle(&self, late: impl FnOnce() + Send + 'static) {
        self.reclaim.retire(Box::new(Late(Some(late))));
        self.reclaim.signal();
    }

    /// The door of `owner`, which is made at the first call.
    pub(crate) fn door(&self, owner: OwnerId) -> Arc<Door> {
        self.doors.entry(owner).or_default().clone()
    }

    /// The names of the handles that are on the view of `generation`, or may be.
    pub(crate) fn handles_on(&self, generation: u64) -> Vec<Arc<str>> {
        self.live_spaces().iter().flat_map(|space| space.handles_on(generation)).collect()
    }

    /// A reader has let go of a view that was replaced.
    #[cold]
    pub(crate) fn left_view(&self) {
        self.waiters.wake();
        self.reclaim.signal();
    }

    fn run_reclaim(&self) -> usize {
        let (left, dropped) = self.reclaim.run(&self.memory);
        if dropped {
            self.waiters.wake();
        }
        left
    }

    /// Runs where destructors may run. Elsewhere (a commit of a device, inside its own callback) somebody has to be told:
    /// a guest that switches banks all day must not fill the list.
    fn settle_reclaim(&self) {
        if self.reclaim.is_running_here() {
            // a destructor changes the map: the reclaim that it is a part of goes on after it
        } else if chain::is_idle() {
            self.run_reclaim();
        } else {
            self.reclaim.signal();
        }
        // this thread may have been the last on a view
        self.waiters.wake();
    }

    /// An address space is gone. Its view stays with the listeners until they have been told, which nobody waits for.
    pub(crate) fn forget(self: &Arc<Self>, id: SpaceId, view: ViewArc<View>) {
        self.by_id.remove(&id);
        self.lock_departed().push((id, view));
        self.departure.notify_all();
        // only now: `is_space_going` finds it in one of the lists
        self.spaces.forget(id);
        let system = self.clone();
        self.memory.when_free(move || system.tell_departed());
    }

    /// Tells the listeners of the spaces that are gone. Called with the writers' lock held.
    fn tell_departed(self: &Arc<Self>) {
        let departed = self.departed();
        let told = departed.len();
        for (space, view) in departed {
            let change = Change { space, old: &view, new: &self.empty };
            let told = self.listeners.tell_gone(&change);
            self.reclaim.retire(Box::new(told));
            // a handle of another space that shared it may still be on it, and must not be the last
            self.publications.end(vec![view]).into_iter().for_each(|view| self.reclaim.retire_view(view));
        }
        let told: Vec<_> = self.lock_departed().drain(..told).collect();
        self.reclaim.retire(Box::new(told));
    }

    /// Whether the view of a space that goes is still to be listed for reclaim.
    pub(crate) fn is_space_going(&self) -> bool {
        self.spaces.is_one_going() || !self.lock_departed().is_empty()
    }

    /// Tells the listeners of the views that are about to replace others, and who wants to know of writes to all memory.
    fn tell(&self, fresh: &[Fresh<'_>], global: DirtyClients, forced: bool) -> Result<Batch, Refusal> {
        let mut told = Ok(Batch::default());
        if !self.listeners.is_empty() {
            // still published, so these are not the last references
            let olds: Vec<_> = fresh.iter().map(|fresh| fresh.space.published().load_full()).collect();
            let changes: Vec<_> = std::iter::zip(fresh, &olds)
                .map(|(Fresh { space, new }, old)| Change { space: space.id(), old, new })
                .collect();
            told = self.listeners.tell(&changes, (self.told_global(), global), forced);
        }
        if told.is_ok() {
            self.told_global.store(global.bits(), Ordering::Relaxed);
        }
        told
    }
}

/// Runs what it holds when it is dropped.
struct Late<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Late<F> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|late| late());
    }
}

impl CommitSink for SystemInner {
    fn commit(&self, tree: &Tree, damage: &Damage, forced: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
        let spread = Spread::new(tree, damage, self.spread.load(Ordering::Relaxed));
        self.spread.store(spread.regions(), Ordering::Relaxed);
        let spaces = self.spaces.affected(tree, &spread);
        let fresh = self.render_changed(tree, &spread, &spaces);
        let batch = match self.tell(&fresh, tree.global_log(), forced) {
            Ok(batch) => batch,
            Err(refusal) => {
                // views made for nothing, which may hold the last reference to a device
                let views: Vec<_> = fresh.into_iter().map(|fresh| fresh.new).collect();
                self.reclaim.retire(Box::new((views, spaces)));
                return Err(refusal);
            }
        };
        // zones are deleted: what was queued in them goes where the old map says
        self.absorb_ring();
        self.spaces.note_rendered();
        self.publications.begin(&fresh);
        let replaced: Vec<_> = fresh.into_iter().map(|fresh| fresh.space.publish(fresh.new)).collect();
        if let Some(done) = batch.finish() {
            self.reclaim.retire(done);
        }
        self.publications.end(replaced).into_iter().for_each(|old| self.reclaim.retire_view(old));
        // the last reference to a space must not be dropped under the writers' lock
        self.reclaim.retire(Box::new(spaces));
        if forced {
            // a device goes: whoever is still on an old map, of this commit or one before, may keep it alive
            let spaces = self.live_spaces();
            spaces.iter().for_each(|space| space.kick_laggards());
            self.reclaim.retire(Box::new(spaces));
        }
        Ok(())
    }

    fn locked(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(WritersMark::new()))
    }

    fn before_begin(&self) {
        if let Some(system) = self.me.upgrade() {
            system.flush_around_change();
        }
    }

    fn ended(&self) {
        hear_late();
        // what another thread has queued since, on the old map
        self.before_begin();
    }

    fn settle(&self) {
        self.settle_reclaim();
    }

    fn unplugged(&self, owner: OwnerId) {
        // a thread without a handle that is on an old view and sees no change of the map yet has left it for `settle` to
        // find; see `removal`
        fence::heavy();
        self.iotlb.clear();
        if let Some((_, door)) = self.doors.remove(&owner) {
            door.close();
            self.waiters.wake();
        }
    }

    fn retire(&self, owner: Box<dyn Any + Send>) {
        self.reclaim.retire(owner);
    }

    fn released(&self, last: Box<dyn Any + Send>) {
        self.reclaim.retire(last);
        self.reclaim.signal();
    }
}
