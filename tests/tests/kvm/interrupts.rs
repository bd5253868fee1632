//! Interrupts, halts, kicks, pauses.

use crate::board::{Board, Registers, SAY, in_time, times};
use devices::{Clock, Console, Device, Host, InterruptController, IrqLine, Realize, Realized, Surroundings};
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuEnd};
use memory_core::{AccessRules, EventNotifier, Plug, Width};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const HANDLER: u64 = 0x3000;

/// The handler of `vector` says `value`, and returns.
fn handler(board: &Board, vector: u64, value: u32, acknowledge: bool) {
    board.load_at(HANDLER, 16, |a| {
        a.mov(al, value)?;
        a.out(SAY, al)?;
        if acknowledge {
            // end of interrupt, to the first PIC
            a.mov(al, 0x20)?;
            a.out(0x20, al)?;
        }
        a.iret()
    });
    board.memory.store(4 * vector, Width::W4, HANDLER, Default::default()).unwrap();
}

/// Halts with interrupts enabled, for ever; says 1 before.
fn sleeper(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(sp, 0x7000)?;
    a.mov(al, 1)?;
    a.out(SAY, al)?;
    a.sti()?;
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.hlt()?;
    a.jmp(again)
}

#[test]
fn an_interrupt_that_is_injected_wakes_a_guest_that_halts() {
    let Some(board) = Board::new("an_interrupt_that_is_injected_wakes_a_guest_that_halts") else { return };
    handler(&board, 0x40, 0x44, false);
    board.load(16, sleeper);
    let running = board.run();
    assert_eq!(board.said(), 1);
    for _ in 0..20 {
        running.vcpu.interrupt(0x40);
        assert_eq!(board.said(), 0x44);
    }
}

#[test]
fn an_interrupt_waits_until_the_guest_takes_it() {
    let Some(board) = Board::new("an_interrupt_waits_until_the_guest_takes_it") else { return };
    handler(&board, 0x40, 0x44, false);
    board.load(16, |a| {
        a.mov(sp, 0x7000)?;
        a.mov(al, 1)?;
        a.out(SAY, al)?;
        let mut wait = a.create_label();
        a.set_label(&mut wait)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(wait)?;
        a.mov(al, 2)?;
        a.out(SAY, al)?;
        a.sti()?;
        let mut ever = a.create_label();
        a.set_label(&mut ever)?;
        a.nop()?;
        a.jmp(ever)
    });
    let running = board.run();
    assert_eq!(board.said(), 1);
    running.vcpu.interrupt(0x40);
    running.vcpu.interrupt(0x40);
    board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
    assert_eq!([board.said(), board.said(), board.said()], [2, 0x44, 0x44]);
}

/// Sets the first PIC up for vectors from 0x20 on, with input 5 alone.
fn set_up_pic(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    for (port, value) in [(0x20u32, 0x11u32), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xdf)] {
        a.mov(al, value)?;
        a.out(port, al)?;
    }
    Ok(())
}

#[test]
fn an_irqfd_interrupts_a_guest_that_halts_in_the_kernel() {
    let Some(board) = Board::new("an_irqfd_interrupts_a_guest_that_halts_in_the_kernel") else { return };
    handler(&board, 0x25, 0x55, true);
    board.load(16, |a| {
        set_up_pic(a)?;
        sleeper(a)
    });
    let running = board.run_with(true);
    let line = EventNotifier::new().unwrap();
    running.kvm.connect_irq(&line, 5).unwrap();
    assert_eq!(board.said(), 1);
    for _ in 0..20 {
        line.signal();
        assert_eq!(board.said(), 0x55);
    }
    running.kvm.disconnect_irq(&line, 5).unwrap();
    line.signal();
    assert_eq!(line.take(), 1, "the kernel listens no more");
}

/// The PICs of a PC outside of the kernel, on the board's ports.
struct Pics {
    device: Arc<devices::i8259::I8259>,
    realized: Realized,
    _plug: Plug<devices::i8259::I8259>,
}

