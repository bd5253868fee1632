//! RAM that is resized under a guest.

use crate::board::{Board, CODE, SAY};
use iced_x86::code_asm::*;
use machines::kvm::Start;
use memory_core::{RamBlock, Width};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GO: u64 = 0x2000;
const BANK: u64 = 0x20_0000;
const PAGE: u64 = 0x1000;

#[test]
fn ram_that_grows_and_shrinks_is_a_guests_memory_as_far_as_it_is_in_use() {
    let name = "ram_that_grows_and_shrinks_is_a_guests_memory_as_far_as_it_is_in_use";
    let Some(mut board) = Board::new(name) else { return };
    let told = Arc::new(AtomicU64::new(0));
    let tell = told.clone();
    let block = RamBlock::builder(4 * PAGE).resizeable(PAGE, move |used| tell.store(used, Ordering::SeqCst));
    let bank = board.tree().ram("bank", block.build().unwrap()).build().unwrap();
    let bank = board.map(BANK, bank);
    // writes a number to each page and reads it again, each time that it is asked
    board.load(32, |a| {
        let mut again = a.create_label();
        a.mov(ecx, 1)?;
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(GO), 0)?;
        a.je(again)?;
        a.mov(byte_ptr(GO), 0)?;
        for page in 0..4 {
            a.mov(dword_ptr(BANK + page * PAGE + 0x10), ecx)?;
        }
        for page in 0..4 {
            a.mov(eax, dword_ptr(BANK + page * PAGE + 0x10))?;
            a.out(SAY, eax)?;
        }
        a.inc(ecx)?;
        a.jmp(again)
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    for (round, pages) in (1..).zip([1u64, 3, 4, 2, 1, 4]) {
        bank.resize_ram(pages * PAGE).unwrap();
        let slots = running.kvm.memory_slots();
        let slot = slots.iter().find(|slot| slot.range.start() == BANK).unwrap();
        assert_eq!(slot.range.last(), BANK + pages * PAGE - 1);
        board.memory.store(GO, Width::W1, 1, Default::default()).unwrap();
        let said = [(); 4].map(|()| board.said());
        // nobody is there behind what is in use
        assert_eq!(said, [0u64, 1, 2, 3].map(|page| if page < pages { round } else { 0 }), "{pages} pages");
        assert!(round == 1 || told.load(Ordering::SeqCst) == pages * PAGE);
    }
}
