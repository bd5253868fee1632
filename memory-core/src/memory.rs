//! The memory of one machine: the writers' lock, transactions, and what happens at their end.

use crate::damage::Damage;
use crate::error::MemoryError;
use crate::host::{DirtyClients, RamBlock};
use crate::id::{OwnerId, RegionId, SpaceId};
use crate::node::Node;
use crate::owner::{Owner, Plug};
use crate::state::State;
use crate::sync::{
    Arc, AtomicBool, AtomicU64, Condvar, DashMap, Mutex, OnceLock, Ordering, PoisonError, SegQueue, Weak,
    thread_local,
};
use crate::transaction::Transaction;
use crate::tree::Tree;
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

/// What is done with a changed tree: views are rendered, listeners told, views published.
pub trait CommitSink: Send + Sync {
    /// Called at each outermost commit, with the writers' lock held. `damage` says what may have changed.
    ///
    /// With `forced` something has been removed for good and the commit cannot be refused; `damage` may be empty
    /// then, if what is removed was not visible any more.
    ///
    /// # Errors
    /// A refusal: nothing must be published then, and the tree is rolled back.
    fn commit(&self, tree: &Tree, damage: &Damage, forced: bool) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Called on a thread that has got the writers' lock. What this returns is dropped there when the lock is given up: a mark
    /// by which accesses see that no device may be run.
    fn locked(&self) -> Option<Box<dyn Any>> {
        None
    }

    /// Called before a thread waits for the writers' lock to begin a transaction, and before a device is unplugged: the place
    /// for what must be done before the map changes, and may run devices. The thread may hold its device's lock: nobody must
    /// be waited for who might want that.
    fn before_begin(&self) {}

    /// Called when a transaction has ended, with no lock of ours held, and not when something was dropped: the place for what
    /// was left to the end and may run devices. As with [`CommitSink::before_begin`] nobody must be waited for.
    fn ended(&self) {}

    /// Called after a commit, or when something was dropped, with no lock held: the place for what destructors may run in. It
    /// must neither block nor run a device otherwise.
    fn settle(&self);

    /// Called after the commit that took an owner's regions off the map for good, with no lock held: its plug guard is
    /// gone.
    fn unplugged(&self, owner: OwnerId);

    /// Takes what may be the last reference to an owner; its destructor must run with no lock held and outside of
    /// any access.
    fn retire(&self, owner: Box<dyn Any + Send>);

    /// As [`CommitSink::retire`], where no commit or transaction is about to end: whoever reclaims has to be told.
    fn released(&self, last: Box<dyn Any + Send>);
}

/// Who is told of commits and takes last references, once that is known.
pub(crate) type SinkCell = OnceLock<Weak<dyn CommitSink>>;

/// What is to be removed, as soon as no transaction is in the way.
pub(crate) enum Condemned {
    Region(RegionId),
    Plug(Unplugged),
    /// Something else that needs the writers' lock and waits for nobody.
    Errand(Box<dyn FnOnce() + Send>),
}

/// A device whose plug guard is gone.
pub(crate) struct Unplugged {
    pub(crate) owner: OwnerId,
    /// Set when the owner's regions are off the map.
    pub(crate) mark: Arc<AtomicBool>,
    pub(crate) device: Box<dyn Any + Send>,
}

struct Inner {
    /// The tree, or `None` while a writer has it: having it *is* the writers' lock. The mutex itself is held for an
    /// instant only. Lock order: device locks before this.
    state: Mutex<Option<Box<State>>>,
    returned: Condvar,
    sink: Arc<SinkCell>,
    /// Source of every number that is unique in the machine.
    numbers: AtomicU64,
    condemned: SegQueue<Condemned>,
    /// RAM blocks by identifier, for any thread. Changed with the writers' lock held.
    blocks: Arc<Blocks>,
}

/// RAM blocks by identifier, with the region that has it.
pub(crate) type Blocks = DashMap<String, (RegionId, Weak<RamBlock>)>;