fn pics(board: &Board) -> Pics {
    let device: Arc<devices::i8259::I8259> = Arc::new(serde_json::from_str("{}").unwrap());
    let weak = Arc::downgrade(&device);
    let owner = board.tree().owner("/machine/pic", weak);
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let around = Surroundings {
        host: &host,
        dma: &board.memory,
        requester: 0,
        region: &|_| None,
        buses: Default::default(),
    };
    let mut ctx = Realize::new(board.tree(), owner.clone(), around);
    device.clone().realize(&mut ctx).unwrap();
    let realized = ctx.finish();
    for (export, port) in realized.exports.iter().zip([0x20, 0xa0, 0x4d0, 0x4d1]) {
        board.io.map(port, &export.region).unwrap();
    }
    let plug = board.tree().plug(&owner, device.clone());
    Pics { device, realized, _plug: plug }
}

#[test]
fn a_controller_outside_of_the_kernel_is_acknowledged_by_the_guest_that_takes_its_interrupts() {
    let name = "a_controller_outside_of_the_kernel_is_acknowledged_by_the_guest_that_takes_its_interrupts";
    let Some(board) = Board::new(name) else { return };
    let pics = pics(&board);
    handler(&board, 0x25, 0x55, true);
    board.load(16, |a| {
        set_up_pic(a)?;
        sleeper(a)
    });
    let running = board.run();
    let controller = pics.device.clone().interrupt_controller().unwrap();
    let intr = &pics.realized.outputs[0].lines[0];
    assert!(intr.connect(running.vcpu.connect_controller(&controller)));
    assert_eq!(board.said(), 1);
    let (line, masked) = (IrqLine::new(), IrqLine::new());
    let input = |number| pics.realized.inputs[0].1.input(number).unwrap();
    assert!(line.connect(input(5)) && masked.connect(input(4)));
    for _ in 0..20 {
        masked.set(true);
        line.set(true);
        assert_eq!(board.said(), 0x55);
        masked.set(false);
        line.set(false);
    }
    let read = |select| {
        board.ports.store(0x20, Width::W1, select, Default::default()).unwrap();
        board.ports.load(0x20, Width::W1, Default::default()).unwrap()
    };
    assert_eq!(read(0x0a), 0x10, "what is masked waits");
}

/// Counts how often it is acknowledged.
#[derive(Default)]
struct Counts(AtomicU64);

impl InterruptController for Counts {
    fn acknowledge(&self) -> u8 {
        self.0.fetch_add(1, Ordering::SeqCst);
        0x40
    }
}

#[test]
fn an_interrupt_that_is_withdrawn_before_it_is_given_wakes_no_guest() {
    let Some(board) = Board::new("an_interrupt_that_is_withdrawn_before_it_is_given_wakes_no_guest") else {
        return;
    };
    // notes that it ran, for whoever halted
    board.load_at(HANDLER, 16, |a| {
        a.mov(byte_ptr(0x2010), 1)?;
        a.iret()
    });
    board.memory.store(4 * 0x40, Width::W4, HANDLER, Default::default()).unwrap();
    // counts at 0x2000 how often it came past its halt without that
    board.load(16, |a| {
        a.mov(sp, 0x7000)?;
        a.out(SAY, al)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cli()?;
        a.mov(byte_ptr(0x2010), 0)?;
        a.sti()?;
        a.hlt()?;
        a.cmp(byte_ptr(0x2010), 0)?;
        a.jne(again)?;
        a.inc(word_ptr(0x2000))?;
        a.jmp(again)
    });
    let running = board.run();
    board.said();
    let counts = Arc::new(Counts::default());
    let controller: Arc<dyn InterruptController> = counts.clone();
    let intr = running.vcpu.connect_controller(&controller);
    let given = || counts.0.load(Ordering::SeqCst);
    for _ in 0..times(2000) {
        intr.set(true);
        std::thread::yield_now();
        running.vcpu.pause();
        intr.set(false);
        running.vcpu.resume();
    }
    let before = given();
    intr.set(true);
    while given() == before {
        std::thread::yield_now();
    }
    running.vcpu.pause();
    assert_eq!(board.word(0x2000), 0, "after {before} interrupts");
}

