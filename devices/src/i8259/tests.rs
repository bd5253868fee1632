use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

type Pic<'a> = Bench<'a, I8259>;

const ISR: u64 = 0x0b;
const IRR: u64 = 0x0a;
const EOI: u64 = 0x20;

/// A pair as a BIOS leaves it: vectors 0x08 and 0x70, nothing masked, ICW4 as given.
fn pic(board: &Board, icw4: u64) -> Pic<'_> {
    let pic: Pic<'_> = board.plug(json!({}), 0x20);
    pic.initialise(icw4);
    pic
}

impl Pic<'_> {
    fn initialise(&self, icw4: u64) {
        for (chip, base, cascade) in [("master", 0x08, 0x04), ("slave", 0x70, 0x02)] {
            self.command(chip, 0x11);
            [base, cascade, icw4].into_iter().for_each(|word| self.mask(chip, word));
            self.mask(chip, 0);
        }
    }

    fn command(&self, chip: &str, value: u64) {
        self.board.store(self.at(chip, 0), Width::W1, value).unwrap();
    }

    fn mask(&self, chip: &str, value: u64) {
        self.board.store(self.at(chip, 1), Width::W1, value).unwrap();
    }

    fn read(&self, chip: &str, port: u64) -> u64 {
        self.board.load(self.at(chip, port), Width::W1).unwrap()
    }

    fn register(&self, chip: &str, which: u64) -> u64 {
        self.command(chip, which);
        self.read(chip, 0)
    }

    fn irq(&self, number: u32) -> IrqLine {
        self.input("irq", number)
    }

    /// An edge.
    fn pulse(&self, number: u32) {
        let line = self.irq(number);
        line.set(true);
        line.set(false);
    }

    fn intr(&self) -> bool {
        self.level("intr")
    }

    fn ack(&self) -> u8 {
        self.device.acknowledge()
    }

    /// Acknowledges all that comes, without ending anything.
    fn acks(&self) -> Vec<u8> {
        std::iter::from_fn(|| self.intr().then(|| self.ack())).collect()
    }
}

#[test]
fn an_interrupt_is_requested_acknowledged_and_ended() {
    let board = Board::new();
    let pic = pic(&board, 1);
    assert!(!pic.intr());
    let line = pic.irq(1);
    line.set(true);
    assert!(pic.intr());
    assert_eq!((pic.register("master", IRR), pic.register("master", ISR)), (0x02, 0));
    assert_eq!(pic.ack(), 0x09);
    assert!(!pic.intr(), "an edge is one interrupt");
    assert_eq!((pic.register("master", IRR), pic.register("master", ISR)), (0, 0x02));
    pic.command("master", EOI);
    assert_eq!(pic.register("master", ISR), 0);
    line.set(false);
    line.set(true);
    assert!(pic.intr());
}

#[test]
fn the_second_chip_interrupts_through_the_first() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.pulse(8);
    pic.pulse(12);
    assert_eq!((pic.register("slave", IRR), pic.register("master", IRR)), (0x11, 0x04));
    assert_eq!(pic.ack(), 0x70);
    assert_eq!((pic.register("slave", ISR), pic.register("master", ISR)), (0x01, 0x04));
    assert!(!pic.intr());
    pic.command("slave", EOI);
    assert!(!pic.intr(), "the cascade is in service");
    pic.command("master", EOI);
    assert_eq!((pic.intr(), pic.ack()), (true, 0x74));
    pic.irq(2).set(true);
    pic.command("master", EOI);
    pic.command("slave", EOI);
    assert!(!pic.intr() && pic.register("master", IRR) == 0, "input 2 leads nowhere");
}

