//! What a guest's write to a register takes, by what becomes of it.

use super::super::Wanted;
use super::guest::{Board, Order, REGISTERS};
use crate::figure::{Figure, Unit};
use crate::harness::{Stat, addition};
use anyhow::{Context, Result};
use machines::kvm::KvmConfig;
use memory_core::{AddrRange, EventNotifier, IoEvent, Width};

const ROUNDS: usize = 151;

const EXIT: &str = "flatland, exit that is dispatched";
const DISCARDED: &str = "limit: exit that is discarded";
const EVENT: &str = "flatland, write that the kernel makes an event";
const QUEUED: &str = "flatland, write that the kernel queues";

/// Numbers of registers.
const PLAIN: u64 = 100;
const WITH_EVENT: u64 = 120;
const WITH_QUEUE: u64 = 140;

pub fn figure() -> Figure {
    let about = "A guest in ring 3 writes 4 bytes to a register among 256 over and over: each write exits and is dispatched to the \
                 device, exits on a vCPU of the same map whose exits nobody looks at, hits an ioeventfd, or is queued in the coalesced ring, whose \
                 emptying is part of it. All in turn; times are taken where the guest is entered.";
    Figure::new("kvm-exits", "KVM: a guest's write to a register", Unit::Microseconds, about)
}

/// What is measured, and how many writes make a sample: some milliseconds.
const CONTESTANTS: [(&str, u64, u32); 4] =
    [(EXIT, PLAIN, 200), (DISCARDED, PLAIN, 200), (EVENT, WITH_EVENT, 600), (QUEUED, WITH_QUEUE, 2_000)];

pub fn measure(wanted: &Wanted<'_>, mut figure: Figure) -> Result<Figure> {
    let all = || {
        // the vCPU's thread is this one's child, and stays on its core
        wanted.cores.pin(0);
        samples()
    };
    let samples = std::thread::scope(|scope| scope.spawn(all).join()).expect("no sample panics")?;
    let addition = Some(addition(wanted.cores));
    for ((name, ..), samples) in CONTESTANTS.iter().zip(&samples) {
        figure.row(*name, None, Stat::of(samples.clone()), addition);
    }
    let [exit, discarded, ..] = &samples;
    // of the two in one round: what else the host does hits both
    let share =
        Stat::of(exit.iter().zip(discarded).map(|(exit, bare)| 100.0 * (1.0 - bare / exit)).collect());
    let what = "KVM: what dispatch adds to an exit, of the whole";
    figure.verdict(what, format!("{:.1} %", share.median), "<= 3 %".to_owned(), share.median <= 3.0);
    let exit = figure.median(EXIT, None);
    for (name, what) in [(EVENT, "KVM: a write that hits an ioeventfd"), (QUEUED, "KVM: a coalesced write")] {
        let ratio = figure.median(name, None) / exit;
        figure.ratio_at_most(what, ratio, 1.0, "an exit that is dispatched");
    }
    Ok(figure)
}

/// Two of its registers are special.
fn board() -> Result<Board> {
    let board = Board::new()?;
    let register = |index: u64| board.registers.get(index as usize).context("there are registers");
    register(WITH_EVENT)?.add_ioevent(IoEvent::new(0, Width::W4, EventNotifier::new()?))?;
    register(WITH_QUEUE)?.add_coalesced(AddrRange::new(0, 0xfff).context("a range")?)?;
    Ok(board)
}

/// Nanoseconds of one write of each contestant, round by round.
fn samples() -> Result<[Vec<f64>; 4]> {
    let (mut board, other) = (board()?, board()?);
    let mut kvm = board.kvm(KvmConfig::default())?;
    let mut driven = board.driven(&mut kvm)?;
    let other_kvm = other.kvm(KvmConfig::default())?;
    let mut bare = other.bare(&other_kvm)?;
    let mut samples = <[Vec<f64>; 4]>::default();
    for round in 0..ROUNDS {
        for step in 0..CONTESTANTS.len() {
            let index = (round + step) % CONTESTANTS.len();
            let (name, register, count) = CONTESTANTS[index];
            let address = (REGISTERS + register * 0x1000) as u32;
            let order = Order { count, address, stride: 0 };
            let took = if name == DISCARDED { bare.run(order)? } else { driven.run(order)? };
            samples[index].push(took.as_nanos() as f64 / f64::from(count));
            // what is queued last is not the next one's
            board.system.flush_coalesced();
        }
    }
    Ok(samples)
}
