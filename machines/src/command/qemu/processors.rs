//! `-smp`: how many processors there are.

use super::keys::Keys;
use super::options::CommandLine;
use anyhow::{Context, bail};
use machines::file::MachineSpec;

/// The most that a PC of QEMU's has.
const MOST: u32 = 288;
/// What a machine may be said to consist of.
const PARTS: [&str; 5] = ["sockets", "dies", "clusters", "cores", "threads"];

/// Processors that there are, and that there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Processors {
    pub(super) now: u32,
    pub(super) most: u32,
}

impl Processors {
    /// Reads `CPUS,maxcpus=N,sockets=N,cores=N,...`: a number that is not there follows from the others.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut keys = Keys::parse(text, Some("cpus"));
        let mut number = |key: &str| -> anyhow::Result<Option<u32>> {
            let Some(value) = keys.take(key) else { return Ok(None) };
            let number = value.parse().with_context(|| format!("Parameter '{key}' expects a number"))?;
            if number == 0 {
                bail!("Invalid CPU topology: CPU topology parameters must be greater than zero");
            }
            Ok(Some(number))
        };
        let (now, most) = (number("cpus")?, number("maxcpus")?);
        let mut product = 1_u32;
        for part in PARTS {
            product = product.saturating_mul(number(part)?.unwrap_or(1));
        }
        keys.end()?;
        let now = now.or(most).unwrap_or(product);
        let most = most.unwrap_or(product.max(now));
        if most < now {
            bail!("Invalid CPU topology: maxcpus must be equal to or greater than smp");
        }
        if most > MOST {
            bail!("Invalid SMP CPUs {most}: there are {MOST} at most");
        }
        Ok(Self { now, most })
    }
}

impl CommandLine {
    /// Gives the board its processors. Those that no accelerator runs are only spoken of to firmware, and there may be more of them
    /// than can be started.
    pub(super) fn processors(&self, spec: &mut MachineSpec) -> anyhow::Result<()> {
        let (Some(Processors { now, .. }), Some(cpu)) = (self.cpus, &spec.cpu) else { return Ok(()) };
        if now <= cpu.kind.most_harts() || !self.runs_none() {
            spec.set("cpu.harts", &now.to_string()).with_context(|| format!("-smp {now}"))?;
        }
        Ok(())
    }

    /// Whether it is said that processors do not run.
    fn runs_none(&self) -> bool {
        self.qtest.is_some() || matches!(self.accel.as_deref(), Some("qtest" | "none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_follow_from_what_is_said_of_them() {
        for (text, now, most) in [
            ("4", 4, 4),
            ("1,maxcpus=4", 1, 4),
            ("maxcpus=3", 3, 3),
            ("sockets=2,cores=3", 6, 6),
            ("cpus=1,sockets=3,cores=2,threads=2", 1, 12),
        ] {
            assert_eq!(Processors::parse(text).unwrap(), Processors { now, most }, "{text}");
        }
        for (text, why) in [
            ("0", "greater than zero"),
            ("2,maxcpus=1", "maxcpus must be"),
            ("x", "expects a number"),
            ("1,foo=2", "'foo'"),
            ("300", "288"),
            ("sockets=4294967295,cores=4294967295", "288"),
        ] {
            let error = Processors::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
