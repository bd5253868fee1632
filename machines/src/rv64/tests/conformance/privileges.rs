//! Who may execute what: TVM, TW, TSR and counter enables in all combinations; every CSR number in every mode.

use crate::rv64::Mode;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];

const TVM: u64 = 1 << 20;
const TW: u64 = 1 << 21;
const TSR: u64 = 1 << 22;

/// The bit of `mstatus` that takes an instruction from S-mode, whether S-mode has it at all.
#[rustfmt::skip]
const PRIVILEGED: [(&str, u32, u64, bool); 9] = [
    ("sret",       SRET, TSR, true),
    ("wfi",        WFI, TW, true),
    ("sfence.vma", SFENCE, TVM, true),
    ("sfence.vma a0, a1", SFENCE | A0 << 15 | A1 << 20, TVM, true),
    ("csrr satp",  csrrs(A0, 0x180, ZERO), TVM, true),
    ("csrw satp",  csrrw(ZERO, 0x180, ZERO), TVM, true),
    ("mret",       MRET, 0, false),
    ("csrr mstatus", csrrs(A0, 0x300, ZERO), 0, false),
    ("csrr sstatus", csrrs(A0, 0x100, ZERO), 0, true),
];

#[test]
fn tvm_tw_and_tsr_take_from_supervisor_mode_what_they_name_and_nothing_else() {
    for (name, raw, taker, supervisor) in PRIVILEGED {
        for mode in MODES {
            for status in (0..8).map(|set| set << 20) {
                let allowed = match mode {
                    Mode::Machine => true,
                    Mode::Supervisor => supervisor && status & taker == 0,
                    // WFI too: there is an S-mode, and nothing bounds its time.
                    Mode::User => false,
                };
                let mut run = Run::new(&[raw]);
                run.write_csr(0x300, status);
                run.write_csr(0x341, BASE + 4);
                run.write_csr(0x141, BASE + 4);
                let run = run.in_mode(mode).steps(1);
                if allowed {
                    assert_eq!(run.hart.pc(), BASE + 4, "{name} in {mode:?}, mstatus {status:#x}");
                } else {
                    run.trapped(2, raw.into(), 0);
                }
            }
        }
    }
}

/// FENCE and FENCE.I belong to everyone.
#[test]
fn fences_belong_to_everyone() {
    for mode in MODES {
        for raw in [FENCE, FENCE_I, 0x0000_000f, 0x8330_000f, 0x0100_000f, 0xffff_ff8f & !0x7000, 0xfff0_1f8f]
        {
            Run::new(&[raw]).in_mode(mode).steps(1).at(4);
        }
    }
}

/// Each counter needs its bit: in `mcounteren` below M-mode, and in U-mode in `scounteren` too.
#[test]
fn every_counter_needs_its_bit_of_both_enables() {
    for counter in 0..32 {
        let raw = csrrs(A0, 0xc00 + counter, ZERO);
        let only = 1 << counter;
        let others = !only & 0xffff_ffff;
        for machine in [0, only, others, 0xffff_ffff] {
            for supervisor in [0, only, others, 0xffff_ffff] {
                for mode in MODES {
                    let allowed = match mode {
                        Mode::Machine => true,
                        Mode::Supervisor => machine & only != 0,
                        Mode::User => machine & supervisor & only != 0,
                    };
                    let mut run = Run::new(&[raw]);
                    run.write_csr(0x306, machine);
                    run.write_csr(0x106, supervisor);
                    let run = run.in_mode(mode).steps(1);
                    if allowed { run.at(4) } else { run.trapped(2, raw.into(), 0) }
                }
            }
        }
    }
}

/// The registers that there are, as ranges (privileged specification, tables 2.2 to 2.6): those of U-, S- and M-mode without
/// floating point, hypervisor, debug mode and state enables; sixteen PMP entries; no `pmpcfg` of odd numbers.
const PRESENT: [(u32, u32); 21] = [
    (0x100, 0x100),
    (0x104, 0x106),
    (0x10a, 0x10a),
    (0x140, 0x144),
    (0x180, 0x180),
    (0x300, 0x306),
    (0x30a, 0x30a),
    (0x320, 0x320),
    (0x323, 0x33f),
    (0x340, 0x344),
    (0x3a0, 0x3a0),
    (0x3a2, 0x3a2),
    (0x3b0, 0x3bf),
    (0xb00, 0xb00),
    (0xb02, 0xb1f),
    (0xc00, 0xc1f),
    (0xf11, 0xf11),
    (0xf12, 0xf12),
    (0xf13, 0xf13),
    (0xf14, 0xf14),
    (0xf15, 0xf15),
];

/// Bits 9:8 of a number are the lowest mode, bits 11:10 both set mean read-only; the six instructions write or do not
/// write by their operands.
#[test]
fn every_csr_number_exists_or_not_and_is_open_to_its_modes_and_writable_or_not() {
    let forms = |csr: u32| {
        [
            (csrrw(A0, csr, A1), true),
            (csrrw(ZERO, csr, A1), true),
            (csrrw(A0, csr, ZERO), true),
            (csrrs(A0, csr, A1), true),
            (csrrc(A0, csr, A1), true),
            (csrrs(A0, csr, ZERO), false),
            (csrrc(A0, csr, ZERO), false),
            (i(SYSTEM, 5, A0, 0, csr as i32), true),
            (i(SYSTEM, 6, A0, 0, csr as i32), false),
            (i(SYSTEM, 7, A0, 0, csr as i32), false),
            (i(SYSTEM, 6, A0, 1, csr as i32), true),
            (i(SYSTEM, 7, ZERO, 1, csr as i32), true),
        ]
    };
    // One machine for all: each instruction is put at the start anew.
    let mut run = Run::new(&[]);
    for csr in 0..4096 {
        let present = PRESENT.iter().any(|(first, last)| (*first..=*last).contains(&csr));
        for mode in MODES {
            for (raw, writes) in forms(csr) {
                crate::vcpu::Vcpu::set_boot(&mut run.hart, BASE, 0, 0);
                run.machine.load_program(BASE, &[raw]);
                run.write_csr(0x305, BASE + 0x400);
                run.write_csr(0x306, 0xffff_ffff);
                run.write_csr(0x106, 0xffff_ffff);
                run.write_csr(0x3b0, u64::MAX);
                run.write_csr(0x3a0, 0x1f);
                run.hart.poke_mode(mode);
                // What is written is 0 or 1, which locks no PMP entry and closes none that this instruction needs.
                run.hart.set_register(A1 as u8, 0);
                run.hart.advance(1);
                let allowed = present && csr >> 8 & 3 <= mode as u32 && !(writes && csr >> 10 == 3);
                if allowed {
                    assert_eq!(run.hart.pc(), BASE + 4, "{csr:#x}, {raw:#010x} in {mode:?}");
                } else {
                    run.trapped(2, raw.into(), 0);
                }
            }
        }
    }
}