#[test]
fn a_lower_number_interrupts_a_higher_one_and_not_the_other_way_round() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.pulse(4);
    assert_eq!(pic.ack(), 0x0c);
    pic.pulse(5);
    pic.pulse(4);
    assert!(!pic.intr());
    pic.pulse(14);
    assert_eq!(pic.ack(), 0x76, "the cascade comes before 4");
    pic.pulse(0);
    assert_eq!(pic.ack(), 0x08);
    assert_eq!(pic.register("master", ISR), 0x15);
    for (ended, left) in [(0, 0x14), (2, 0x10)] {
        pic.command("master", EOI);
        assert_eq!(pic.register("master", ISR), left, "{ended}");
    }
    pic.command("slave", EOI);
    pic.command("master", 0x60 | 4);
    assert_eq!(pic.acks(), [0x0c]);
}

#[test]
fn masked_inputs_wait_until_they_are_unmasked() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.mask("master", 0x0a);
    assert_eq!(pic.read("master", 1), 0x0a);
    pic.pulse(3);
    assert!(!pic.intr());
    assert_eq!(pic.register("master", IRR), 0x08);
    pic.mask("master", 0);
    assert_eq!(pic.acks(), [0x0b]);
}

#[test]
fn levels_ask_as_long_as_they_are_there_and_are_chosen_where_a_board_can() {
    let board = Board::new();
    let pic = pic(&board, 1);
    let line = pic.irq(10);
    line.set(true);
    for (register, all, exist) in [("elcr-master", 0xff, 0xf8), ("elcr-slave", 0xff, 0xde)] {
        board.store(pic.at(register, 0), Width::W1, all).unwrap();
        assert_eq!(board.load(pic.at(register, 0), Width::W1), Ok(exist));
    }
    assert_eq!(pic.ack(), 0x72);
    for chip in ["slave", "master"] {
        pic.command(chip, EOI);
    }
    assert_eq!((pic.intr(), pic.ack()), (true, 0x72), "still there");
    line.set(false);
    for chip in ["slave", "master"] {
        pic.command(chip, EOI);
    }
    assert!(!pic.intr());
    line.set(true);
    pic.initialise(1);
    assert_eq!(pic.register("slave", IRR), 0x04, "a level outlives the initialisation");
    let edge = pic.irq(8);
    edge.set(true);
    pic.initialise(1);
    assert_eq!(pic.register("slave", IRR), 0x04, "an edge does not");
}

#[test]
fn a_level_that_goes_away_before_it_is_acknowledged_is_spurious() {
    let board = Board::new();
    let pic = pic(&board, 1);
    board.store(pic.at("elcr-master", 0), Width::W1, 0x20).unwrap();
    let line = pic.irq(5);
    line.set(true);
    line.set(false);
    assert!(!pic.intr());
    assert_eq!((pic.ack(), pic.register("master", ISR)), (0x0f, 0));
    board.store(pic.at("elcr-slave", 0), Width::W1, 0x04).unwrap();
    let line = pic.irq(10);
    line.set(true);
    line.set(false);
    assert_eq!((pic.intr(), pic.ack()), (true, 0x77), "the first chip has seen an edge");
    assert_eq!((pic.register("slave", ISR), pic.register("master", ISR)), (0, 0x04));
}

#[test]
fn automatic_eoi_needs_no_command_and_may_rotate() {
    let board = Board::new();
    let pic = pic(&board, 3);
    pic.pulse(3);
    pic.pulse(9);
    pic.pulse(10);
    assert_eq!(pic.acks(), [0x71, 0x72, 0x0b]);
    assert_eq!(pic.register("master", ISR), 0);
    pic.command("master", 0x80);
    for _ in 0..2 {
        [0, 1].into_iter().for_each(|number| pic.pulse(number));
    }
    assert_eq!(pic.ack(), 0x08);
    pic.pulse(0);
    assert_eq!(pic.acks(), [0x09, 0x08], "0 has become the last");
    pic.command("master", 0x00);
    pic.pulse(7);
    pic.ack();
    pic.pulse(0);
    pic.pulse(1);
    assert_eq!(pic.acks(), [0x09, 0x08], "and stays so");
}

