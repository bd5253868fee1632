//! The kernel's dirty log.

use crate::board::{Board, Running, SAY};
use iced_x86::code_asm::*;
use memory_core::{DirtyClients, Width};

const SIZE: u64 = 0x10_0000;

/// Once with each form of the kernel's log: marks that stay until they are cleared, and marks that are gone once taken.
fn each_form(name: &str, check: impl Fn(&mut Board)) {
    for plain in [false, true] {
        let Some(mut board) = Board::new(name) else { return };
        board.config.plain_dirty_log = plain;
        check(&mut board);
    }
}

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
    let running = board.run();
    // a page that the guest only reads, its code for one, counts as written if the kernel maps it while there is a log
    write(board, 0x10);
    running
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
    let name = "what_a_guest_writes_is_noted_from_the_start_of_the_log_to_its_end";
    each_form(name, |board| noted_from_start_to_end(board));
}

fn noted_from_start_to_end(board: &Board) {
    let _running = writer(board);
    write(board, 0x20);
    board.system.start_dirty_log(DirtyClients::MIGRATION).unwrap();
    assert_eq!(taken(board, DirtyClients::MIGRATION), [0u64; 0]);
    write(board, 0x30);
    write(board, 0x7f);
    assert_eq!(taken(board, DirtyClients::MIGRATION), [0x30, 0x7f]);
    assert_eq!(taken(board, DirtyClients::MIGRATION), [0u64; 0]);
    write(board, 0x30);
    board.system.stop_dirty_log(DirtyClients::MIGRATION).unwrap();
    write(board, 0x44);
    // what was noted before the end stays to be read
    assert_eq!(taken(board, DirtyClients::MIGRATION), [0x30]);
}

#[test]
fn clients_have_their_own_marks_of_a_guests_writes() {
    each_form("clients_have_their_own_marks_of_a_guests_writes", |board| clients_have_their_own(board));
}

fn clients_have_their_own(board: &Board) {
    let _running = writer(board);
    board.ram.set_log(DirtyClients::DISPLAY, true).unwrap();
    write(board, 0x21);
    board.system.start_dirty_log(DirtyClients::MIGRATION).unwrap();
    write(board, 0x22);
    assert_eq!(taken(board, DirtyClients::DISPLAY), [0x21, 0x22]);
    // the kernel's mark of the first was pulled after the second client had begun: one more than is needed, at most
    assert!(taken(board, DirtyClients::MIGRATION).contains(&0x22));
    board.ram.set_log(DirtyClients::DISPLAY, false).unwrap();
    write(board, 0x23);
    assert_eq!(taken(board, DirtyClients::DISPLAY), [0u64; 0]);
    assert_eq!(taken(board, DirtyClients::MIGRATION), [0x23]);
}

#[test]
fn marks_of_a_slot_that_moves_are_not_lost() {
    each_form("marks_of_a_slot_that_moves_are_not_lost", moves);
}

fn moves(board: &mut Board) {
    let bank = board.ram_at(0x6_0000, 0x2000, "bank");
    let _running = writer(board);
    bank.set_log(DirtyClients::DISPLAY, true).unwrap();
    write(board, 0x61);
    bank.set_address(0x7_0000).unwrap();
    write(board, 0x70);
    let taken = board.system.snapshot_and_clear(&bank, DirtyClients::DISPLAY, 0, 0x2000).unwrap();
    assert_eq!(taken.pages().collect::<Vec<_>>(), [0, 0x1000]);
}

#[test]
fn marks_of_other_pages_stay_where_a_part_of_them_is_taken() {
    each_form("marks_of_other_pages_stay_where_a_part_of_them_is_taken", |board| {
        let _running = writer(board);
        board.ram.set_log(DirtyClients::DISPLAY, true).unwrap();
        let part = |first: u64, pages: u64| {
            let taken =
                board.system.snapshot_and_clear(&board.ram, DirtyClients::DISPLAY, first << 12, pages << 12);
            taken.unwrap().pages().map(|offset| offset >> 12).collect::<Vec<_>>()
        };
        for page in [0x1f, 0x20, 0x21, 0x60] {
            write(board, page);
        }
        assert_eq!(part(0x20, 1), [0x20]);
        // noted anew, or noted still
        for page in [0x20, 0x21] {
            write(board, page);
        }
        assert_eq!(part(0x20, 1), [0x20]);
        assert_eq!(part(0x10, 0x60), [0x1f, 0x21, 0x60]);
        assert_eq!(part(0x10, 0x60), [0u64; 0]);
        board.system.clear_dirty(&board.ram, DirtyClients::DISPLAY, 0, SIZE).unwrap();
        write(board, 0x60);
        assert_eq!(part(0, 0x80), [2, 0x60]);
    });
}

