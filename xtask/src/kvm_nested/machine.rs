//! The machine that QEMU interprets.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::console::{Console, Outcome};
use super::{QEMU, place};

/// A processor with AMD's virtualisation and nested page tables, and no more than the tests are for; and with a source of
/// randomness: nothing else happens in the machine that the kernel could gather any from, and tests wait for it.
const CPU: &str = "qemu64,+svm,+npt,+popcnt,+rdrand";
/// What the kernel is told beside its first process. On a busy host it would take the timer for broken, and panic, because
/// no tick came in time.
const ARGUMENTS: &str = "console=ttyS1 panic=-1 reboot=t random.trust_cpu=on no_timer_check";
/// The last lines of the kernel's messages that are shown where something went wrong.
const LAST_MESSAGES: usize = 30;

/// What to boot, and what to run in it.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where the kernel's messages are kept.
    pub(super) messages: &'a Path,
    /// Only tests whose name contains this.
    pub(super) filter: Option<&'a str>,
}

impl Machine<'_> {
    /// Boots, shows what the tests say, and ends it after `limit` at the latest.
    pub(super) fn run(&self, limit: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + limit;
        let mut child = Running(self.command().spawn().with_context(|| format!("cannot run {QEMU}"))?);
        let port = child.0.stdout.take().context("the machine has no serial port")?;
        let lines = lines_of(port);
        let mut console = Console::default();
        let timed_out = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(line) = console.line(&line) {
                        println!("{line}");
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => break Some(limit.as_secs()),
            }
        };
        drop(child);
        let outcome = console.finish(timed_out);
        if outcome.is_odd() {
            self.show_messages();
        }
        Ok(outcome)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(QEMU);
        // a reset ends it: the first process resets the machine when it is done, and so does a kernel that panics
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "pc"]);
        command.args(["-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-m", "1G"]);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        let filter = self.filter.map(|filter| format!(" -- {filter}")).unwrap_or_default();
        command.arg("-append").arg(format!("{ARGUMENTS} rdinit={}{filter}", place::INIT));
        command.args(["-serial", "stdio", "-chardev"]);
        let mut file = std::ffi::OsString::from("file,id=messages,path=");
        file.push(self.messages);
        command.arg(file).args(["-serial", "chardev:messages"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn show_messages(&self) {
        let messages = fs::read(self.messages).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages);
        let lines: Vec<_> = messages.lines().collect();
        println!("the kernel's last messages, all of which are in {}:", self.messages.display());
        lines.iter().skip(lines.len().saturating_sub(LAST_MESSAGES)).for_each(|line| println!("  {line}"));
    }
}

/// A process that does not outlive this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it has ended, or is to
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that come out of `port`, without their ends, by a thread that reads until there are no more.
fn lines_of(port: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        // bytes, not text: a test that fails may have printed anything
        for line in BufReader::new(port).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
