//! The A extension, alone and among harts.

use memory_core::Width;

use super::asm::*;
use super::machine::*;
use crate::sync::{Arc, thread};

const CELL: u64 = BASE + 0x3000;

#[test]
fn amos_give_the_old_value_and_store_the_new_one() {
    let minus = |value: i64| value as u64;
    #[rustfmt::skip]
    let table = [
        // funct5, memory, register, new (64 bits)
        (0b00001, 5, 9, 9),                                   // swap
        (0b00000, u64::MAX, 2, 1),                            // add
        (0b00100, 0b1100, 0b1010, 0b0110),                    // xor
        (0b01100, 0b1100, 0b1010, 0b1000),                    // and
        (0b01000, 0b1100, 0b1010, 0b1110),                    // or
        (0b10000, minus(-1), 1, minus(-1)),                   // min
        (0b10100, minus(-1), 1, 1),                           // max
        (0b11000, minus(-1), 1, 1),                           // minu
        (0b11100, minus(-1), 1, minus(-1)),                   // maxu
    ];
    for (funct5, memory, register, new) in table {
        let run = Run::new(&[amo(funct5, 3, A2, A1, A0)]).with(A0, CELL).with(A1, register);
        run.machine.poke(CELL, memory);
        let run = run.steps(1);
        run.at(4);
        assert_eq!((run.reg(A2), run.machine.peek(CELL)), (memory, new), "funct5 {funct5:#b}");

        // The same in the upper word; the lower one stays.
        let run = Run::new(&[amo(funct5, 2, A2, A1, A0)]).with(A0, CELL + 4).with(A1, register | 7 << 40);
        run.machine.poke(CELL, memory << 32 | 0x55);
        let run = run.steps(1);
        assert_eq!(run.reg(A2), memory as i32 as u64, "funct5 {funct5:#b}");
        assert_eq!(run.machine.peek(CELL), new << 32 | 0x55, "funct5 {funct5:#b}");
    }
}

#[test]
fn the_bits_for_ordering_change_nothing() {
    let run = Run::new(&[amo(0, 3, A2, A1, A0) | 3 << 25]).with(A0, CELL).with(A1, 3).steps(1);
    assert_eq!(run.machine.peek(CELL), 3);
}

#[test]
fn a_source_that_is_also_the_destination_is_read_first() {
    let run = Run::new(&[amo(0, 3, A0, A0, A0)]).with(A0, CELL).steps(1);
    assert_eq!((run.reg(A0), run.machine.peek(CELL)), (0, CELL));
}

#[test]
fn a_pair_stores_once() {
    let program = [lr(3, A2, A0), sc(3, A3, A1, A0), sc(3, T0, A1, A0)];
    let run = Run::new(&program).with(A0, CELL).with(A1, 8).steps(3);
    assert_eq!((run.reg(A3), run.reg(T0), run.machine.peek(CELL)), (0, 1, 8));
    let program = [lr(2, A2, A0), sc(2, A3, A1, A0)];
    let run = Run::new(&program).with(A0, CELL).with(A1, u64::MAX);
    run.machine.poke(CELL, 0x1_8000_0000);
    let run = run.steps(2);
    assert_eq!((run.reg(A2), run.reg(A3), run.machine.peek(CELL)), (0xffff_ffff_8000_0000, 0, 0x1_ffff_ffff));
}

#[test]
fn a_pair_fails_when_anything_came_between() {
    // What lies between the two; each program is load-reserved, this, store-conditional.
    let between = [
        sd(T1, A0, 0),       // the value changed
        addi(A0, A0, 8),     // another address
        sc(3, ZERO, A1, T2), // another store-conditional
        SFENCE,              // translations changed
    ];
    for raw in between {
        let run = Run::new(&[lr(3, A2, A0), raw, sc(3, A3, A1, A0)]);
        let run = run.with(A0, CELL).with(A1, 8).with(T1, 5).with(T2, CELL + 64).steps(3);
        run.at(12);
        assert_eq!(run.reg(A3), 1, "{raw:#x}");
    }
    // Another width, and a trap with its return.
    let run = Run::new(&[lr(3, A2, A0), sc(2, A3, A1, A0)]).with(A0, CELL).with(A1, 8).steps(2);
    assert_eq!((run.reg(A3), run.machine.peek(CELL)), (1, 0));
    let mut run = Run::new(&[lr(3, A2, A0), NOP, sc(3, A3, A1, A0)]).with(A0, CELL).with(A1, 8).steps(1);
    run.machine.load_program(BASE + 0x400, &[MRET]);
    run.write_csr(0x344, 2);
    run.write_csr(0x304, 2);
    run.write_csr(0x300, 1 << 3);
    let mut run = run.steps(1);
    run.at(0x400);
    run.write_csr(0x304, 0);
    let run = run.steps(3);
    run.at(12);
    assert_eq!(run.reg(A3), 1);
}

