//! Accesses through IOMMUs.

use crate::board::{ATTRS, Board, Door, bytes_of, each_door};
use memory_core::{
    AccessRules, BusFault, DirtyClients, Iommu, IommuEntry, Permissions, Region, RegionRef, Size, SpaceId,
    TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, Direction, DmaMemory, SpaceConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress};

const READ: Permissions = Permissions::READ;
const WRITE: Permissions = Permissions::WRITE;

/// Translates page by page, as a table says.
#[derive(Default)]
struct Table {
    pages: Mutex<BTreeMap<u64, IommuEntry>>,
    asked: Mutex<Vec<(u64, Permissions, TxAttrs)>>,
}

impl Table {
    fn set(&self, page: u64, space: SpaceId, translated: u64, permissions: Permissions) {
        let entry = IommuEntry { space, translated, mask: 0xfff, permissions };
        self.pages.lock().unwrap().insert(page, entry);
    }
}

impl Iommu for Table {
    fn translate(&self, address: u64, access: Permissions, attrs: TxAttrs) -> Option<IommuEntry> {
        self.asked.lock().unwrap().push((address, access, attrs));
        self.pages.lock().unwrap().get(&(address & !0xfff)).copied()
    }
}

/// An IOMMU at 0x10_0000 of the board, which leads into a space of its own.
struct Behind {
    table: Arc<Table>,
    space: Arc<AddressSpace>,
    root: Region,
}

const AT: u64 = 0x10_0000;

fn put_iommu(board: &mut Board, address: u64) -> Arc<Table> {
    let table = Arc::<Table>::default();
    let weak = Arc::downgrade(&table);
    let iommu = board.memory().iommu(format!("iommu{address:x}"), 0x10_0000u64, weak).build().unwrap();
    board.map(address, iommu);
    table
}

fn behind(board: &mut Board) -> Behind {
    let table = put_iommu(board, AT);
    let root = board.memory().container("behind", Size::FULL).build().unwrap();
    let space = board.system.address_space("behind", &root, SpaceConfig::default()).unwrap();
    Behind { table, space, root }
}

/// The board, what is behind its IOMMU, and RAM there from 0x8000 to 0xafff.
fn each(test: impl Fn(&mut Board, &Behind, &memory_core::RamBlock)) {
    each_door(SpaceConfig::default(), |board| {
        let behind = behind(board);
        let block = crate::board::counting(0x3000, 0);
        let ram = board.memory().ram("ram", block.clone()).build().unwrap();
        behind.root.map(0x8000, &ram).unwrap();
        board.keep(ram);
        test(board, &behind, &block);
    });
}

#[test]
fn accesses_go_on_where_the_table_says() {
    each(|board, behind, block| {
        behind.table.set(0x2000, behind.space.id(), 0x9000, READ | WRITE);
        assert_eq!(board.load(AT + 0x2010, Width::W4), Ok(0x1312_1110));
        board.store(AT + 0x2010, Width::W2, 0xbeef).unwrap();
        board.write(AT + 0x2ffe, &[1, 2]).unwrap();
        assert_eq!(
            (bytes_of(block, 0x1010, 2), bytes_of(block, 0x1ffe, 3)),
            (vec![0xef, 0xbe], vec![1, 2, 0])
        );
        assert_eq!(board.read(AT + 0x2ffe, 2), (vec![1, 2], Ok(())));
        assert_eq!(board.exchange(AT + 0x2014, Width::W4, 0x1716_1514, 7), Ok(Ok(0x1716_1514)));
        assert_eq!(block.load(0x1014, Width::W4), Some(7));
    });
}

#[test]
fn what_is_written_through_an_iommu_is_marked() {
    each(|board, behind, block| {
        // page by page, behind which they lie the other way round
        for page in 0..3 {
            behind.table.set(page * 0x1000, behind.space.id(), 0xa000 - page * 0x1000, READ | WRITE);
        }
        block.dirty().start(DirtyClients::MIGRATION);
        let marked = || {
            let taken = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, u64::MAX);
            [0, 1, 2].map(|page| taken.is_dirty(page * 0x1000, 0x1000))
        };
        board.store(AT + 0x10, Width::W4, 1).unwrap();
        assert!(marked()[2]);
        board.write(AT + 0xfff, &[1, 2]).unwrap();
        let two = marked();
        assert!(two[1] && two[2]);
        board.exchange(AT + 0x2000, Width::W4, 0x0302_0100, 7).unwrap().unwrap();
        assert!(marked()[0]);
        board.space.fill(AT + 0x1000, 0x10, 1, ATTRS).unwrap();
        assert!(marked()[1]);
        let mut guard = board.space.map(AT + 0x2000, 0x10, Direction::Write, ATTRS).unwrap();
        assert!(guard.is_direct() && guard.write(0, &[1]));
        guard.unmap(1).unwrap();
        assert!(marked()[0]);
        DmaMemory::new(&board.space, ATTRS).write_obj(5u8, GuestAddress(AT + 0x20)).unwrap();
        assert!(marked()[2]);
        assert_eq!(marked(), [false; 3]);
    });
}

