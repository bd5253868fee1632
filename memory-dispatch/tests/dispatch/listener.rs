//! Listeners: what they may do, what they hold, and what becomes of them. How they are told of random changes is a test
//! of its own.

use crate::board::{ATTRS, Board, Door};
use memory_core::{DirtyClients, MemoryError, RamBlock, Region, Width};
use memory_dispatch::{Listener, ListenerGuard, Refusal, Section, SpaceConfig};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Counts, keeps sections, runs something at the first range that is added, and refuses.
#[derive(Default)]
struct Spy {
    adds: AtomicUsize,
    dels: AtomicUsize,
    commits: AtomicUsize,
    poisoned: Mutex<Vec<String>>,
    kept: Mutex<Vec<Section>>,
    first: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    refuses_adds: bool,
    refuses_dels: bool,
}

impl Spy {
    fn counts(&self) -> [usize; 3] {
        [&self.adds, &self.dels, &self.commits].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Listener for Spy {
    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        if self.refuses_adds {
            return Err(format!("no slot for {:?}", section.range()).into());
        }
        self.adds.fetch_add(1, Ordering::SeqCst);
        self.kept.lock().unwrap().push(section.clone());
        if let Some(first) = self.first.lock().unwrap().take() {
            first();
        }
        Ok(())
    }

    fn region_del(&self, _: &Section) -> Result<(), Refusal> {
        if self.refuses_dels {
            return Err("it stays".into());
        }
        self.dels.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn commit(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    fn poisoned(&self, error: &Refusal) {
        self.poisoned.lock().unwrap().push(error.to_string());
    }
}

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

fn ram(board: &Board, name: &str) -> Region {
    board.memory().ram(name, RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap()
}

fn listen(board: &Board, spy: &Arc<Spy>) -> ListenerGuard {
    board.system.listen(spy.clone(), 0, None).unwrap()
}

#[test]
fn a_refused_change_is_an_error_and_is_not_there() {
    let mut board = board();
    let (calm, fussy) = (Arc::new(Spy::default()), Arc::new(Spy { refuses_adds: true, ..Spy::default() }));
    let guards = [listen(&board, &calm), listen(&board, &fussy)];
    let generation = board.space.generation();
    let region = ram(&board, "ram");
    let error = board.root.map(0x1000, &region).unwrap_err();
    assert_eq!(error.to_string(), "the change was refused: no slot for 0x1000-0x1fff");
    assert_eq!((region.address().unwrap(), board.space.generation()), (None, generation));
    assert_eq!((calm.counts(), fussy.counts()), ([1, 1, 2], [0, 0, 2]), "added, taken back, told the end");
    drop(guards);
    board.map(0x1000, region);
    assert_eq!(board.space.with_view(|view| view.len()), 1);
}

#[test]
fn a_listener_that_does_not_take_what_is_there_is_not_registered() {
    let mut board = board();
    let regions = [ram(&board, "low"), ram(&board, "high")];
    for (index, region) in regions.into_iter().enumerate() {
        board.map(index as u64 * 0x2000, region);
    }
    let fussy = Arc::new(Spy { refuses_adds: true, ..Spy::default() });
    assert!(matches!(board.system.listen(fussy.clone(), 0, None), Err(MemoryError::Refused(_))));
    assert_eq!(Arc::strong_count(&fussy), 1, "nobody holds it");
}

#[test]
fn a_removal_cannot_be_refused_and_the_listener_that_does_is_told_no_more() {
    let mut board = board();
    let stubborn = Arc::new(Spy { refuses_dels: true, ..Spy::default() });
    let guard = listen(&board, &stubborn);
    let region = ram(&board, "ram");
    board.root.map(0, &region).unwrap();
    assert!(matches!(region.unmap(), Err(MemoryError::Refused(_))) && !guard.is_poisoned());
    let commits = stubborn.counts()[2];
    drop(region);
    assert!(guard.is_poisoned());
    assert_eq!(*stubborn.poisoned.lock().unwrap(), ["it stays"]);
    assert_eq!(stubborn.counts()[2], commits, "told so instead of the end");
    assert!(board.space.with_view(|view| view.is_empty()));
    let before = stubborn.counts();
    let other = ram(&board, "other");
    board.map(0, other);
    guard.unregister().unwrap();
    assert_eq!(stubborn.counts(), before);
}

#[test]
fn a_listener_that_does_not_take_back_what_it_was_told_is_told_no_more() {
    let mut board = board();
    let stubborn = Arc::new(Spy { refuses_dels: true, ..Spy::default() });
    let fussy = Arc::new(Spy { refuses_adds: true, ..Spy::default() });
    let guard = board.system.listen(stubborn.clone(), 0, None).unwrap();
    let other = board.system.listen(fussy, 1, None).unwrap();
    let generation = board.space.generation();
    let region = ram(&board, "ram");
    let error = board.root.map(0x1000, &region).unwrap_err();
    assert_eq!(error.to_string(), "the change was refused: no slot for 0x1000-0x1fff");
    assert_eq!((region.address().unwrap(), board.space.generation()), (None, generation));
    assert_eq!((guard.is_poisoned(), other.is_poisoned()), (true, false));
    assert_eq!(*stubborn.poisoned.lock().unwrap(), ["it stays"]);
    let before = stubborn.counts();
    drop(other);
    board.map(0x1000, region);
    assert_eq!((stubborn.counts(), board.space.with_view(|view| view.len())), (before, 1));
}

#[test]
fn a_listener_that_panics_is_told_no_more_and_the_others_hear_that_the_change_is_taken_back() {
    let mut board = board();
    let (calm, last, first) = <(Arc<Spy>, Arc<Spy>, Arc<Spy>)>::default();
    let guards = [listen(&board, &calm), listen(&board, &first), listen(&board, &last)];
    let region = ram(&board, "ram");
    *first.first.lock().unwrap() = Some(Box::new(|| panic!("on purpose")));
    let told = catch_unwind(AssertUnwindSafe(|| board.root.map(0x1000, &region)));
    assert!(told.is_err() && region.address().unwrap().is_none());
    assert_eq!(calm.counts(), [1, 1, 2], "added, taken back, told the end");
    assert_eq!((first.counts(), last.counts()), ([1, 0, 1], [0, 0, 2]));
    assert_eq!(
        (&*first.poisoned.lock().unwrap(), guards[1].is_poisoned()),
        (&vec!["it panicked".into()], true)
    );
    board.map(0x1000, region);
    assert_eq!([&calm, &first, &last].map(|spy| spy.counts()), [[2, 1, 3], [1, 0, 1], [1, 0, 3]]);
}

#[test]
fn a_listener_cannot_start_a_transaction_but_may_drop_handles_and_leave() {
    let mut board = board();
    let spy = Arc::new(Spy::default());
    let guard = listen(&board, &spy);
    let (memory, other) = (board.memory().clone(), ram(&board, "other"));
    board.root.map(0x8000, &other).unwrap();
    let (sender, result) = std::sync::mpsc::channel();
    let root = board.root.by_ref().clone();
    *spy.first.lock().unwrap() = Some(Box::new(move || {
        let began = memory.begin().map(drop);
        sender.send((began, root.address().map(drop))).unwrap();
        drop((other, guard));
    }));
    let region = ram(&board, "ram");
    board.map(0, region);
    let (began, looked) = result.recv().unwrap();
    assert!(matches!(began, Err(MemoryError::InsideCommit)));
    assert!(matches!(looked, Err(MemoryError::InsideCommit)));
    assert_eq!(board.space.with_view(|view| view.len()), 1, "the dropped region went after the commit");
    let [adds, dels, _] = spy.counts();
    assert_eq!((adds, dels), (2, 2), "it left when the commit was over");
    spy.kept.lock().unwrap().clear();
    assert_eq!(Arc::strong_count(&spy), 1);
}

#[test]
fn a_section_that_a_listener_keeps_holds_the_owner() {
    struct Device;
    let board = board();
    let spy = Arc::new(Spy::default());
    let guard = listen(&board, &spy);
    let device = Arc::new(Device);
    let weak = Arc::downgrade(&device);
    let owner = board.memory().owner("/device", weak.clone());
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().ram("ram", block).owner(&owner).build().unwrap();
    let plug = board.memory().plug(&owner, device);
    board.root.map(0, &region).unwrap();
    drop(plug);
    assert_eq!(spy.counts()[..2], [1, 1]);
    assert!(weak.upgrade().is_some(), "the section pins it");
    spy.kept.lock().unwrap().clear();
    board.system.reclaim();
    assert!(weak.upgrade().is_none());
    drop(guard);
}

#[test]
fn a_listener_of_one_space_hears_that_space_and_its_end() {
    let board = board();
    let other_root = board.memory().container("other", 0x10_0000u64).build().unwrap();
    let other = board.system.address_space("other", &other_root, SpaceConfig::default()).unwrap();
    let spy = Arc::new(Spy::default());
    let guard = board.system.listen(spy.clone(), 0, Some(&other)).unwrap();
    let (here, there) = (ram(&board, "here"), ram(&board, "there"));
    board.root.map(0, &here).unwrap();
    assert_eq!(spy.counts()[0], 0);
    // registered inside a transaction: told of what was before, and then of the change
    let late = Arc::new(Spy::default());
    let late_guard = board
        .memory()
        .transaction(|_| {
            other_root.map(0, &there)?;
            let guard = listen(&board, &late);
            assert_eq!(late.counts(), [1, 0, 1], "the first space has its RAM, the second nothing yet");
            Ok::<_, MemoryError>(guard)
        })
        .unwrap();
    assert_eq!((spy.counts(), late.counts()), ([1, 0, 2], [2, 0, 2]));
    drop(other);
    assert_eq!((spy.counts(), late.counts()), ([1, 1, 3], [2, 1, 3]));
    drop((guard, late_guard));
    assert_eq!(late.counts()[1], 2);
}

/// A space has no owner any more, and has not yet said that it is gone, when a listener is unregistered: the listener is told
/// all the same that its ranges go. Chance decides whether a turn meets that moment; of so many some do.
#[test]
fn a_listener_that_is_unregistered_while_a_space_goes_is_told_of_all_deletes() {
    const TURNS: usize = 2000;
    let board = board();
    let region = ram(&board, "ram");
    board.root.map(0, &region).unwrap();
    // the turn that has begun, and the one whose space is dropped
    let (begun, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let going: Mutex<Option<Arc<memory_dispatch::AddressSpace>>> = Mutex::default();
    let reach = |counter: &AtomicUsize, turn| {
        for look in 0.. {
            if counter.load(Ordering::SeqCst) >= turn {
                return;
            }
            if look % 1000 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    let mut told = 0;
    let pause = |turns: usize| (0..turns).for_each(|_| std::hint::spin_loop());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1..=TURNS {
                let prepared = || going.lock().unwrap().take();
                let space = std::iter::repeat_with(prepared).flatten().next();
                reach(&begun, turn);
                pause(turn % 64);
                drop(space);
                dropped.store(turn, Ordering::SeqCst);
            }
        });
        for turn in 1..=TURNS {
            let space = board.system.address_space("going", &board.root, SpaceConfig::default()).unwrap();
            let spy = Arc::new(Spy::default());
            let guard = board.system.listen(spy.clone(), 0, Some(&space)).unwrap();
            *going.lock().unwrap() = Some(space);
            pause(200);
            begun.store(turn, Ordering::SeqCst);
            guard.unregister().unwrap();
            let [adds, dels, _] = spy.counts();
            reach(&dropped, turn);
            told += usize::from((adds, dels) == (1, 1));
        }
    });
    assert_eq!(told, TURNS);
}

/// Panics at whatever is set, once.
#[derive(Default)]
struct Panics {
    at_add: AtomicBool,
    at_sync: AtomicBool,
    at_clear: AtomicBool,
}

fn panic_if(due: &AtomicBool) {
    assert!(!due.swap(false, Ordering::SeqCst), "on purpose");
}

impl Listener for Panics {
    fn region_add(&self, _: &Section) -> Result<(), Refusal> {
        panic_if(&self.at_add);
        Ok(())
    }

    fn log_sync(&self, _: &Section) {
        panic_if(&self.at_sync);
    }

    fn log_clear(&self, _: &Section) {
        panic_if(&self.at_clear);
    }
}

#[test]
fn a_listener_that_panics_when_it_is_registered_or_asked_for_marks_leaves_the_lock_free() {
    let board = board();
    let region = ram(&board, "ram");
    board.root.map(0x1000, &region).unwrap();
    region.set_log(DirtyClients::DISPLAY, true).unwrap();
    let panics = Arc::new(Panics::default());
    panics.at_add.store(true, Ordering::SeqCst);
    let listen = || board.system.listen(panics.clone(), 0, None);
    assert!(catch_unwind(AssertUnwindSafe(listen)).is_err());
    let _guard = listen().unwrap();
    for due in [&panics.at_sync, &panics.at_clear] {
        due.store(true, Ordering::SeqCst);
        let take = || board.system.snapshot_and_clear(&region, DirtyClients::DISPLAY, 0, 0x1000);
        assert!(catch_unwind(AssertUnwindSafe(take)).is_err());
        assert!(!board.memory().is_inside_transaction());
        take().unwrap();
    }
    region.set_address(0x2000).unwrap();
    assert!(board.space.load(0x2000, Width::W4, ATTRS).is_ok());
}
