//! What goes beyond the tests, each in the form that is bounded in time: as CI runs it.

use std::time::Instant;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{asan, bench, fuzz, kvm_nested, loom, miri, stress, tsan};

/// One chore in its bounded form.
type Step = (&'static str, fn(&Workspace) -> Result<bool>);

const STEPS: [Step; 8] = [
    ("loom", |workspace| {
        loom::run(workspace, &loom::Options { filter: None, preemptions: Some(2), jobs: 2, mutants: false })
    }),
    ("miri", miri::run),
    ("tsan", |workspace| tsan::run(workspace, &[])),
    ("asan", asan::run),
    ("stress", |workspace| stress::run(workspace, &stress::Options { seconds: 30, threads: 4, seed: None })),
    ("fuzz", |workspace| {
        let options = fuzz::Options { target: None, all: true, list: false, seconds: 20, minimise: false };
        fuzz::run(workspace, &options)
    }),
    ("kvm-nested", |workspace| kvm_nested::run(workspace, &kvm_nested::Options::default())),
    ("instructions", |workspace| {
        bench::run(workspace, &bench::Options { instructions: true, ..bench::Options::default() })
    }),
];

/// Runs every step, also after one that failed; true if none did. What a machine lacks is reported as skipped, and is no
/// failure.
///
/// # Errors
///
/// None: a step that cannot be run has failed, and says why.
pub fn run(workspace: &Workspace) -> Result<bool> {
    let mut outcomes = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let started = Instant::now();
        let held = step(workspace).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        outcomes.push((name, held, started.elapsed().as_secs()));
    }
    println!();
    for (name, held, seconds) in &outcomes {
        println!("proofs: {name}: {} in {seconds} s", if *held { "ok" } else { "FAILED" });
    }
    Ok(outcomes.iter().all(|(_, held, _)| *held))
}
