//! A scripted session on a machine's console.

use crate::watch::Watch;
use devices::{Clock, Console, Host};
use machines::boot::{BootPlan, BootRequest};
use machines::file::MachineSpec;
use machines::machine::Machine;
use machines::runner::{Control, Runner, Stopped};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a guest may take for the next thing that is expected of it. Generous: the host is shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    /// How much of it earlier expectations have used up.
    used: usize,
    over: bool,
}

#[derive(Clone, Default)]
struct Output {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen.0.lock().unwrap().bytes.extend(bytes);
        self.seen.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a script talks to.
pub struct Session {
    console: Console,
    output: Output,
    control: Control,
}

impl Session {
    /// Types `text`.
    pub fn send(&self, text: &str) {
        self.console.feed_all(text.as_bytes());
    }

    /// Waits until the guest has printed `text` after what was expected before, and returns all up to its end.
    ///
    /// # Panics
    /// If that does not come, with everything that came.
    pub fn expect(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.output.seen.0.lock().unwrap();
        loop {
            let new = String::from_utf8_lossy(&seen.bytes[seen.used..]).into_owned();
            if let Some(at) = new.find(text) {
                let found = new[..at + text.len()].to_owned();
                seen.used += found.len();
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.over || left.is_zero() {
                let all = String::from_utf8_lossy(&seen.bytes).into_owned();
                drop(seen);
                self.control.quit();
                panic!("`{text}` never came; the guest printed:\n{all}");
            }
            seen = self.output.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Sends a command line to U-Boot and returns what it prints up to the next prompt.
    pub fn command(&self, line: &str) -> String {
        self.send(&format!("{line}\n"));
        // at a line's start: `crc32` prints an arrow, too
        self.expect("\n=> ")
    }

    /// Stops the machine, whatever its guest is at.
    pub fn quit(&self) {
        self.control.quit();
    }

    /// Everything that was printed so far.
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.output.seen.0.lock().unwrap().bytes).into_owned()
    }
}

/// Builds the machine that `spec` says, with a console for a script.
///
/// # Panics
/// If it cannot be built.
pub fn run(spec: MachineSpec, request: &BootRequest, script: impl FnOnce(&Session) + Send) -> Stopped {
    let output = Output::default();
    let console = Console::new(output.clone());
    let host = Host::new(Clock::real(), console.clone());
    let machine = Machine::build(spec, host).unwrap();
    let plan = BootPlan::new(&machine, request).unwrap();
    let runner = Runner::new(&machine);
    let _watch = Watch::over(thread::current().name().unwrap_or("a session"));
    let session = Session { console, output: output.clone(), control: runner.control() };
    thread::scope(|scope| {
        let script = scope.spawn(move || {
            // whatever becomes of the script, the machine stops
            let control = session.control.clone();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| script(&session)));
            if result.is_err() {
                control.quit();
            }
            result
        });
        let stopped = runner.run(&plan).unwrap();
        output.seen.0.lock().unwrap().over = true;
        output.seen.1.notify_all();
        if let Err(panic) = script.join().unwrap() {
            std::panic::resume_unwind(panic);
        }
        stopped
    })
}
