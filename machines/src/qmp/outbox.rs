//! What is on its way to a client: replies and events, written by a thread of their own.

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, thread};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};
use std::time::Instant;

/// Bytes that wait for a client that does not read. Replies wait until there is room, events are lost.
const MOST: usize = 1 << 20;

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The thread is writing what it took.
    writing: bool,
    /// Nothing is taken any more.
    closed: bool,
}

/// What is on its way to a client.
#[derive(Default)]
pub(super) struct Outbox {
    /// Held for an instant, never while the client is written to.
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Outbox {
    /// An outbox that is written to `peer`.
    pub(super) fn open(mut peer: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        let outbox = Arc::<Self>::default();
        let written = outbox.clone();
        let write = move || {
            while let Some(bytes) = written.take() {
                if peer.write_all(&bytes).and_then(|()| peer.flush()).is_err() {
                    written.close();
                }
            }
        };
        thread::Builder::new().name("monitor output".into()).spawn(write)?;
        Ok(outbox)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write; `None` when the outbox is closed and empty.
    fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        waiting.writing = false;
        self.changed.notify_all();
        let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.closed;
        waiting = self.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        waiting.writing = true;
        let bytes = std::mem::take(&mut waiting.bytes);
        if bytes.is_empty() {
            waiting.writing = false;
        }
        drop(waiting);
        self.changed.notify_all();
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Says a reply, when there is room for it.
    pub(super) fn reply(&self, value: &Value) {
        let full = |waiting: &mut Waiting| waiting.bytes.len() > MOST && !waiting.closed;
        let waiting = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        self.push(waiting, value);
    }

    /// Says that something happened, if there is room for it.
    pub(super) fn event(&self, value: &Value) {
        let waiting = self.lock();
        if waiting.bytes.len() > MOST {
            tracing::warn!("a monitor does not read: it has lost an event");
            return;
        }
        self.push(waiting, value);
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, value: &Value) {
        if waiting.closed {
            return;
        }
        write_value(&mut waiting.bytes, value);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Takes nothing any more; what waits is written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether the client takes what is said.
    pub(super) fn is_open(&self) -> bool {
        !self.lock().closed
    }

    /// Waits until everything is written, or `deadline`.
    pub(super) fn drain(&self, deadline: Instant) {
        let mut waiting = self.lock();
        while waiting.writing || !waiting.bytes.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writes a value in one line, with spaces as QEMU has them.
pub(super) fn write_value(bytes: &mut Vec<u8>, value: &Value) {
    // a vector takes everything
    let _ = value.serialize(&mut Serializer::with_formatter(&mut *bytes, Spaced));
    bytes.extend_from_slice(b"\r\n");
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn values_are_written_with_spaces_and_in_one_line() {
        let mut bytes = Vec::new();
        write_value(&mut bytes, &json!({"a": [1, "\n", {}], "b": null}));
        assert_eq!(String::from_utf8(bytes).unwrap(), "{\"a\": [1, \"\\n\", {}], \"b\": null}\r\n");
    }

    #[test]
    fn a_client_that_does_not_read_loses_events_and_takes_bounded_memory() {
        // nobody writes what waits in this one
        let outbox = Outbox::default();
        let event = json!({ "event": "x".repeat(1000) });
        for _ in 0..10_000 {
            outbox.event(&event);
        }
        assert!(outbox.lock().bytes.len() <= MOST + 2000);
        outbox.close();
        outbox.reply(&event);
        outbox.drain(Instant::now() + Duration::from_millis(1));
    }

    #[test]
    fn what_is_said_arrives_in_order_before_the_outbox_is_drained() {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let outbox = Outbox::open(Box::new(sink.clone())).unwrap();
        (0..100).for_each(|number| outbox.reply(&json!(number)));
        outbox.drain(Instant::now() + Duration::from_secs(20));
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let wanted: String = (0..100).map(|number| format!("{number}\r\n")).collect();
        assert_eq!(text, wanted);
        outbox.close();
    }
}
