//! IOMMUs that announce what they change: entries that are kept, and notifiers.

use crate::board::{ATTRS, Board, Door};
use memory_core::{
    AccessRules, AddrRange, BusFault, Iommu, IommuEntry, IommuEvents, Mmio, Permissions, RamBlock, Region,
    ReplayVisitor, SpaceId, TxAttrs, Width,
};
use memory_dispatch::{
    AddressSpace, Direction, IOTLB_ENTRIES, IommuError, IommuNotice, IommuPort, SpaceConfig, WaitError,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

const BOTH: Permissions = Permissions::READ.union(Permissions::WRITE);
const ALL: IommuEvents = IommuEvents::all();

/// Two translations, secure and not, of a map from pages to pages that announces what it changes.
#[derive(Default)]
struct Unit {
    pages: [Mutex<BTreeMap<u64, IommuEntry>>; 2],
    asked: AtomicUsize,
    wanted: Mutex<Vec<(usize, IommuEvents)>>,
    refuses: AtomicBool,
    port: OnceLock<IommuPort>,
}

impl Iommu for Unit {
    fn translate(&self, address: u64, _: Permissions, attrs: TxAttrs) -> Option<IommuEntry> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let pages = self.pages[self.index_of(attrs)].lock().unwrap();
        let (start, entry) = pages.range(..=address).next_back()?;
        (address - start <= entry.mask).then_some(*entry)
    }

    fn indexes(&self) -> usize {
        2
    }

    fn index_of(&self, attrs: TxAttrs) -> usize {
        usize::from(attrs.flags.contains(memory_core::TxFlags::SECURE))
    }

    fn announces(&self) -> bool {
        true
    }

    fn replay(&self, index: usize, range: AddrRange, visit: ReplayVisitor<'_>) -> bool {
        for (start, entry) in self.pages[index].lock().unwrap().clone() {
            let page = AddrRange::new(start, start + entry.mask).unwrap();
            if page.overlaps(range) {
                visit(page, entry);
            }
        }
        true
    }

    fn events_wanted(&self, index: usize, events: IommuEvents) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err("no caching mode".into());
        }
        self.wanted.lock().unwrap().push((index, events));
        Ok(())
    }
}

impl Unit {
    fn map(&self, index: usize, at: u64, space: SpaceId, translated: u64, mask: u64) {
        let entry = IommuEntry { space, translated, mask, permissions: BOTH };
        self.pages[index].lock().unwrap().insert(at, entry);
        let range = AddrRange::new(at, at + mask).unwrap();
        self.port.get().unwrap().map(index, range, entry);
    }

    fn unmap(&self, index: usize, at: u64) {
        let entry = self.pages[index].lock().unwrap().remove(&at).unwrap();
        self.port.get().unwrap().unmap(index, AddrRange::new(at, at + entry.mask).unwrap());
    }
}

/// RAM at 0, each page full of its number, and a space that an IOMMU is the root of.
struct Bench {
    board: Board,
    unit: Arc<Unit>,
    region: Region,
    dma: Arc<AddressSpace>,
}

impl Bench {
    fn new() -> Self {
        let mut board = Board::new(Door::Space, SpaceConfig::default());
        let block = RamBlock::anonymous(0x10_0000u64).unwrap();
        (0..0x100).for_each(|page| assert!(block.fill(page << 12, 0x1000, page as u8)));
        let ram = board.memory().ram("ram", block).build().unwrap();
        board.map(0, ram);
        let unit = Arc::<Unit>::default();
        let weak = Arc::downgrade(&unit);
        let region = board.memory().iommu("iommu", memory_core::Size::FULL, weak).build().unwrap();
        let dma = board.system.address_space("dma", &region, SpaceConfig::default()).unwrap();
        unit.port.set(board.system.iommu_port(&region)).unwrap();
        Self { board, unit, region, dma }
    }

    fn map(&self, index: usize, at: u64, translated: u64, mask: u64) {
        self.unit.map(index, at, self.board.space.id(), translated, mask);
    }