/// What a thread has of the machines whose writers' lock it holds.
struct Held {
    /// Address of the machine's `Inner`, which is alive as long as somebody holds its lock.
    memory: usize,
    /// `None` while the commit has it, which is when listeners run.
    state: Option<Box<State>>,
    /// See [`CommitSink::locked`].
    _mark: Option<Box<dyn Any>>,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// All regions of one machine. Clones are the same memory.
///
/// Changes are made through the handles of regions, singly or grouped by [`Memory::transaction`]. One thread at
/// a time changes the tree; others that want to wait. A thread inside a transaction takes its changes to the
/// present level of it.
///
/// ```
/// use memory_core::{Memory, MemoryError, RamBlock, Size};
/// let memory = Memory::new();
/// let system = memory.container("system", Size::FULL).build()?;
/// let ram = memory.ram("ram", RamBlock::anonymous(0x10000u64)?).build()?;
/// memory.transaction(|_| {
///     system.map(0x8000_0000, &ram)?;
///     ram.set_enabled(true)
/// })?;
/// assert_eq!(ram.address()?, Some(0x8000_0000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// The memory of a machine, with no region in it.
    pub fn new() -> Self {
        let blocks = Arc::<Blocks>::default();
        let sink = Arc::new(SinkCell::new());
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(Some(Box::new(State::new(blocks.clone(), sink.clone())))),
                blocks,
                returned: Condvar::new(),
                sink,
                numbers: AtomicU64::new(1),
                condemned: SegQueue::new(),
            }),
        }
    }

    /// Names who is told of commits, once; false if that was done before.
    pub fn set_sink(&self, sink: Weak<dyn CommitSink>) -> bool {
        self.inner.sink.set(sink).is_ok()
    }

    fn sink(&self) -> Option<Arc<dyn CommitSink>> {
        self.inner.sink.get()?.upgrade()
    }

    /// A number that was not given out before in this machine, never 0.
    pub fn unique(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The RAM block of an identifier, if a region has it. Any thread may ask, and waits for nobody. QEMU's name:
    /// `qemu_ram_block_by_name`.
    ///
    /// ```
    /// use memory_core::{Memory, RamBlock};
    /// let memory = Memory::new();
    /// let ram = memory.ram("ram", RamBlock::anonymous(0x1000u64)?).identifier("pc.ram").build()?;
    /// assert!(memory.ram_block("pc.ram").is_some());
    /// drop(ram);
    /// assert!(memory.ram_block("pc.ram").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ram_block(&self, identifier: &str) -> Option<Arc<RamBlock>> {
        self.inner.blocks.get(identifier)?.1.upgrade()
    }

    /// The RAM blocks that migrate, with their identifiers, in the order of these.
    pub fn ram_blocks(&self) -> Vec<(String, Arc<RamBlock>)> {
        let blocks = self.inner.blocks.iter();
        let mut blocks: Vec<_> =
            blocks.filter_map(|entry| Some((entry.key().clone(), entry.value().1.upgrade()?))).collect();
        blocks.sort_by(|a, b| a.0.cmp(&b.0));
        blocks
    }

    /// An id for an address space.
    pub fn new_space_id(&self) -> SpaceId {
        SpaceId(self.unique())
    }

    /// Whether both are the same machine's memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// An owner of regions; `path` names it for people and in RAM block identifiers.
    pub fn owner(&self, path: impl Into<Arc<str>>, object: Weak<dyn Any + Send + Sync>) -> Owner {
        Owner::new(OwnerId(self.unique()), path.into(), object)
    }

    /// Plugs a device in: the guard is what keeps its regions mapped, see [`Plug`].
    pub fn plug<T: ?Sized + Send + Sync + 'static>(&self, owner: &Owner, device: Arc<T>) -> Plug<T> {
        Plug::new(self.clone(), owner, device)
    }

    /// Notes writes to all regions with host memory, for `clients` and no others; those that single regions asked for stay.
    /// Like any other change it takes effect at the outermost commit.
    ///
    /// # Errors
    /// [`MemoryError::InsideCommit`] from a listener, or a refusal.
    pub fn set_global_log(&self, clients: DirtyClients) -> Result<(), MemoryError> {
        self.change(|state| {
            if state.tree.global_log() != clients {
                state.set_global_log(clients);
            }
            Ok(())
        })
    }

    /// Begins a transaction, or a further level of the one that this thread is in. Waits while another thread is in
    /// one. No device runs inside it: accesses by this thread reach host memory only. Plugs and region handles that this
    /// thread dropped before are off the map then.
    ///
    /// # Errors
    /// [`MemoryError::InsideCommit`] from a listener.
    pub fn begin(&self) -> Result<Transaction, MemoryError> {
        let level = match self.held(|state| state.as_mut().map(|state| Self::open(state))) {
            Some(level) => level.ok_or(MemoryError::InsideCommit)?,
            None => {
                if let Some(sink) = self.sink() {
                    sink.before_begin();
                }
                let mut state = self.wait_for_state();
                if !self.inner.condemned.is_empty() {
                    // what this thread let go of before is off the map now, though another's transaction was in the way
                    self.hold(state);
                    self.remove_condemned();
                    state = self.wait_for_state();
                }
                let level = Self::open(&mut state);
                self.hold(state);
                level
            }
        };
        Ok(Transaction::new(self.clone(), level))
    }

    fn open(state: &mut State) -> usize {
        state.open_level();
        state.depth() - 1
    }

    /// Runs `changes` as one transaction, or as one level of the transaction that this thread is in: they are
    /// committed if it returns `Ok` and taken back if it returns an error or panics.
    ///
    /// # Errors
    /// What `changes` returns, or why the commit was refused.
    pub fn transaction<R, E: From<MemoryError>>(
        &self,
        changes: impl FnOnce(&Transaction) -> Result<R, E>,
    ) -> Result<R, E> {
        let transaction = self.begin()?;
        let result = changes(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Looks at the tree, as the transaction of this thread has left it so far. Waits while another thread is in a
    /// transaction.
    ///
    /// # Errors
    /// [`MemoryError::InsideCommit`] from a listener.
    pub fn read<R>(&self, look: impl FnOnce(&Tree) -> R) -> Result<R, MemoryError> {
        let _level = self.begin()?;
        self.with_state(|state| Ok(look(&state.tree)))
    }

    /// Whether this thread is in a transaction or a commit of this memory.
    pub fn is_inside_transaction(&self) -> bool {
        self.held(|_| ()).is_some()
    }

    /// This thread's hold of the lock, if it has it.
    fn held<R>(&self, use_it: impl FnOnce(&mut Option<Box<State>>) -> R) -> Option<R> {
        let memory = Arc::as_ptr(&self.inner) as usize;
        HELD.with(|held| {
            held.borrow_mut()
                .iter_mut()
                .find(|held| held.memory == memory)
                .map(|held| use_it(&mut held.state))
        })
    }

    fn hold(&self, state: Box<State>) {
        let memory = Arc::as_ptr(&self.inner) as usize;
        let mark = self.sink().and_then(|sink| sink.locked());
        HELD.with(|held| held.borrow_mut().push(Held { memory, state: Some(state), _mark: mark }));
    }

    /// Changes the state inside this thread's transaction.
    pub(crate) fn with_state<R>(
        &self,
        change: impl FnOnce(&mut State) -> Result<R, MemoryError>,
    ) -> Result<R, MemoryError> {
        // what looks at the tree may be a listener's code, or anybody's
        let mut work = Work { memory: self, state: self.held(Option::take).flatten(), end: false };
        change(work.state.as_mut().ok_or(MemoryError::InsideCommit)?)
    }

    /// Changes the state in a level of its own.
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce(&mut State) -> Result<R, MemoryError>,
    ) -> Result<R, MemoryError> {
        let level = self.begin()?;
        let result = self.with_state(change)?;
        level.commit()?;
        Ok(result)
    }

    /// Closes level `level` of this thread's transaction, and the transaction with the outermost one.
    pub(crate) fn close(&self, level: usize, commit: bool) -> Result<(), MemoryError> {
        let Some(state) = self.held(Option::take).flatten() else { return Err(MemoryError::Unbalanced) };
        let mut work = Work { memory: self, state: Some(state), end: false };
        let Some(state) = &mut work.state else { return Ok(()) };
        if state.depth() <= level {
            return Err(MemoryError::Unbalanced);
        }
        let balanced = state.depth() == level + 1;
        let mut result = if balanced { Ok(()) } else { Err(MemoryError::Unbalanced) };
        let mut resized = Vec::new();
        work.end = level == 0;
        if commit && balanced {
            if level > 0 {
                state.keep_level();
                return Ok(());
            }
            result = state.check();
            if result.is_ok()
                && state.is_changed()
                && let Some(sink) = self.sink()
            {
                state.start_logs();
                result = sink.commit(&state.tree, state.damage(), false).map_err(MemoryError::Refused);
            }
            if result.is_ok() {
                resized = state.settle_used();
                state.settle();
            }
        }
        // whatever was committed has no level left to roll back
        state.roll_back(level);
        let end = work.end;
        drop(work);
        resized.iter().for_each(|block| block.tell_resized());
        if end {
            let settles = self.remove_due();
            if let Some(sink) = self.sink() {
                sink.ended();
                if settles {
                    sink.settle();
                }
            }
        }
        result
    }

    fn wait_for_state(&self) -> Box<State> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(state) = state.take() {
                return state;
            }
            state = self.inner.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, state: Box<State>) {
        *self.inner.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.inner.returned.notify_one();
    }

    /// Runs `errand` with the writers' lock held and never waits for it: at once if nobody has it, otherwise at the end of
    /// the transaction that is in the way. The errand cannot start a transaction.
    pub fn when_free(&self, errand: impl FnOnce() + Send + 'static) {
        self.condemn(Condemned::Errand(Box::new(errand)));
    }

    pub(crate) fn condemn(&self, condemned: Condemned) {
        // what was written to the device before it goes still reaches it
        if matches!(condemned, Condemned::Plug(..))
            && !self.is_inside_transaction()
            && let Some(sink) = self.sink()
        {
            sink.before_begin();
        }
        self.inner.condemned.push(condemned);
        if self.remove_due()
            && let Some(sink) = self.sink()
        {
            sink.settle();
        }
    }

    /// Removes what is condemned, unless a transaction is in the way: false then, and its end does it. A thread that pushes
    /// and finds the state taken did so before the taker gave it back, so the taker sees what was pushed. What a listener
    /// panics at is removed when somebody comes here again, or begins a transaction.
    fn remove_due(&self) -> bool {
        if self.is_inside_transaction() {
            return false;
        }
        while !self.inner.condemned.is_empty() {
            let state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(state) = state else { return false };
            self.hold(state);
            self.remove_condemned();
        }
        true
    }

    fn remove_condemned(&self) {
        let mut work = Work { memory: self, state: self.held(Option::take).flatten(), end: true };
        let mut taken = Taken::new(&self.inner.condemned);
        let Some(state) = &mut work.state else { return };
        while let Some(condemned) = self.inner.condemned.pop() {
            match &condemned {
                Condemned::Region(id) => state.condemn(*id),
                Condemned::Plug(plug) => state.unplug(plug.owner),
                Condemned::Errand(_) => {}
            }
            taken.push(condemned);
        }
        while let Some(errand) = taken.errands.pop_front() {
            errand();
        }
        let sink = self.sink();
        // a device that was off the map already goes all the same: whoever is still on an old map has to hear of it
        if (!state.damage().is_empty() || !taken.plugs.is_empty())
            && let Some(sink) = &sink
            && let Err(error) = sink.commit(&state.tree, state.damage(), true)
        {
            tracing::error!(%error, "a removal cannot be refused");
        }
        let (regions, plugs) = taken.done();
        let buried: Vec<Node> = regions.into_iter().filter_map(|id| state.bury(id)).collect();
        state.settle();
        // an owner without a region too: a pin of one that it had may still lead to the device. With the lock held, since
        // the next who has it must map nothing of the device
        plugs.iter().for_each(|plug| plug.mark.store(true, Ordering::SeqCst));
        drop(work);
        sink.iter().for_each(|sink| plugs.iter().for_each(|plug| sink.unplugged(plug.owner)));
        // a region may have held its callbacks or its host memory alone, so it is retired as an owner is
        let mut last: Vec<_> = plugs.into_iter().map(|plug| plug.device).collect();
        if !buried.is_empty() {
            last.push(Box::new(buried));
        }
        for last in last {
            match &sink {
                Some(sink) => sink.retire(last),
                None => drop(last),
            }
        }
    }
}

