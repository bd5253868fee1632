//! The kernel's memory slots beside the flat view, after random transactions under a guest that reads the map.

use crate::board::{Board, CODE, Registers, Running, SAY};
use iced_x86::code_asm::*;
use machines::kvm::{MemorySlot, Start};
use memory_core::{AccessRules, Backing, DirtyClients, MemoryError, RamBlock, RegionRef, Width};
use memory_flatview::{FlatRange, RangeFlags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

const PAGE: u64 = 0x1000;
/// Where regions move about, over the RAM.
const WINDOW: u64 = 0x1_0000;
const STEPS: u64 = 64;
/// Regions are moved by half pages, some of them.
const STEP: u64 = 0x800;
/// Where the guest puts what it reads at each step.
const SEEN: u64 = 0x6_0000;
/// What no kernel takes as the place of a slot.
const FAR: u64 = 1 << 60;

/// What a page of the guest's memory is: the block by its address, the offset there, and how the kernel has it.
type Page = (*const RamBlock, u64, bool, bool);

/// What the kernel should have of a range: the rule of whole pages, said page by page.
fn pages_of(range: &FlatRange) -> Vec<(u64, Page)> {
    let Some(read) = range.read() else { return Vec::new() };
    let same = range.write().is_some_and(|write| {
        write.target().region() == read.target().region() && write.offset() == read.offset()
    });
    let (block, read_only) = match read.target().backing() {
        Backing::Ram(block) => (block, !same || range.flags().contains(RangeFlags::READ_ONLY)),
        Backing::Rom(block) => (block, true),
        Backing::RomDevice(block, _) if range.flags().contains(RangeFlags::ROMD) => (block, true),
        _ => return Vec::new(),
    };
    let (start, last) = (range.range().start(), range.range().last());
    let mut pages = Vec::new();
    for address in (start / PAGE * PAGE..=last).step_by(PAGE as usize) {
        let offset = (read.offset() + address).wrapping_sub(start);
        if address >= start && address + (PAGE - 1) <= last && offset.is_multiple_of(PAGE) {
            pages.push((address, (Arc::as_ptr(block), offset, read_only, !range.log().is_empty())));
        }
    }
    pages
}

fn pages_in(slot: &MemorySlot) -> Vec<(u64, Page)> {
    let (start, last) = (slot.range.start(), slot.range.last());
    assert!(start.is_multiple_of(PAGE) && (last + 1).is_multiple_of(PAGE));
    let page = |address: u64| {
        (Arc::as_ptr(&slot.block), slot.offset + (address - start), slot.read_only, slot.logged)
    };
    (start..=last).step_by(PAGE as usize).map(|address| (address, page(address))).collect()
}

/// Each range has one slot, with all its pages and nothing else, or none: so no two overlap, and what is not merged
/// in the view is not in the kernel.
fn compare(board: &Board, slots: &[MemorySlot]) {
    let wanted: Vec<_> = board
        .memory
        .with_view(|view| view.ranges().map(pages_of).filter(|pages| !pages.is_empty()).collect());
    let known: Vec<_> = slots.iter().map(pages_in).collect();
    assert_eq!(known, wanted);
    let mut ids: Vec<_> = slots.iter().map(|slot| slot.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), slots.len(), "a slot is one range");
    assert!(ids.iter().all(|id| *id < 32), "slots are used again: {ids:?}");
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Address(usize, u64),
    Enabled(usize, bool),
    Priority(usize, i32),
    ReadOnly(usize, bool),
    Unmergeable(usize, bool),
    Romd(bool),
    AliasOffset(usize, u64),
    /// Of an alias.
    Size(usize, u64),
    Log(usize, bool),
    /// To where the kernel has no slots: the transaction fails.
    Far(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let which = 0usize..9;
    prop_oneof![
        6 => (which.clone(), 0..STEPS).prop_map(|(which, step)| Change::Address(which, step)),
        3 => (which.clone(), any::<bool>()).prop_map(|(which, on)| Change::Enabled(which, on)),
        2 => (which.clone(), 1..4).prop_map(|(which, priority)| Change::Priority(which, priority)),
        2 => (which.clone(), any::<bool>()).prop_map(|(which, on)| Change::ReadOnly(which, on)),
        2 => (which.clone(), any::<bool>()).prop_map(|(which, on)| Change::Unmergeable(which, on)),
        2 => any::<bool>().prop_map(Change::Romd),
        2 => (0usize..3, 0..16u64).prop_map(|(which, step)| Change::AliasOffset(which, step)),
        2 => (0usize..3, 1..16u64).prop_map(|(which, steps)| Change::Size(which, steps)),
        1 => (which.clone(), any::<bool>()).prop_map(|(which, on)| Change::Log(which, on)),
        1 => which.prop_map(Change::Far),
    ]
}

struct Map {
    board: Board,
    /// Three aliases, then what they may show, and others.
    regions: Vec<RegionRef>,
}

impl Map {
    fn new(mut board: Board) -> Self {
        let block = |size: u64, tag: u64| {
            let block = RamBlock::anonymous(size).unwrap();
            (0..size / 4).for_each(|word| assert!(block.store(word * 4, Width::W4, tag << 24 | word)));
            block
        };
        let tree = board.tree();
        let first = tree.ram("first", block(0x8000, 1)).build().unwrap();
        let second = tree.ram("second", block(0x4000, 2)).build().unwrap();
        let rom = tree.rom("rom", block(0x2000, 3)).build().unwrap();
        let device = Registers::new(|offset, _| 0x7000_0000 + offset, |_, _, _| ());
        let flash = tree.rom_device("flash", block(0x3000, 4), AccessRules::new(), device.clone());
        let flash = flash.build().unwrap();
        let registers =
            tree.mmio("registers", 0x1800u64, AccessRules::new(), device.clone()).build().unwrap();
        let small = tree.mmio("small", 0x100u64, AccessRules::new(), device).build().unwrap();
        let alias = |name: &str, of: &RegionRef| tree.alias(name, of, 0, 0x4000u64).build().unwrap();
        let aliases = [alias("alias a", &first), alias("alias b", &first), alias("alias c", &flash)];
        let all = aliases.into_iter().chain([first, second, rom, flash, registers, small]);
        let all: Vec<_> = all.zip(0..).map(|(region, place)| (region, WINDOW + place * 5 * STEP)).collect();
        let regions = all.into_iter().map(|(region, place)| board.map(place, region)).collect();
        Self { board, regions }
    }

    fn apply(&self, change: Change) -> Result<(), MemoryError> {
        let region = |which: usize| self.regions.get(which % self.regions.len()).unwrap();
        match change {
            Change::Address(which, step) => region(which).set_address(WINDOW + step * STEP),
            Change::Enabled(which, on) => region(which).set_enabled(on),
            Change::Priority(which, priority) => region(which).set_priority(priority),
            Change::ReadOnly(which, on) => region(which).set_read_only(on),
            Change::Unmergeable(which, on) => region(which).set_unmergeable(on),
            Change::Romd(on) => region(6).set_romd(on),
            Change::AliasOffset(which, step) => region(which).set_alias_offset(step * STEP),
            Change::Size(which, steps) => region(which).set_size(steps * STEP),
            Change::Log(which, on) => match region(which).set_log(DirtyClients::DISPLAY, on) {
                // of registers there is no log
                Err(MemoryError::WrongKind { .. }) => Ok(()),
                other => other,
            },
            Change::Far(which) => {
                region(which).set_enabled(true)?;
                region(which).set_address(FAR)
            }
        }
    }

    /// The guest reads a word at each step of the window, and sees what we see.
    fn look(&self) {
        self.board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
        assert_eq!(self.board.said(), 1);
        let word = |address: u64| self.board.memory.load(address, Width::W4, Default::default()).unwrap_or(0);
        for step in 0..STEPS {
            let (ours, guests) = (word(WINDOW + step * STEP), word(SEEN + 4 * step));
            assert_eq!(guests, ours, "at {:#x}", WINDOW + step * STEP);
        }
    }
}

/// Reads the window each time that it is asked.
fn reader(board: &Board) -> Running {
    board.load(32, |a| {
        let (mut again, mut next) = (a.create_label(), a.create_label());
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(again)?;
        a.mov(byte_ptr(0x2000), 0)?;
        a.mov(esi, WINDOW as u32)?;
        a.mov(edi, SEEN as u32)?;
        a.set_label(&mut next)?;
        a.mov(eax, dword_ptr(esi))?;
        a.mov(dword_ptr(edi), eax)?;
        a.add(esi, STEP as u32)?;
        a.add(edi, 4)?;
        a.cmp(edi, (SEEN + 4 * STEPS) as u32)?;
        a.jne(next)?;
        a.mov(al, 1)?;
        a.out(SAY, al)?;
        a.jmp(again)
    });
    board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 })
}

