//! What goes beyond the tests, each in the form that is bounded in time: as CI runs it.

use std::time::{Duration, Instant};

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

/// Runs every step, also after one that failed, and says how each went when it ends; true if none failed. What a machine lacks is reported as skipped, and is no
/// failure.
///
/// # Errors
///
/// None: a step that cannot be run has failed, and says why.
pub fn run(workspace: &Workspace) -> Result<bool> {
    let mut held = true;
    let mut lines = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = step(workspace).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let line = said(name, outcome, started.elapsed());
        // now, since a run that is killed for its time never gets to the end
        println!("{line}");
        lines.push(line);
        held &= outcome;
    }
    println!("\n{}", lines.join("\n"));
    Ok(held)
}

fn said(name: &str, held: bool, took: Duration) -> String {
    format!("proofs: {name}: {} in {} s", if held { "ok" } else { "FAILED" }, took.as_secs())
}
