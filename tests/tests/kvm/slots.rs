//! Memory slots that change under a running guest.

use crate::board::{Board, CODE, Running, SAY, in_time, times};
use iced_x86::code_asm::*;
use machines::kvm::Start;
use memory_core::{RamBlock, Width};
use memory_dispatch::{Listener, Refusal, Section};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A host that is interpreted itself takes some milliseconds for a change of a slot.
const ENOUGH: Duration = Duration::from_secs(30);

/// A guest that counts at 0x2000, and says once that it runs.
fn counter(board: &Board) {
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(dword_ptr(0x2000))?;
        a.jmp(again)
    });
}

fn count(board: &Board) -> u64 {
    board.memory.load(0x2000, Width::W4, Default::default()).unwrap()
}

/// Waits until the guest has counted on.
fn goes_on(board: &Board, running: &Running) {
    let before = count(board);
    while count(board) == before {
        assert!(running.vcpu.ended().is_none(), "{}", running.vcpu.wait_ended());
        std::thread::yield_now();
    }
}

#[test]
fn a_guest_runs_on_while_the_ram_that_it_runs_in_is_split_and_joined() {
    let Some(mut board) = Board::new("a_guest_runs_on_while_the_ram_that_it_runs_in_is_split_and_joined")
    else {
        return;
    };
    counter(&board);
    let window = board.ram_at(0x8_0000, 0x1000, "window");
    let running = board.run();
    board.said();
    for _ in 0..times(200) {
        // the slot of the code is replaced by two, and these by one
        window.set_enabled(false).unwrap();
        window.set_enabled(true).unwrap();
        goes_on(&board, &running);
    }
    running.vcpu.stop();
    assert_eq!(running.vcpu.wait_ended().end, machines::kvm::VcpuEnd::Stopped);
}

#[test]
fn a_bank_that_moves_under_a_guest_is_seen_in_its_new_place_alone() {
    let Some(mut board) = Board::new("a_bank_that_moves_under_a_guest_is_seen_in_its_new_place_alone") else {
        return;
    };
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    board.memory.store(0x20_0000, Width::W2, 0xbeef, Default::default()).unwrap();
    bank.set_address(0x4_0000).unwrap();
    // asked by a byte at 0x2000, says the first words of both places
    board.load(16, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(again)?;
        a.mov(byte_ptr(0x2000), 0)?;
        for segment in [0x4000u32, 0x5000] {
            a.mov(ax, segment)?;
            a.mov(es, ax)?;
            a.mov(ax, word_ptr(0).es())?;
            a.out(SAY, ax)?;
        }
        a.jmp(again)
    });
    let _running = board.run();
    let ask = || {
        board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
        (board.said(), board.said())
    };
    for _ in 0..50 {
        assert_eq!(ask(), (0xbeef, 0));
        bank.set_address(0x5_0000).unwrap();
        assert_eq!(ask(), (0, 0xbeef));
        bank.set_address(0x4_0000).unwrap();
    }
}

#[test]
fn slots_are_used_again() {
    let Some(mut board) = Board::new("slots_are_used_again") else { return };
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    let kvm = board.kvm(false);
    // more moves than any kernel has slots
    let most = times(40_000);
    let start = Instant::now();
    for page in 0..most {
        bank.set_address(0x20_0000 + (page & 0xff) * 0x1000).unwrap();
        if start.elapsed() > ENOUGH {
            let why = format!("{page} of {most} moves took {} s on this host", ENOUGH.as_secs());
            return tests::skip("slots_are_used_again", &why);
        }
    }
    let most = kvm.memory_slots().iter().map(|slot| slot.id).max();
    assert!(most.is_some_and(|most| most < 8), "{most:?}");
}

#[test]
fn a_slot_that_the_kernel_refuses_fails_the_commit_and_leaves_the_map() {
    let Some(mut board) = Board::new("a_slot_that_the_kernel_refuses_fails_the_commit_and_leaves_the_map")
    else {
        return;
    };
    counter(&board);
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    let running = board.run();
    board.said();
    // beyond what any processor can address
    let error = bank.set_address(1 << 60).unwrap_err();
    assert!(error.to_string().contains("memory slot"), "{error}");
    assert!(error.to_string().contains("os error") || error.to_string().contains("nvalid"), "{error}");
    assert_eq!(bank.address().unwrap(), Some(0x20_0000));
    goes_on(&board, &running);
    board.memory.store(0x20_0000, Width::W2, 7, Default::default()).unwrap();
    bank.set_address(0x30_0000).unwrap();
    assert_eq!(board.word(0x30_0000), 7);
    goes_on(&board, &running);
    drop(running);
}

/// Calls a function when it is told of a range that comes, after the kernel's slots have changed.
struct AtAdd<F>(F);