#[test]
fn unaligned_atomics_and_atomics_on_devices_trap() {
    let table = [
        (lr(3, A2, A0), CELL + 4, 4),
        (lr(2, A2, A0), CELL + 2, 4),
        (sc(3, A2, A1, A0), CELL + 4, 6),
        (amo(0, 3, A2, A1, A0), CELL + 4, 6),
        (amo(0, 2, A2, A1, A0), CELL + 1, 6),
        (lr(3, A2, A0), DEVICE, 5),
        (sc(3, A2, A1, A0), DEVICE, 7),
        (amo(0, 3, A2, A1, A0), DEVICE, 7),
        (amo(0, 3, A2, A1, A0), ROM, 7),
        (lr(3, A2, A0), 0x4000, 5),
    ];
    for (raw, addr, cause) in table {
        Run::new(&[raw]).with(A0, addr).steps(1).trapped(cause, addr, 0);
    }
    Run::new(&[lr(3, A2, A0)]).with(A0, ROM).steps(1).at(4);
}

#[test]
fn atomics_work_on_memory_that_does_not_fill_a_page() {
    let program = [
        amo(0, 3, A2, A1, A0),
        amo(0b10000, 2, A3, T0, A0),
        lr(3, T1, A0),
        sc(3, T2, T0, A0),
        sc(3, T0, T0, A0),
    ];
    let run = Run::new(&program).with(A0, SCRAP + 8).with(A1, 5).with(T0, u64::MAX);
    assert!(run.machine.scrap.store(8, Width::W8, 0x7_0000_0002));
    let run = run.steps(5);
    run.at(20);
    assert_eq!((run.reg(A2), run.reg(A3)), (0x7_0000_0002, 7));
    assert_eq!((run.reg(T1), run.reg(T2), run.reg(T0)), (0x7_ffff_ffff, 0, 1));
    assert_eq!(run.machine.scrap.load(8, Width::W8), Some(u64::MAX));
}

/// Four harts run `program` at once, each on a thread of its own, until it loops on the spot.
fn race(program: &[u32], turns: u64) -> u64 {
    let machine = Machine::new();
    machine.load_program(BASE, program);
    let threads: Vec<_> = (0..4)
        .map(|id| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || {
                let mut hart = machine.hart(id);
                hart.set_register(A0 as u8, CELL);
                hart.set_register(A1 as u8, 1);
                hart.set_register(T0 as u8, turns);
                while hart.register(T0 as u8) != 0 {
                    hart.advance(1000);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(machine.ram.load(CELL + 8 - BASE, Width::W8), Some(0), "the neighbour is untouched");
    machine.peek(CELL)
}

#[test]
fn four_harts_that_add_with_amos_lose_nothing() {
    let program = [amo(0, 3, ZERO, A1, A0), addi(T0, T0, -1), b(1, T0, ZERO, -8), j(ZERO, 0)];
    assert_eq!(race(&program, 50_000), 200_000);
    let program = [amo(0, 2, ZERO, A1, A0), addi(T0, T0, -1), b(1, T0, ZERO, -8), j(ZERO, 0)];
    assert_eq!(race(&program, 50_000), 200_000);
}

#[test]
fn four_harts_that_add_with_load_reserved_and_store_conditional_lose_nothing() {
    for width in [2, 3] {
        let program = [
            lr(width, A2, A0),
            addi(A2, A2, 1),
            sc(width, A3, A2, A0),
            b(1, A3, ZERO, -12),
            addi(T0, T0, -1),
            b(1, T0, ZERO, -20),
            j(ZERO, 0),
        ];
        assert_eq!(race(&program, 20_000), 80_000);
    }
}