#[test]
fn a_client_that_forgets_its_marks_takes_nothing_from_others() {
    each_form("a_client_that_forgets_its_marks_takes_nothing_from_others", |board| {
        let _running = writer(board);
        let both = DirtyClients::DISPLAY | DirtyClients::MIGRATION;
        board.ram.set_log(both, true).unwrap();
        write(board, 0x30);
        board.system.sync_dirty_log(None).unwrap();
        write(board, 0x31);
        // the kernel knows of one page that the block's log does not
        board.system.clear_dirty(&board.ram, DirtyClients::DISPLAY, 0, SIZE).unwrap();
        assert_eq!(taken(board, DirtyClients::MIGRATION), [0x30, 0x31]);
        // noted anew, and not among what was taken
        write(board, 0x31);
        board.system.clear_dirty(&board.ram, DirtyClients::DISPLAY, 0, SIZE).unwrap();
        assert_eq!(taken(board, DirtyClients::MIGRATION), [0x31]);
    });
}

#[test]
fn a_client_that_starts_later_misses_no_page_that_an_earlier_one_has_seen() {
    each_form("a_client_that_starts_later_misses_no_page_that_an_earlier_one_has_seen", |board| {
        let _running = writer(board);
        board.ram.set_log(DirtyClients::DISPLAY, true).unwrap();
        write(board, 0x30);
        board.system.sync_dirty_log(None).unwrap();
        board.system.start_dirty_log(DirtyClients::MIGRATION).unwrap();
        // migration has copied all memory, and the display takes its marks before it looks for more
        write(board, 0x30);
        board.system.clear_dirty(&board.ram, DirtyClients::DISPLAY, 0, SIZE).unwrap();
        assert_eq!(taken(board, DirtyClients::MIGRATION), [0x30]);
        board.system.clear_dirty(&board.ram, DirtyClients::DISPLAY, 0, SIZE).unwrap();
        write(board, 0x30);
        assert_eq!(taken(board, DirtyClients::DISPLAY), [0x30]);
        assert_eq!(taken(board, DirtyClients::MIGRATION), [0x30]);
    });
}

/// What migration does: copy what is marked while the guest writes on, and the rest when it stands still.
#[test]
fn a_copy_that_follows_the_log_of_a_guest_that_writes_on_is_the_memory() {
    each_form("a_copy_that_follows_the_log_of_a_guest_that_writes_on_is_the_memory", |board| {
        let bank = board.ram_at(0x4_0000, 0x4_0000, "bank");
        // a counter goes to every page of the bank, over and over
        board.load(16, |a| {
            let (mut again, mut next) = (a.create_label(), a.create_label());
            a.out(SAY, al)?;
            a.set_label(&mut again)?;
            a.inc(ecx)?;
            a.mov(bx, 0x4000)?;
            a.set_label(&mut next)?;
            a.mov(es, bx)?;
            a.mov(dword_ptr(0x10).es(), ecx)?;
            a.add(bx, 0x100)?;
            a.cmp(bx, 0x8000u32)?;
            a.jne(next)?;
            a.jmp(again)
        });
        let running = board.run();
        board.said();
        bank.set_log(DirtyClients::MIGRATION, true).unwrap();
        let all = || {
            let mut bytes = vec![0; 0x4_0000];
            board.memory.read(0x4_0000, &mut bytes, Default::default()).unwrap();
            bytes
        };
        let mut copy = all();
        let mut copied = 0;
        let mut follow = || {
            let taken = board.system.snapshot_and_clear(&bank, DirtyClients::MIGRATION, 0, 0x4_0000).unwrap();
            for offset in taken.pages() {
                let page = copy.get_mut(offset as usize..offset as usize + 0x1000).unwrap();
                board.memory.read(0x4_0000 + offset, page, Default::default()).unwrap();
                copied += 1;
            }
            copied
        };
        // each page many times over
        while follow() < 1000 {}
        running.vcpu.pause();
        follow();
        assert!(copy == all());
    });
}
