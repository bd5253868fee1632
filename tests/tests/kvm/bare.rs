//! A vCPU that the caller runs.

use crate::board::{Board, CODE, SAY};
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuExit};

#[test]
fn exits_of_a_bare_vcpu_are_the_callers() {
    let Some(board) = Board::new("exits_of_a_bare_vcpu_are_the_callers") else { return };
    board.load(32, |a| {
        a.mov(dword_ptr(0x50_0000), 0x1234_5678u32)?;
        a.mov(eax, dword_ptr(0x50_0004))?;
        a.mov(dword_ptr(0x2000), eax)?;
        a.out(SAY, eax)?;
        a.hlt()
    });
    let kvm = board.kvm(false);
    let mut vcpu = kvm.bare_vcpu(&Start::Flat { eip: CODE as u32, esp: 0x7000 }).unwrap();
    let mut seen = Vec::new();
    loop {
        match vcpu.run().unwrap() {
            VcpuExit::MmioWrite(address, bytes) => seen.push((address, bytes.to_vec())),
            VcpuExit::MmioRead(address, bytes) => {
                seen.push((address, vec![0; bytes.len()]));
                bytes.copy_from_slice(&[1, 2, 3, 4]);
            }
            VcpuExit::IoOut(port, bytes) => seen.push((port.into(), bytes.to_vec())),
            VcpuExit::Hlt => break,
            other => panic!("{other:?}"),
        }
    }
    let expected =
        [(0x50_0000, vec![0x78, 0x56, 0x34, 0x12]), (0x50_0004, vec![0; 4]), (0xf4, vec![1, 2, 3, 4])];
    assert_eq!(seen, expected);
    assert_eq!(board.word(0x2000), 0x0201);
    assert!(!board.has_said(), "nobody has dispatched it");
}
