//! Holes that other monitors had, each shaped like the one that it is named after. Those of re-entrancy are tests of
//! their own.

use crate::board::{ATTRS, Board, Door, each_door};
use memory_core::{
    AccessRules, AddrRange, BusFault, DirtyClients, Endian, EventNotifier, IoEvent, MemoryError, Mmio,
    RamBlock, Region, Size, TxAttrs, Width,
};
use memory_dispatch::{
    BOUNCE_BUDGET, Direction, Listener, MapError, Refusal, Section, SpaceConfig, VcpuHandle,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A table of registers without bounds checks of its own: an offset or a width that the rules forbid would be an
/// access out of bounds.
#[derive(Default)]
struct Table {
    calls: Mutex<Vec<(u64, Width)>>,
}

impl Mmio for Table {
    fn read(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.calls.lock().unwrap().push((offset, width));
        Ok(0x5a)
    }

    fn write(&self, offset: u64, width: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.calls.lock().unwrap().push((offset, width));
        Ok(())
    }
}

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

/// MSI-X tables were read beyond their end by accesses narrower and wider than a device had declared.
#[test]
fn cve_2020_13754_widths_that_the_rules_forbid_never_reach_the_callback() {
    each_door(SpaceConfig::default(), |board| {
        let table = Arc::<Table>::default();
        let rules = AccessRules::new().valid(Width::W4..=Width::W8).implements(Width::W4..=Width::W4);
        let region = board.memory().mmio("msix-table", 0x20u64, rules, table.clone()).build().unwrap();
        board.map(0x1000, region);
        for (offset, width) in
            [(0, Width::W1), (0x1e, Width::W2), (0x1f, Width::W1), (2, Width::W4), (4, Width::W8)]
        {
            assert_eq!(board.load(0x1000 + offset, width), Err(BusFault::DECODE), "{offset:#x} {width:?}");
            assert_eq!(
                board.store(0x1000 + offset, width, 1),
                Err(BusFault::DECODE),
                "{offset:#x} {width:?}"
            );
        }
        assert!(table.calls.lock().unwrap().is_empty());
        board.load(0x1018, Width::W8).unwrap();
        assert_eq!(*table.calls.lock().unwrap(), [(0x18, Width::W4), (0x1c, Width::W4)]);
    });
}

/// A graphics card's register offset, taken from the guest, indexed behind its array.
#[test]
fn cve_2020_13791_offsets_that_the_predicate_forbids_never_reach_the_callback() {
    each_door(SpaceConfig::default(), |board| {
        let table = Arc::<Table>::default();
        let rules = AccessRules::new().accepts(|request| request.offset + request.width.bytes() <= 0x100);
        let region =
            board.memory().mmio("mm", 0x1000u64, rules.valid_unaligned(), table.clone()).build().unwrap();
        board.map(0, region);
        for offset in [0xfd, 0x100, 0xffc, 0xfff] {
            assert_eq!(board.load(offset, Width::W4), Err(BusFault::DECODE));
            assert_eq!(board.store(offset, Width::W4, 1), Err(BusFault::DECODE));
        }
        let (bytes, result) = board.read(0xf0, 0x20);
        assert_eq!(result, Err(BusFault::DECODE));
        assert_eq!(bytes[0x10..], [0; 0x10], "what is refused reads as 0");
        assert!(table.calls.lock().unwrap().iter().all(|(offset, width)| offset + width.bytes() <= 0x100));
    });
}

/// A virtqueue's ring that began in RAM and ran on into a device was reached as if it all were RAM.
#[test]
fn cve_2020_27821_a_window_from_ram_into_registers_never_reaches_beyond_the_ram_directly() {
    let mut board = board();
    let block = board.ram(0, 0x1000, 0);
    let table = Arc::<Table>::default();
    let regs = board.memory().mmio("regs", 0x1000u64, AccessRules::new(), table.clone()).build().unwrap();
    board.map(0x1000, regs);
    let window = board.space.window(range(0xff0, 0x100f), ATTRS);
    assert_eq!((window.load(0xc, Width::W4), window.load(0x10, Width::W4)), (Ok(0xfffe_fdfc), Ok(0x5a)));
    window.store(0x18, Width::W4, 7).unwrap();
    // over the seam: each side as it is
    window.store(0xe, Width::W4, 0x4433_2211).unwrap();
    assert_eq!(block.load(0xffe, Width::W2), Some(0x2211));
    assert!(table.calls.lock().unwrap().contains(&(8, Width::W4)));
    assert_eq!(window.load(0x20, Width::W1), Err(BusFault::ACCESS));
    assert_eq!(window.load(u64::MAX, Width::W8), Err(BusFault::ACCESS));
    assert_eq!(window.store(0x1d, Width::W4, 1), Err(BusFault::ACCESS));
}

/// A map that failed, or of no length, was taken for one that had not.
#[test]
fn cve_2020_13659_a_map_of_nothing_or_of_no_memory_is_an_error() {
    let mut board = board();
    board.ram(0, 0x1000, 0);
    let map = |address, len| board.space.map(address, len, Direction::Read, ATTRS).map(|guard| guard.len());
    assert_eq!(map(0, 0), Err(MapError::Fault(BusFault::DECODE)));
    assert_eq!(map(0x2000, 4), Err(MapError::Fault(BusFault::DECODE)));
    assert_eq!(map(u64::MAX, 4), Err(MapError::Fault(BusFault::DECODE)));
    assert_eq!(map(0xffc, 0x1000), Ok(4), "as much as there is");
}

/// Bounce buffers held what the heap had, and more than was mapped was written back.
#[test]
fn cve_2024_8612_a_bounce_buffer_begins_with_zeros_and_gives_back_what_it_has() {
    let mut board = board();
    let table = Arc::<Table>::default();
    let regs = board.memory().mmio("regs", 0x1000u64, AccessRules::new(), table.clone()).build().unwrap();
    board.map(0, regs);
    // leave something behind where the next buffer may come from
    let mut guard = board.space.map(0, 64, Direction::Write, ATTRS).unwrap();
    assert!(guard.write(0, &[0xee; 64]));
    drop(guard);
    assert!(table.calls.lock().unwrap().is_empty(), "dropped, it writes nothing");
    let mut guard = board.space.map(0, 64, Direction::Write, ATTRS).unwrap();
    let mut bytes = [1; 64];
    assert!(guard.read(0, &mut bytes));
    assert_eq!(bytes, [0; 64]);
    assert!(!guard.write(60, &[1; 5]) && !guard.read(usize::MAX, &mut [0]));
    let refused = guard.unmap(65);
    assert_eq!(refused, Err(MapError::TooLong { written: 65, mapped: 64 }));
    assert!(table.calls.lock().unwrap().is_empty());
    let guard = board.space.map(0, 64, Direction::Write, ATTRS).unwrap();
    guard.unmap(6).unwrap();
    assert_eq!(*table.calls.lock().unwrap(), [(0, Width::W4), (4, Width::W2)], "what it says and no more");
}

/// Whoever waited for bounce buffers was woken never, or for ever.
#[test]
fn of_four_bounces_the_third_is_short_and_the_fourth_waits_once() {
    let mut board = board();
    let regs =
        board.memory().mmio("regs", 0x4000u64, AccessRules::new(), Arc::<Table>::default()).build().unwrap();
    board.map(0, regs);
    let map = || board.space.map(0, BOUNCE_BUDGET * 3 / 8, Direction::Write, ATTRS);
    let (first, second, third) = (map().unwrap(), map().unwrap(), map().unwrap());
    assert_eq!((first.len(), second.len()), (BOUNCE_BUDGET * 3 / 8, BOUNCE_BUDGET * 3 / 8));
    assert_eq!(third.len(), BOUNCE_BUDGET / 4, "what is left");
    assert_eq!(map().err(), Some(MapError::Busy));
    let woken = Arc::<[AtomicUsize; 2]>::default();
    for waiter in 0..2 {
        let woken = woken.clone();
        board.space.when_bounce_is_free(move || _ = woken[waiter].fetch_add(1, Ordering::SeqCst));
    }
    let counts = || [0, 1].map(|waiter| woken[waiter].load(Ordering::SeqCst));
    assert_eq!(counts(), [0, 0]);
    drop(second);
    assert_eq!(counts(), [1, 1]);
    drop((first, third));
    assert_eq!(counts(), [1, 1], "once each");
    assert_eq!(map().unwrap().len(), BOUNCE_BUDGET * 3 / 8);
}

/// The owner of mapped memory was gone before the memory was unmapped.
#[test]
fn an_owner_that_is_unplugged_between_map_and_unmap_is_dropped_once_and_after_it() {
    struct Device(Arc<AtomicUsize>);
    impl Drop for Device {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let board = board();
    let drops = Arc::<AtomicUsize>::default();
    let device = Arc::new(Device(drops.clone()));
    let weak: Weak<Device> = Arc::downgrade(&device);
    let owner = board.memory().owner("/device", weak);
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let ram = board.memory().ram("vram", block.clone()).owner(&owner).build().unwrap();
    let plug = board.memory().plug(&owner, device);
    board.root.map(0, &ram).unwrap();
    let mut guard = board.space.map(0x10, 4, Direction::Write, ATTRS).unwrap();
    drop(plug);
    drop(ram);
    board.system.reclaim();
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    assert!(guard.write(0, &[1, 2, 3, 4]));
    guard.unmap(4).unwrap();
    board.system.reclaim();
    board.system.reclaim();
    assert_eq!((drops.load(Ordering::SeqCst), block.load(0x10, Width::W4)), (1, Some(0x0403_0201)));
}

#[test]
fn bases_sizes_and_offsets_at_the_top_neither_wrap_nor_panic() {
    let board = board();
    let memory = board.memory();
    let page = memory.ram("page", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    assert!(matches!(board.root.map(u64::MAX, &page), Err(MemoryError::AddressOverflow { .. })));
    board.root.map(u64::MAX - 0xfff, &page).unwrap();
    assert!(matches!(page.set_address(u64::MAX - 0xffe), Err(MemoryError::AddressOverflow { .. })));
    assert_eq!(board.space.store(u64::MAX - 7, Width::W8, 7, ATTRS), Ok(()));
    assert_eq!(board.space.load(u64::MAX - 6, Width::W8, ATTRS), Err(BusFault::DECODE));
    let too_far = memory.alias("far", &page, u64::MAX, 2u64).build();
    assert!(matches!(too_far, Err(MemoryError::AliasOverflow { .. })));
    let last = memory.alias("last", &board.root, u64::MAX - 0xfff, 0x1000u64).build().unwrap();
    let other = memory.container("other", Size::FULL).build().unwrap();
    other.map(0, &last).unwrap();
    let space = board.system.address_space("other", &other, SpaceConfig::default()).unwrap();
    assert_eq!(space.load(0xff8, Width::W8, ATTRS), Ok(7));
    assert!(matches!(last.set_alias_offset(u64::MAX - 0xffe), Err(MemoryError::AliasOverflow { .. })));
    assert!(matches!(last.set_size(Size::FULL), Err(MemoryError::AliasOverflow { .. })));
    let mut bytes = [0; 16];
    assert_eq!(board.space.read(u64::MAX - 7, &mut bytes, ATTRS), Err(BusFault::DECODE));
    assert_eq!(bytes[0], 7);
}

#[test]
fn an_alias_that_would_show_itself_is_refused_however_it_is_come_by() {
    let board = board();
    let memory = board.memory();
    let bus = memory.container("bus", 0x1000u64).build().unwrap();
    let window = memory.alias("window", &bus, 0, 0x1000u64).build().unwrap();
    let second = memory.alias("second", &window, 0, 0x1000u64).build().unwrap();
    for alias in [&window, &second] {
        assert!(matches!(bus.map(0, alias), Err(MemoryError::Cycle { .. })));
    }
    let inner = memory.container("inner", 0x1000u64).build().unwrap();
    inner.map(0, &second).unwrap();
    assert!(matches!(bus.map(0, &inner), Err(MemoryError::Cycle { .. })));
    board.root.map(0, &inner).unwrap();
    assert!(board.space.with_view(|view| view.is_empty()));
}

/// A page table with 16 bits for the number of a range ran over.
#[test]
fn seventy_thousand_ranges_of_less_than_a_page_are_all_found() {
    const RANGES: u64 = 70_000;
    let board = board();
    let regions: Vec<Region> = (0..RANGES)
        .map(|index| board.memory().ram(format!("{index}"), RamBlock::unbacked(0x10u64)).build().unwrap())
        .collect();
    board
        .memory()
        .transaction(|_| {
            (0..).zip(&regions).try_for_each(|(index, region)| board.root.map(index * 0x20, region))
        })
        .unwrap();
    board.space.with_view(|view| {
        assert_eq!(view.len() as u64, RANGES);
        for (index, region) in (0..).zip(&regions) {
            let found = view.find(index * 0x20 + 0xf).unwrap();
            assert_eq!(found.read().unwrap().target().region(), region.id());
            assert!(view.find(index * 0x20 + 0x10).is_none());
        }
    });
    // what is dropped inside a transaction goes in one commit
    let transaction = board.memory().begin().unwrap();
    drop(regions);
    transaction.commit().unwrap();
    assert!(board.space.with_view(|view| view.is_empty()));
}

/// A guest moves a BAR to where it cannot be: what was there before must still be there, in all.
#[test]
fn a_bar_that_cannot_be_moved_is_as_it_was_with_its_events_and_its_log() {
    struct Fussy;
    impl Listener for Fussy {
        fn region_add(&self, section: &Section) -> Result<(), Refusal> {
            if section.range().start() == 0x8000 { Err("no slot there".into()) } else { Ok(()) }
        }
    }
    let board = board();
    let memory = board.memory();
    let (table, bell) = (Arc::<Table>::default(), EventNotifier::new().unwrap());
    let bar = memory.container("bar", 0x2000u64).build().unwrap();
    let regs = memory.mmio("regs", 0x1000u64, AccessRules::new(), table.clone()).build().unwrap();
    regs.add_ioevent(IoEvent::new(0x10, Width::W4, bell.clone())).unwrap();
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let ram = memory.ram("vram", block.clone()).build().unwrap();
    ram.set_log(DirtyClients::DISPLAY, true).unwrap();
    bar.map(0, &regs).unwrap();
    bar.map(0x1000, &ram).unwrap();
    let other = memory.ram("other", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    board.root.map(0x4000, &bar).unwrap();
    board.root.map(0x1_0000, &other).unwrap();
    let guard = board.system.listen(Arc::new(Fussy), 0, None).unwrap();
    let generation = board.space.generation();
    assert!(matches!(bar.set_address(u64::MAX - 0xfff), Err(MemoryError::AddressOverflow { .. })));
    assert!(matches!(bar.set_address(0x1_0000), Err(MemoryError::Overlap { .. })));
    assert!(matches!(bar.set_address(0xf000), Err(MemoryError::Overlap { .. })));
    assert!(matches!(bar.set_address(0x8000), Err(MemoryError::Refused(_))));
    assert_eq!((board.space.generation(), bar.address().unwrap()), (generation, Some(0x4000)));
    board.space.store(0x4010, Width::W4, 1, ATTRS).unwrap();
    assert_eq!((bell.take(), table.calls.lock().unwrap().len()), (1, 0));
    board.space.store(0x5000, Width::W4, 1, ATTRS).unwrap();
    assert!(block.dirty().is_dirty(DirtyClients::DISPLAY, 0, 4));
    drop(guard);
}

/// A ROM device whose mode is switched while others read.
#[test]
fn romd_is_switched_under_readers_and_each_sees_one_of_both_modes() {
    struct Callback;
    impl Mmio for Callback {
        fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
            Ok(0xcccc_cccc)
        }

        fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
            Ok(())
        }
    }
    const READS: u64 = 20_000;
    // a mode that nobody sees must end the test, too
    const MOST: u64 = 1000 * READS;
    let mut board = board();
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    assert!(block.fill(0, 0x1000, 0xaa));
    let flash =
        board.memory().rom_device("flash", block, AccessRules::new(), Arc::new(Callback)).build().unwrap();
    let flash = board.map(0, flash);
    let space = board.space.clone();
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let space = space.clone();
                scope.spawn(move || {
                    let mut handle: Option<VcpuHandle> = (reader % 2 == 0).then(|| space.handle(|| ()));
                    let mut seen = [0; 2];
                    let mut read = 0;
                    while read < READS || (seen.contains(&0) && read < MOST) {
                        let address = read * 32 % 0x1000;
                        // what a device takes in several calls is of one mode all the same
                        let mut bytes = [0; 32];
                        let len = if read % 3 == 0 { bytes.len() } else { 8 };
                        let bytes = &mut bytes[..len];
                        let result = match (&mut handle, len) {
                            (Some(handle), 8) => handle.load(address, Width::W8, ATTRS).map(u64::to_le_bytes),
                            (None, 8) => space.load(address, Width::W8, ATTRS).map(u64::to_le_bytes),
                            (Some(handle), _) => handle.read(address, bytes, ATTRS).map(|()| [0; 8]),
                            (None, _) => space.read(address, bytes, ATTRS).map(|()| [0; 8]),
                        };
                        let value = result.unwrap();
                        if len == 8 {
                            bytes.copy_from_slice(&value);
                        }
                        let all = |byte| bytes.iter().all(|other| *other == byte);
                        assert!(all(0xaa) || all(0xcc), "{bytes:x?}");
                        seen[usize::from(all(0xcc))] += 1;
                        read += 1;
                    }
                    seen
                })
            })
            .collect();
        let mut romd = false;
        while !readers.iter().all(|reader| reader.is_finished()) {
            flash.set_romd(romd).unwrap();
            romd = !romd;
        }
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<[u64; 2]>>()
    });
    assert!(!seen.iter().flatten().any(|seen| *seen == 0), "a mode that somebody never saw: {seen:?}");
}

