//! What comes out of the machine's first serial port, and what it means.

use std::fmt;

use super::MARK;
use crate::tally::{Summary, Tally};

/// Takes in the lines of the port.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// The tests have begun.
    begun: bool,
    /// The code that the test program ended with.
    ended: Option<i32>,
    /// What the first process complains about.
    error: Option<String>,
    tally: Tally,
    /// As tests write it to the file of [`Skip::LOG`](crate::tally::Skip::LOG).
    skips: String,
}

impl Console {
    /// Takes in one line without its end, and returns it if it is for people.
    pub(super) fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let Some(said) = line.strip_prefix(MARK) else {
            self.tally.line(line);
            return self.begun.then_some(line);
        };
        match said.split_once(' ') {
            None if said == "begin" => self.begun = true,
            Some(("skip", skip)) => {
                self.skips.push_str(skip);
                self.skips.push('\n');
            }
            Some(("ended", code)) => self.ended = code.parse().ok(),
            Some(("error", error)) => self.error = Some(error.to_owned()),
            _ => self.error = Some(said.to_owned()),
        }
        None
    }

    /// The end of it all; `timed_out` after so many seconds, if the machine had to be ended.
    pub(super) fn finish(self, timed_out: Option<u64>) -> Outcome {
        let problem = match (self.error, timed_out, self.ended) {
            (Some(error), ..) => Some(format!("the machine gave up: {error}")),
            (None, Some(seconds), _) => {
                let what = if self.begun { "the tests were" } else { "the kernel was" };
                Some(format!("{what} not done after {seconds} s"))
            }
            (None, None, None) => Some("the machine ended before the tests did".to_owned()),
            (None, None, Some(_)) => None,
        };
        let succeeded = self.ended == Some(0);
        Outcome { summary: self.tally.finish(succeeded, &self.skips), problem }
    }
}

/// How the tests in the machine went.
#[derive(Debug)]
pub(super) struct Outcome {
    summary: Summary,
    /// Why not all was run.
    problem: Option<String>,
}

impl Outcome {
    /// All ran, none failed, and some did what they are for.
    pub(super) fn is_well(&self) -> bool {
        self.problem.is_none() && self.summary.failed == 0 && self.summary.passed > 0
    }

    /// Whether the kernel's own messages may tell more.
    pub(super) fn is_odd(&self) -> bool {
        self.problem.is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            writeln!(f, "failed: kvm-nested: {problem}")?;
        }
        write!(f, "kvm-nested: {}", self.summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &str, timed_out: Option<u64>) -> (Outcome, Vec<String>) {
        let mut console = Console::default();
        let shown = lines.lines().filter_map(|line| console.line(line)).map(str::to_owned).collect();
        (console.finish(timed_out), shown)
    }

    const RUN: &str = "noise\n@flatland begin\nrunning 2 tests\ntest a ... ok\ntest b ... ok\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s\n";

    #[test]
    fn tests_that_pass_are_well_and_are_shown() {
        let (outcome, shown) = outcome(&format!("{RUN}@flatland skip b\twhy\n@flatland ended 0\n"), None);
        assert!(outcome.is_well(), "{outcome}");
        assert_eq!(outcome.to_string(), "kvm-nested: skipped: b: why\n1 passed, 0 failed, 1 skipped");
        assert_eq!(shown.first().map(String::as_str), Some("running 2 tests"));
        assert_eq!(shown.len(), 4);
    }

    #[test]
    fn what_fails_or_does_not_end_is_not_well() {
        let failed = RUN.replace("b ... ok", "b ... FAILED").replace("2 passed; 0 f", "1 passed; 1 f");
        let not_well = |lines: &str, timed_out, part: &str| {
            let (outcome, _) = outcome(lines, timed_out);
            assert!(!outcome.is_well() && outcome.to_string().contains(part), "{outcome}");
        };
        not_well(&format!("{failed}@flatland ended 101\n"), None, "failed: b");
        not_well(RUN, None, "ended before the tests did");
        not_well(RUN, Some(300), "the tests were not done after 300 s");
        not_well("", Some(300), "the kernel was not done after 300 s");
        not_well("@flatland error /dev/kvm: no such file\n", None, "gave up: /dev/kvm: no such file");
        not_well("@flatland begin\nrunning 2 tests\n@flatland ended 139\n", None, "without a report");
    }

    #[test]
    fn tests_that_are_all_skipped_are_not_well() {
        let skips = "@flatland skip a\tno\n@flatland skip b\tno\n@flatland ended 0\n";
        assert!(!outcome(&format!("{RUN}{skips}"), None).0.is_well());
    }
}
