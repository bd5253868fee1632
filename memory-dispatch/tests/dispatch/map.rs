//! Host mappings of guest memory: direct ones, bounced ones, and their budget.

use crate::board::{ATTRS, Board, Door};
use memory_core::{
    AccessRules, AddrRange, BusFault, Iommu, IommuEntry, Methods, Mmio, Permissions, Plug, RamBlock, Region,
    SpaceId, TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, BOUNCE_BUDGET, Direction, MapError, SpaceConfig};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use vm_memory::Bytes as _;

/// Registers that keep bytes.
struct Bytes(Mutex<Vec<u8>>);

impl Mmio for Bytes {
    fn read(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let bytes = self.0.lock().unwrap();
        let at = offset as usize;
        Ok(memory_core::ByteOrder::Little.decode(&bytes[at..at + width.len()]))
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let mut bytes = self.0.lock().unwrap();
        let at = offset as usize;
        memory_core::ByteOrder::Little.encode(value, &mut bytes[at..at + width.len()]);
        Ok(())
    }
}

const REGS: u64 = 0x10_0000;

fn board() -> (Board, Arc<Bytes>) {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let ram = board.memory().ram("ram", RamBlock::anonymous(0x4000u64).unwrap()).build().unwrap();
    board.map(0, ram);
    let rom = board.memory().rom("rom", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    board.map(0x8000, rom);
    let bytes = Arc::new(Bytes(Mutex::new((0..0x2000).map(|i| i as u8).collect())));
    let regs = board.memory().mmio("regs", 0x2000u64, AccessRules::new(), bytes.clone()).build().unwrap();
    board.map(REGS, regs);
    (board, bytes)
}

#[test]
fn memory_is_mapped_itself_and_over_neighbours_of_the_same_block() {
    let (board, _) = board();
    // a non-volatile part in the middle cuts the range in three, and not the block
    let memory = board.memory();
    let ram = memory.ram("parts", RamBlock::anonymous(0x3000u64).unwrap()).build().unwrap();
    let parts = [0u64, 0x1000, 0x2000].map(|offset| {
        let part = memory.alias(format!("part{offset:x}"), &ram, offset, 0x1000u64).build().unwrap();
        board.root.map(0x4_0000 + offset, &part).unwrap();
        part
    });
    parts[1].set_nonvolatile(true).unwrap();
    assert_eq!(board.space.map(0x4_0800, 0x8000, Direction::Read, ATTRS).unwrap().len(), 0x2800);
    assert_eq!(board.space.map(0x4_0800, 0x1000, Direction::Read, ATTRS).unwrap().len(), 0x1000);
    parts[2].set_alias_offset(0x1000).unwrap();
    assert_eq!(board.space.map(0x4_0800, 0x8000, Direction::Read, ATTRS).unwrap().len(), 0x1800);
    let mut guard = board.space.map(0x100, 0x8000, Direction::Write, ATTRS).unwrap();
    assert!(guard.is_direct() && guard.len() == 0x3f00 && !guard.is_stale(&board.space));
    assert!(guard.write(0x10, &[1, 2, 3]));
    assert_eq!(board.space.load(0x110, Width::W4, ATTRS), Ok(0x03_0201), "no unmapping is needed");
    assert!(!guard.write(0x3eff, &[0, 0]) && !guard.read(usize::MAX, &mut [0]));
    assert_eq!(guard.unmap(0x3f01), Err(MapError::TooLong { written: 0x3f01, mapped: 0x3f00 }));
}

#[test]
fn rom_is_mapped_to_be_read_and_refused_to_be_written() {
    let (board, _) = board();
    let mut guard = board.space.map(0x8000, 16, Direction::Read, ATTRS).unwrap();
    assert!(guard.is_direct() && !guard.write(0, &[1]));
    let refused = Err(MapError::Fault(BusFault::DECODE));
    let map =
        |address, len, direction| board.space.map(address, len, direction, ATTRS).map(|guard| guard.len());
    assert_eq!(map(0x8000, 16, Direction::Write), refused);
    assert_eq!(map(0x5000, 16, Direction::Read), refused, "a hole");
    assert_eq!(map(0, 0, Direction::Read), refused, "no bytes");
    let memory_only = board.space.map(REGS, 16, Direction::Read, TxAttrs::MEMORY_ONLY);
    assert_eq!(memory_only.unwrap_err(), MapError::Fault(BusFault::ACCESS));
    assert!(board.space.map(0x8000, 16, Direction::Read, TxAttrs::MEMORY_ONLY).is_ok());
}

#[test]
fn registers_are_bounced_and_only_what_was_written_goes_back() {
    let (board, bytes) = board();
    let guard = board.space.map(REGS + 4, 8, Direction::Read, ATTRS).unwrap();
    let mut seen = [0; 8];
    assert!(guard.read(0, &mut seen) && !guard.is_direct());
    assert_eq!(seen, [4, 5, 6, 7, 8, 9, 10, 11]);
    let mut guard = board.space.map(REGS, 8, Direction::Write, ATTRS).unwrap();
    assert!(guard.write(0, &[0xaa; 8]));
    let mut zeroed = [1; 8];
    let fresh = board.space.map(REGS + 0x100, 8, Direction::Write, ATTRS).unwrap();
    assert!(fresh.read(0, &mut zeroed) && zeroed == [0; 8], "no bytes of anybody else");
    assert_eq!(guard.unmap(3), Ok(()));
    assert_eq!(bytes.0.lock().unwrap()[..5], [0xaa, 0xaa, 0xaa, 3, 4]);
    drop(fresh);
    assert_eq!(bytes.0.lock().unwrap()[0x100], 0, "dropped without a length");
}

#[test]
fn the_bounce_budget_is_shared_and_waiters_are_woken_once_each() {
    let (board, _) = board();
    let map = |len| board.space.map(REGS, len, Direction::Write, ATTRS);
    let first = map(BOUNCE_BUDGET / 2).unwrap();
    let second = map(BOUNCE_BUDGET / 4).unwrap();
    let third = map(BOUNCE_BUDGET).unwrap();
    assert_eq!(third.len(), BOUNCE_BUDGET / 4, "what is left");
    assert_eq!(map(1).unwrap_err(), MapError::Busy);
    assert!(
        board.space.map(0, 0x4000, Direction::Write, ATTRS).unwrap().is_direct(),
        "memory needs no budget"
    );
    let woken = Arc::<AtomicUsize>::default();
    for _ in 0..2 {
        let (woken, space) = (woken.clone(), board.space.clone());
        board.space.when_bounce_is_free(move || {
            // a waiter may map at once
            drop(space.map(REGS, 1, Direction::Write, ATTRS).unwrap());
            woken.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    drop(second);
    assert_eq!(woken.load(Ordering::SeqCst), 2);
    drop((first, third));
    assert_eq!(woken.load(Ordering::SeqCst), 2, "once each");
    let now = woken.clone();
    board.space.when_bounce_is_free(move || _ = now.fetch_add(1, Ordering::SeqCst));
    assert_eq!(woken.load(Ordering::SeqCst), 3, "there is room: at once");
    assert_eq!(map(usize::MAX).unwrap().len(), BOUNCE_BUDGET);
}

#[test]
fn a_space_has_the_bounce_budget_that_it_is_made_with() {
    let (board, _) = board();
    assert_eq!(SpaceConfig::default().bounce_budget, BOUNCE_BUDGET);
    let space = |bounce_budget| {
        let config = SpaceConfig { bounce_budget, ..SpaceConfig::default() };
        board.system.address_space("other", &board.root, config).unwrap()
    };
    let (small, large, none) = (space(0x20), space(2 * BOUNCE_BUDGET), space(0));
    let map = |space: &Arc<AddressSpace>| space.map(REGS, usize::MAX, Direction::Write, ATTRS);
    let (first, second) = (map(&small).unwrap(), map(&large).unwrap());
    assert_eq!((first.len(), second.len()), (0x20, 2 * BOUNCE_BUDGET));
    assert_eq!(map(&small).unwrap_err(), MapError::Busy);
    assert_eq!(map(&none).unwrap_err(), MapError::Busy);
    let woken = Arc::<AtomicUsize>::default();
    let wake = woken.clone();
    small.when_bounce_is_free(move || _ = wake.fetch_add(1, Ordering::SeqCst));
    drop(second);
    assert_eq!(woken.load(Ordering::SeqCst), 0, "another space's");
    drop(first);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
}

#[test]
fn a_mapping_keeps_the_rights_and_the_memory_of_its_creation() {
    let (board, _) = board();
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().ram("gone", block.clone()).build().unwrap();
    board.root.map(0x2_0000, &region).unwrap();
    let mut guard = board.space.map(0x2_0000, 16, Direction::Write, ATTRS).unwrap();
    region.set_read_only(true).unwrap();
    assert!(guard.is_stale(&board.space) && guard.write(0, &[7]));
    drop(region);
    board.system.reclaim();
    assert!(guard.write(1, &[8]));
    assert_eq!(block.load(0, Width::W2), Some(0x0807));
    assert_eq!(Arc::strong_count(&block), 2, "ours and the guard's");
    drop(guard);
    board.system.reclaim();
    assert_eq!(Arc::strong_count(&block), 1);
}

fn range(start: u64, last: u64) -> AddrRange {
    AddrRange::new(start, last).unwrap()
}

/// CVE-2020-27821: a window that runs from RAM into registers reaches the registers by their callbacks.
#[test]
fn a_window_from_ram_into_registers_reaches_each_as_it_is() {
    let (mut board, bytes) = board();
    let ram = board.memory().ram("before", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    board.map(REGS - 0x1000, ram);
    let window = board.space.window(range(REGS - 8, REGS + 7), ATTRS);
    window.store(0, Width::W8, 0x8877_6655_4433_2211).unwrap();
    window.store(8, Width::W4, 0xaabb_ccdd).unwrap();
    assert_eq!(bytes.0.lock().unwrap()[..5], [0xdd, 0xcc, 0xbb, 0xaa, 4]);
    // across the seam, and at it
    assert_eq!(window.load(6, Width::W4), Ok(0xccdd_8877));
    assert_eq!(window.load(7, Width::W1), Ok(0x88));
    assert_eq!(window.load(8, Width::W2), Ok(0xccdd));
    for (offset, width) in
        [(16, Width::W1), (13, Width::W4), (u64::MAX, Width::W1), (u64::MAX - 7, Width::W8)]
    {
        assert_eq!(window.load(offset, width), Err(BusFault::ACCESS), "{offset:#x}");
        assert_eq!(window.store(offset, width, 0), Err(BusFault::ACCESS), "{offset:#x}");
    }
}

#[test]
fn a_window_is_what_the_map_was_and_tells_when_it_has_changed() {
    let (board, _) = board();
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().ram("ring", block.clone()).build().unwrap();
    board.root.map(0x2_0000, &region).unwrap();
    let window = board.space.window(range(0x2_0000, 0x2_0fff), ATTRS);
    assert!(!window.is_stale());
    region.set_address(0x3_0000).unwrap();
    assert!(window.is_stale());
    window.store(0, Width::W2, 0x1234).unwrap();
    assert_eq!(board.space.load(0x3_0000, Width::W2, ATTRS), Ok(0x1234));
    drop((region, window));
    board.system.reclaim();
    assert_eq!(Arc::strong_count(&block), 1);
}

#[test]
fn a_window_onto_rom_is_read_and_refuses_writes() {
    let (board, _) = board();
    let window = board.space.window(range(0x8000, 0x8fff), ATTRS);
    assert_eq!(window.load(0, Width::W4), Ok(0));
    assert_eq!(window.store(0, Width::W4, 1), Err(BusFault::DECODE));
    let at_the_top = board.space.window(range(u64::MAX - 3, u64::MAX), ATTRS);
    assert_eq!(at_the_top.load(0, Width::W4), Err(BusFault::DECODE), "nobody is there");
    assert_eq!(at_the_top.load(1, Width::W4), Err(BusFault::ACCESS));
}

#[test]
fn a_window_keeps_the_byte_order_of_its_space() {
    let mut board = Board::new(Door::Space, crate::board::big());
    let block = board.ram(0, 0x1000, 0);
    let window = board.space.window(range(0, 0xfff), ATTRS);
    window.store(0, Width::W4, 0x1122_3344).unwrap();
    assert_eq!(block.load(0, Width::W4), Some(0x4433_2211));
    assert_eq!(window.load(0, Width::W4), board.space.load(0, Width::W4, ATTRS));
}

#[test]
fn memory_that_the_host_cannot_write_is_not_mapped_to_be_written() {
    let mut board = Board::new(Door::Space, SpaceConfig::default());
    let block = RamBlock::builder(0x1000u64).read_only().build().unwrap();
    let ram = board.memory().ram("image", block).build().unwrap();
    board.map(0, ram);
    assert!(board.space.map(0, 4, Direction::Read, ATTRS).is_ok());
    let refused = board.space.map(0, 4, Direction::Write, ATTRS).err();
    assert_eq!(refused, Some(BusFault::DECODE.into()), "what was written would be lost");
}

/// A device that counts its end, with registers that keep bytes.
struct Ends {
    bytes: Bytes,
    drops: Arc<AtomicUsize>,
}

impl Ends {
    fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        let drops = Arc::<AtomicUsize>::default();
        (Arc::new(Self { bytes: Bytes(Mutex::new(vec![0; 0x100])), drops: drops.clone() }), drops)
    }

    fn read(&self, offset: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        self.bytes.read(offset, width, attrs)
    }

    fn write(&self, offset: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        self.bytes.write(offset, width, value, attrs)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Registers of a device, at an address, and what unplugs it.
fn plug(board: &Board, device: Arc<Ends>, address: u64) -> (Region, Plug<Ends>) {
    let weak: Weak<Ends> = Arc::downgrade(&device);
    let owner = board.memory().owner(format!("/device@{address:x}"), weak);
    let callbacks = Methods::new(&device, Ends::read, Ends::write);
    let regs = board.memory().mmio("regs", 0x100u64, AccessRules::new(), callbacks).owner(&owner);
    let regs = regs.build().unwrap();
    board.root.map(address, &regs).unwrap();
    (regs, board.memory().plug(&owner, device))
}

#[test]
fn a_copy_goes_back_to_the_registers_that_were_mapped_and_not_to_who_is_there_by_then() {
    let (board, _) = board();
    let ((mapped, _), (other, _)) = (Ends::new(), Ends::new());
    let (regs, _plug) = plug(&board, mapped.clone(), 0x20_0000);
    let map = || {
        let mut guard = board.space.map(0x20_0004, 8, Direction::Write, ATTRS).unwrap();
        assert!(guard.write(0, &[1, 2, 3, 4, 5, 6, 7, 8]));
        guard
    };
    let kept = |device: &Ends| device.bytes.0.lock().unwrap()[4..12].to_vec();
    let clear = || mapped.bytes.0.lock().unwrap().fill(0);
    // read-only since
    let guard = map();
    regs.set_read_only(true).unwrap();
    guard.unmap(8).unwrap();
    assert_eq!(kept(&mapped), [1, 2, 3, 4, 5, 6, 7, 8]);
    regs.set_read_only(false).unwrap();
    // elsewhere since, with another device in its place
    clear();
    let guard = map();
    regs.set_address(0x21_0000).unwrap();
    let (_regs, _other_plug) = plug(&board, other.clone(), 0x20_0000);
    guard.unmap(7).unwrap();
    assert_eq!((kept(&mapped), kept(&other)), (vec![1, 2, 3, 4, 5, 6, 7, 0], vec![0; 8]));
}

#[test]
fn a_copy_holds_its_device_and_is_refused_by_one_that_was_unplugged() {
    let (board, _) = board();
    let ((gone, drops), (next, _)) = (Ends::new(), Ends::new());
    let (regs, gone_plug) = plug(&board, gone, 0x20_0000);
    let mut guard = board.space.map(0x20_0000, 8, Direction::Write, ATTRS).unwrap();
    assert!(guard.write(0, &[0xee; 8]));
    drop((regs, gone_plug));
    let (_regs, _plug) = plug(&board, next.clone(), 0x20_0000);
    board.system.reclaim();
    assert_eq!(drops.load(Ordering::SeqCst), 0, "mapped still");
    assert_eq!(guard.unmap(8), Err(MapError::Fault(BusFault::ACCESS)));
    board.system.reclaim();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(next.bytes.0.lock().unwrap()[..8], [0; 8]);
    let budget = board.space.map(REGS, BOUNCE_BUDGET, Direction::Write, ATTRS).unwrap();
    assert_eq!(budget.len(), BOUNCE_BUDGET, "and the buffer is back");
}

#[test]
fn a_copy_from_behind_an_iommu_goes_back_where_the_iommu_led() {
    struct Shift(AtomicU64, SpaceId);
    impl Iommu for Shift {
        fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
            let permissions = Permissions::READ | Permissions::WRITE;
            let translated = self.0.load(Ordering::SeqCst);
            Some(IommuEntry { space: self.1, translated, mask: 0xfff, permissions })
        }
    }
    let (board, bytes) = board();
    let iommu = Arc::new(Shift(AtomicU64::new(REGS), board.space.id()));
    let region = board.memory().iommu("iommu", 0x1000u64, Arc::downgrade(&iommu)).build().unwrap();
    let dma = board.system.address_space("dma", &region, SpaceConfig::default()).unwrap();
    let mut guard = dma.map(0x10, 4, Direction::Write, ATTRS).unwrap();
    assert!(guard.write(0, &[9; 4]) && !guard.is_direct());
    iommu.0.store(REGS + 0x1000, Ordering::SeqCst);
    guard.unmap(4).unwrap();
    let bytes = bytes.0.lock().unwrap();
    assert_eq!((&bytes[0x10..0x15], bytes[0x1010]), (&[9, 9, 9, 9, 0x14][..], 0x10));
}

#[test]
fn a_copy_keeps_no_space_and_goes_nowhere_without_one() {
    let (board, bytes) = board();
    let space = board.system.address_space("other", &board.root, SpaceConfig::default()).unwrap();
    let mut guard = space.map(REGS, 8, Direction::Write, ATTRS).unwrap();
    let weak = Arc::downgrade(&space);
    drop(space);
    assert!(weak.upgrade().is_none() && guard.write(0, &[0xee; 8]));
    assert_eq!(guard.unmap(8), Err(MapError::Fault(BusFault::DECODE)));
    assert_eq!(bytes.0.lock().unwrap()[..2], [0, 1]);
}

#[test]
fn a_mapping_over_several_regions_of_a_block_holds_all_their_owners() {
    let (board, _) = board();
    let block = RamBlock::anonymous(0x2000u64).unwrap();
    let whole = board.memory().ram("first", block.clone()).build().unwrap();
    let first = board.memory().alias("low", &whole, 0, 0x1000u64).build().unwrap();
    board.root.map(0x2_0000, &first).unwrap();
    let (device, drops) = Ends::new();
    let weak: Weak<Ends> = Arc::downgrade(&device);
    let owner = board.memory().owner("/second", weak);
    let second = board.memory().ram("second", block).owner(&owner).build().unwrap();
    let high = board.memory().alias("high", &second, 0x1000, 0x1000u64).build().unwrap();
    board.root.map(0x2_1000, &high).unwrap();
    let plug = board.memory().plug(&owner, device);
    let guard = board.space.map(0x2_0800, 0x1000, Direction::Write, ATTRS).unwrap();
    assert_eq!(guard.len(), 0x1000);
    drop((plug, second, high));
    board.system.reclaim();
    assert_eq!(drops.load(Ordering::SeqCst), 0, "mapped still");
    drop(guard);
    board.system.reclaim();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_mapping_is_lent_as_a_slice_and_so_is_a_copy() {
    let (board, bytes) = board();
    let guard = board.space.map(0x100, 0x8000, Direction::Write, ATTRS).unwrap();
    let slice = guard.slice().unwrap();
    assert_eq!(slice.len(), 0x3f00);
    slice.write_slice(&[1, 2, 3, 4], 0x10).unwrap();
    assert_eq!(board.space.load(0x110, Width::W4, ATTRS), Ok(0x0403_0201), "these are the guest's bytes");
    let guard = board.space.map(REGS + 4, 8, Direction::Read, ATTRS).unwrap();
    assert_eq!(guard.slice().unwrap().read_obj::<u64>(0).unwrap(), 0x0b0a_0908_0706_0504);
    let guard = board.space.map(REGS, 8, Direction::Write, ATTRS).unwrap();
    guard.slice().unwrap().write_slice(&[0xaa; 8], 0).unwrap();
    assert_eq!(bytes.0.lock().unwrap()[..5], [0, 1, 2, 3, 4], "a copy");
    guard.unmap(3).unwrap();
    assert_eq!(bytes.0.lock().unwrap()[..5], [0xaa, 0xaa, 0xaa, 3, 4]);
}