struct Panics;

impl InterruptController for Panics {
    fn acknowledge(&self) -> u8 {
        panic!("on purpose")
    }
}

#[test]
fn a_controller_that_panics_ends_its_vcpu_and_holds_up_no_commit() {
    let Some(mut board) = Board::new("a_controller_that_panics_ends_its_vcpu_and_holds_up_no_commit") else {
        return;
    };
    board.load(16, sleeper);
    let running = board.run();
    assert_eq!(board.said(), 1);
    let controller: Arc<dyn InterruptController> = Arc::new(Panics);
    running.vcpu.connect_controller(&controller).set(true);
    assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Panicked);
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    in_time("the commit waits for a vCPU that is gone", move || bank.set_address(0x30_0000)).unwrap();
}

/// Both kinds of halt: in the kernel, and out of it.
fn each_halt(name: &str, check: impl Fn(&mut Board, bool)) {
    for irqchip in [false, true] {
        let Some(mut board) = Board::new(name) else { return };
        board.load(16, sleeper);
        check(&mut board, irqchip);
    }
}

#[test]
fn a_guest_that_halts_is_paused_resumed_and_stopped() {
    each_halt("a_guest_that_halts_is_paused_resumed_and_stopped", |board, irqchip| {
        let running = board.run_with(irqchip);
        assert_eq!(board.said(), 1);
        for _ in 0..2000 {
            running.vcpu.pause();
            running.vcpu.resume();
            running.vcpu.kick();
        }
        running.vcpu.stop();
        assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Stopped);
    });
}

/// Says 1, halts once with interrupts enabled or not, counts at 0x2000 how often it was woken, and halts again.
fn counts_wakes(a: &mut CodeAssembler, enabled: bool) -> Result<(), iced_x86::IcedError> {
    a.mov(sp, 0x7000)?;
    a.mov(al, 1)?;
    a.out(SAY, al)?;
    if enabled {
        a.sti()?;
    }
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.hlt()?;
    a.inc(word_ptr(0x2000))?;
    a.jmp(again)
}

