//! A model: what it proves, within which bounds, and how it went.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Steps of one execution at most: more is a loop that does not end.
const MOST_STEPS: usize = 100_000;

/// A model.
pub struct Model {
    /// What `run` calls it.
    pub name: &'static str,
    /// One sentence.
    pub proves: &'static str,
    /// The threads, the first one included.
    pub threads: usize,
    /// How often at most a thread is interrupted that could go on; `None` for no bound.
    pub preemptions: Option<usize>,
    /// One execution.
    pub run: fn(),
}

/// How a model that holds went.
pub struct Outcome {
    model: &'static Model,
    preemptions: Option<usize>,
    executions: u64,
    took: Duration,
}

impl Model {
    /// Runs every execution within the bounds; a panic tells of one in which the model does not hold.
    pub fn check(&'static self) -> Outcome {
        let executions = Arc::new(AtomicU64::new(0));
        let mut builder = loom::model::Builder::new();
        builder.max_threads = self.threads;
        builder.max_branches = MOST_STEPS;
        let preemptions = match std::env::var("FLATLAND_LOOM_PREEMPTIONS") {
            Ok(bound) => Some(bound.parse().expect("FLATLAND_LOOM_PREEMPTIONS is a number")),
            Err(_) => self.preemptions,
        };
        builder.preemption_bound = preemptions;
        let started = Instant::now();
        let count = executions.clone();
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            (self.run)();
        });
        let executions = executions.load(Ordering::Relaxed);
        Outcome { model: self, preemptions, executions, took: started.elapsed() }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, preemptions, executions, took } = self;
        let bound = preemptions.map_or("any".to_owned(), |bound| bound.to_string());
        write!(f, "{}\t{}\t{bound}\t{executions}\t{:.1}", model.name, model.threads, took.as_secs_f64())
    }
}
