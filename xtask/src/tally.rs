//! Counting tests from what the runners print.
//!
//! A test that lacks something outside the project (a compiler, a firmware image) cannot tell libtest that it was
//! skipped: it returns, and counts as passed. It says so by a line in the file that [`Skip::LOG`] names, and the tally
//! moves it from the passed to the skipped.

use std::collections::BTreeMap;
use std::fmt;

/// A test that did not run in full, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skip {
    /// The test's name.
    pub name: String,
    /// What it lacked.
    pub why: String,
}

impl Skip {
    /// The environment variable that names the file to which tests append a line for each skip.
    pub const LOG: &str = "FLATLAND_SKIP_LOG";

    /// The line of the log for this skip, with its end. Line ends and tabs inside become blanks.
    pub fn to_line(&self) -> String {
        let plain = |text: &str| text.replace(['\n', '\r', '\t'], " ");
        format!("{}\t{}\n", plain(&self.name), plain(&self.why))
    }

    fn from_line(line: &str) -> Option<Self> {
        let (name, why) = line.split_once('\t')?;
        Some(Self { name: name.to_owned(), why: why.to_owned() })
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}: {}", self.name, self.why)
    }
}

/// Adds up the result lines of any number of libtest runners.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// A runner has announced its tests and has not reported yet.
    running: bool,
    failures: Vec<String>,
    skips: Vec<Skip>,
}

impl Tally {
    /// Takes in one line of the runners' standard output, without its end.
    pub fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("running ") {
            if rest.ends_with(" tests") || rest.ends_with(" test") {
                self.end_runner();
                self.running = true;
            }
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            self.running = false;
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
            self.ignored += count(rest, "ignored");
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            if outcome.starts_with("FAILED") {
                self.failures.push(name.to_owned());
            } else if let Some(why) = outcome.strip_prefix("ignored") {
                let why = why.trim_start_matches([',', ' ']);
                let why = if why.is_empty() { "ignored" } else { why };
                self.skips.push(Skip { name: name.to_owned(), why: why.to_owned() });
            }
        }
    }

    /// A runner that went away without a report (it aborted, or was killed) counts as one failure.
    fn end_runner(&mut self) {
        if self.running {
            self.running = false;
            self.failed += 1;
            self.failures.push("a test runner ended without a report".to_owned());
        }
    }

    /// The result: `succeeded` is whether cargo did, `skip_log` is what tests wrote to the file of [`Skip::LOG`].
    pub fn finish(mut self, succeeded: bool, skip_log: &str) -> Summary {
        self.end_runner();
        if !succeeded && self.failed == 0 {
            self.failed = 1;
            self.failures.push("cargo test failed, and no test did".to_owned());
        }
        // One test may lack several things; it is one test still.
        let logged: BTreeMap<String, Skip> =
            skip_log.lines().filter_map(Skip::from_line).map(|skip| (skip.name.clone(), skip)).collect();
        let moved = u64::try_from(logged.len()).unwrap_or(u64::MAX);
        self.skips.extend(logged.into_values());
        Summary {
            passed: self.passed.saturating_sub(moved),
            failed: self.failed,
            skipped: self.ignored.saturating_add(moved),
            failures: self.failures,
            skips: self.skips,
        }
    }
}

/// The number before `word` in a line such as `ok. 3 passed; 0 failed; 1 ignored; 0 measured`.
fn count(line: &str, word: &str) -> u64 {
    line.split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
        .next()
        .unwrap_or_default()
}

/// How a whole test run went. Displayed: a line for each test that failed or was skipped, then the totals alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Tests that ran in full and passed.
    pub passed: u64,
    /// Tests that failed, and runners that ended without a report.
    pub failed: u64,
    /// Tests that are ignored, or that lacked something.
    pub skipped: u64,
    /// The names of what failed.
    pub failures: Vec<String>,
    /// What was skipped, and why.
    pub skips: Vec<Skip>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        for skip in &self.skips {
            writeln!(f, "{skip}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    const OK: &str = "running 3 tests\ntest a ... ok\ntest b ... ok\ntest c ... ignored, needs root\n\n\
        test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s\n";
    const BAD: &str = "running 2 tests\ntest d ... ok\ntest e - should panic ... FAILED\n\n\
        test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";

    #[test]
    fn runners_lines_are_added_up() {
        let summary = tally(&format!("{OK}{BAD}")).finish(false, "");
        assert_eq!((summary.passed, summary.failed, summary.skipped), (3, 1, 1));
        assert_eq!(summary.failures, ["e - should panic"]);
        assert_eq!(summary.skips, [Skip { name: "c".into(), why: "needs root".into() }]);
    }

    #[test]
    fn logged_skips_count_as_skipped_once_and_not_as_passed() {
        let log = Skip { name: "a".into(), why: "no\ncompiler".into() }.to_line();
        let summary = tally(OK).finish(true, &log.repeat(2));
        assert_eq!((summary.passed, summary.failed, summary.skipped), (1, 0, 2));
        assert!(summary.to_string().contains("skipped: a: no compiler\n"), "{summary}");
        assert!(summary.to_string().ends_with("\n1 passed, 0 failed, 2 skipped"), "{summary}");
    }

    #[test]
    fn runner_without_a_report_is_a_failure() {
        let died = "running 5 tests\ntest a ... ok\n";
        assert_eq!(tally(&format!("{died}{OK}")).finish(false, "").failed, 1);
        assert_eq!(tally(&format!("{OK}{died}")).finish(false, "").failed, 1);
    }

    #[test]
    fn build_failure_is_a_failure() {
        assert_eq!(tally("").finish(false, "").failed, 1);
        assert_eq!(tally("").finish(true, "").failed, 0);
    }

    #[test]
    fn lines_that_only_look_alike_are_not_counted() {
        let summary = tally("running 2 harts\n  test result: ok. 7 passed; 0 failed\ntest of nothing\n")
            .finish(true, "");
        assert_eq!((summary.passed, summary.failed, summary.skipped), (0, 0, 0));
    }
}