    fn load(&self, address: u64, attrs: TxAttrs) -> Result<u64, BusFault> {
        self.dma.load(address, Width::W1, attrs)
    }

    fn asked(&self) -> usize {
        self.unit.asked.swap(0, Ordering::SeqCst)
    }
}

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

fn secure() -> TxAttrs {
    TxAttrs { flags: memory_core::TxFlags::SECURE, ..ATTRS }
}

#[test]
fn translations_are_kept_by_index_until_they_are_taken_back() {
    let bench = Bench::new();
    bench.map(0, 0x1000, 0x5000, 0xfff);
    bench.map(1, 0x1000, 0x6000, 0xfff);
    for _ in 0..3 {
        assert_eq!((bench.load(0x1010, ATTRS), bench.load(0x1020, secure())), (Ok(5), Ok(6)));
    }
    assert_eq!(bench.asked(), 2);
    let stats = bench.board.system.iotlb_stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (4, 2, 2));
    bench.unit.unmap(0, 0x1000);
    assert_eq!((bench.load(0x1010, ATTRS), bench.load(0x1020, secure())), (Err(BusFault::ACCESS), Ok(6)));
    bench.map(0, 0x1000, 0x7000, 0xfff);
    assert_eq!(bench.load(0x1010, ATTRS), Ok(7));
}

#[test]
fn a_large_page_is_forgotten_whole_and_the_iotlb_is_bounded() {
    let bench = Bench::new();
    bench.map(0, 0, 0, 0xf_ffff);
    for page in 0..0x100 {
        assert_eq!(bench.load(page << 12, ATTRS), Ok(page));
    }
    assert_eq!(bench.board.system.iotlb_stats().entries, 0x100);
    bench.unit.unmap(0, 0);
    assert_eq!(bench.board.system.iotlb_stats().entries, 0);
    for page in 0..2 * IOTLB_ENTRIES as u64 {
        bench.map(0, page << 12, page << 12 & 0xf_ffff, 0xfff);
        assert_eq!(bench.load(page << 12, ATTRS), Ok(page & 0xff));
        assert!(bench.board.system.iotlb_stats().entries <= IOTLB_ENTRIES);
    }
}

#[test]
fn an_entry_that_only_reads_does_not_answer_a_write() {
    let bench = Bench::new();
    let space = bench.board.space.id();
    let read = IommuEntry { space, translated: 0x5000, mask: 0xfff, permissions: Permissions::READ };
    bench.unit.pages[0].lock().unwrap().insert(0x1000, read);
    assert_eq!(bench.load(0x1000, ATTRS), Ok(5));
    assert_eq!(bench.dma.store(0x1000, Width::W1, 9, ATTRS), Err(BusFault::ACCESS));
    // more is allowed, which needs no announcement
    bench.map(0, 0x1000, 0x5000, 0xfff);
    assert_eq!(bench.dma.store(0x1000, Width::W1, 9, ATTRS), Ok(()));
}

#[test]
fn entries_into_a_space_that_is_gone_are_faults() {
    let bench = Bench::new();
    let root = bench.board.memory().container("root", 0x1000u64).build().unwrap();
    let other = bench.board.system.address_space("other", &root, SpaceConfig::default()).unwrap();
    let ram = bench.board.memory().ram("other", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    root.map(0, &ram).unwrap();
    bench.unit.map(0, 0, other.id(), 0, 0xfff);
    assert_eq!(bench.load(0, ATTRS), Ok(0));
    drop(other);
    assert_eq!(bench.load(0, ATTRS), Err(BusFault::DECODE));
}

#[test]
fn after_an_invalidation_no_thread_gets_the_old_page() {
    let bench = Bench::new();
    // every page of an epoch leads to the page of that number
    let announced = AtomicU64::new(1);
    bench.map(0, 0, 0x1000, 0xfff);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let least = announced.load(Ordering::SeqCst);
                        // between its unmapping and its mapping the page is nowhere
                        if let Ok(page) = bench.load(0x10, ATTRS) {
                            assert!(page >= least, "{page} after {least} was announced");
                        }
                    }
                })
            })
            .collect();
        for epoch in 2..0x100 {
            bench.unit.unmap(0, 0);
            bench.map(0, 0, epoch << 12, 0xfff);
            announced.store(epoch, Ordering::SeqCst);
            std::thread::yield_now();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(bench.load(0x10, ATTRS), Ok(0xff));
}

