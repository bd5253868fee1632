//! `vm-memory`'s view of an address space: what bus masters and loaders may have.

use crate::board::{ATTRS, Board, Door, bytes_of};
use memory_core::{
    AccessRules, DirtyClients, Iommu, IommuEntry, Mapping, Permissions as Access, RamBlock, Shows, Size,
    SpaceId, TxAttrs,
};
use memory_dispatch::{DmaMemory, LoaderMemory, SpaceConfig};
use std::sync::{Arc, Weak};
use virtio_queue::{Queue, QueueT};
use vm_memory::guest_memory::Permissions;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryBackend};

fn board() -> Board {
    Board::new(Door::Space, SpaceConfig::default())
}

fn dma(board: &Board) -> DmaMemory {
    DmaMemory::new(&board.space, ATTRS)
}

/// RAM at 0, ROM at 0x1000, registers at 0x2000, a flash at 0x3000, RAM through a read-only alias at 0x4000.
fn furnished() -> Board {
    let mut board = board();
    let block = board.ram(0, 0x1000, 0);
    let memory = board.memory().clone();
    let rom = memory.rom("rom", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    board.map(0x1000, rom);
    let registers = board.mmio(0x2000, 0x1000, AccessRules::new(), 0);
    let flash = RamBlock::anonymous(0x1000u64).unwrap();
    let flash = memory.rom_device("flash", flash, AccessRules::new(), registers).build().unwrap();
    board.map(0x3000, flash);
    let ram = memory.ram("other", block).build().unwrap();
    let ram = board.keep(ram);
    let alias = memory.alias("alias", &ram, 0, 0x1000u64).read_only().build().unwrap();
    board.map(0x4000, alias);
    board
}

#[test]
fn a_bus_master_has_what_it_may_and_no_more() {
    let board = furnished();
    let memory = dma(&board);
    let may = |address, access| memory.check_range(GuestAddress(address), 8, access);
    let rights = |address| (may(address, Permissions::Read), may(address, Permissions::Write));
    assert_eq!(rights(0), (true, true));
    assert_eq!(rights(0x1000), (true, false), "ROM");
    assert_eq!(rights(0x2000), (false, false), "registers");
    assert_eq!(rights(0x3000), (false, false), "flash");
    assert_eq!(rights(0x4000), (true, false), "read-only");
    assert_eq!(rights(0x8000), (false, false), "nothing");
    assert_eq!(
        (may(0xffc, Permissions::Read), may(0xffc, Permissions::Write)),
        (true, false),
        "over the seam"
    );
    assert!(may(0, Permissions::ReadWrite) && !may(0x1000, Permissions::ReadWrite));
    assert!(!memory.check_range(GuestAddress(u64::MAX), 2, Permissions::Read));
    assert!(memory.physical_memory().is_none(), "or permissions would be forgotten");
    memory.write_slice(&[7; 8], GuestAddress(0x1000)).unwrap_err();
    let mut bytes = [1; 8];
    board.space.read(0x1000, &mut bytes, ATTRS).unwrap();
    assert_eq!(bytes, [0; 8]);
}

#[test]
fn an_overlay_is_read_and_written_where_it_says() {
    let mut board = board();
    board.ram(0, 0x1000, 0);
    let above = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().ram("above", above.clone()).build().unwrap();
    let overlay = Mapping { priority: 1, shows: Shows::Writes, ..Mapping::default() };
    board.root.map_with(0, &region, overlay).unwrap();
    let memory = dma(&board);
    memory.write_obj(9u8, GuestAddress(5)).unwrap();
    assert_eq!(memory.read_obj::<u8>(GuestAddress(5)).unwrap(), 5);
    assert_eq!(above.load(5, memory_core::Width::W1), Some(9));
    assert!(!memory.check_range(GuestAddress(0), 1, Permissions::ReadWrite));
}

#[test]
fn over_an_overlay_loader_and_debugger_write_what_is_read() {
    let mut board = board();
    let rom = RamBlock::anonymous(0x1000u64).unwrap();
    let region = board.memory().rom("rom", rom.clone()).build().unwrap();
    board.map(0, region);
    let shadow = RamBlock::anonymous(0x2000u64).unwrap();
    let region = board.memory().ram("shadow", shadow.clone()).build().unwrap();
    // beyond the ROM nothing is read
    board.root.map_with(0, &region, Mapping { shows: Shows::Writes, ..Mapping::overlap(1) }).unwrap();
    LoaderMemory::new(&board.space).write_obj(1u8, GuestAddress(0)).unwrap();
    board.space.write_rom(1, &[2]).unwrap();
    board.space.store(2, memory_core::Width::W1, 3, TxAttrs::DEBUG).unwrap();
    board.space.fill(3, 1, 4, TxAttrs::DEBUG).unwrap();
    assert_eq!((bytes_of(&rom, 0, 4), bytes_of(&shadow, 0, 4)), (vec![1, 2, 3, 4], vec![0; 4]));
    assert!(LoaderMemory::new(&board.space).write_obj(1u8, GuestAddress(0x1000)).is_err());
    assert!(board.space.write_rom(0x1000, &[1]).is_err());
    board.space.store(0, memory_core::Width::W1, 9, ATTRS).unwrap();
    assert_eq!(
        (bytes_of(&rom, 0, 1), bytes_of(&shadow, 0, 1)),
        (vec![1], vec![9]),
        "a guest's goes elsewhere"
    );
}

#[test]
fn a_snapshot_pins_memory_and_no_view_and_marks_what_is_written() {
    let board = board();
    let block = RamBlock::anonymous(0x10_0000u64).unwrap();
    let device = Arc::new(());
    let weak: Weak<()> = Arc::downgrade(&device);
    let owner = board.memory().owner("/device", weak.clone());
    let ram = board.memory().ram("ram", block.clone()).owner(&owner).build().unwrap();
    let plug = board.memory().plug(&owner, device);
    board.root.map(0, &ram).unwrap();
    ram.set_log(DirtyClients::DISPLAY, true).unwrap();
    let memory = dma(&board);
    assert!(!memory.is_stale());
    memory.write_obj(1u32, GuestAddress(0x4_0000)).unwrap();
    assert!(block.dirty().is_dirty(DirtyClients::DISPLAY, 0x4_0000, 4));
    drop(plug);
    assert_eq!(board.system.reclaim(), 0, "no view is held");
    assert!(memory.is_stale() && weak.upgrade().is_some());
    memory.write_obj(2u32, GuestAddress(0x4_0000)).unwrap();
    assert_eq!(memory.read_obj::<u32>(GuestAddress(0x4_0000)).unwrap(), 2, "it keeps its rights");
    drop(memory);
    board.system.reclaim();
    assert!(weak.upgrade().is_none());
}

/// Leads page N to page N ^ 1 of another space; odd pages can be read only, pages from 8 on are not mapped.
struct Swap(SpaceId);

impl Iommu for Swap {
    fn translate(&self, address: u64, _: Access, _: TxAttrs) -> Option<IommuEntry> {
        let page = address >> 12;
        let permissions = if page % 2 == 1 { Access::READ } else { Access::READ | Access::WRITE };
        let translated = (page ^ 1) << 12;
        (page < 8).then_some(IommuEntry { space: self.0, translated, mask: 0xfff, permissions })
    }
}

#[test]
fn what_lies_behind_an_iommu_goes_by_its_translation() {
    let mut board = board();
    board.ram(0, 0x8000, 0);
    let swap = Arc::new(Swap(board.space.id()));
    let weak: Weak<Swap> = Arc::downgrade(&swap);
    let iommu = board.memory().iommu("iommu", 0x1_0000u64, weak).build().unwrap();
    let space = board.system.address_space("dma", &iommu, SpaceConfig::default()).unwrap();
    let memory = DmaMemory::new(&space, ATTRS);
    memory.write_obj(0x1234u16, GuestAddress(0x2010)).unwrap();
    assert_eq!(board.space.load(0x3010, memory_core::Width::W2, ATTRS), Ok(0x1234));
    assert_eq!(memory.read_obj::<u16>(GuestAddress(0x2010)).unwrap(), 0x1234);
    memory.write_obj(1u8, GuestAddress(0x1000)).unwrap_err();
    assert!(memory.check_range(GuestAddress(0), 0x8000, Permissions::Read));
    assert!(!memory.check_range(GuestAddress(0), 0x1001, Permissions::Write));
    assert!(!memory.check_range(GuestAddress(0x7fff), 2, Permissions::Read));
    // page 0 of the guest is page 1 of memory, and the next one is page 0
    let mut bytes = [0; 2];
    memory.read_slice(&mut bytes, GuestAddress(0xfff)).unwrap();
    assert_eq!(bytes, [0xff, 0]);
    drop(space);
}

#[test]
fn a_loop_of_iommus_has_no_memory() {
    struct Loop(SpaceId);
    impl Iommu for Loop {
        fn translate(&self, address: u64, _: Access, _: TxAttrs) -> Option<IommuEntry> {
            let permissions = Access::READ | Access::WRITE;
            Some(IommuEntry { space: self.0, translated: address, mask: 0xfff, permissions })
        }
    }
    let board = board();
    let itself = Arc::new(Loop(board.space.id()));
    let weak: Weak<Loop> = Arc::downgrade(&itself);
    let iommu = board.memory().iommu("iommu", Size::FULL, weak).build().unwrap();
    board.root.map(0, &iommu).unwrap();
    assert!(dma(&board).read_obj::<u8>(GuestAddress(0)).is_err());
}

#[test]
fn a_loader_writes_all_memory_and_no_registers() {
    let board = furnished();
    let memory = LoaderMemory::new(&board.space);
    memory.write_slice(&[1; 0x2000], GuestAddress(0)).unwrap();
    memory.write_slice(&[2; 16], GuestAddress(0x3000)).unwrap();
    memory.write_slice(&[3; 16], GuestAddress(0x4000)).unwrap();
    assert!(memory.write_slice(&[4; 16], GuestAddress(0x1ff8)).is_err());
    assert_eq!(memory.num_regions(), 4);
    let mut bytes = [0; 2];
    board.space.read(0x1000, &mut bytes, ATTRS).unwrap();
    assert_eq!(bytes, [1, 1]);
}

#[test]
fn what_a_loader_writes_is_marked() {
    let board = board();
    let [ram, rom] = [(); 2].map(|()| RamBlock::anonymous(0x10_0000u64).unwrap());
    let regions = [
        board.memory().ram("ram", ram.clone()).build().unwrap(),
        board.memory().rom("rom", rom.clone()).build().unwrap(),
    ];
    for (region, address) in regions.iter().zip([0, 0x10_0000]) {
        board.root.map(address, region).unwrap();
        region.set_log(DirtyClients::MIGRATION, true).unwrap();
    }
    // far enough apart to be of different pages on every host
    LoaderMemory::new(&board.space).write_slice(&[1; 0x2_0000], GuestAddress(0xf_0000)).unwrap();
    let marked = |block: &RamBlock| {
        let taken = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, u64::MAX);
        [0, 0x4_0000, 0xf_0000].map(|offset| taken.is_dirty(offset, 0x1_0000))
    };
    assert_eq!((marked(&ram), marked(&rom)), ([false, false, true], [true, false, false]));
}

#[test]
fn a_virtqueue_works_in_ram_and_is_refused_in_rom() {
    let board = furnished();
    let memory = dma(&board);
    let queue_at = |address: u32| {
        let mut queue = Queue::new(16).unwrap();
        queue.set_size(16);
        queue.set_desc_table_address(Some(address), Some(0));
        queue.set_avail_ring_address(Some(address + 0x100), Some(0));
        queue.set_used_ring_address(Some(address + 0x200), Some(0));
        queue.set_ready(true);
        queue
    };
    let mut queue = queue_at(0);
    assert!(queue.is_valid(&memory));
    queue.add_used(&memory, 3, 0x40).unwrap();
    assert_eq!(memory.read_obj::<u32>(GuestAddress(0x208)).unwrap(), 0x40, "the used ring's first length");
    let mut in_rom = queue_at(0x1000);
    assert!(in_rom.add_used(&memory, 3, 0x40).is_err());
    assert!(!queue_at(0x2000).is_valid(&memory), "registers");
}
