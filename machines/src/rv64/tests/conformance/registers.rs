//! What each bit of each CSR does when it is written alone (WARL), and that views agree with what they are of.

use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;

/// Register, bits that are always set, bits that can be written; each from a state of zeros.
#[rustfmt::skip]
const FIELDS: &[(u32, u64, u64)] = &[
    // sstatus: UXL is 64; SIE SPIE SPP SUM MXR
    (0x100, 2 << 32, 1 << 1 | 1 << 5 | 1 << 8 | 1 << 18 | 1 << 19),
    (0x106, 0, 0xffff_ffff),                                        // scounteren
    (0x10a, 0, 1),                                                  // senvcfg: FIOM
    (0x140, 0, u64::MAX),                                           // sscratch
    (0x141, 0, !1),                                                 // sepc
    (0x142, 0, u64::MAX),                                           // scause
    (0x143, 0, u64::MAX),                                           // stval
    // mstatus: SXL and UXL are 64; SIE MIE SPIE MPIE SPP MPP MPRV SUM MXR TVM TW TSR
    (0x300, 2 << 34 | 2 << 32, 0x7e_19aa),
    // misa: RV64 with A C I M S U
    (0x301, 2 << 62 | 1 | 1 << 2 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20, 0),
    (0x302, 0, 0xb3ff),                                             // medeleg: not ecall from M
    (0x303, 0, 0x222),                                              // mideleg: SSI STI SEI
    (0x304, 0, 0xaaa),                                              // mie
    (0x306, 0, 0xffff_ffff),                                        // mcounteren
    (0x30a, 0, 1),                                                  // menvcfg: FIOM
    (0x320, 0, 5),                                                  // mcountinhibit: CY IR
    (0x340, 0, u64::MAX),                                           // mscratch
    (0x341, 0, !1),                                                 // mepc
    (0x342, 0, u64::MAX),                                           // mcause
    (0x343, 0, u64::MAX),                                           // mtval
    (0x344, 0, 0x222),                                              // mip: SSIP STIP SEIP
    (0x3b0, 0, (1 << 54) - 1),                                      // pmpaddr0
    (0x3bf, 0, (1 << 54) - 1),                                      // pmpaddr15
    (0xb1f, 0, 0),                                                  // mhpmcounter31
    (0x33f, 0, 0),                                                  // mhpmevent31
];

#[test]
fn every_bit_written_alone_is_kept_or_not() {
    for (csr, fixed, writable) in FIELDS {
        for bit in 0..64 {
            let mut run = Run::new(&[]);
            run.write_csr(*csr, 0);
            run.write_csr(*csr, 1 << bit);
            // MPP = 2 is no mode: the old value stays.
            let want = if (*csr, bit) == (0x300, 12) { *fixed } else { fixed | 1 << bit & writable };
            assert_eq!(run.csr(*csr), want, "{csr:#x} bit {bit}");
            run.write_csr(*csr, 0);
            assert_eq!(run.csr(*csr), *fixed, "{csr:#x} bit {bit} cleared");
        }
    }
}

/// Vectors keep bits 63 to 2 and the modes 0 and 1; `satp` the modes 0 and 8, without ASID.
#[test]
fn vectors_and_satp_keep_their_legal_values() {
    for csr in [0x105, 0x305] {
        for bit in 0..64 {
            let mut run = Run::new(&[]);
            run.write_csr(csr, 0);
            run.write_csr(csr, 1 << bit);
            assert_eq!(run.csr(csr), if bit == 1 { 0 } else { 1 << bit }, "{csr:#x} bit {bit}");
        }
        // A reserved mode leaves the mode as it was.
        for (old, new) in (0..2).flat_map(|old| (0..4).map(move |new| (old, new))) {
            let mut run = Run::new(&[]);
            run.write_csr(csr, 0x1000 | old);
            run.write_csr(csr, 0x2000 | new);
            let mode = if new < 2 { new } else { old };
            assert_eq!(run.csr(csr), 0x2000 | mode, "{csr:#x}, mode {old} then {new}");
        }
    }
    for mode in 0..16 {
        let mut run = Run::new(&[]);
        run.write_csr(0x180, 8 << 60 | 5);
        run.write_csr(0x180, mode << 60 | 0xffff << 44 | 6);
        // A mode that does not exist leaves all of it alone.
        let want = match mode {
            0 => 0,
            8 => 8 << 60 | 6,
            _ => 8 << 60 | 5,
        };
        assert_eq!(run.csr(0x180), want, "mode {mode}");
    }
    for bit in 0..44 {
        let mut run = Run::new(&[]);
        run.write_csr(0x180, 8 << 60 | 1 << bit);
        assert_eq!(run.csr(0x180), 8 << 60 | 1 << bit);
    }
}