impl<F: Fn() + Send + Sync> Listener for AtAdd<F> {
    fn region_add(&self, _: &Section) -> Result<(), Refusal> {
        (self.0)();
        Ok(())
    }
}

/// After the accelerator's.
const LATER: i32 = 20;

#[test]
fn a_listener_that_panics_leaves_the_slots_as_they_were_and_the_guest_goes_on() {
    let name = "a_listener_that_panics_leaves_the_slots_as_they_were_and_the_guest_goes_on";
    let Some(mut board) = Board::new(name) else { return };
    counter(&board);
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    let running = board.run();
    board.said();
    let armed = Arc::new(AtomicBool::new(false));
    let panics = armed.clone();
    let panics = AtAdd(move || assert!(!panics.load(Ordering::SeqCst), "on purpose"));
    let _guard = board.system.listen(Arc::new(panics), LATER, Some(&board.memory)).unwrap();
    let slots = || running.kvm.memory_slots().iter().map(|slot| slot.range).collect::<Vec<_>>();
    let before = slots();
    armed.store(true, Ordering::SeqCst);
    let moved = catch_unwind(AssertUnwindSafe(|| bank.set_address(0x30_0000)));
    assert!(moved.is_err() && slots() == before, "{:?}", slots());
    goes_on(&board, &running);
    // it is told nothing more
    bank.set_address(0x30_0000).unwrap();
    goes_on(&board, &running);
    in_time("the vCPU is not paused", move || {
        running.vcpu.pause();
        drop(running);
    });
}

#[test]
fn a_vcpu_that_a_commit_keeps_out_is_paused() {
    let Some(mut board) = Board::new("a_vcpu_that_a_commit_keeps_out_is_paused") else { return };
    counter(&board);
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    let running = board.run();
    board.said();
    let vcpu = running.vcpu.clone();
    let pauses = Arc::new(AtAdd(move || {
        vcpu.pause();
        vcpu.resume();
    }));
    let _guard = board.system.listen(pauses, LATER, Some(&board.memory)).unwrap();
    in_time("the vCPU is not paused", move || bank.set_address(0x30_0000)).unwrap();
    goes_on(&board, &running);
}

#[test]
fn a_map_that_the_kernel_refuses_is_an_error_of_the_accelerator() {
    let Some(mut board) = Board::new("a_map_that_the_kernel_refuses_is_an_error_of_the_accelerator") else {
        return;
    };
    board.ram_at(1 << 60, 0x1000, "bank");
    let refused = machines::kvm::Kvm::new(&board.memory, None, Default::default());
    assert!(matches!(refused, Err(machines::kvm::KvmError::Map(_))), "{refused:?}");
}

#[test]
fn memory_that_the_host_may_not_write_is_a_slot_that_guests_do_not_write() {
    let name = "memory_that_the_host_may_not_write_is_a_slot_that_guests_do_not_write";
    let Some(mut board) = Board::new(name) else { return };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0x5a; 0x1000]).unwrap();
    let block = RamBlock::builder(0x1000u64).file(file, 0).read_only().build().unwrap();
    let region = board.tree().ram("file", block).build().unwrap();
    board.map(0x20_0000, region);
    let kvm = board.kvm(false);
    let slots = kvm.memory_slots();
    let slot = slots.iter().find(|slot| slot.range.start() == 0x20_0000).unwrap();
    assert!(slot.read_only);
}

#[test]
fn host_memory_that_is_off_by_less_than_a_page_is_dispatched() {
    let Some(mut board) = Board::new("host_memory_that_is_off_by_less_than_a_page_is_dispatched") else {
        return;
    };
    let ram = board.tree().ram("odd", RamBlock::anonymous(0x3000u64).unwrap()).build().unwrap();
    let alias = board.tree().alias("odd window", &ram, 0x80, 0x2000u64).build().unwrap();
    board.map(0x20_0000, alias);
    let ram = board.map(0x40_0000, ram);
    board.memory.store(0x20_0000, Width::W4, 5, Default::default()).unwrap();
    assert_eq!(board.memory.load(0x40_0080, Width::W4, Default::default()), Ok(5));
    board.load(32, |a| {
        a.mov(eax, dword_ptr(0x20_0000))?;
        a.out(SAY, eax)?;
        a.mov(dword_ptr(0x20_0010), 7)?;
        a.mov(eax, dword_ptr(0x40_0090))?;
        a.out(SAY, eax)?;
        a.hlt()
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    assert_eq!((board.said(), board.said()), (5, 7));
    running.vcpu.stop();
    let exits = &running.vcpu.wait_ended().accesses;
    let exits = exits.iter().filter(|seen| !seen.port).map(|seen| (seen.write, seen.address));
    assert_eq!(
        exits.collect::<Vec<_>>(),
        [(false, 0x20_0000), (true, 0x20_0010)],
        "those where they are whole do not"
    );
    drop(ram);
}
