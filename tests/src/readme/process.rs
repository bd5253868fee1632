//! Running a command to its end, or until it has printed something, and never longer than is allowed.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Runs `command` to its end without input, and returns what it printed on both outputs, as it came.
///
/// # Errors
///
/// It cannot be started, fails, or takes longer than `timeout`; then it is killed, and the error has what it printed.
pub fn run(command: &mut Command, timeout: Duration) -> Result<String> {
    let mut running = Running::start(command)?;
    running.read(timeout, None)?;
    let status = running.child.wait().context("cannot wait for the command")?;
    ensure!(status.success(), "{command:?} ended with {status}; it printed:\n{}", running.text());
    Ok(running.text())
}

/// Runs `command` without input until it has printed `wanted`, ends it then, and returns what it printed so far.
///
/// # Errors
///
/// It cannot be started, ends before, or takes longer than `timeout`; the error has what it printed.
pub fn run_until(command: &mut Command, timeout: Duration, wanted: &str) -> Result<String> {
    ensure!(!wanted.is_empty(), "every program has printed nothing at once");
    let mut running = Running::start(command)?;
    let found = running.read(timeout, Some(wanted.as_bytes()))?;
    ensure!(found, "{command:?} ended without printing {wanted:?}; it printed:\n{}", running.text());
    Ok(running.text())
}

/// A process that is killed when this goes away, if it has not ended.
struct Running {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    printed: Vec<u8>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
        let errors = writer.try_clone().context("cannot make a pipe")?;
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        let spawned = command.spawn();
        // The command keeps its ends of the pipe as long as it lives; without this, reading would never see the end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawned.with_context(|| format!("cannot run {command:?}"))?;
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, chunks, printed: Vec::new() })
    }

    /// Reads until `wanted` has been printed (true) or the output has ended (false).
    fn read(&mut self, timeout: Duration, wanted: Option<&[u8]>) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => {
                    // What is wanted may begin in what came before.
                    let overlap = wanted.map_or(0, <[u8]>::len);
                    let start = self.printed.len().saturating_sub(overlap);
                    self.printed.extend(chunk);
                    if wanted.is_some_and(|wanted| {
                        self.printed[start..].windows(wanted.len()).any(|w| w == wanted)
                    }) {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the command took longer than {timeout:?}; it printed:\n{}", self.text());
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.printed).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn command_that_ends_gives_what_it_printed_on_both_outputs() {
        assert_eq!(run(&mut shell("echo a; echo b >&2; cat"), LONG).unwrap(), "a\nb\n");
    }

    #[test]
    fn command_that_fails_is_an_error_with_what_it_printed() {
        let error = run(&mut shell("echo reason; exit 3"), LONG).unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains('3'), "{error}");
        assert!(run(&mut Command::new("/no such program"), LONG).is_err());
    }

    #[test]
    fn command_that_hangs_is_killed_at_its_deadline() {
        let error =
            run(&mut shell("echo begun; exec tail -f /dev/null"), Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    #[test]
    fn command_that_printed_what_is_wanted_is_ended() {
        let printed =
            run_until(&mut shell("printf '=='; printf '>'; exec tail -f /dev/null"), LONG, "==>").unwrap();
        assert!(printed.starts_with("==>"), "{printed}");
    }

    #[test]
    fn command_that_ends_before_it_printed_what_is_wanted_is_an_error() {
        assert!(run_until(&mut shell("echo other"), LONG, "prompt").is_err());
    }
}
