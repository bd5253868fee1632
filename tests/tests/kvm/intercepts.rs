//! Events that the kernel signals, and writes that it queues.

use crate::board::{Board, Registers, SAY};
use iced_x86::code_asm::*;
use memory_core::{AccessRules, AddrRange, Endian, EventNotifier, IoEvent, RamBlock, Width};
use memory_dispatch::{Listener, Refusal, Section};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn event() -> EventNotifier {
    EventNotifier::new().unwrap()
}

#[test]
fn a_write_that_hits_an_event_signals_it_and_does_not_exit() {
    let Some(mut board) = Board::new("a_write_that_hits_an_event_signals_it_and_does_not_exit") else {
        return;
    };
    let registers = Registers::plain();
    let region = board.registers(0x3_0000, &registers);
    let (any, four, seven) = (event(), event(), event());
    region.add_ioevent(IoEvent::new(0, Width::W1, any.clone()).any_width()).unwrap();
    region.add_ioevent(IoEvent::new(8, Width::W4, four.clone())).unwrap();
    region.add_ioevent(IoEvent::new(16, Width::W2, seven.clone()).value(7)).unwrap();
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(ds, ax)?;
        a.mov(byte_ptr(0), 1)?;
        a.mov(word_ptr(0), 1)?;
        a.mov(dword_ptr(8), 1)?;
        // another width
        a.mov(word_ptr(8), 2)?;
        a.mov(word_ptr(16), 7)?;
        // another value
        a.mov(word_ptr(16), 8)?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let running = board.run();
    board.said();
    assert_eq!((any.take(), four.take(), seven.take()), (2, 1, 1));
    assert_eq!(*registers.written.lock().unwrap(), [(8, Width::W2, 2), (16, Width::W2, 8)]);
    running.vcpu.stop();
    let seen = running.vcpu.wait_ended().accesses.iter().filter(|seen| !seen.port).count();
    assert_eq!(seen, 2, "what hits does not come back");
}