/// Everything that a notifier was told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<IommuNotice>>>);

impl Heard {
    fn take(&self) -> Vec<(IommuEvents, u64, u64, Option<u64>)> {
        let notices = std::mem::take(&mut *self.0.lock().unwrap());
        let short = |notice: IommuNotice| {
            let translated = notice.entry.map(|entry| entry.translated);
            (notice.event, notice.range.start(), notice.range.last(), translated)
        };
        notices.into_iter().map(short).collect()
    }

    fn ear(&self) -> impl Fn(&IommuNotice) + Send + Sync + 'static {
        let heard = self.0.clone();
        move |notice| heard.lock().unwrap().push(*notice)
    }
}

#[test]
fn notifiers_hear_their_index_and_events_cut_to_their_range() {
    let (bench, heard) = (Bench::new(), Heard::default());
    let (map, unmap) = (IommuEvents::MAP, IommuEvents::UNMAP);
    let system = &bench.board.system;
    let guard = system
        .notify_iommu(&bench.region, (0, range(0x1800, 0x47ff)), (map | unmap, false), heard.ear())
        .unwrap();
    bench.map(0, 0x0000, 0x5000, 0xfff);
    bench.map(1, 0x2000, 0x5000, 0xfff);
    assert!(heard.take().is_empty(), "elsewhere, and another translation");
    bench.map(0, 0x1000, 0x5000, 0xfff);
    bench.map(0, 0x4000, 0x8000, 0xfff);
    assert_eq!(heard.take(), [(map, 0x1800, 0x1fff, Some(0x5800)), (map, 0x4000, 0x47ff, Some(0x8000))]);
    bench.unit.unmap(0, 0x4000);
    assert_eq!(heard.take(), [(unmap, 0x4000, 0x47ff, None)], "and not the unmap for devices' own IOTLBs");
    drop(guard);
    bench.unit.unmap(0, 0x1000);
    assert!(heard.take().is_empty());
}

#[test]
fn notifier_ranges_that_straddle_pages_and_the_top_hear_just_their_part() {
    let (bench, heard) = (Bench::new(), Heard::default());
    let unmap = IommuEvents::UNMAP;
    let top = range(u64::MAX - 0x7ff, u64::MAX);
    let middle = range(0x1_0800, 0x2_07ff);
    let guards = [top, middle].map(|range| {
        bench.board.system.notify_iommu(&bench.region, (0, range), (unmap, false), heard.ear()).unwrap()
    });
    let port = bench.unit.port.get().unwrap();
    port.unmap(0, AddrRange::ALL);
    assert_eq!(heard.take(), [(unmap, top.start(), u64::MAX, None), (unmap, 0x1_0800, 0x2_07ff, None)]);
    port.unmap(0, range(u64::MAX - 0xfff, u64::MAX));
    port.unmap(0, range(0x1_0000, 0x1_ffff));
    port.unmap(0, range(0x2_0000, 0x2_ffff));
    let parts = [(top.start(), u64::MAX), (0x1_0800, 0x1_ffff), (0x2_0000, 0x2_07ff)];
    assert_eq!(heard.take(), parts.map(|(start, last)| (unmap, start, last, None)));
    port.unmap(0, range(0x3_0000, 0x3_ffff));
    assert!(heard.take().is_empty());
    drop(guards);
}