#[test]
fn slots_are_the_flat_view_after_random_transactions_and_a_guest_sees_it() {
    let name = "slots_are_the_flat_view_after_random_transactions_and_a_guest_sees_it";
    if Board::new(name).is_none() {
        return;
    }
    let transactions = vec((vec(change(), 1..5), prop::bool::weighted(0.1)), 1..24);
    // fewer where all of this is interpreted
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&transactions, |transactions| {
        let map = Map::new(Board::new(name).unwrap());
        let running = reader(&map.board);
        compare(&map.board, &running.kvm.memory_slots());
        for (changes, fails) in transactions {
            let before = running.kvm.memory_slots();
            let generation = map.board.memory.generation();
            let done = map.board.tree().transaction(|transaction| {
                changes.iter().try_for_each(|change| map.apply(*change))?;
                // half way through, and back
                if fails { transaction.ask().and(Err(MemoryError::InsideCommit)) } else { Ok(()) }
            });
            let after = running.kvm.memory_slots();
            compare(&map.board, &after);
            if done.is_err() {
                let places = |slots: &[MemorySlot]| slots.iter().map(pages_in).collect::<Vec<_>>();
                prop_assert_eq!(places(&before), places(&after));
                prop_assert_eq!(map.board.memory.generation(), generation);
            }
            map.look();
        }
        Ok(())
    });
    checked.unwrap();
}

