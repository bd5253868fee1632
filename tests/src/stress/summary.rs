//! What a run has come to.

use std::fmt;
use std::time::Duration;

/// The figures of a run that found nothing wrong.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What chance followed from.
    pub seed: u64,
    /// Threads that accessed the machine; 1 did everything in turn.
    pub threads: usize,
    /// Rounds; everything was compared at the end of each.
    pub rounds: u64,
    /// How long the rounds took, comparisons not counted.
    pub time: Duration,
    /// Accesses of workers.
    pub accesses: u64,
    /// Changes of the map that were committed.
    pub commits: u64,
    /// Cards that were plugged in.
    pub plugged: u64,
    /// Removals that were waited for.
    pub removals: u64,
    /// Snapshots of the dirty log.
    pub snapshots: u64,
    /// Starts and stops of a client of the dirty log, within rounds.
    pub switches: u64,
    /// Kicks of handles.
    pub kicks: u64,
    /// The longest time from a commit to its last old reader, and to the destructor that told.
    pub grace: Duration,
    /// The most replaced views in use after a commit.
    pub retired: u64,
    /// Resident memory in bytes after the first round, and at the end.
    pub resident: (u64, u64),
    /// What all results have come to, where they follow from the seed.
    pub digest: Option<u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64().max(1e-9);
        let a_second = |count: u64| count as f64 / seconds;
        writeln!(
            f,
            "stress: seed {}, {} threads, {} rounds in {seconds:.1} s",
            self.seed, self.threads, self.rounds
        )?;
        writeln!(f, "  accesses      {:>12}  {:>12.0} a second", self.accesses, a_second(self.accesses))?;
        writeln!(f, "  commits       {:>12}  {:>12.0} a second", self.commits, a_second(self.commits))?;
        writeln!(f, "  cards         {:>12}  {:>12} removals waited for", self.plugged, self.removals)?;
        writeln!(f, "  dirty logs    {:>12}  {:>12} starts and stops", self.snapshots, self.switches)?;
        writeln!(f, "  kicks         {:>12}", self.kicks)?;
        writeln!(f, "  last reader   {:>12.3?}  at most after a commit", self.grace)?;
        writeln!(f, "  retire list   {:>12}  views at most", self.retired)?;
        let (start, end) = self.resident;
        write!(f, "  resident      {:>8} KiB  {:>8} KiB at the end", start / 1024, end / 1024)?;
        match self.digest {
            Some(digest) => write!(f, "\n  digest        {digest:016x}"),
            None => Ok(()),
        }
    }
}

/// Bytes of this process that are in memory; 0 where the host does not say.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
