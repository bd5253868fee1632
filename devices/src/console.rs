//! The machine's console: where serial ports with the back end `stdio` lead.

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::collections::VecDeque;
use std::fmt;
use std::io::Write;

/// Bytes of input that wait for a device; what comes beyond is refused.
const MOST_INPUT: usize = 1 << 16;

type Wake = Arc<dyn Fn() + Send + Sync>;

struct Inner {
    output: Box<dyn Write + Send>,
    input: VecDeque<u8>,
    wake: Option<Wake>,
}

/// A byte stream in each direction: a terminal, or a test. Clones are the same console.
#[derive(Clone)]
pub struct Console {
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

impl Console {
    /// A console that writes to `output`. Its lock is held while `output` is written to.
    pub fn new(output: impl Write + Send + 'static) -> Self {
        let inner = Inner { output: Box::new(output), input: VecDeque::new(), wake: None };
        Self { inner: Arc::new((Mutex::new(inner), Condvar::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a device's output. A terminal that is gone takes it in silence, as an unplugged cable does.
    pub fn write(&self, bytes: &[u8]) {
        let output = &mut self.lock().output;
        let _ = output.write_all(bytes).and_then(|()| output.flush());
    }

    /// Names what is called, with no lock held, when there is input to be [read](Console::read).
    pub fn on_input(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.lock().wake = Some(Arc::new(wake));
    }

    /// Takes input from a person or a test, and returns how many bytes there was room for.
    pub fn feed(&self, bytes: &[u8]) -> usize {
        let mut inner = self.lock();
        let taken = bytes.len().min(MOST_INPUT - inner.input.len());
        inner.input.extend(bytes.iter().take(taken));
        let wake = inner.wake.clone();
        drop(inner);
        if let Some(wake) = wake {
            wake();
        }
        taken
    }

    /// Takes all of `bytes`, and waits where there is no room until a device has read.
    pub fn feed_all(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.feed(rest);
            rest = rest.get(taken..).unwrap_or(&[]);
            let mut inner = self.lock();
            while !rest.is_empty() && inner.input.len() >= MOST_INPUT {
                inner = self.inner.1.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Hands at most `most` bytes of input to a device.
    pub fn read(&self, most: usize) -> Vec<u8> {
        let mut inner = self.lock();
        let count = most.min(inner.input.len());
        let bytes = inner.input.drain(..count).collect();
        drop(inner);
        self.inner.1.notify_all();
        bytes
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}
