//! A test that waits for what never comes ends, and says so.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long anything may take. Generous: the host is shared, and may be interpreted.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends the process if it is not dropped in time: a thread that waits cannot be ended alone.
pub struct Watch {
    _held: Sender<()>,
}

impl Watch {
    /// Watches over the test `name` from now on.
    pub fn over(name: &str) -> Self {
        let (held, dropped) = channel::<()>();
        let name = name.to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // not by a macro, whose output libtest keeps to itself
                let said = format!("{name}: not done after {} s\n", PATIENCE.as_secs());
                let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
                std::process::abort();
            }
        });
        Self { _held: held }
    }
}
