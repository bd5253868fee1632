//! Programs of the devices that can do DMA: they make one device reach for another.

use crate::board::{Board, RAM, Slot};
use devices::dma_tester::registers::{DST_LOW, GO, LEN, SRC_LOW, STATUS, Status};
use memory_core::{TxAttrs, Width};

/// How often each thread has its device reach for the other's.
const ROUNDS: u64 = 50_000;

/// What makes the first device reach for the second one, again and again.
pub type Program = fn(&Board, &Slot, &Slot);

/// The program of a type, if it can do DMA.
pub fn program(tag: &str) -> Option<Program> {
    match tag {
        "dma-test" | "dma-test-locked" => Some(copy_into),
        "fw-cfg-mmio" => Some(send_items_into),
        _ => None,
    }
}

/// What shows afterwards that the devices do reach for each other.
pub fn check(tag: &str) -> Option<Program> {
    match tag {
        "dma-test" | "dma-test-locked" => Some(circle_is_cut),
        "fw-cfg-mmio" => Some(item_arrives),
        _ => None,
    }
}

fn store(board: &Board, address: u64, width: Width, value: u64) {
    board.space.store(address, width, value, TxAttrs::default()).unwrap();
}

fn status(board: &Board, slot: &Slot) -> Status {
    let value = board.space.load(slot.region("regs") + STATUS, Width::W4, TxAttrs::default()).unwrap();
    Status::from_bits(value as u32).unwrap()
}

/// Sets `from` up to write to the register of `to` that starts a copy.
fn aim(board: &Board, from: &Slot, to: &Slot) {
    let regs = from.region("regs");
    store(board, regs + SRC_LOW, Width::W8, RAM);
    store(board, regs + DST_LOW, Width::W8, to.region("regs") + GO);
    store(board, regs + LEN, Width::W4, 4);
}

/// Each copy of `from` writes to the register of `to` that starts a copy, and the other thread's does the same: both hold
/// whatever they hold while they reach for the other.
fn copy_into(board: &Board, from: &Slot, to: &Slot) {
    aim(board, from, to);
    for _ in 0..ROUNDS {
        store(board, from.region("regs") + GO, Width::W4, 1);
    }
}

/// One writes to two, two back to one, which this thread is in: that write is refused.
fn circle_is_cut(board: &Board, one: &Slot, two: &Slot) {
    aim(board, one, two);
    aim(board, two, one);
    store(board, one.region("regs") + GO, Width::W4, 1);
    assert_eq!(status(board, one), Status::DONE);
    assert_eq!(status(board, two), Status::DONE | Status::WRITE_FAULT);
}

/// Has `from` write the item of the signature to the register of `to` that starts DMA, once, and returns the control word
/// that it leaves.
fn send_item(board: &Board, from: &Slot, to: &Slot) -> u32 {
    /// Select an item (number 0, the signature) and read it.
    const CONTROL: u32 = 0xa;
    // the low half of the address of a control structure, whose write is what starts
    let (regs, trigger) = (from.region("regs"), to.region("regs") + 0x14);
    // each device has a control structure of its own
    let at = RAM + (regs >> 32 & 0xff_ff00);
    let mut control = [0; 16];
    control[..4].copy_from_slice(&CONTROL.to_be_bytes());
    control[4..8].copy_from_slice(&4u32.to_be_bytes());
    control[8..].copy_from_slice(&trigger.to_be_bytes());
    board.space.write(at, &control, TxAttrs::default()).unwrap();
    store(board, regs + 0x10, Width::W8, at.swap_bytes());
    let mut left = [0; 4];
    board.space.read(at, &mut left, TxAttrs::default()).unwrap();
    u32::from_be_bytes(left)
}

fn send_items_into(board: &Board, from: &Slot, to: &Slot) {
    for _ in 0..ROUNDS / 5 {
        send_item(board, from, to);
    }
}

/// The transfer into the other device is done, without an error.
fn item_arrives(board: &Board, one: &Slot, two: &Slot) {
    assert_eq!(send_item(board, one, two), 0);
    assert_eq!(send_item(board, two, one), 0);
}