#[test]
fn typed_accesses_have_the_order_that_is_asked_for() {
    for config in [SpaceConfig::default(), crate::board::big()] {
        let mut board = Board::new(Door::Space, config);
        board.ram(0, 0x1000, 0);
        let mut handle = board.space.handle(|| ());
        let window = board.space.window(range(0, 0xfff), ATTRS);
        let (little, big) = (0x0706_0504, 0x0405_0607);
        let native = if config == SpaceConfig::default() { little } else { big };
        for (endian, value) in [(Endian::Little, little), (Endian::Big, big), (Endian::Native, native)] {
            assert_eq!(board.space.load_as(4, Width::W4, endian, ATTRS), Ok(value));
            assert_eq!(handle.load_as(4, Width::W4, endian, ATTRS), Ok(value));
            assert_eq!(window.load_as(4, Width::W4, endian), Ok(value));
            board.space.store_as(0x10, Width::W4, value, endian, ATTRS).unwrap();
            handle.store_as(0x14, Width::W4, value, endian, ATTRS).unwrap();
            window.store_as(0x18, Width::W4, value, endian).unwrap();
            let mut bytes = [0; 12];
            board.space.read(0x10, &mut bytes, ATTRS).unwrap();
            assert_eq!(bytes, [4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7], "{endian:?}");
        }
        // registers have an order of their own, which the bus corrects before
        let recorder = board.mmio(0x2000, 0x10, AccessRules::new().endian(Endian::Little), 0);
        board.space.store_as(0x2000, Width::W4, 0x1122_3344, Endian::Little, ATTRS).unwrap();
        let value = board.space.load_as(0x2000, Width::W4, Endian::Little, ATTRS).unwrap();
        let swapped = board.space.load_as(0x2000, Width::W4, Endian::Big, ATTRS).unwrap();
        assert_eq!(value, Width::W4.swap_bytes(swapped));
        drop(recorder);
    }
}
