use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

#[test]
fn an_input_reaches_both_controllers() {
    let board = Board::new();
    let gsi: Bench<'_, PcGsi> = board.plug(json!({}), 0);
    let levels = |number: usize| {
        let pic = (number < 16).then(|| gsi.output("pic", number).level());
        (pic, gsi.output("ioapic", number).level())
    };
    let (isa, pci) = (gsi.input("irq", 5), gsi.input("irq", 20));
    isa.set(true);
    pci.set(true);
    assert_eq!((levels(5), levels(20), levels(4)), ((Some(true), true), (None, true), (Some(false), false)));
    isa.set(false);
    assert_eq!((levels(5), levels(20)), ((Some(false), false), (None, true)));
}

#[test]
fn an_input_is_high_while_one_of_its_lines_is() {
    let board = Board::new();
    let gsi: Bench<'_, PcGsi> = board.plug(json!({}), 0);
    let (first, second) = (gsi.input("irq", 11), gsi.input("irq", 11));
    let seen = gsi.watch("pic", 11);
    first.set(true);
    second.set(true);
    first.set(false);
    assert_eq!(*seen.lock().unwrap(), [true]);
    second.disconnect();
    assert_eq!(*seen.lock().unwrap(), [true, false]);
}