/// What has been taken out of the queue to be removed. Where a listener or an errand panics meanwhile, it goes back: the
/// removal is not done before it is published, and no device may end here, with the lock held.
struct Taken<'a> {
    queue: &'a SegQueue<Condemned>,
    regions: Vec<RegionId>,
    plugs: Vec<Unplugged>,
    errands: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl<'a> Taken<'a> {
    fn new(queue: &'a SegQueue<Condemned>) -> Self {
        Self { queue, regions: Vec::new(), plugs: Vec::new(), errands: VecDeque::new() }
    }

    fn push(&mut self, condemned: Condemned) {
        match condemned {
            Condemned::Region(id) => self.regions.push(id),
            Condemned::Plug(plug) => self.plugs.push(plug),
            Condemned::Errand(errand) => self.errands.push_back(errand),
        }
    }

    /// The removal is published.
    fn done(mut self) -> (Vec<RegionId>, Vec<Unplugged>) {
        (std::mem::take(&mut self.regions), std::mem::take(&mut self.plugs))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let regions = self.regions.drain(..).map(Condemned::Region);
        let plugs = self.plugs.drain(..).map(Condemned::Plug);
        let errands = self.errands.drain(..).map(Condemned::Errand);
        regions.chain(plugs).chain(errands).for_each(|condemned| self.queue.push(condemned));
    }
}

/// The state while a commit or a change works on it, or somebody looks at it. However that ends, by a panic of a
/// listener too, the state goes back to where it belongs.
struct Work<'a> {
    memory: &'a Memory,
    state: Option<Box<State>>,
    /// The transaction is over: the lock is given up.
    end: bool,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return };
        if !self.end {
            self.memory.held(|held| *held = Some(state));
            return;
        }
        state.roll_back(0);
        state.abandon();
        state.settle_logs();
        let memory = Arc::as_ptr(&self.memory.inner) as usize;
        HELD.with(|held| held.borrow_mut().retain(|held| held.memory != memory));
        self.memory.give_back(state);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