#[test]
fn the_iommu_hears_of_offset_access_and_attributes() {
    each(|board, behind, _| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        let attrs = TxAttrs::requester(0x18);
        board.load_as(attrs, AT + 4, Width::W1).unwrap();
        board.store(AT + 8, Width::W1, 0).unwrap();
        assert_eq!(*behind.table.asked.lock().unwrap(), [(4, READ, attrs), (8, WRITE, ATTRS)]);
    });
}

#[test]
fn an_access_over_two_pages_is_translated_twice() {
    each(|board, behind, block| {
        behind.table.set(0, behind.space.id(), 0xa000, READ | WRITE);
        behind.table.set(0x1000, behind.space.id(), 0x8000, READ | WRITE);
        assert!(block.store(0x2ffe, Width::W2, 0x2211) && block.store(0, Width::W2, 0x4433));
        assert_eq!(board.load(AT + 0xffe, Width::W4), Ok(0x4433_2211));
        board.store(AT + 0xffe, Width::W4, 0xddcc_bbaa).unwrap();
        assert_eq!((bytes_of(block, 0x2ffe, 2), bytes_of(block, 0, 2)), (vec![0xaa, 0xbb], vec![0xcc, 0xdd]));
        let long = board.read(AT + 0xff0, 0x20).0;
        assert_eq!(
            (&long[..0xe], &long[0x12..]),
            (&bytes_of(block, 0x2ff0, 0xe)[..], &bytes_of(block, 2, 0xe)[..])
        );
        assert_eq!(board.exchange(AT + 0xffe, Width::W4, 0, 0), Err(BusFault::ACCESS));
    });
}

#[test]
fn a_window_asks_an_iommu_that_announces_nothing_at_each_access() {
    each(|board, behind, _| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        let window = board.space.window(memory_core::AddrRange::new(AT, AT + 0xfff).unwrap(), ATTRS);
        assert_eq!(window.load(1, Width::W1), Ok(1));
        behind.table.set(0, behind.space.id(), 0x8010, READ);
        assert_eq!(window.load(1, Width::W1), Ok(1), "the low bits are the page's own");
        behind.table.set(0, behind.space.id(), 0x9000, READ);
        assert_eq!(board.load(AT + 1, Width::W1), window.load(1, Width::W1));
        assert_eq!(window.store(1, Width::W1, 7), Err(BusFault::ACCESS));
    });
}

#[test]
fn a_page_that_is_not_mapped_is_an_access_error() {
    each(|board, _, _| {
        assert_eq!(board.load(AT, Width::W4), Err(BusFault::ACCESS));
        assert_eq!(board.store(AT, Width::W4, 0), Err(BusFault::ACCESS));
        assert_eq!(board.read(AT + 0xfff, 3), (vec![0; 3], Err(BusFault::ACCESS)));
        assert_eq!(board.exchange(AT, Width::W4, 0, 0), Err(BusFault::ACCESS));
    });
}

#[test]
fn a_missing_permission_leaves_its_page_alone_and_earlier_pages_written() {
    each(|board, behind, block| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        behind.table.set(0x1000, behind.space.id(), 0x9000, READ);
        assert_eq!(board.write(AT + 0xffe, &[0xee; 4]), Err(BusFault::ACCESS));
        assert_eq!((bytes_of(block, 0xffe, 2), bytes_of(block, 0x1000, 2)), (vec![0xee; 2], vec![0, 1]));
        assert_eq!(board.store(AT + 0x1000, Width::W4, 0), Err(BusFault::ACCESS));
        assert_eq!(board.load(AT + 0x1000, Width::W2), Ok(0x0100), "reads are allowed");
        behind.table.set(0x2000, behind.space.id(), 0xa000, WRITE);
        assert_eq!(board.load(AT + 0x2000, Width::W1), Err(BusFault::ACCESS));
        assert_eq!(board.exchange(AT + 0x2000, Width::W1, 0, 0), Err(BusFault::ACCESS), "needs both");
        board.store(AT + 0x2000, Width::W1, 0x77).unwrap();
        assert_eq!(bytes_of(block, 0x2000, 1), [0x77]);
    });
}