#[test]
fn a_guest_that_halts_is_woken_by_an_interrupt_and_by_nothing_else() {
    for irqchip in [false, true] {
        let name = "a_guest_that_halts_is_woken_by_an_interrupt_and_by_nothing_else";
        let Some(board) = Board::new(name) else { return };
        handler(&board, 0x25, 0x55, irqchip);
        board.load(16, |a| {
            if irqchip {
                set_up_pic(a)?;
            }
            counts_wakes(a, true)
        });
        let running = board.run_with(irqchip);
        let line = EventNotifier::new().unwrap();
        if irqchip {
            running.kvm.connect_irq(&line, 5).unwrap();
        }
        assert_eq!(board.said(), 1);
        for wakes in 0..5 {
            for _ in 0..100 {
                running.vcpu.kick();
                running.vcpu.pause();
                running.vcpu.resume();
            }
            assert_eq!(board.word(0x2000), wakes, "in the kernel: {irqchip}");
            if irqchip {
                line.signal();
            } else {
                running.vcpu.interrupt(0x25);
            }
            assert_eq!(board.said(), 0x55);
            while board.word(0x2000) == wakes {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_guest_that_halts_with_interrupts_disabled_stays_so_until_it_is_stopped() {
    let name = "a_guest_that_halts_with_interrupts_disabled_stays_so_until_it_is_stopped";
    let Some(board) = Board::new(name) else { return };
    handler(&board, 0x40, 0x44, false);
    board.load(16, |a| counts_wakes(a, false));
    // another one whose steps tell that the first has had time to take some
    board.load_at(0x1800, 16, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(dword_ptr(0x2004))?;
        a.jmp(again)
    });
    let mut running = board.run();
    running.kvm.start_vcpu(&Start::Real { segment: 0, ip: 0x1800 }).unwrap();
    let steps = || board.memory.load(0x2004, Width::W4, Default::default()).unwrap();
    assert_eq!(board.said(), 1);
    for _ in 0..20 {
        running.vcpu.interrupt(0x40);
        let before = steps();
        while steps() < before + 1000 {
            std::thread::yield_now();
        }
        running.vcpu.pause();
        running.vcpu.resume();
    }
    running.vcpu.stop();
    assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Stopped);
    assert_eq!((board.word(0x2000), board.has_said()), (0, false));
}

#[test]
fn interrupts_that_a_guest_does_not_take_are_not_kept_without_bound() {
    let Some(board) = Board::new("interrupts_that_a_guest_does_not_take_are_not_kept_without_bound") else {
        return;
    };
    handler(&board, 0x40, 0x44, false);
    board.memory.store(4 * 0x41, Width::W4, 0x3800, Default::default()).unwrap();
    board.load_at(0x3800, 16, |a| {
        a.mov(al, 0x99u32)?;
        a.out(SAY, al)?;
        a.iret()
    });
    board.load(16, |a| {
        a.mov(sp, 0x7000)?;
        let mut wait = a.create_label();
        a.set_label(&mut wait)?;
        a.cmp(byte_ptr(0x2000), 0)?;
        a.je(wait)?;
        sleeper(a)
    });
    let running = board.run();
    (0..10_000).for_each(|_| running.vcpu.interrupt(0x40));
    running.vcpu.interrupt(0x41);
    board.memory.store(0x2000, Width::W1, 1, Default::default()).unwrap();
    assert_eq!(board.said(), 1);
    let taken = (0..).map(|_| board.said()).take_while(|said| *said == 0x44).count();
    assert_eq!(taken, 256);
}

#[test]
fn a_guest_that_is_paused_does_nothing_until_it_is_resumed() {
    let Some(board) = Board::new("a_guest_that_is_paused_does_nothing_until_it_is_resumed") else { return };
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(dword_ptr(0x2000))?;
        a.jmp(again)
    });
    let count = || board.memory.load(0x2000, Width::W4, Default::default()).unwrap();
    let running = board.run();
    board.said();
    for _ in 0..20 {
        running.vcpu.pause();
        let (before, _) = (count(), std::hint::black_box((0..100_000u64).sum::<u64>()));
        assert_eq!(count(), before);
        running.vcpu.resume();
        while count() == before {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_device_that_is_unplugged_goes_while_the_guest_halts() {
    each_halt("a_device_that_is_unplugged_goes_while_the_guest_halts", |board, irqchip| {
        let registers = Registers::plain();
        let (watch, read) = (Arc::downgrade(&registers), registers.clone());
        let region = board.tree().mmio("card", 0x1000u64, AccessRules::new(), registers).build().unwrap();
        // above the RAM, whose slot stays as it is: no gate, but a kick alone
        board.root.map(0x10_0000, &region).unwrap();
        board.load(16, |a| {
            // the thread is on the map that has the card
            a.mov(ax, 0xffff)?;
            a.mov(es, ax)?;
            a.mov(ax, word_ptr(0x10).es())?;
            sleeper(a)
        });
        let running = board.run_with(irqchip);
        assert_eq!(board.said(), 1);
        assert_eq!(read.reads.lock().unwrap().len(), 1);
        drop(read);
        // it halts, or is about to: it is not woken, and yet keeps the card no longer
        drop(region);
        while watch.upgrade().is_some() {
            board.system.reclaim();
            std::thread::yield_now();
        }
        drop(running);
    });
}
