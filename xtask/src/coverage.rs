//! Which lines of the memory crates their own tests run.
//!
//! `cargo llvm-cov` builds and runs the tests with the compiler's counters; LLVM's tools of the compiler's version read
//! what was counted. Both go to `target` where they are not installed. Doctests are not counted: only a nightly
//! compiler can. Neither are the tests' own lines: what runs to the end of a test proves nothing of the crate.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::llvm::Llvm;
use crate::tally::Skip;
use crate::toolchain::Toolchain;
use crate::workspace::{MEMORY_CRATES, Workspace, output_of, succeeds};

/// Of a hundred lines, how many have to be run.
const WANTED: u64 = 90;

/// The program, and the version of it that is known to do what is asked of it here.
const CARGO_LLVM_COV: (&str, &str) = ("cargo-llvm-cov", "0.9.1");

/// The chore; true if enough is run. With `lines`, prints each file and the lines that are not.
pub(crate) fn run(workspace: &Workspace, lines: bool) -> Result<bool> {
    let tools = || -> Result<(PathBuf, Llvm)> {
        let llvm = Llvm::ensure(workspace, Toolchain::stable()?.llvm())?;
        Ok((cargo_llvm_cov(workspace)?, llvm))
    };
    let (program, llvm) = match tools() {
        Ok(tools) => tools,
        Err(error) => {
            println!("{}", Skip { name: "coverage".to_owned(), why: format!("{error:#}") });
            return Ok(true);
        }
    };
    let home = workspace.scratch().join("coverage");
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(workspace.root()).arg("llvm-cov").args(arguments).envs(llvm.environment());
        command.env("LLVM_COV", llvm.path("llvm-cov")).env("LLVM_PROFDATA", llvm.path("llvm-profdata"));
        command.env("CARGO_LLVM_COV_TARGET_DIR", &home);
        command
    };
    let packages = || MEMORY_CRATES.iter().flat_map(|package| ["-p", package]);
    if !succeeds(call(&["--no-report", "--no-fail-fast"]).args(packages()))? {
        return Ok(false);
    }
    let report = home.join("lcov.info");
    output_of(call(&["report", "--lcov"]).args(packages()).arg("--output-path").arg(&report))?;
    let text = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let mut total = Lines::default();
    for package in MEMORY_CRATES {
        let mut sum = Lines::default();
        let files = files(&text, &workspace.root().join(package).join("src"))?;
        ensure!(!files.is_empty(), "nothing was counted in {package}");
        for (path, counted) in files {
            if lines {
                println!("coverage: {}: {counted}{}", workspace.relative(&path), counted.missing());
            }
            sum.add(&counted);
        }
        println!("coverage: {package}: {sum}");
        total.add(&sum);
    }
    println!("coverage: in all: {total}; {WANTED} % are asked for");
    Ok(total.run.saturating_mul(100) >= total.all.saturating_mul(WANTED))
}

/// The program, if it is installed; otherwise it is put into `target/tools`.
fn cargo_llvm_cov(workspace: &Workspace) -> Result<PathBuf> {
    let (name, version) = CARGO_LLVM_COV;
    let own = workspace.scratch().join("tools/bin").join(name);
    let works = |program: &Path| output_of(Command::new(program).args(["llvm-cov", "--version"])).is_ok();
    for program in [PathBuf::from(name), own.clone()] {
        if works(&program) {
            return Ok(program);
        }
    }
    let mut install = workspace.cargo();
    install.args(["install", "--quiet", "--locked", name, "--version", version, "--root"]);
    let root = workspace.scratch().join("tools");
    output_of(install.arg(&root)).with_context(|| format!("{name} is not installed and cannot be"))?;
    ensure!(works(&own), "{name} was installed in {} and does not run", root.display());
    Ok(own)
}

/// Lines that hold code, and how many of them were run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    run: u64,
    /// The numbers of those that were not.
    not_run: Vec<usize>,
}

impl Lines {
    fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.run += other.run;
    }

    fn missing(&self) -> String {
        let numbers: Vec<_> = self.not_run.iter().map(usize::to_string).collect();
        if numbers.is_empty() { String::new() } else { format!("; not run: {}", numbers.join(" ")) }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // per mille, rounded down: 89.99 % are no 90
        let parts = (self.run * 1000).checked_div(self.all).unwrap_or_default();
        write!(f, "{} of {} lines, {}.{} %", self.run, self.all, parts / 10, parts % 10)
    }
}

/// The counts of the files below `folder` in a report in the form of lcov, without the modules of tests.
fn files(report: &str, folder: &Path) -> Result<BTreeMap<PathBuf, Lines>> {
    let mut files = BTreeMap::new();
    for record in report.split("end_of_record") {
        let path = record.lines().find_map(|line| line.strip_prefix("SF:")).map(PathBuf::from);
        let Some(path) = path.filter(|path| path.starts_with(folder)) else { continue };
        let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let end = tests_begin(&source);
        files.insert(path, lines(record, end));
    }
    Ok(files)
}

/// The line at which a file's own tests begin: they stand at its end.
fn tests_begin(source: &str) -> usize {
    source.lines().position(|line| line == "#[cfg(test)]").map_or(usize::MAX, |index| index + 1)
}

/// The counts of one record, before line `end`.
fn lines(record: &str, end: usize) -> Lines {
    let mut lines = Lines::default();
    for data in record.lines().filter_map(|line| line.strip_prefix("DA:")) {
        let mut numbers = data.split(',');
        let mut number = || numbers.next()?.parse::<usize>().ok();
        let (Some(line), Some(count)) = (number(), number()) else { continue };
        if line >= end {
            continue;
        }
        lines.all += 1;
        if count > 0 {
            lines.run += 1;
        } else {
            lines.not_run.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_and_of_other_folders_do_not_count() {
        let place = tempfile::tempdir().unwrap();
        let (ours, other) = (place.path().join("a/src/x.rs"), place.path().join("b/src/x.rs"));
        for path in [&ours, &other] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "fn f() {}\nfn g() {}\n#[cfg(test)]\nmod tests {\n}\n").unwrap();
        }
        let record = |path: &Path| {
            format!("SF:{}\nDA:1,3\nDA:2,0\nDA:4,9\nLF:3\nLH:2\nend_of_record\n", path.display())
        };
        let report = record(&ours) + &record(&other);
        let files = files(&report, &place.path().join("a/src")).unwrap();
        assert_eq!(files, BTreeMap::from([(ours, Lines { all: 2, run: 1, not_run: vec![2] })]));
    }

    #[test]
    fn shares_are_rounded_down() {
        let shown = |run, all| Lines { all, run, not_run: Vec::new() }.to_string();
        assert_eq!(shown(8999, 10000), "8999 of 10000 lines, 89.9 %");
        assert_eq!(shown(9, 10), "9 of 10 lines, 90.0 %");
        assert_eq!(shown(0, 0), "0 of 0 lines, 0.0 %");
    }
}