#[test]
fn an_event_on_a_port_is_signalled_with_and_without_a_value() {
    let Some(mut board) = Board::new("an_event_on_a_port_is_signalled_with_and_without_a_value") else {
        return;
    };
    let registers = Registers::plain();
    let region = board.tree().mmio("registers", 8u64, AccessRules::new(), registers.clone()).build().unwrap();
    let region = board.map_port(0x300, region);
    let (one, value) = (event(), event());
    region.add_ioevent(IoEvent::new(0, Width::W1, one.clone())).unwrap();
    region.add_ioevent(IoEvent::new(2, Width::W2, value.clone()).value(0x1234)).unwrap();
    board.load(16, |a| {
        a.mov(dx, 0x300)?;
        a.out(dx, al)?;
        a.mov(dx, 0x302)?;
        a.mov(ax, 0x1234)?;
        a.out(dx, ax)?;
        a.mov(ax, 0x1235)?;
        a.out(dx, ax)?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let running = board.run();
    board.said();
    assert_eq!((one.take(), value.take()), (1, 1));
    assert_eq!(*registers.written.lock().unwrap(), [(2, Width::W2, 0x1235)]);
    running.vcpu.stop();
    let exits =
        running.vcpu.wait_ended().accesses.iter().filter(|seen| seen.address != u64::from(SAY)).count();
    assert_eq!(exits, 1);
}

#[test]
fn an_event_of_any_width_on_a_port_is_signalled_by_each() {
    let Some(mut board) = Board::new("an_event_of_any_width_on_a_port_is_signalled_by_each") else { return };
    let registers = Registers::plain();
    let region = board.tree().mmio("registers", 8u64, AccessRules::new(), registers.clone()).build().unwrap();
    let region = board.map_port(0x300, region);
    let any = event();
    region.add_ioevent(IoEvent::new(0, Width::W1, any.clone()).any_width()).unwrap();
    board.load(16, |a| {
        a.mov(dx, 0x300)?;
        a.out(dx, al)?;
        a.out(dx, ax)?;
        a.out(dx, eax)?;
        a.inc(dx)?;
        a.out(dx, al)?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    assert_eq!(any.take(), 3);
    assert_eq!(registers.written.lock().unwrap().len(), 1, "the next port is another");
}

#[test]
fn the_value_of_an_event_is_compared_in_the_devices_byte_order() {
    let Some(mut board) = Board::new("the_value_of_an_event_is_compared_in_the_devices_byte_order") else {
        return;
    };
    let registers = Registers::plain();
    let rules = AccessRules::new().endian(Endian::Big);
    let region = board.tree().mmio("registers", 0x1000u64, rules, registers.clone()).build().unwrap();
    let region = board.map(0x3_0000, region);
    let bell = event();
    region.add_ioevent(IoEvent::new(0, Width::W4, bell.clone()).value(0x1234_5678)).unwrap();
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(ds, ax)?;
        a.mov(dword_ptr(0), 0x7856_3412u32)?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let running = board.run();
    board.said();
    assert_eq!(bell.take(), 1);
    assert!(registers.written.lock().unwrap().is_empty());
    running.vcpu.stop();
    // by the kernel, that is, and not by dispatch after an exit
    assert!(running.vcpu.wait_ended().accesses.iter().all(|seen| seen.port));
}

/// A guest that writes 1 to the doorbells at 0x30000 and 0x40000 each time that it is asked at 0x2000.
fn rings_both(board: &Board) {
    board.load(16, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(again)?;
        a.mov(byte_ptr(0x2000), 0)?;
        for segment in [0x3000u32, 0x4000] {
            a.mov(ax, segment)?;
            a.mov(es, ax)?;
            a.mov(word_ptr(0).es(), 1)?;
        }
        a.out(SAY, al)?;
        a.jmp(again)
    });
}

#[test]
fn an_event_moves_and_goes_with_its_region() {
    let Some(mut board) = Board::new("an_event_moves_and_goes_with_its_region") else { return };
    let registers = Registers::plain();
    let region = board.registers(0x3_0000, &registers);
    let bell = event();
    region.add_ioevent(IoEvent::new(0, Width::W2, bell.clone())).unwrap();
    rings_both(&board);
    let running = board.run();
    let ask = || {
        board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
        board.said();
        bell.take()
    };
    assert_eq!(ask(), 1);
    assert_eq!(board.word(0x4_0000), 1, "RAM is there still");
    region.set_address(0x4_0000).unwrap();
    assert_eq!(ask(), 1);
    region.set_enabled(false).unwrap();
    assert_eq!(ask(), 0);
    assert!(registers.written.lock().unwrap().is_empty());
    running.vcpu.stop();
    assert!(running.vcpu.wait_ended().accesses.iter().all(|seen| seen.port));
}

#[test]
fn queued_writes_reach_the_device_in_order_and_not_before_somebody_looks() {
    let name = "queued_writes_reach_the_device_in_order_and_not_before_somebody_looks";
    let Some(mut board) = Board::new(name) else { return };
    let registers = Registers::plain();
    let region = board.registers(0x3_0000, &registers);
    region.add_coalesced(AddrRange::new(0, 0xff).unwrap()).unwrap();
    let bell = event();
    region.add_ioevent(IoEvent::new(0x200, Width::W2, bell.clone())).unwrap();
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(cx, 20)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(word_ptr(0x10).es(), cx)?;
        a.dec(cx)?;
        a.jne(again)?;
        // says it without a look: the port is another device, and flushes nothing
        a.out(SAY, al)?;
        let mut wait = a.create_label();
        a.set_label(&mut wait)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(wait)?;
        a.mov(cx, 2000)?;
        let mut more = a.create_label();
        a.set_label(&mut more)?;
        a.mov(word_ptr(0x10).es(), cx)?;
        a.dec(cx)?;
        a.jne(more)?;
        // a read of the region looks
        a.mov(ax, word_ptr(0x300).es())?;
        a.out(SAY, ax)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    assert_eq!(registers.values(), [0u64; 0], "nobody has looked");
    board.system.flush_coalesced();
    assert_eq!(registers.values(), (1..=20).rev().collect::<Vec<_>>());
    registers.written.lock().unwrap().clear();
    board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
    assert_eq!(board.said(), 0x300);
    // more than the ring holds, which exits in between
    assert_eq!(registers.values(), (1..=2000).rev().collect::<Vec<_>>());
}

#[test]
fn an_event_among_queued_writes_is_signalled_and_what_hits_none_is_in_order() {
    let name = "an_event_among_queued_writes_is_signalled_and_what_hits_none_is_in_order";
    let Some(mut board) = Board::new(name) else { return };
    let registers = Registers::plain();
    let region = board.registers(0x3_0000, &registers);
    region.add_coalesced(AddrRange::new(0, 0xff).unwrap()).unwrap();
    let bell = event();
    region.add_ioevent(IoEvent::new(0x10, Width::W2, bell.clone()).value(7)).unwrap();
    // where there is no accelerator they are queued, too
    board.system.coalesce(true);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(word_ptr(0x20).es(), 1)?;
        a.mov(word_ptr(0x10).es(), 7)?;
        a.out(SAY, al)?;
        // hits nothing, and is neither overtaken nor overtakes
        a.mov(word_ptr(0x10).es(), 2)?;
        a.mov(word_ptr(0x20).es(), 3)?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    assert_eq!(bell.take(), 1);
    board.said();
    board.system.flush_coalesced();
    assert_eq!((registers.values(), bell.take()), (vec![1, 2, 3], 0));
}

/// Looks whether the guest counts on at 0x2004 while a zone comes, after the accelerator has been told.
struct LooksAtCount(Arc<RamBlock>, AtomicBool);

impl Listener for LooksAtCount {
    fn coalesced_add(&self, _: &Section, _: AddrRange) -> Result<(), Refusal> {
        let count = || {
            let mut bytes = [0; 4];
            assert!(self.0.read(0x2004, &mut bytes));
            bytes
        };
        let (before, _) = (count(), std::hint::black_box((0..1_000_000u64).sum::<u64>()));
        self.1.store(before == count(), Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn no_guest_runs_while_a_zone_of_queued_writes_comes() {
    let Some(mut board) = Board::new("no_guest_runs_while_a_zone_of_queued_writes_comes") else { return };
    let memory = board.registers(0x3_0000, &Registers::plain());
    let region = board.tree().mmio("ports", 8u64, AccessRules::new(), Registers::plain()).build().unwrap();
    let ports = board.map_port(0x300, region);
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(dword_ptr(0x2004))?;
        a.jmp(again)
    });
    let block = board.tree().read(|tree| tree.get(board.ram.id()).unwrap().kind().block().cloned());
    let looks = Arc::new(LooksAtCount(block.unwrap().unwrap(), AtomicBool::new(false)));
    let _running = board.run();
    board.said();
    let _guard = board.system.listen(looks.clone(), 20, None).unwrap();
    let count = || board.memory.load(0x2004, Width::W4, Default::default()).unwrap();
    for region in [memory, ports] {
        region.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
        assert!(looks.1.swap(false, Ordering::SeqCst), "{}", region.name());
        let before = count();
        while count() == before {
            std::thread::yield_now();
        }
    }
}

#[test]
fn queued_writes_go_where_the_map_was_when_the_region_moves() {
    let Some(mut board) = Board::new("queued_writes_go_where_the_map_was_when_the_region_moves") else {
        return;
    };
    let (first, second) = (Registers::plain(), Registers::plain());
    let region = board.registers(0x3_0000, &first);
    region.add_coalesced(AddrRange::new(0, 0xff).unwrap()).unwrap();
    let other = board.registers(0x9_0000, &second);
    rings_both(&board);
    let _running = board.run();
    board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
    board.said();
    // inside a transaction nothing is carried out, and what the guest queues meanwhile is taken before the map changes
    board
        .tree()
        .transaction(|_| {
            board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
            board.said();
            region.set_address(0x8_0000)?;
            other.set_address(0x3_0000)
        })
        .unwrap();
    assert_eq!((first.values(), second.values()), (vec![1, 1], Vec::<u64>::new()));
    board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
    board.said();
    assert_eq!((first.values(), second.values()), (vec![1, 1], vec![1]));
}
