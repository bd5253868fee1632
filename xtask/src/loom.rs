//! Model checking: building the models against the real crates under the private cfg, and running them.

mod mutants;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, output_of, succeeds};

/// Which models are run, and how.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Run only models (or mutants) whose name contains this.
    pub filter: Option<String>,
    /// Interrupt a thread that could go on at most so often, instead of as often as each model says.
    #[arg(long, value_name = "N")]
    pub preemptions: Option<usize>,
    /// Models to check at a time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub jobs: usize,
    /// Change the real code in known ways, in a copy, and expect models to fail.
    #[arg(long)]
    pub mutants: bool,
}

/// Runs the models; true if all hold, or, for mutants, if each one is noticed.
///
/// # Errors
///
/// The models cannot be built or run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    if options.mutants {
        return mutants::run(workspace, options);
    }
    let started = Instant::now();
    let models =
        Models::build(workspace, &workspace.scratch().join("loom"), "--cfg flatland_loom -D warnings")?;
    let names = models.names(options.filter.as_deref())?;
    if names.is_empty() {
        bail!("no model has {:?} in its name", options.filter.as_deref().unwrap_or_default());
    }
    println!("{:<32} {:>7} {:>11} {:>12} {:>8}", "model", "threads", "preemptions", "executions", "seconds");
    let outcomes = models.check(&names, options.preemptions, options.jobs)?;
    let (mut executions, mut failed) = (0, Vec::new());
    for outcome in outcomes {
        match outcome.held() {
            Some([threads, bound, count, seconds]) => {
                println!("{:<32} {threads:>7} {bound:>11} {count:>12} {seconds:>8}", outcome.model);
                executions += count.parse::<u64>().unwrap_or_default();
            }
            None => {
                println!("{:<32} does not hold:\n{}", outcome.model, outcome.complaint());
                failed.push(outcome.model);
            }
        }
    }
    failed.iter().for_each(|model| println!("failed: {model}"));
    let (held, seconds) = (names.len() - failed.len(), started.elapsed().as_secs_f64());
    println!("{held} models hold, {} failed, {executions} executions, {seconds:.0} s", failed.len());
    Ok(failed.is_empty())
}

/// The program that checks models.
struct Models {
    program: PathBuf,
}

/// How one model went.
struct Outcome {
    model: String,
    output: Output,
}

impl Models {
    /// Builds the models of a tree into `target`.
    fn build(workspace: &Workspace, target: &Path, flags: &str) -> Result<Self> {
        let mut command = workspace.cargo();
        command.args(["build", "--quiet", "--package", "loom-models", "--profile", "loom", "--target-dir"]);
        command.arg(target).env("RUSTFLAGS", flags).env_remove("CARGO_BUILD_TARGET");
        if !succeeds(&mut command)? {
            bail!("the models cannot be built");
        }
        Ok(Self { program: target.join("loom").join("loom-models") })
    }

    fn names(&self, filter: Option<&str>) -> Result<Vec<String>> {
        let list = output_of(Command::new(&self.program).arg("list"))?;
        let list = String::from_utf8_lossy(&list);
        let names = list.lines().filter_map(|line| line.split('\t').next());
        Ok(names.filter(|name| filter.is_none_or(|part| name.contains(part))).map(str::to_owned).collect())
    }

    /// Refuses names that are no model's: such a run fails, too.
    fn require(&self, names: &[String]) -> Result<()> {
        let known = self.names(None)?;
        match names.iter().find(|name| !known.contains(name)) {
            Some(name) => bail!("there is no model `{name}`"),
            None => Ok(()),
        }
    }

    /// Runs models, each in a process of its own, some at a time; in the order of their names' list.
    fn check(&self, names: &[String], preemptions: Option<usize>, jobs: usize) -> Result<Vec<Outcome>> {
        let waiting: Mutex<VecDeque<(usize, &String)>> = Mutex::new(names.iter().enumerate().collect());
        let next = || waiting.lock().ok()?.pop_front();
        let work = || {
            let mut outcomes = Vec::new();
            while let Some((index, model)) = next() {
                let mut command = Command::new(&self.program);
                command.args(["run", model]);
                if let Some(bound) = preemptions {
                    command.env("FLATLAND_LOOM_PREEMPTIONS", bound.to_string());
                }
                let output = command.output().context("cannot run the models")?;
                outcomes.push((index, Outcome { model: model.clone(), output }));
            }
            anyhow::Ok(outcomes)
        };
        let mut outcomes = thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let mut outcomes = Vec::new();
            for worker in workers {
                let done = worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
                outcomes.extend(done?);
            }
            anyhow::Ok(outcomes)
        })?;
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

impl Outcome {
    /// Threads, bound, executions and seconds, if the model holds.
    fn held(&self) -> Option<[String; 4]> {
        let line = String::from_utf8_lossy(&self.output.stdout);
        let words: Vec<_> = line.trim().split('\t').skip(1).map(str::to_owned).collect();
        self.output.status.success().then_some(words)?.try_into().ok()
    }

    /// Whether the checker, or the model, panicked: it did not hold. A program that failed otherwise says nothing of it.
    fn is_broken(&self) -> bool {
        let text = String::from_utf8_lossy(&self.output.stderr);
        !self.output.status.success() && text.lines().any(|line| line.contains("panicked at "))
    }

    /// What the checker said of a model that does not hold: its panics, without the stack.
    fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.output.stderr);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with([' ', '\t'])).take(12).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    #[test]
    fn a_model_is_broken_if_it_panicked_and_not_if_it_could_not_be_run() {
        let outcome = |code: i32, stderr: &str| {
            let (stdout, stderr) = (Vec::new(), stderr.as_bytes().to_vec());
            let output = Output { status: ExitStatus::from_raw(code << 8), stdout, stderr };
            Outcome { model: "model".to_owned(), output }.is_broken()
        };
        let panic = "thread 'main' (7) panicked at tests/loom/src/models/host.rs:75:9:\na write is lost\n";
        assert!(outcome(101, panic));
        assert!(!outcome(2, "there is no model `model`\n") && !outcome(0, panic));
    }
}
