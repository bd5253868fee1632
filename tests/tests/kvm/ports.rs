//! Port instructions.

use crate::board::{Board, Registers, SAY};
use iced_x86::code_asm::*;
use memory_core::{AccessRules, Width};

#[test]
fn port_accesses_reach_the_device_with_their_width() {
    let Some(mut board) = Board::new("port_accesses_reach_the_device_with_their_width") else { return };
    let registers = Registers::new(|offset, width| 0x1122_3340 + offset + width.bytes(), |_, _, _| ());
    let region = board.tree().mmio("registers", 8u64, AccessRules::new(), registers.clone()).build().unwrap();
    board.map_port(0x300, region);
    board.load(16, |a| {
        a.mov(dx, 0x300)?;
        a.in_(al, dx)?;
        a.out(SAY, al)?;
        a.in_(ax, dx)?;
        a.out(SAY, ax)?;
        a.in_(eax, dx)?;
        a.out(SAY, eax)?;
        a.mov(dx, 0x304)?;
        a.mov(eax, 0x8765_4321u32)?;
        a.out(dx, al)?;
        a.out(dx, ax)?;
        a.out(dx, eax)?;
        // nobody answers there
        a.mov(dx, 0x400)?;
        a.in_(ax, dx)?;
        a.out(SAY, ax)?;
        a.hlt()
    });
    let _running = board.run();
    assert_eq!([board.said(), board.said(), board.said()], [0x41, 0x3342, 0x1122_3344]);
    assert_eq!(board.said(), 0xffff);
    let written = registers.written.lock().unwrap();
    assert_eq!(*written, [(4, Width::W1, 0x21), (4, Width::W2, 0x4321), (4, Width::W4, 0x8765_4321)]);
}

#[test]
fn string_instructions_on_a_port_are_one_access_for_each_element() {
    let Some(mut board) = Board::new("string_instructions_on_a_port_are_one_access_for_each_element") else {
        return;
    };
    let registers = Registers::new(|_, _| 0x77, |_, _, _| ());
    let region = board.tree().mmio("registers", 8u64, AccessRules::new(), registers.clone()).build().unwrap();
    board.map_port(0x300, region);
    board.memory.write(0x2000, &[1, 0, 2, 0, 3, 0, 4, 0], Default::default()).unwrap();
    board.load(16, |a| {
        a.mov(dx, 0x300)?;
        a.mov(si, 0x2000)?;
        a.mov(cx, 4)?;
        a.cld()?;
        a.rep().outsw()?;
        a.mov(di, 0x3000)?;
        a.mov(cx, 3)?;
        a.rep().insb()?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    let expected = [1, 2, 3, 4].map(|value| (0, Width::W2, value));
    assert_eq!(*registers.written.lock().unwrap(), expected);
    assert_eq!(*registers.reads.lock().unwrap(), [(0, Width::W1); 3]);
    assert_eq!((board.word(0x3000), board.word(0x3002)), (0x7777, 0x77));
}
