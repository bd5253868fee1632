//! A pseudo-terminal, and programs that run on it.

use crate::session::PATIENCE;
use rustix::process::{Pid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::tcgetattr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

pub use rustix::process::Signal;

/// A terminal, seen from where the person sits.
pub struct Terminal {
    /// What the person types goes in here, and what the programs print comes out.
    person: File,
    /// What programs get. It is held, so that the terminal stays when they have gone.
    programs: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not expected yet.
    pending: Vec<u8>,
}

impl Terminal {
    /// A terminal as it comes, with nobody on it.
    ///
    /// # Errors
    /// The host has none.
    pub fn open() -> io::Result<Self> {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&person)?;
        unlockpt(&person)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let programs = File::from(ioctl_tiocgptpeer(&person, flags)?);
        let person = File::from(person);
        let (mut reader, (show, shown)) = (person.try_clone()?, channel());
        // ends with the last program and this
        thread::spawn(move || {
            let mut bytes = [0; 256];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let Some(bytes) = bytes.get(..count) else { break };
                if show.send(bytes.to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { person, programs, shown, pending: Vec::new() })
    }

    /// What the terminal does with what is typed and printed, to be compared and read.
    pub fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.programs).unwrap())
    }

    /// Starts a program that has the terminal, and whose complaints go to [`end_of`].
    pub fn start(&self, command: &mut Command) -> Child {
        let side = || Stdio::from(self.programs.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &[u8]) {
        self.person.write_all(keys).unwrap();
    }

    /// Waits until `text` is shown after what was expected before.
    ///
    /// # Panics
    /// If that does not come, with what came.
    pub fn expect(&mut self, text: &[u8]) {
        loop {
            if let Some(at) = self.pending.windows(text.len()).position(|part| part == text) {
                self.pending.drain(..at + text.len());
                return;
            }
            let Ok(bytes) = self.shown.recv_timeout(PATIENCE) else {
                let shown = self.pending.escape_ascii();
                panic!("`{}` is never shown: {shown}", text.escape_ascii());
            };
            self.pending.extend(bytes);
        }
    }
}

/// The end of a program, and what it complained about.
///
/// # Panics
/// If it does not end by itself; it does then.
pub fn end_of(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (end, ended) = channel();
    thread::spawn(move || end.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("the program does not end");
    };
    output.unwrap()
}

/// Sends a signal to a program that was started and not waited for.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