#[test]
fn registering_replays_what_is_mapped_and_no_more() {
    let (bench, heard) = (Bench::new(), Heard::default());
    for page in [1u64, 5, 9] {
        bench.map(0, page << 40, page << 12, 0xfff);
    }
    let everything = (0, AddrRange::ALL);
    let guard = bench.board.system.notify_iommu(&bench.region, everything, (ALL, true), heard.ear()).unwrap();
    let starts: Vec<_> =
        heard.take().into_iter().map(|(_, start, _, translated)| (start >> 40, translated)).collect();
    assert_eq!(starts, [(1, Some(0x1000)), (5, Some(0x5000)), (9, Some(0x9000))]);
    assert_eq!(bench.asked(), 0, "no page was tried");
    drop(guard);
    assert_eq!(*bench.unit.wanted.lock().unwrap(), [(0, ALL), (0, IommuEvents::empty())]);
}

#[test]
fn what_an_iommu_cannot_do_is_refused() {
    let bench = Bench::new();
    let system = &bench.board.system;
    let listen = |index| system.notify_iommu(&bench.region, (index, AddrRange::ALL), (ALL, false), |_| ());
    assert!(matches!(listen(2), Err(IommuError::NoIndex { index: 2, .. })));
    bench.unit.refuses.store(true, Ordering::SeqCst);
    let refused = listen(0).err().unwrap().to_string();
    assert_eq!(refused, "IOMMU `iommu` refused: no caching mode");
    let root = bench.board.root.by_ref();
    let none = system.notify_iommu(root, (0, AddrRange::ALL), (ALL, false), |_| ());
    assert!(matches!(none, Err(IommuError::NoIommu(_))));
}