#[test]
fn priorities_rotate_on_eoi_and_are_set() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.pulse(4);
    pic.ack();
    pic.command("master", 0xa0);
    [4, 5, 0].into_iter().for_each(|number| pic.pulse(number));
    assert_eq!(pic.ack(), 0x0d, "5 is the first now");
    pic.command("master", 0x60 | 5);
    assert_eq!(pic.ack(), 0x08);
    pic.command("master", 0xe0);
    assert_eq!(pic.ack(), 0x0c, "0 is the last, and nothing is in service");
    pic.command("master", EOI);
    pic.command("master", 0xc0 | 2);
    [1, 3].into_iter().for_each(|number| pic.pulse(number));
    assert_eq!(pic.ack(), 0x0b, "3 is the first after 2 was made the last");
}

#[test]
fn the_special_mask_mode_lets_lower_ones_through() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.pulse(1);
    pic.ack();
    pic.pulse(6);
    assert!(!pic.intr());
    pic.mask("master", 0x02);
    pic.command("master", 0x68);
    assert_eq!((pic.intr(), pic.ack()), (true, 0x0e));
    pic.command("master", EOI);
    assert_eq!(pic.register("master", ISR), 0x02, "one that is masked is not ended so");
    pic.command("master", 0x48);
    pic.command("master", EOI);
    assert_eq!(pic.register("master", ISR), 0);
}

#[test]
fn in_the_special_fully_nested_mode_the_second_chip_interrupts_itself() {
    let board = Board::new();
    let pic = pic(&board, 0x11);
    pic.pulse(12);
    assert_eq!(pic.ack(), 0x74);
    pic.pulse(9);
    assert_eq!((pic.intr(), pic.ack()), (true, 0x71));
}

#[test]
fn a_poll_reads_and_acknowledges() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.command("master", 0x0c);
    assert_eq!(pic.read("master", 0), 0);
    pic.pulse(6);
    pic.command("master", 0x0c);
    assert_eq!((pic.read("master", 1), pic.intr()), (0x86, false));
    assert_eq!(pic.register("master", ISR), 0x40);
    pic.command("master", IRR);
    pic.command("master", 0x0c);
    assert_eq!((pic.read("master", 0), pic.read("master", 0)), (0, 0), "one read is the poll");
}

#[test]
fn the_words_of_an_initialisation_may_be_fewer() {
    let board = Board::new();
    let pic = pic(&board, 3);
    pic.mask("master", 0xff);
    pic.command("master", 0x12);
    pic.mask("master", 0x47);
    assert_eq!(pic.read("master", 1), 0, "a single chip without ICW4, nothing masked");
    pic.pulse(1);
    assert_eq!((pic.ack(), pic.register("master", ISR)), (0x41, 0x02));
    pic.command("master", 0x13);
    pic.mask("master", 0x50);
    pic.mask("master", 0x02);
    pic.mask("master", 0x80);
    assert_eq!(pic.read("master", 1), 0x80);
    pic.command("master", 0x18);
    pic.mask("master", 0x60);
    pic.mask("master", 0x04);
    let line = pic.irq(0);
    line.set(true);
    assert_eq!(pic.ack(), 0x60);
    pic.command("master", EOI);
    assert_eq!((pic.intr(), pic.ack()), (true, 0x60), "all inputs are levels");
}

#[test]
fn a_restored_pair_goes_on_where_it_was_and_a_reset_forgets_all() {
    let board = Board::new();
    let pic = pic(&board, 1);
    pic.pulse(3);
    pic.pulse(15);
    pic.ack();
    let saved = pic.save();
    let other = Board::new();
    let again: Pic<'_> = other.plug(saved.clone(), 0x20);
    assert_eq!((again.save(), again.intr()), (saved, false));
    again.command("master", EOI);
    assert_eq!(again.acks(), [0x0b]);
    again.device.reset(ResetType::Cold);
    assert!(!again.intr());
    assert_eq!((again.read("master", 1), again.register("slave", ISR), again.ack()), (0, 0, 7));
}