fn serials(slots: &[MemorySlot]) -> Vec<(u64, u64)> {
    slots.iter().map(|slot| (slot.range.start(), slot.serial)).collect()
}

#[test]
fn a_range_that_moves_or_is_clipped_changes_its_own_slot_alone() {
    let Some(mut board) = Board::new("a_range_that_moves_or_is_clipped_changes_its_own_slot_alone") else {
        return;
    };
    let banks = [0x20_0000, 0x30_0000, 0x40_0000].map(|at| board.ram_at(at, 0x4000, &format!("bank {at:x}")));
    let registers = board.registers(0x50_0000, &Registers::plain());
    let kvm = board.kvm(false);
    let serial = |at: u64| {
        let slots = kvm.memory_slots();
        slots.iter().find(|slot| slot.range.start() == at).map(|slot| (slot.serial, slot.range.last()))
    };
    let before = [0, 0x20_0000, 0x40_0000].map(serial);
    let moved = serial(0x30_0000).unwrap();
    banks[1].set_address(0x38_0000).unwrap();
    assert_eq!((serial(0x30_0000), before), (None, [0, 0x20_0000, 0x40_0000].map(serial)));
    assert_ne!(serial(0x38_0000).unwrap().0, moved.0);
    // registers over its last page
    registers.set_address(0x38_3000).unwrap();
    assert_eq!(serial(0x38_0000).unwrap().1, 0x38_2fff);
    assert_eq!(before, [0, 0x20_0000, 0x40_0000].map(serial));
    // a log is no new slot
    let kept = serials(&kvm.memory_slots());
    banks[0].set_log(DirtyClients::DISPLAY, true).unwrap();
    assert!(kvm.memory_slots().iter().any(|slot| slot.logged && slot.range.start() == 0x20_0000));
    assert_eq!(serials(&kvm.memory_slots()), kept);
}

#[test]
fn parts_that_do_not_merge_keep_slots_of_their_own() {
    let Some(mut board) = Board::new("parts_that_do_not_merge_keep_slots_of_their_own") else { return };
    let bank = board.tree().ram("bank", RamBlock::anonymous(0x4000u64).unwrap()).build().unwrap();
    let parts = [0u64, 0x2000].map(|offset| {
        let part = board.tree().alias(format!("part {offset:x}"), &bank, offset, 0x2000u64).build().unwrap();
        board.map(0x20_0000 + offset, part)
    });
    let kvm = board.kvm(false);
    let slots = || {
        let slots = kvm.memory_slots().into_iter().map(|slot| (slot.range.start(), slot.range.last()));
        slots.filter(|(start, _)| *start >= 0x20_0000).collect::<Vec<_>>()
    };
    assert_eq!(slots(), [(0x20_0000, 0x20_3fff)], "one stretch of host memory");
    parts[0].set_unmergeable(true).unwrap();
    assert_eq!(slots(), [(0x20_0000, 0x20_1fff), (0x20_2000, 0x20_3fff)]);
    // one of them goes, and the other is not touched
    let serial =
        || kvm.memory_slots().iter().find(|slot| slot.range.start() == 0x20_2000).map(|slot| slot.serial);
    let before = serial();
    parts[0].set_enabled(false).unwrap();
    parts[0].set_enabled(true).unwrap();
    assert_eq!((serial(), slots().len()), (before, 2));
    parts[0].set_unmergeable(false).unwrap();
    assert_eq!(slots(), [(0x20_0000, 0x20_3fff)]);
}
