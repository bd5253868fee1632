//! The kernel's dirty log.

use crate::board::{Board, Running, SAY};
use iced_x86::code_asm::*;
use memory_core::{DirtyClients, Width};

const SIZE: u64 = 0x10_0000;

/// A guest that writes a byte to the page whose number is at 0x2000 when that is not 0, and says so.
fn writer(board: &Board) -> Running {
    board.load(16, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(ax, word_ptr(0x2000))?;
        a.test(ax, ax)?;
        a.je(again)?;
        a.mov(word_ptr(0x2000), 0)?;
        a.shl(ax, 8)?;
        a.mov(es, ax)?;
        a.mov(byte_ptr(0x123).es(), 0x5au32)?;
        a.out(SAY, al)?;
        a.jmp(again)
    });
    board.run()
}

fn write(board: &Board, page: u64) {
    board.memory.store(0x2000, Width::W2, page, Default::default()).unwrap();
    board.said();
}

/// The pages that were written, but for the guest's mailbox.
fn taken(board: &Board, client: DirtyClients) -> Vec<u64> {
    let taken = board.system.snapshot_and_clear(&board.ram, client, 0, SIZE).unwrap();
    taken.pages().map(|offset| offset >> 12).filter(|page| *page != 2).collect()
}

#[test]
fn what_a_guest_writes_is_noted_from_the_start_of_the_log_to_its_end() {
    let Some(board) = Board::new("what_a_guest_writes_is_noted_from_the_start_of_the_log_to_its_end") else {
        return;
    };
    let _running = writer(&board);
    write(&board, 0x20);
    board.system.start_dirty_log(DirtyClients::MIGRATION).unwrap();
    assert_eq!(taken(&board, DirtyClients::MIGRATION), [0u64; 0]);
    write(&board, 0x30);
    write(&board, 0x7f);
    assert_eq!(taken(&board, DirtyClients::MIGRATION), [0x30, 0x7f]);
    assert_eq!(taken(&board, DirtyClients::MIGRATION), [0u64; 0]);
    write(&board, 0x30);
    board.system.stop_dirty_log(DirtyClients::MIGRATION).unwrap();
    write(&board, 0x44);
    // what was noted before the end stays to be read
    assert_eq!(taken(&board, DirtyClients::MIGRATION), [0x30]);
}

#[test]
fn clients_have_their_own_marks_of_a_guests_writes() {
    let Some(board) = Board::new("clients_have_their_own_marks_of_a_guests_writes") else { return };
    let _running = writer(&board);
    board.ram.set_log(DirtyClients::DISPLAY, true).unwrap();
    write(&board, 0x21);
    board.system.start_dirty_log(DirtyClients::MIGRATION).unwrap();
    write(&board, 0x22);
    assert_eq!(taken(&board, DirtyClients::DISPLAY), [0x21, 0x22]);
    // the kernel's mark of the first was pulled after the second client had begun: one more than is needed, at most
    assert!(taken(&board, DirtyClients::MIGRATION).contains(&0x22));
    board.ram.set_log(DirtyClients::DISPLAY, false).unwrap();
    write(&board, 0x23);
    assert_eq!(taken(&board, DirtyClients::DISPLAY), [0u64; 0]);
    assert_eq!(taken(&board, DirtyClients::MIGRATION), [0x23]);
}

#[test]
fn marks_of_a_slot_that_moves_are_not_lost() {
    let Some(mut board) = Board::new("marks_of_a_slot_that_moves_are_not_lost") else { return };
    let bank = board.ram_at(0x6_0000, 0x2000, "bank");
    let _running = writer(&board);
    bank.set_log(DirtyClients::DISPLAY, true).unwrap();
    write(&board, 0x61);
    bank.set_address(0x7_0000).unwrap();
    write(&board, 0x70);
    let taken = board.system.snapshot_and_clear(&bank, DirtyClients::DISPLAY, 0, 0x2000).unwrap();
    assert_eq!(taken.pages().collect::<Vec<_>>(), [0, 0x1000]);
}