#[test]
fn a_notifier_may_end_itself_and_is_not_called_after_its_end() {
    let bench = Bench::new();
    let slot: Arc<Mutex<Option<memory_dispatch::IommuNotifierGuard>>> = Arc::default();
    let (own, calls) = (slot.clone(), Arc::new(AtomicUsize::new(0)));
    let count = calls.clone();
    let tell = move |_: &IommuNotice| {
        count.fetch_add(1, Ordering::SeqCst);
        let guard = own.lock().unwrap().take();
        drop(guard);
    };
    let guard = bench
        .board
        .system
        .notify_iommu(&bench.region, (0, AddrRange::ALL), (IommuEvents::MAP, false), tell)
        .unwrap();
    *slot.lock().unwrap() = Some(guard);
    bench.map(0, 0, 0, 0xfff);
    bench.map(0, 0x1000, 0, 0xfff);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn memory_behind_an_iommu_is_mapped_itself_to_the_end_of_its_page() {
    let bench = Bench::new();
    bench.map(0, 0x1000, 0x5000, 0xfff);
    bench.map(0, 0x2000, 0x6000, 0xfff);
    let mut guard = bench.dma.map(0x1800, 0x1000, Direction::Write, ATTRS).unwrap();
    assert_eq!((guard.is_direct(), guard.len(), guard.is_stale(&bench.dma)), (true, 0x800, false));
    assert!(guard.write(0, &[0xaa]));
    assert_eq!(bench.board.space.load(0x5800, Width::W1, ATTRS), Ok(0xaa), "at once");
    bench.unit.unmap(0, 0x1000);
    assert!(guard.is_stale(&bench.dma) && guard.write(1, &[0xbb]), "it keeps its rights");
    guard.unmap(2).unwrap();
    let fault = bench.dma.map(0x1800, 1, Direction::Read, ATTRS).err().unwrap();
    assert_eq!(fault, BusFault::ACCESS.into());
}

#[test]
fn a_window_behind_an_iommu_keeps_what_it_was_led_to_and_tells() {
    let mut bench = Bench::new();
    let mut shadow = |name: &str| {
        let ram = bench.board.memory().ram(name, RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
        bench.board.map(0x20_0000, ram)
    };
    let read_only = shadow("shadow");
    read_only.set_read_only(true).unwrap();
    for (page, to) in [(1u64, 0x5000), (2, 0x9000), (4, 0x20_0000)] {
        bench.map(0, page << 12, to, 0xfff);
    }
    let window = bench.dma.window(range(0x1000, 0x4fff), ATTRS);
    let guard = bench.dma.map(0x1000, 0x100, Direction::Write, ATTRS).unwrap();
    let load = |offset| window.load(offset, Width::W1);
    bench.asked();
    assert_eq!((load(0xfff), load(0x1000), window.load(0xfff, Width::W2)), (Ok(5), Ok(9), Ok(0x0905)));
    assert_eq!((bench.asked(), window.is_stale()), (0, false));
    // what it refused is asked for again, and what was read-only stays so
    assert_eq!((load(0x2000), bench.asked()), (Err(BusFault::ACCESS), 1));
    read_only.set_read_only(false).unwrap();
    assert!(window.is_stale() && guard.is_stale(&bench.dma), "the map behind has changed");
    assert_eq!(window.store(0x3000, Width::W1, 1), Err(BusFault::DECODE));
    let window = bench.dma.window(range(0x1000, 0x4fff), ATTRS);
    assert!(!window.is_stale());
    bench.unit.unmap(0, 0x2000);
    assert!(window.is_stale());
    bench.map(0, 0x2000, 0x6000, 0xfff);
    bench.map(0, 0x3000, 0x7000, 0xfff);
    window.store(0x1000, Width::W1, 0xaa).unwrap();
    assert_eq!(bench.board.space.load(0x9000, Width::W1, ATTRS), Ok(0xaa), "it keeps its rights");
    assert_eq!((window.load(0x1000, Width::W1), window.load(0x2000, Width::W1)), (Ok(0xaa), Ok(7)));
}

#[test]
fn a_window_as_large_as_a_space_behind_an_iommu_asks_for_so_many_pages() {
    let bench = Bench::new();
    bench.map(0, 0, 0x5000, 0xfff);
    bench.map(0, 0x8000_0000, 0x6000, 0xfff);
    let window = bench.dma.window(AddrRange::ALL, ATTRS);
    assert!(bench.asked() <= 2 * 4096);
    assert_eq!((window.load(0, Width::W1), window.load(0x8000_0000, Width::W1)), (Ok(5), Ok(6)));
}

#[test]
fn a_read_only_range_behind_an_iommu_is_not_mapped_to_be_written() {
    let mut bench = Bench::new();
    let memory = bench.board.memory();
    let ram = memory.ram("shadow", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    let (rom, registers) = (
        memory.rom("rom", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap(),
        memory.reservation("elsewhere", 0x1000u64).build().unwrap(),
    );
    let ram = bench.board.map(0x20_0000, ram);
    bench.board.map(0x20_1000, rom);
    bench.board.map(0x20_2000, registers);
    for page in 0..3u64 {
        bench.map(0, page << 12, 0x20_0000 + (page << 12), 0xfff);
    }
    let map = |at, direction| bench.dma.map(at, 4, direction, ATTRS).map(|guard| guard.is_direct());
    assert_eq!(map(0, Direction::Write), Ok(true));
    ram.set_read_only(true).unwrap();
    assert_eq!(map(0, Direction::Read), Ok(true));
    assert_eq!(map(0, Direction::Write), Err(BusFault::DECODE.into()));
    assert_eq!(map(0x1000, Direction::Write), Err(BusFault::DECODE.into()));
    // as without an IOMMU
    let without = bench.board.space.map(0x20_2000, 4, Direction::Write, ATTRS).map(|guard| guard.is_direct());
    assert_eq!(map(0x2000, Direction::Write), without);
}

/// An IOMMU that is slow to hear that nobody wants anything any more.
#[derive(Default)]
struct Slow {
    wanted: Mutex<Option<IommuEvents>>,
    hears: OnceLock<Sender<()>>,
    goes_on: Mutex<Option<Receiver<()>>>,
}

impl Iommu for Slow {
    fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
        None
    }

    fn events_wanted(&self, _: usize, events: IommuEvents) -> Result<(), Box<dyn Error + Send + Sync>> {
        let goes_on = if events.is_empty() { self.goes_on.lock().unwrap().take() } else { None };
        if let Some(goes_on) = goes_on {
            self.hears.get().unwrap().send(()).unwrap();
            // not for ever: it may be that others wait for this
            let _late = goes_on.recv_timeout(Duration::from_millis(300));
        }
        *self.wanted.lock().unwrap() = Some(events);
        Ok(())
    }
}

#[test]
fn an_iommu_hears_last_what_is_wanted_last() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let slow = Arc::<Slow>::default();
    let (hears, heard) = channel();
    let (go_on, goes_on) = channel();
    slow.hears.set(hears).unwrap();
    *slow.goes_on.lock().unwrap() = Some(goes_on);
    let region = board.memory().iommu("slow", 0x1000u64, Arc::downgrade(&slow)).build().unwrap();
    let listen = || board.system.notify_iommu(&region, (0, range(0, 0xfff)), (ALL, false), |_| ()).unwrap();
    let first = listen();
    let second = std::thread::scope(|scope| {
        let ends = scope.spawn(|| drop(first));
        // one goes, and while the IOMMU is told that nobody is left another one comes
        heard.recv().unwrap();
        let second = listen();
        go_on.send(()).ok();
        ends.join().unwrap();
        second
    });
    assert_eq!(*slow.wanted.lock().unwrap(), Some(ALL), "somebody listens");
    drop(second);
    assert_eq!(*slow.wanted.lock().unwrap(), Some(IommuEvents::empty()));
}

#[test]
fn a_notifier_that_panicked_is_not_waited_for() {
    let bench = Bench::new();
    let everything = (0, AddrRange::ALL);
    let tell = |_: &IommuNotice| panic!("on purpose");
    let guard =
        bench.board.system.notify_iommu(&bench.region, everything, (IommuEvents::MAP, false), tell).unwrap();
    let died = std::thread::scope(|scope| scope.spawn(|| bench.map(0, 0, 0, 0xfff)).join());
    assert!(died.is_err());
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        drop(guard);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(5)).unwrap();
}

#[test]
fn an_iommu_that_replays_is_entered_and_waited_for() {
    struct Replays(OnceLock<Weak<AddressSpace>>, Mutex<Vec<Result<u64, BusFault>>>);
    impl Replays {
        fn reach(&self) {
            let space = self.0.get().and_then(Weak::upgrade).unwrap();
            self.1.lock().unwrap().push(space.load(0, Width::W1, ATTRS));
        }
    }
    impl Iommu for Replays {
        fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
            panic!("it is entered again");
        }
        fn replay(&self, _: usize, _: AddrRange, visit: ReplayVisitor<'_>) -> bool {
            self.reach();
            let space = self.0.get().and_then(Weak::upgrade).unwrap().id();
            visit(range(0, 0xfff), IommuEntry { space, translated: 0, mask: 0xfff, permissions: BOTH });
            true
        }
        fn events_wanted(&self, _: usize, _: IommuEvents) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.reach();
            Ok(())
        }
    }
    let board = Board::new(Door::Space, SpaceConfig::default());
    let system = &board.system;
    let device = Arc::new(Replays(OnceLock::new(), Mutex::default()));
    let weak: Weak<Replays> = Arc::downgrade(&device);
    let owner = board.memory().owner("/machine/iommu", weak.clone());
    let region = board.memory().iommu("iommu", 0x1000u64, weak).owner(&owner).build().unwrap();
    let dma = system.address_space("dma", &region, SpaceConfig::default()).unwrap();
    device.0.set(Arc::downgrade(&dma)).unwrap();
    let plug = Mutex::new(Some(board.memory().plug(&owner, device.clone())));
    let laggards: Arc<Mutex<Vec<WaitError>>> = Arc::default();
    let (note, machine) = (laggards.clone(), system.clone());
    let tell = move |_: &IommuNotice| {
        let Some(plug) = plug.lock().unwrap().take() else { return };
        let detached = machine.detach(plug);
        let waits = || detached.wait(std::time::Instant::now()).unwrap_err();
        note.lock().unwrap().push(std::thread::scope(|scope| scope.spawn(waits).join().unwrap()));
    };
    let guard = system.notify_iommu(&region, (0, AddrRange::ALL), (ALL, true), tell).unwrap();
    assert_eq!(*device.1.lock().unwrap(), [Err(BusFault::ACCESS); 2], "it cannot reach itself");
    let laggards = laggards.lock().unwrap()[0].to_string();
    assert_eq!(laggards, "`/machine/iommu` is still used by a translation");
    let gone = system.notify_iommu(&region, (0, AddrRange::ALL), (ALL, true), |_| ());
    assert!(matches!(gone, Err(IommuError::NoIommu(_))), "it was unplugged");
    drop(guard);
    assert_eq!(device.1.lock().unwrap().len(), 2, "and is told nothing any more");
}

