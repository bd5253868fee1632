//! Listeners under random transactions: a map that is built from the calls alone is the view, always.

#[path = "../rendering/forest.rs"]
mod forest;
mod recorder;

use forest::Forest;
use memory_core::{
    AccessRules, AddrRange, BusFault, DirtyClients, EventNotifier, IoEvent, Mmio, Plug, RamBlock, Region,
    TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, ListenerGuard, MemorySystem, SpaceConfig};
use proptest::prelude::*;
use recorder::{Call, Journal, Recorder, tracked_in, view_of};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

/// A device that nobody accesses.
struct Silent;

impl Mmio for Silent {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

/// Something that comes and goes; with a plug it is a device.
struct Visitor {
    _region: Region,
    plug: Option<Plug<Silent>>,
}

/// A machine with random regions, three address spaces, and listeners of some and of all.
struct Machine {
    system: MemorySystem,
    forest: Forest,
    spaces: Vec<Arc<AddressSpace>>,
    journal: Arc<Journal>,
    listeners: Vec<(Arc<Recorder>, ListenerGuard)>,
    events: Vec<EventNotifier>,
    visitors: Vec<Visitor>,
    /// Removals that listeners were told of.
    removals: usize,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let system = MemorySystem::new();
        system.check_rendering();
        let mut forest = Forest::new(system.memory().clone(), seed);
        let roots =
            [forest.regions.len() - 1, forest.rng.below(200) as usize, forest.rng.below(200) as usize];
        let space = |root: usize| {
            let root = forest.regions[root].by_ref();
            system.address_space(root.name().to_string(), root, SpaceConfig::default()).unwrap()
        };
        let spaces: Vec<_> = roots.into_iter().map(space).collect();
        let journal = Arc::new(Journal::default());
        let listeners = [(3, None), (-1, Some(0)), (3, Some(1)), (7, None)].into_iter().enumerate();
        let listeners = listeners
            .map(|(name, (priority, space))| {
                let space: Option<usize> = space;
                let space = space.map(|space| &spaces[space]);
                let nop = forest.rng.percent(20);
                let recorder = Arc::new(Recorder::new(name, priority, nop, journal.clone()));
                let guard = system.listen(recorder.clone(), priority, space).unwrap();
                (recorder, guard)
            })
            .collect();
        let events = (0..3).map(|_| EventNotifier::new().unwrap()).collect();
        let (visitors, removals) = Default::default();
        Self { system, forest, spaces, journal, listeners, events, visitors, removals }
    }

    /// A region of its own, of a device or of nobody, that may or may not find a place on the map.
    fn come(&mut self) {
        let rng = &mut self.forest.rng;
        let (size, is_device) = ((1 + rng.below(4)) << 12, rng.percent(50));
        // in the root it is rarely hidden
        let parent = if rng.percent(60) { forest::REGIONS - 1 } else { rng.below(200) as usize };
        let (address, mapping) = (self.forest.address(size.into()), self.forest.mapping());
        let memory = self.system.memory();
        let device = Arc::new(Silent);
        let weak: Weak<Silent> = Arc::downgrade(&device);
        let owner = memory.owner("/machine/visitor", weak.clone());
        let builder = if is_device {
            memory.mmio("visitor", size, AccessRules::new(), weak).owner(&owner)
        } else {
            memory.ram(format!("visitor {}", memory.unique()), RamBlock::unbacked(size))
        };
        let region = builder.build().unwrap();
        let _refused = self.forest.regions[parent].map_with(address, &region, mapping);
        let plug = is_device.then(|| memory.plug(&owner, device));
        self.visitors.push(Visitor { _region: region, plug });
    }

    /// A visitor goes, or a device is unplugged that still has its region: nobody can refuse that.
    fn go(&mut self) {
        let count = self.visitors.len() as u64;
        if count == 0 {
            return;
        }
        let at = self.forest.rng.below(count) as usize;
        if self.forest.rng.percent(50) {
            drop(self.visitors[at].plug.take());
        } else {
            drop(self.visitors.swap_remove(at));
        }
    }

    /// A region of the forest goes, with whatever it has for children and is the target of; a smaller one has its number.
    fn fell(&mut self) {
        let index = self.forest.rng.below(200) as usize;
        let id = self.forest.regions[index].id();
        if self.spaces.iter().any(|space| space.root().id() == id) {
            return;
        }
        let sapling = self.system.memory().container("sapling", 0x4000u64).build().unwrap();
        drop(std::mem::replace(&mut self.forest.regions[index], sapling));
    }

