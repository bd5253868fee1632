//! A machine under stress: threads access it by every way there is, one changes its map at random, one plugs cards in
//! and out, one copies its memory by the dirty log. Everything is checked against what it must be.
//!
//! What makes values checkable while they change:
//!
//! - Every word of RAM belongs to one worker, who alone writes it, with a value unlike all others, and has a model of
//!   what it holds.
//! - The map is known by a few switches behind a sequence lock ([`layout`]). A worker that finds it unchanged
//!   before and after an access knows what it must have seen; one that does not knows what it may have seen.
//! - Devices say who they are, and count. Two registers are always replaced together, by ones with the next number.
//! - A listener builds a map of its own out of what it is told.
//!
//! A run is made of rounds. At the end of each cards are removed while nobody does anything but leave them, then, with no
//! thread in the machine, all books are compared ([`audit`]); at the end of the run the machine is taken apart, and nothing
//! may be left of it. A thread that hangs is named, and the process aborted.
//!
//! ```
//! use std::time::Duration;
//! use tests::stress::{Options, run};
//!
//! let options = Options { time: Duration::from_millis(200), threads: 2, seed: 7 };
//! let summary = run(&options, |_, _| ())?;
//! assert!(summary.accesses > 0 && summary.commits > 0);
//! # anyhow::Ok(())
//! ```

pub mod audit;
pub mod card;
mod crew;
pub mod dice;
pub mod fixture;
pub mod layout;
pub mod ledger;
pub mod mapper;
pub mod migrator;
pub mod plugger;
mod quiet;
pub mod session;
pub mod summary;
mod watch;
pub mod witness;
pub mod worker;
pub mod world;

use anyhow::Result;
use crew::Crew;
use std::time::Duration;
pub use summary::Summary;

/// The length of a round.
const ROUND: Duration = Duration::from_secs(1);

/// Steps that stand for a second where one thread does everything: what comes of a seed does not depend on how fast the
/// host is.
const STEPS_A_SECOND: u64 = 100_000;

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long.
    pub time: Duration,
    /// Threads that access the machine, besides the three that change it. With 1 there is no other: it does
    /// everything in turn, and what comes of it follows from the seed.
    pub threads: usize,
    /// What chance follows from.
    pub seed: u64,
}

/// Runs to the end, and reports after each round how much of the time is over, and the figures so far.
///
/// # Errors
/// What is wrong, with the seed.
pub fn run(options: &Options, mut report: impl FnMut(Duration, &Summary)) -> Result<Summary> {
    let mut crew = Crew::new(options.seed, options.threads)?;
    let mut over = Duration::ZERO;
    while over < options.time {
        let round = ROUND.min(options.time - over);
        if options.threads <= 1 {
            let steps = round.as_millis() as u64 * STEPS_A_SECOND / 1000;
            crew.round_in_turn(steps)?;
        } else {
            crew.round_at_once(round)?;
        }
        over += round;
        report(over, &crew.summary());
    }
    crew.dismantle()
}
