//! Fuzzing: building the targets of `tests/fuzz`, and running them.
//!
//! The bodies of the targets are in the `tests` package, which replays the committed corpora without a fuzzer. Here a
//! fuzzer goes on from there. Nothing but a stable compiler is needed: `cargo-fuzz` instruments the code by options that
//! are stable, and no sanitizer is asked for (code that is unsafe is in one module, which Miri and ThreadSanitizer look at).

mod corpus;
mod status;
mod tools;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};

use crate::tally::Skip;
use crate::workspace::{Workspace, output_of, succeeds};
use status::Status;
use tools::{CargoFuzz, Missing};

/// The package of the targets.
const PACKAGE: &str = "tests/fuzz";
/// Bytes of an input, at most.
const INPUT: usize = 4096;
/// Seconds after which an input counts as a hang.
const HANG: u32 = 25;

/// What to fuzz, and how long.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(group(ArgGroup::new("what").required(true).args(["target", "all", "list"])))]
pub struct Options {
    /// The target.
    pub target: Option<String>,
    /// Every target in turn.
    #[arg(long)]
    pub all: bool,
    /// Print the targets, and fuzz nothing.
    #[arg(long)]
    pub list: bool,
    /// How long, for each target.
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub seconds: u64,
    /// Instead of fuzzing, make the committed corpus anew out of itself and what fuzzing has found so far.
    #[arg(long)]
    pub minimise: bool,
}

/// A target: a program of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it tries: the first line of its source.
    pub about: String,
}

/// Every target, in the order of their names.
///
/// # Errors
///
/// The sources cannot be read.
pub fn targets(workspace: &Workspace) -> Result<Vec<Target>> {
    let folder = workspace.root().join(PACKAGE).join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let about = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        if let Some(name) = path.file_stem() {
            targets.push(Target { name: name.to_string_lossy().into_owned(), about: about.to_owned() });
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// The chore. What a machine lacks is reported as skipped, and is no failure.
///
/// # Errors
///
/// There is no such target, or a tool could not be run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let targets = targets(workspace)?;
    if options.list {
        targets.iter().for_each(|target| println!("{:14} {}", target.name, target.about));
        return Ok(true);
    }
    let wanted: Vec<&Target> = match &options.target {
        None => targets.iter().collect(),
        Some(name) => targets.iter().filter(|target| target.name == *name).collect(),
    };
    if wanted.is_empty() {
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        bail!("there is no such target; there are {}", names.join(", "));
    }
    let programs = match Programs::build(workspace)? {
        Ok(programs) => programs,
        Err(Missing(why)) => {
            println!("{}", Skip { name: "fuzz".to_owned(), why });
            return Ok(true);
        }
    };
    let mut all_well = true;
    for target in wanted {
        all_well &= if options.minimise {
            programs.minimise(target)?
        } else {
            programs.fuzz(target, options.seconds)?
        };
    }
    Ok(all_well)
}

/// The targets' programs, built.
struct Programs<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
}

impl<'a> Programs<'a> {
    /// Builds all programs with the fuzzer's instrumentation.
    fn build(workspace: &'a Workspace) -> Result<Result<Self, Missing>> {
        let cargo_fuzz = match CargoFuzz::find_or_install(workspace)? {
            Ok(cargo_fuzz) => cargo_fuzz,
            Err(missing) => return Ok(Err(missing)),
        };
        let host = host()?;
        let target_dir = workspace.scratch().join("fuzz");
        let mut command = cargo_fuzz.command(workspace);
        command.args(["build", "--sanitizer", "none", "--target", &host, "--fuzz-dir", PACKAGE]);
        command.arg("--target-dir").arg(&target_dir);
        if !succeeds(&mut command)? {
            bail!("the fuzz targets do not build");
        }
        Ok(Ok(Self { workspace, folder: target_dir.join(host).join("release") }))
    }

    /// A target's program; it reads inputs of `corpora` and adds what it finds to the first.
    fn program(&self, target: &Target, corpora: &[PathBuf]) -> Command {
        let mut command = Command::new(self.folder.join(&target.name));
        // what is logged is nothing for a terminal
        command.current_dir(self.workspace.root()).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
        command.args([format!("-timeout={HANG}"), format!("-max_len={INPUT}")]).args(corpora);
        let dictionary = self.workspace.root().join(PACKAGE).join("dictionaries").join(&target.name);
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        command
    }

    /// What is committed, and what was found since.
    fn committed(&self, target: &Target) -> PathBuf {
        self.workspace.root().join(PACKAGE).join("corpus").join(&target.name)
    }

    fn found(&self, target: &Target) -> Result<PathBuf> {
        made(self.workspace.scratch().join("fuzz/corpus").join(&target.name))
    }

    /// Fuzzes for some seconds; false if an input crashed the target or took too long.
    fn fuzz(&self, target: &Target, seconds: u64) -> Result<bool> {
        let crashes = made(self.workspace.scratch().join("fuzz/artifacts").join(&target.name))?;
        let log = self.workspace.scratch().join("fuzz").join(format!("{}.log", target.name));
        let out = fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = self.program(target, &[self.found(target)?, self.committed(target)]);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        println!("fuzz: {}: {seconds} s, log in {}", target.name, self.workspace.relative(&log));
        let well = succeeds(&mut command)?;
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let text = String::from_utf8_lossy(&text);
        println!("fuzz: {}: {}", target.name, Status::of(&text));
        if !well {
            println!("{}", status::end(&text));
            let program = self.workspace.relative(&self.folder.join(&target.name));
            println!("fuzz: {}: FAILED; `{program} INPUT` runs one input again", target.name);
        }
        Ok(well)
    }

    /// Replaces the committed corpus by small inputs that reach what it and what was found reach.
    fn minimise(&self, target: &Target) -> Result<bool> {
        let (committed, found) = (self.committed(target), self.found(target)?);
        let merged = tempfile::tempdir().context("cannot make a folder for the merged corpus")?;
        let corpora = [merged.path().to_owned(), made(committed.clone())?, found];
        let mut command = self.program(target, &corpora);
        command.arg("-merge=1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !succeeds(&mut command)? {
            bail!("{}: the corpora cannot be merged; fuzz the target to see why", target.name);
        }
        let kept = corpus::replace(&committed, merged.path())?;
        println!("fuzz: {}: {kept}", target.name);
        Ok(true)
    }
}

/// Makes a folder, if it is not there.
fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// What the compiler builds for by itself.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output_of(Command::new(rustc).arg("-vV"))?;
    let text = String::from_utf8_lossy(&text);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("the compiler does not say what it builds for")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_listed_with_what_they_try() {
        let targets = targets(&Workspace::here()).unwrap();
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["cfi", "device", "import", "machine-file", "mmio", "rv64", "tree", "virtqueue"]);
        assert!(targets.iter().all(|target| !target.about.is_empty()));
    }

    #[test]
    fn unknown_target_is_an_error_that_names_the_known_ones() {
        let options =
            Options { target: Some("tee".to_owned()), all: false, list: false, seconds: 1, minimise: false };
        let error = run(&Workspace::here(), &options).unwrap_err().to_string();
        assert!(error.contains("tree, virtqueue"), "{error}");
    }
}