    /// What comes and goes between transactions.
    fn come_and_go(&mut self) -> Result<(), TestCaseError> {
        if self.forest.rng.percent(40) {
            self.come();
        }
        let calls = self.journal.take();
        self.check_order(&calls)?;
        match self.forest.rng.below(10) {
            0..3 => self.go(),
            3 => self.fell(),
            _ => {}
        }
        let calls = self.journal.take();
        self.removals += usize::from(calls.iter().any(Call::is_event));
        self.check_order(&calls)?;
        self.check_maps()?;
        self.check_logs()
    }

    /// What all listeners have in their maps, and the views.
    fn check_maps(&self) -> Result<(), TestCaseError> {
        for space in &self.spaces {
            let view = view_of(space);
            for (recorder, guard) in &self.listeners {
                prop_assert!(!guard.is_poisoned());
                let only = [None, Some(0), Some(1), None][recorder.name()];
                let hears = only.is_none_or(|only: usize| self.spaces[only].id() == space.id());
                let map = recorder.map(space.id());
                let global = self.system.memory().read(|tree| tree.global_log()).unwrap();
                prop_assert_eq!(recorder.global(), global);
                let tracked = if hears { tracked_in(space) } else { BTreeSet::new() };
                prop_assert_eq!(recorder.tracked(space.id()), tracked);
                prop_assert!(if hears { map == view } else { map.is_empty() }, "{map:#x?}\n{view:#x?}");
            }
        }
        Ok(())
    }

    /// Everything that a rollback has to bring back.
    fn shape(&self) -> String {
        let describe = |tree: &memory_core::Tree| {
            let regions = tree.regions().map(|(id, node)| {
                let children: Vec<_> = node.children().collect();
                let (kind, size, flags) = (node.kind(), node.size(), node.flags());
                let (log, intercepts) = (tree.log(id), node.intercepts());
                let place = node.placement();
                format!("{id:?} {kind:?} {size} {flags:?} {log:?} {intercepts:?} {place:?} {children:?}\n")
            });
            regions.collect::<String>()
        };
        self.system.memory().read(describe).unwrap()
    }

    fn generations(&self) -> Vec<u64> {
        self.spaces.iter().map(|space| space.generation()).collect()
    }

    /// Changes who wants to know of writes, to one region or to all memory.
    fn relog(&mut self) {
        let rng = &mut self.forest.rng;
        let (value, index) = (rng.percent(50), rng.below(200) as usize);
        let clients = DirtyClients::from_bits_truncate(rng.below(8) as u8);
        let everything = rng.percent(30);
        if !everything {
            // that a region has no memory to log is part of it
            let _refused = self.forest.regions[index].set_log(clients, value);
        } else if value {
            self.system.start_dirty_log(clients).unwrap();
        } else {
            self.system.stop_dirty_log(clients).unwrap();
        }
    }

    /// Adds or takes away an event or a coalesced range.
    fn intercept(&mut self) {
        let rng = &mut self.forest.rng;
        let region = self.forest.regions[rng.below(200) as usize].by_ref();
        let offset = rng.below(0x5000);
        let event = self.events[rng.below(3) as usize].clone();
        let width = Width::ALL[rng.below(4) as usize];
        let event = IoEvent::new(offset & !0x7ff, width, event);
        let event = if rng.percent(50) { event.value(rng.below(3)) } else { event };
        // that the region takes none, or has another one there, is part of it
        let _refused = match rng.below(5) {
            0 => region.add_coalesced(AddrRange::new(offset, offset + 0x100).unwrap()),
            1 => region.clear_coalesced(),
            2 => region.remove_ioevent(&event),
            _ => region.add_ioevent(event),
        };
    }

    /// What the blocks' logs note is what the tree wants.
    fn check_logs(&self) -> Result<(), TestCaseError> {
        let check = |tree: &memory_core::Tree| {
            tree.regions().all(|(id, node)| {
                node.kind().block().is_none_or(|block| block.dirty().clients() == tree.log(id))
            })
        };
        prop_assert!(self.system.memory().read(check).unwrap());
        Ok(())
    }

    /// One transaction, which may be refused by a listener at some call. Returns whether it was.
    fn transact(&mut self) -> Result<bool, TestCaseError> {
        let refuses = self.forest.rng.percent(40);
        if refuses {
            let calls = self.forest.rng.below(8) as usize;
            self.journal.refuse_after(calls);
        }
        let before = (self.shape(), self.generations());
        let memory = self.system.memory().clone();
        let transaction = memory.begin().unwrap();
        for _ in 0..1 + self.forest.rng.below(16) {
            if self.forest.rng.percent(12) {
                self.relog();
            } else if self.forest.rng.percent(20) {
                self.intercept();
            } else if !refuses && self.forest.rng.percent(3) {
                // done at the end, whatever that is, as a commit of its own
                self.go();
            } else {
                self.forest.change();
            }
        }
        let result = if self.forest.is_small() {
            transaction.commit()
        } else {
            drop(transaction);
            Ok(())
        };
        let calls = self.journal.take();
        let refused = result.is_err();
        match result {
            Ok(()) => self.check_order(&calls)?,
            Err(error) => {
                prop_assert!(refuses && error.to_string().contains(recorder::NO_SLOT), "{error}");
                prop_assert_eq!(before, (self.shape(), self.generations()));
                self.check_taken_back(&calls)?;
            }
        }
        self.check_maps()?;
        self.check_logs()?;
        Ok(refused)
    }

