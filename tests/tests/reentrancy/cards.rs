//! CVE-2021-20255: an EEPRO100 network card writes the status of a command onto the register that starts commands, its own
//! or that of another card which does the same, without end.

use crate::board::{Board, Dma, Model, Plugged};
use memory_core::BusFault;
use memory_dispatch::chain;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const REGS: u64 = 0x20_0000;
/// The system control block's command word: a write starts the command.
const SCB_COMMAND: u64 = 2 * 4;

struct Card {
    dma: Dma,
    /// Where the status of the command goes.
    status_at: AtomicU64,
    commands: AtomicUsize,
}

impl Model for Card {
    fn read(&self, _: u64) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, _: u64) -> Result<(), BusFault> {
        if offset == SCB_COMMAND {
            self.commands.fetch_add(1, Ordering::SeqCst);
            // the card takes no notice, and the access that started the command is fine
            let _ = self.dma.write(self.status_at.load(Ordering::SeqCst), &1u32.to_le_bytes());
        }
        Ok(())
    }
}

fn command_of(card: usize) -> u64 {
    REGS + 0x1000 * card as u64 + SCB_COMMAND
}

/// Cards each of which writes its status into the next one's register, the last one into the first one's.
fn ring(board: &Board, cards: usize) -> Vec<Plugged<Card>> {
    let card = |n: usize| {
        let status_at = AtomicU64::new(command_of((n + 1) % cards));
        let card = Card { dma: board.dma(), status_at, commands: AtomicUsize::default() };
        board.plug(command_of(n) - SCB_COMMAND, card)
    };
    (0..cards).map(card).collect()
}

fn commands(ring: &[Plugged<Card>]) -> Vec<usize> {
    ring.iter().map(|card| card.device.commands.swap(0, Ordering::SeqCst)).collect()
}

fn ends_in_a_fault(cards: usize) {
    let board = Board::new();
    let ring = ring(&board, cards);
    for start in 0..cards {
        board.store(command_of(start), 1);
        assert_eq!(commands(&ring), vec![1; cards], "each card once");
        for (n, card) in ring.iter().enumerate() {
            let last = (start + cards - 1) % cards;
            let expected = if n == last { vec![BusFault::ACCESS] } else { vec![] };
            assert_eq!(card.device.dma.faults(), expected, "card {n} of {cards} from {start}");
        }
        assert!(chain::is_idle());
    }
    // a ring that is cut is a chain, and there is nothing wrong with it
    ring[cards - 1].device.status_at.store(0x1000, Ordering::SeqCst);
    board.store(command_of(0), 1);
    assert_eq!((commands(&ring), board.load(0x1000)), (vec![1; cards], 1));
    assert!(ring.iter().all(|card| card.device.dma.faults().is_empty()));
}

#[test]
fn cve_2021_20255_a_card_that_starts_itself_ends_in_a_fault() {
    ends_in_a_fault(1);
}

#[test]
fn cve_2021_20255_a_loop_of_two_cards_ends_in_a_fault() {
    ends_in_a_fault(2);
}

#[test]
fn cve_2021_20255_a_loop_of_three_cards_ends_in_a_fault() {
    ends_in_a_fault(3);
}

#[test]
fn cve_2021_20255_two_threads_in_one_loop_of_cards_end_in_a_fault_each() {
    const ROUNDS: usize = 2_000;
    let board = Board::new();
    let ring = ring(&board, 2);
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for card in 0..2 {
            let (board, start) = (&board, &start);
            scope.spawn(move || {
                start.wait();
                (0..ROUNDS).for_each(|_| board.store(command_of(card), 1));
            });
        }
    });
    assert_eq!(commands(&ring), [2 * ROUNDS; 2], "no thread is in the other's way");
    assert!(ring.iter().all(|card| card.device.dma.faults() == vec![BusFault::ACCESS; ROUNDS]));
}
