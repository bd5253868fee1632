//! What libFuzzer prints of how it went.

use std::fmt;

/// Lines of a failed run that are shown.
const LINES: usize = 40;

/// How far a run came, by what it printed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    executions: u64,
    /// Edges of the program that were reached (`cov:`).
    edges: u64,
    /// Edges with how often, and compared values (`ft:`).
    features: u64,
    /// Inputs that reach something that no other does.
    corpus: u64,
    /// Executions a second.
    speed: u64,
}

impl Status {
    /// Reads what was printed: lines such as `#123 NEW cov: 45 ft: 67 corp: 8/90b exec/s: 12`, and statistics at the end.
    pub(super) fn of(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().peekable();
            if let Some(count) = words.peek().and_then(|word| word.strip_prefix('#')) {
                let Ok(count) = count.parse() else { continue };
                status.executions = count;
                while let Some(word) = words.next() {
                    let value = words.peek().and_then(|value| leading(value));
                    match (word, value) {
                        ("cov:", Some(value)) => status.edges = value,
                        ("ft:", Some(value)) => status.features = value,
                        ("corp:", Some(value)) => status.corpus = value,
                        ("exec/s:", Some(value)) => status.speed = value,
                        _ => {}
                    }
                }
            } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                status.executions = count.trim().parse().unwrap_or(status.executions);
            }
        }
        status
    }
}

/// The number at the start of a word.
fn leading(word: &str) -> Option<u64> {
    let end = word.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(word.len());
    word.get(..end)?.parse().ok()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { executions, edges, features, corpus, speed } = self;
        write!(f, "{executions} executions ({speed}/s), cov {edges}, ft {features}, corpus {corpus}")
    }
}

/// The end of what was printed, from the panic on if there is one.
pub(super) fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let start = panic.unwrap_or_else(|| lines.len().saturating_sub(LINES));
    lines.into_iter().skip(start).take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #128\tpulse  cov: 24 ft: 30 corp: 4/9b lim: 4 exec/s: 64 rss: 41Mb\nDone 130 runs in 2 second(s)\n\
        stat::number_of_executed_units: 130\n";

    #[test]
    fn last_figures_of_a_log_count() {
        let status = Status::of(LOG);
        assert_eq!(status, Status { executions: 130, edges: 24, features: 30, corpus: 4, speed: 64 });
        assert_eq!(status.to_string(), "130 executions (64/s), cov 24, ft 30, corpus 4");
    }

    #[test]
    fn end_of_a_failed_run_begins_at_the_panic() {
        let log = format!("{LOG}thread main panicked at x.rs:1\nwrong\n");
        assert_eq!(end(&log), "thread main panicked at x.rs:1\nwrong");
        assert!(end(LOG).starts_with("INFO"));
    }
}