    /// The order that is promised: what goes before what comes, addresses ascending, priorities falling and rising; and
    /// nothing is deleted and added again.
    fn check_order(&self, calls: &[Call]) -> Result<(), TestCaseError> {
        calls
            .chunk_by(|call, next| !(call.is_commit() && next.is_begin()))
            .try_for_each(|calls| self.check_order_of_one(calls))
    }

    /// As [`Machine::check_order`], of one commit.
    fn check_order_of_one(&self, calls: &[Call]) -> Result<(), TestCaseError> {
        let events = || calls.iter().filter(|call| call.is_event());
        for space in &self.spaces {
            let here: Vec<_> = events().filter(|call| call.space() == Some(space.id())).collect();
            let keys: Vec<_> = here.iter().map(|call| call.order()).collect();
            prop_assert!(keys.is_sorted(), "{here:#x?}");
            for call in &here {
                prop_assert!(!here.iter().any(|other| call.undoes(other)), "{call:#x?} for nothing");
            }
        }
        for (recorder, _) in &self.listeners {
            let mine: Vec<_> = calls.iter().filter(|call| call.listener == recorder.name()).collect();
            if let (Some(first), Some(last)) = (mine.first(), mine.last()) {
                prop_assert!(first.is_begin() && last.is_commit() && !mine[1..].iter().any(|c| c.is_begin()));
            }
        }
        Ok(())
    }

    /// After a refusal: what was told, and then its inverse, the last first.
    fn check_taken_back(&self, calls: &[Call]) -> Result<(), TestCaseError> {
        let told: Vec<_> = calls.iter().filter(|call| call.is_event() && !call.is_nop()).collect();
        prop_assert!(told.len() % 2 == 0, "{told:#x?}");
        let (first, second) = told.split_at(told.len() / 2);
        for (call, inverse) in first.iter().zip(second.iter().rev()) {
            prop_assert!(call.undoes(inverse) && call.listener == inverse.listener, "{call:?} {inverse:?}");
        }
        let count = |is: fn(&Call) -> bool| calls.iter().filter(|call| is(call)).count();
        prop_assert_eq!(count(Call::is_begin), count(Call::is_commit));
        Ok(())
    }
}

/// 100 transactions on one machine, regions, devices and spaces that go, and listeners that leave. Returns how many ranges
/// were added, how many transactions were refused, and how many removals listeners were told of.
fn hundred_transactions(seed: u64) -> Result<(usize, usize, usize), TestCaseError> {
    let mut machine = Machine::new(seed);
    machine.check_maps()?;
    machine.journal.take();
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(machine.transact()?);
        machine.journal.refuse_none();
        machine.come_and_go()?;
    }
    let gone = machine.spaces.pop().unwrap();
    let id = gone.id();
    drop(gone);
    for (recorder, _) in &machine.listeners {
        prop_assert!(recorder.map(id).is_empty(), "a space that is gone has its ranges deleted");
    }
    machine.check_maps()?;
    let mut sum = 0;
    for (recorder, guard) in machine.listeners.drain(..) {
        guard.unregister().unwrap();
        let (added, deleted) = recorder.counts();
        prop_assert_eq!(added, deleted);
        sum += added;
        prop_assert!(machine.spaces.iter().all(|space| recorder.map(space.id()).is_empty()));
    }
    prop_assert_eq!(machine.system.reclaim(), 0);
    Ok((sum, refused, machine.removals))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_map_built_from_the_calls_is_the_view_after_10_000_transactions_with_refusals(seed in any::<u64>()) {
        hundred_transactions(seed)?;
    }
}

/// What the transactions above are made of, so that they cannot become trivial unseen.
#[test]
fn random_transactions_add_ranges_and_are_refused() {
    let results: Vec<_> = (0..10).map(|seed| hundred_transactions(seed).unwrap()).collect();
    let added: usize = results.iter().map(|(added, _, _)| added).sum();
    let refused: usize = results.iter().map(|(_, refused, _)| refused).sum();
    let removals: usize = results.iter().map(|(_, _, removals)| removals).sum();
    println!("1,000 transactions: {added} ranges added, {refused} refused; {removals} removals");
    assert!(added > 1000 && refused > 50 && removals > 30, "{added} {refused} {removals}");
}
