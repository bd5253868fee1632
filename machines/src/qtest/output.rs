//! What a client is told: replies, and interrupts that rise and fall meanwhile.

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::{Duration, Instant};

/// Bytes that wait to be written in one piece.
const ENOUGH: usize = 1 << 16;

struct Inner {
    waiting: Vec<u8>,
    peer: Option<Box<dyn Write + Send>>,
    /// A thread is in the middle of commands, and writes out when it is through.
    busy: bool,
    log: Option<Box<dyn Write + Send>>,
    start: Instant,
}

/// The way to the client; clones are the same way. Lines of several threads do not mix.
#[derive(Clone)]
pub(super) struct Output {
    /// Held while the client is written to, which waits for it only for a while.
    inner: Arc<Mutex<Inner>>,
    pending: Arc<Pending>,
}

/// Whether a command has been taken whose reply is not written yet. Apart from what is written, so that who waits for it does
/// not wait for a client that does not read.
#[derive(Default)]
struct Pending {
    /// Held for an instant.
    is_pending: Mutex<bool>,
    changed: Condvar,
}

impl Pending {
    fn set(&self, is_pending: bool) {
        *self.is_pending.lock().unwrap_or_else(PoisonError::into_inner) = is_pending;
        if !is_pending {
            self.changed.notify_all();
        }
    }

    fn wait(&self, patience: Duration) {
        let is_pending = self.is_pending.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_pending, patience, |is_pending| *is_pending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Output {
    pub(super) fn new(log: Option<Box<dyn Write + Send>>) -> Self {
        let inner = Inner { waiting: Vec::new(), peer: None, busy: false, log, start: Instant::now() };
        Self { inner: Arc::new(Mutex::new(inner)), pending: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names who is told from now on.
    pub(super) fn open(&self, peer: Box<dyn Write + Send>) {
        let mut inner = self.lock();
        inner.waiting.clear();
        inner.peer = Some(peer);
        let time = inner.start.elapsed().as_secs_f64();
        inner.log(format_args!("[I {time:.6}] OPENED"));
    }

    /// Forgets the client. What still waits is written.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.busy = false;
        inner.write_out();
        inner.peer = None;
        let time = inner.start.elapsed().as_secs_f64();
        inner.log(format_args!("[I +{time:.6}] CLOSED"));
        drop(inner);
        self.pending.set(false);
    }

    /// Whether there is a log, for which to call [`Output::note`].
    pub(super) fn is_logged(&self) -> bool {
        self.lock().log.is_some()
    }

    /// Logs a command.
    pub(super) fn note(&self, command: &str) {
        let mut inner = self.lock();
        let time = inner.start.elapsed().as_secs_f64();
        inner.log(format_args!("[R +{time:.6}] {command}"));
    }

    /// A thread begins with commands.
    pub(super) fn begin(&self) {
        self.lock().busy = true;
        self.pending.set(true);
    }

    /// It is through with them: what waits is written. Returns whether the client is still there.
    pub(super) fn flush(&self) -> bool {
        let mut inner = self.lock();
        inner.busy = false;
        inner.write_out();
        let is_there = inner.peer.is_some();
        drop(inner);
        self.pending.set(false);
        is_there
    }

    /// Waits until the commands that were taken are answered, though not longer than `patience`.
    pub(super) fn drain(&self, patience: Duration) {
        self.pending.wait(patience);
    }

    /// Says a line.
    pub(super) fn line(&self, line: fmt::Arguments<'_>) {
        let mut inner = self.lock();
        if inner.peer.is_none() {
            return;
        }
        let before = inner.waiting.len();
        let _ = inner.waiting.write_fmt(line);
        inner.log_said(before);
        inner.end_line();
    }

    /// Says a line that begins with `head` and goes on with what `body` adds piece by piece, however much it is.
    pub(super) fn long_line(&self, head: &str, body: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        self.lock().waiting.extend_from_slice(head.as_bytes());
        body(&mut |piece| {
            let mut inner = self.lock();
            inner.waiting.extend_from_slice(piece);
            if inner.waiting.len() >= ENOUGH {
                inner.write_out();
            }
        });
        self.lock().end_line();
    }
}

impl Inner {
    fn end_line(&mut self) {
        self.waiting.push(b'\n');
        if !self.busy || self.waiting.len() >= ENOUGH {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        if let Some(peer) = &mut self.peer
            && let Err(error) = peer.write_all(&self.waiting).and_then(|()| peer.flush())
        {
            tracing::debug!(%error, "the client of qtest takes no replies any more");
            self.peer = None;
        }
        self.waiting.clear();
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            // a log that cannot be written is not the client's concern
            let _ = writeln!(log, "{line}");
        }
    }

    fn log_said(&mut self, from: usize) {
        if self.log.is_none() {
            return;
        }
        let mut line = format!("[S +{:.6}] ", self.start.elapsed().as_secs_f64());
        let said = self.waiting.get(from..).unwrap_or(&[]);
        let _ = write!(line, "{}", String::from_utf8_lossy(said));
        self.log(format_args!("{line}"));
    }
}
