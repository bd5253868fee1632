use super::super::found::is_one;
use super::*;
use crate::sync::Arc;
use Width::{W1, W2, W4, W8};
use memory_core::{AccessRules, TxAttrs};

struct Nothing;

impl memory_core::Mmio for Nothing {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

fn bound(rules: AccessRules) -> BoundMmio {
    BoundMmio { device: Arc::new(Nothing), direct: rules.direct(), rules: Arc::new(rules) }
}

#[test]
fn a_piece_is_the_widest_that_rules_rest_and_alignment_allow() {
    let any = bound(AccessRules::new());
    assert_eq!(piece(&any, 0, u64::MAX), W4, "no widths named counts as 4");
    assert_eq!(
        [piece(&any, 2, 8), piece(&any, 3, 8), piece(&any, 4, 3), piece(&any, 4, 1)],
        [W2, W1, W2, W1]
    );
    let wide = bound(AccessRules::new().valid(W1..=W8));
    assert_eq!([piece(&wide, 8, 8), piece(&wide, 4, 8), piece(&wide, 8, 7)], [W8, W4, W4]);
    let loose = bound(AccessRules::new().valid(W1..=W8).implements_unaligned());
    assert_eq!([piece(&loose, 1, 8), piece(&loose, 1, 7), piece(&loose, u64::MAX, 2)], [W8, W4, W2]);
}

#[test]
fn exact_pieces_are_aligned_and_cover_everything_once() {
    for offset in 0..16 {
        for len in 0..40 {
            let mut next = 0;
            for (done, width) in exact_pieces(offset, len) {
                assert_eq!(done, next);
                assert!(width.aligned(offset + done as u64));
                next += width.len();
            }
            assert_eq!(next, len);
        }
    }
    let device = Backing::RamDevice(RamBlock::unbacked(0x1000u64));
    let ram = Backing::Ram(RamBlock::unbacked(0x1000u64));
    let whole = |backing: &Backing| [(4, W4), (2, W4), (7, W1)].map(|(at, width)| is_one(backing, at, width));
    assert_eq!((whole(&device), whole(&ram)), ([true, false, true], [true; 3]), "those of typed accesses");
    assert_eq!(exact_pieces(3, 14).collect::<Vec<_>>(), [(0, W1), (1, W4), (5, W8), (13, W1)]);
}

#[test]
fn a_clamp_reaches_the_whole_of_an_address_space() {
    assert_eq!([clamp(0, 9), clamp(7, 9), clamp(8, 9), clamp(u64::MAX, 9)], [1, 8, 9, 9]);
}