#[test]
fn inside_a_transaction_no_iommu_is_told_and_nobody_hears_one_before_its_end() {
    let (bench, heard) = (Bench::new(), Heard::default());
    let system = &bench.board.system;
    let listen = || system.notify_iommu(&bench.region, (0, AddrRange::ALL), (ALL, true), heard.ear());
    let (first, second) = (listen().unwrap(), listen().unwrap());
    bench.map(0, 0x1000, 0x5000, 0xfff);
    assert_eq!(bench.load(0x1000, ATTRS), Ok(5));
    heard.take();
    let told = || std::mem::take(&mut *bench.unit.wanted.lock().unwrap());
    told();
    let transaction = bench.board.memory().begin().unwrap();
    assert!(matches!(listen(), Err(IommuError::Inside(_))));
    drop(second);
    bench.unit.unmap(0, 0x1000);
    assert_eq!(system.iotlb_stats().entries, 0, "what was kept is forgotten at once");
    assert!(told().is_empty() && heard.take().is_empty());
    transaction.commit().unwrap();
    assert_eq!((told(), heard.take().len()), (vec![(0, ALL)], 2));
    drop(first);
    assert_eq!(told(), [(0, IommuEvents::empty())]);
}

/// An IOMMU that announces a change whenever one of its registers is written.
#[test]
fn a_notifier_that_ends_inside_the_iommu_lets_it_know_when_that_is_left() {
    struct Doorbell(Arc<Unit>);
    impl Mmio for Doorbell {
        fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            Ok(0)
        }
        fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
            self.0.port.get().unwrap().unmap(0, range(0, 0xfff));
            Ok(())
        }
    }
    let board = Board::new(Door::Space, SpaceConfig::default());
    let unit = Arc::<Unit>::default();
    let weak: Weak<Unit> = Arc::downgrade(&unit);
    let owner = board.memory().owner("/machine/iommu", weak.clone());
    let region = board.memory().iommu("iommu", 0x1000u64, weak).owner(&owner).build().unwrap();
    unit.port.set(board.system.iommu_port(&region)).unwrap();
    let doorbell = Arc::new(Doorbell(unit.clone()));
    let regs = board.memory().mmio("regs", 4u64, AccessRules::new(), doorbell).owner(&owner).build().unwrap();
    board.root.map(0, &regs).unwrap();
    let slot: Arc<Mutex<Option<memory_dispatch::IommuNotifierGuard>>> = Arc::default();
    let own = slot.clone();
    let tell = move |_: &IommuNotice| drop(own.lock().unwrap().take());
    let everything = (0, AddrRange::ALL);
    let guard = board.system.notify_iommu(&region, everything, (IommuEvents::UNMAP, false), tell).unwrap();
    *slot.lock().unwrap() = Some(guard);
    unit.wanted.lock().unwrap().clear();
    board.space.store(0, Width::W4, 1, ATTRS).unwrap();
    board.system.reclaim();
    assert_eq!(*unit.wanted.lock().unwrap(), [(0, IommuEvents::empty())]);
}
