//! The terminal while a guest runs: raw, and restored whatever happens.

use devices::Console;
use machines::runner::Control;
use machines::sync::{Arc, Mutex, PoisonError, thread};
use rustix::termios::{self, OptionalActions, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Read};

/// `Ctrl-A`, after which `x` quits and a second `Ctrl-A` is one for the guest.
const ESCAPE: u8 = 0x01;

/// What the terminal was like before.
type Saved = Arc<Mutex<Option<Termios>>>;

/// Standard input for a guest. If it is a terminal it is raw until this is dropped; otherwise it is left alone, and its
/// end is not the end of the guest.
///
/// A raw terminal makes no signals of keys: `Ctrl-C` is the guest's, as with QEMU's `-nographic`.
pub(crate) struct Terminal {
    saved: Saved,
}

impl Terminal {
    /// Leads standard input to `console`. `Ctrl-A x` and signals that end a process stop the machine.
    pub(crate) fn open(console: &Console, control: Control) -> io::Result<Self> {
        // first: a signal that still ends the process at once would leave a raw terminal behind
        stop_on_signals(control.clone())?;
        let is_terminal = io::stdin().is_terminal();
        // from here on whatever goes wrong drops it, which restores
        let terminal = Self { saved: Arc::default() };
        if is_terminal {
            terminal.make_raw()?;
        }
        let console = console.clone();
        let read = move || {
            if is_terminal {
                read_terminal(&console, &control);
            } else {
                read_stream(&console);
            }
        };
        thread::Builder::new().name("console".into()).spawn(read)?;
        Ok(terminal)
    }

    fn make_raw(&self) -> io::Result<()> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock(&self.saved) = Some(before);
        restore_on_panic(&self.saved);
        Ok(termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore(&self.saved);
    }
}

fn lock(saved: &Saved) -> machines::sync::MutexGuard<'_, Option<Termios>> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

fn restore(saved: &Saved) {
    if let Some(before) = lock(saved).take() {
        // a terminal that is gone needs no restoring
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

fn restore_on_panic(saved: &Saved) {
    let (saved, report) = (saved.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        restore(&saved);
        report(panic);
    }));
}

/// Has signals that end a process stop the machine.
pub(crate) fn stop_on_signals(control: Control) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let wait = move || {
        for _ in signals.forever() {
            control.quit_by_signal();
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

fn read_stream(console: &Console) {
    let mut buffer = [0; 4096];
    let mut stdin = io::stdin().lock();
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        console.feed_all(buffer.get(..count).unwrap_or(&[]));
    }
}

fn read_terminal(console: &Console, control: &Control) {
    let mut escaped = false;
    for byte in io::stdin().lock().bytes().map_while(Result::ok) {
        match (std::mem::take(&mut escaped), byte) {
            (false, ESCAPE) => escaped = true,
            (true, b'x') => control.quit(),
            (true, ESCAPE) => console.feed_all(&[ESCAPE]),
            // no command of ours: it was meant for the guest
            (true, byte) => console.feed_all(&[ESCAPE, byte]),
            (false, byte) => console.feed_all(&[byte]),
        }
    }
}