#[test]
fn the_space_behind_decides_who_answers_and_how_nobody_does() {
    each(|board, behind, _| {
        let device = crate::board::Recorder::new(memory_core::ByteOrder::Little, 0x40);
        let regs = board.memory().mmio("regs", 0x100u64, AccessRules::new(), device.clone()).build().unwrap();
        behind.root.map(0x5000, &regs).unwrap();
        board.keep(regs);
        behind.table.set(0, behind.space.id(), 0x5000, READ | WRITE);
        behind.table.set(0x1000, behind.space.id(), 0x6000, READ | WRITE);
        assert_eq!(board.load(AT + 8, Width::W2), Ok(0x4948));
        assert_eq!(device.calls(), [crate::board::Call::Read(8, 2)]);
        assert_eq!(board.load(AT + 0x1000, Width::W2), Err(BusFault::DECODE));
        for attrs in [TxAttrs::MEMORY_ONLY, TxAttrs::DEBUG] {
            assert_eq!(board.load_as(attrs, AT + 8, Width::W2), Err(BusFault::ACCESS));
            assert_eq!(board.store_as(attrs, AT + 8, Width::W2, 1), Err(BusFault::ACCESS));
            assert_eq!(board.read_as(attrs, AT + 8, 2), (vec![0; 2], Err(BusFault::ACCESS)));
            assert_eq!(board.write_as(attrs, AT + 8, &[1, 2]), Err(BusFault::ACCESS));
        }
        assert_eq!(board.load_as(TxAttrs::MEMORY_ONLY, AT + 0x1000, Width::W2), Err(BusFault::ACCESS));
        assert_eq!(device.calls(), []);
    });
}

#[test]
fn a_chain_of_iommus_is_followed() {
    each(|board, behind, _| {
        let second = put_iommu(board, 0x100_0000);
        behind.table.set(0, board.space.id(), 0x100_3000, READ | WRITE);
        second.set(0x3000, behind.space.id(), 0x8000, READ | WRITE);
        assert_eq!(board.load(AT + 0x20, Width::W2), Ok(0x2120));
    });
}

#[test]
fn a_loop_of_iommus_is_a_fault_and_no_hang() {
    each(|board, behind, _| {
        behind.table.set(0, board.space.id(), AT, READ | WRITE);
        assert_eq!(board.load(AT, Width::W4), Err(BusFault::ACCESS));
        assert_eq!(board.store(AT, Width::W4, 0), Err(BusFault::ACCESS));
        assert_eq!(board.read(AT, 0x1001).1, Err(BusFault::ACCESS));
        assert_eq!(board.exchange(AT, Width::W4, 0, 0), Err(BusFault::ACCESS));
        assert!(behind.table.asked.lock().unwrap().len() < 100);
    });
}

#[test]
fn an_entry_that_points_at_a_space_that_is_gone_faults() {
    let mut board = Board::new(Door::Handle, SpaceConfig::default());
    let Behind { table, space, root: _root } = behind(&mut board);
    table.set(0, space.id(), 0, READ | WRITE);
    drop(space);
    board.system.reclaim();
    assert_eq!(board.load(AT, Width::W4), Err(BusFault::DECODE));
    assert_eq!(board.write(AT, &[1, 2]), Err(BusFault::DECODE));
}

#[test]
fn a_read_only_window_onto_an_iommu_lets_no_write_through() {
    each(|board, behind, block| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        board.root.set_read_only(true).unwrap();
        assert_eq!(board.load(AT, Width::W2), Ok(0x0100));
        assert!(board.store(AT, Width::W2, 0x5555).is_err() && board.write(AT, &[9]).is_err());
        assert_eq!(bytes_of(block, 0, 2), [0, 1]);
    });
}

