//! Nothing that a guest does makes the hart panic or hang.

use proptest::prelude::*;

use super::super::decode::{Kind, decode};
use super::super::{BENCH_TURN, Mode, bench_loop};
use super::asm::*;
use super::machine::*;
use crate::vcpu::Vcpu;

#[test]
fn every_csr_can_be_tried_in_every_mode_with_any_value() {
    for mode in [Mode::Machine, Mode::Supervisor, Mode::User] {
        for csr in 0..4096 {
            for value in [0, u64::MAX, 0x8000_0000_0000_0001] {
                let program = [csrrw(A0, csr, A1), csrrs(A0, csr, A1), csrrc(A0, csr, A1), NOP];
                let run = Run::new(&program).with(A1, value).in_mode(mode).steps(8);
                assert!(run.hart.retired() <= 8);
            }
        }
    }
}

#[test]
fn every_compressed_parcel_decodes_to_something_that_can_be_executed() {
    for parcel in 0..=u16::MAX {
        if parcel & 3 != 3 {
            let op = decode(parcel.into());
            assert_eq!((op.len, op.raw), (2, parcel.into()));
            assert!(!matches!(op.kind, Kind::Undecoded | Kind::Cross));
            assert!(op.rd != 0 && op.rd <= 32 && op.rs1 < 32 && op.rs2 < 32);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random words as code, with random registers, in any mode, with the machine's own tables and PMP as
    /// they come: the hart retires or traps, and comes back.
    #[test]
    fn random_code_never_panics(
        code in prop::collection::vec(any::<u32>(), 64),
        registers in prop::collection::vec(prop_oneof![
            any::<u64>(),
            (0..RAM).prop_map(|offset| BASE + offset),
            (0..0x1000u64).prop_map(|offset| DEVICE + offset),
            (0..0x2000u64).prop_map(|offset| BANK - 0x800 + offset),
        ], 31),
        mode in prop_oneof![Just(Mode::Machine), Just(Mode::Supervisor), Just(Mode::User)],
        satp in any::<u64>(),
        paged in any::<bool>(),
    ) {
        let mut run = Run::new(&code);
        for (number, value) in (1u32..).zip(registers) {
            run = run.with(number, value);
        }
        if paged {
            // The code's own words are the page table, and often nonsense.
            run.machine.poke(BASE + 16, 0x8000_0000 >> 2 | 0xdf);
            run.write_csr(0x180, 8 << 60 | BASE >> 12 | satp & 0x3f);
        }
        let mut run = run.in_mode(mode);
        run.hart.advance(500);
        prop_assert_eq!(run.reg(ZERO), 0);
    }

    /// What decodes is stable: any word gives an operation with registers in range.
    #[test]
    fn any_word_decodes(raw in any::<u32>()) {
        let op = decode(raw | 3);
        prop_assert!(op.rd != 0 && op.rd <= 32 && op.rs1 < 32 && op.rs2 < 32);
        prop_assert_eq!((op.len, op.raw), (4, raw | 3));
    }
}

#[test]
fn the_benchmark_loop_turns_and_stays_in_its_data() {
    let machine = Machine::new();
    assert!(machine.ram.write(0, &bench_loop()));
    machine.poke(BASE + 0x1008, 41);
    let mut hart = machine.hart(0);
    hart.set_boot(BASE, 0, BASE + 0x1000);
    for turn in 1..=1000 {
        hart.advance(if turn == 1 { BENCH_TURN + 1 } else { BENCH_TURN });
        assert_eq!(hart.pc(), BASE + 4, "turn {turn}");
    }
    assert_eq!(hart.retired(), 1000 * BENCH_TURN + 1);
    // 256 places of 16 bytes: the first was visited four times.
    assert_eq!(machine.peek(BASE + 0x1008), 45);
    assert_eq!(machine.peek(BASE + 0x2008), 0);
}