/// `sstatus` is `mstatus` through a mask, in both directions.
#[test]
fn sstatus_is_a_view_of_mstatus() {
    const SEEN: u64 = 1 << 1 | 1 << 5 | 1 << 8 | 1 << 18 | 1 << 19;
    for bit in 0..64 {
        let mut run = Run::new(&[]);
        run.write_csr(0x300, 1 << bit);
        assert_eq!(run.csr(0x100), 2 << 32 | 1 << bit & SEEN, "mstatus bit {bit}");
        let mut run = Run::new(&[]);
        run.write_csr(0x300, u64::MAX);
        let all = run.csr(0x300);
        run.write_csr(0x100, 1 << bit);
        assert_eq!(run.csr(0x300), all & !SEEN | 1 << bit & SEEN, "sstatus bit {bit}");
    }
}

/// `sie` and `sip` show and write what is delegated; of `sip` only SSIP can be written.
#[test]
fn sie_and_sip_are_views_of_what_is_delegated() {
    for mideleg in [0, 0x002, 0x020, 0x200, 0x022, 0x202, 0x220, 0x222] {
        let mut run = Run::new(&[]);
        run.write_csr(0x303, mideleg);
        run.write_csr(0x304, 0xaaa);
        run.write_csr(0x344, 0x222);
        assert_eq!((run.csr(0x104), run.csr(0x144)), (mideleg, mideleg));
        run.write_csr(0x104, 0);
        run.write_csr(0x144, 0);
        assert_eq!((run.csr(0x304), run.csr(0x344)), (0xaaa & !mideleg, 0x222 & !(mideleg & 2)));
        run.write_csr(0x104, u64::MAX);
        run.write_csr(0x144, u64::MAX);
        assert_eq!((run.csr(0x304), run.csr(0x344)), (0xaaa, 0x222));
    }
}

/// `mcycle` and `minstret`: written, read by the next instruction, over their end, stopped apart from each other.
#[test]
fn counters_run_wrap_and_stop_apart() {
    for (csr, shadow, inhibit) in [(0xb00, 0xc00, 1), (0xb02, 0xc02, 4)] {
        let program = [
            csrrw(ZERO, csr, A0),
            csrrs(A1, csr, ZERO),
            NOP,
            csrrs(A2, shadow, ZERO),
            csrrw(ZERO, 0x320, T0),
            csrrs(A3, csr, ZERO),
            NOP,
            csrrs(T1, csr, ZERO),
            csrrw(ZERO, 0x320, ZERO),
            csrrs(T2, csr, ZERO),
        ];
        for start in [0, 1000, u64::MAX, u64::MAX - 2] {
            for stop in 0..8 {
                let run = Run::new(&program).with(A0, start).with(T0, stop).steps(10);
                assert_eq!((run.reg(A1), run.reg(A2)), (start, start.wrapping_add(2)), "{csr:#x}");
                let stopped = stop & inhibit != 0;
                assert_eq!(
                    run.reg(T1).wrapping_sub(run.reg(A3)),
                    if stopped { 0 } else { 2 },
                    "{csr:#x}, {stop}"
                );
                assert!(
                    run.reg(T2).wrapping_sub(start) <= 10 && run.reg(T2) != run.reg(A2),
                    "{csr:#x}, {stop}"
                );
            }
        }
    }
}

/// CSRRS and CSRRC touch the bits of their operand only, CSRRW all; the old value is what they give.
#[test]
fn each_form_combines_the_old_value_and_the_operand() {
    let values = super::CORNERS;
    for old in values {
        for operand in values {
            let forms = [
                (csrrw(A0, 0x340, A1), operand),
                (csrrs(A0, 0x340, A1), old | operand),
                (csrrc(A0, 0x340, A1), old & !operand),
                (csrrw(A1, 0x340, A1), operand),
            ];
            for (raw, new) in forms {
                let mut run = Run::new(&[raw]).with(A1, operand);
                run.write_csr(0x340, old);
                let run = run.steps(1);
                let destination = if raw == csrrw(A1, 0x340, A1) { A1 } else { A0 };
                assert_eq!((run.reg(destination), run.csr(0x340)), (old, new), "{raw:#010x}");
            }
        }
        for imm in 0..32 {
            let forms = [(5, imm.into()), (6, old | u64::from(imm)), (7, old & !u64::from(imm))];
            for (funct3, new) in forms {
                let mut run = Run::new(&[i(SYSTEM, funct3, A0, imm, 0x340)]);
                run.write_csr(0x340, old);
                let run = run.steps(1);
                assert_eq!((run.reg(A0), run.csr(0x340)), (old, new), "form {funct3}, {imm}");
            }
        }
    }
}
