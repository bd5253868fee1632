//! Short forms of `cargo xtask stress`.

use std::time::Duration;
use tests::stress::{Options, run};

fn stress(time: Duration, threads: usize, seed: u64) -> tests::stress::Summary {
    run(&Options { time, threads, seed }, |_, _| ()).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn one_thread_that_does_everything_in_turn_comes_to_what_follows_from_the_seed() {
    let digest = |seed| {
        let summary = stress(Duration::from_millis(300), 1, seed);
        assert!(summary.accesses > 10_000 && summary.commits > 500 && summary.removals > 50, "{summary}");
        summary.digest
    };
    let first = digest(7);
    assert!(first.is_some());
    assert_eq!(digest(7), first);
    assert_ne!(digest(8), first);
}

#[test]
fn threads_and_changes_at_once_leave_all_books_balanced() {
    let summary = stress(Duration::from_secs(2), 4, 7);
    assert!(summary.accesses > 1000 && summary.commits > 50 && summary.removals > 10, "{summary}");
    assert!(summary.snapshots > 10 && summary.rounds == 2, "{summary}");
}