#[test]
fn no_iommu_is_asked_inside_a_transaction() {
    each(|board, behind, _| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        let transaction = board.memory().begin().unwrap();
        assert_eq!(board.load(AT, Width::W1), Err(BusFault::ACCESS));
        assert_eq!(board.write(AT, &[1, 2]), Err(BusFault::ACCESS));
        assert!(behind.table.asked.lock().unwrap().is_empty());
        drop(transaction);
        assert!(board.load(AT, Width::W1).is_ok());
    });
}

/// An IOMMU that changes the map whenever it is asked, and leads all of its pages to `to`.
struct Meddler {
    to: (SpaceId, u64),
    meddle: Box<dyn Fn() + Send + Sync>,
}

impl Iommu for Meddler {
    fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
        (self.meddle)();
        let (space, translated) = self.to;
        Some(IommuEntry { space, translated, mask: 0xfff, permissions: READ | WRITE })
    }
}

fn put_meddler(board: &mut Board, root: &RegionRef, at: u64, meddler: &Arc<Meddler>) {
    let weak = Arc::downgrade(meddler);
    let region = board.memory().iommu(format!("meddler {at:x}"), 0x10_0000u64, weak).build().unwrap();
    root.map(at, &region).unwrap();
    board.keep(region);
}

#[test]
fn an_access_sees_one_map_of_each_space_however_often_it_comes_there() {
    each(|board, behind, ram| {
        assert!(ram.write(0, &[1]) && ram.write(0x1000, &[2]));
        // pages of one transfer: what is behind moves in between
        let moved = behind.root.by_ref().clone();
        let cover = board.memory().reservation("cover", 0x1000u64).build().unwrap();
        let (cover, into) = (board.keep(cover), moved.clone());
        let hides = cover.clone();
        let meddle = move || match hides.address().unwrap() {
            None => into.map_overlap(0x8000, &hides, 1).unwrap(),
            Some(_) => hides.unmap().unwrap(),
        };
        let to = (behind.space.id(), 0x8000);
        let meddler = Arc::new(Meddler { to, meddle: Box::new(meddle) });
        let root = board.root.by_ref().clone();
        put_meddler(board, &root, 0x200_0000, &meddler);
        // hidden when the first page is asked for, shown at the second, and so on
        let (bytes, result) = board.read(0x200_0000, 0x3000);
        assert_eq!((result, bytes[0], bytes[0x1000]), (Err(BusFault::DECODE), 0, 0), "as it was at first");
        assert!(cover.address().unwrap().is_some());
        let (bytes, result) = board.read(0x200_0000, 0x3000);
        assert_eq!((result, bytes[0], bytes[0x1000], bytes[0x2000]), (Ok(()), 1, 1, 1));
        // a chain that comes back: what it began with is what it ends with
        board.ram(0x9_0000, 0x1000, 0x55);
        let there = board.memory().reservation("there", 0x1000u64).build().unwrap();
        let (there, board_root) = (board.keep(there), root.clone());
        let over = there.clone();
        let meddle = move || board_root.map_overlap(0x9_0000, &over, 1).unwrap();
        let back = Arc::new(Meddler { to: (board.space.id(), 0x9_0000), meddle: Box::new(meddle) });
        put_meddler(board, &moved, 0x100_0000, &back);
        behind.table.set(0, behind.space.id(), 0x100_0000, READ | WRITE);
        assert_eq!(board.load(AT, Width::W1), Ok(0x55));
        assert_eq!(board.load(0x9_0000, Width::W1), Err(BusFault::DECODE), "the next access sees the change");
    });
}

#[test]
fn memory_only_reaches_memory_behind_an_iommu_and_a_debugger_does_not() {
    each(|board, behind, ram| {
        behind.table.set(0, behind.space.id(), 0x8000, READ | WRITE);
        let only = TxAttrs::MEMORY_ONLY;
        assert_eq!(board.store_as(only, AT, Width::W2, 0x0201), Ok(()));
        assert_eq!(board.write_as(only, AT + 2, &[3, 4]), Ok(()));
        assert_eq!(bytes_of(ram, 0, 4), [1, 2, 3, 4]);
        assert_eq!(board.load_as(only, AT, Width::W4), Ok(0x0403_0201));
        assert_eq!(board.read_as(only, AT, 4), (vec![1, 2, 3, 4], Ok(())));
        assert!(behind.table.asked.lock().unwrap().iter().all(|(_, _, attrs)| *attrs == only));
        assert_eq!(board.load_as(TxAttrs::DEBUG, AT, Width::W4), Err(BusFault::ACCESS));
    });
}
