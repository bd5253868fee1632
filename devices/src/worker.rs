//! Threads that wait for eventfds, and enter their device when one is signalled.

use crate::DeviceError;
use crate::sync::{Arc, Weak, thread};
use memory_core::EventNotifier;
use memory_dispatch::{Entry, EntryKind};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// A device's thread that handles its eventfds: what an ioeventfd signals, without an access of the guest waiting for
/// the work. QEMU's name: `IOThread`, `event_notifier_set_handler`.
///
/// The handler gets the number of the event. It enters the device through the re-entrancy guard, as a timer does, and not
/// at all once the device is unplugged. Dropping the worker ends its thread: no handler runs when that returns, unless
/// the handler itself does it.
///
/// ```
/// use devices::EventWorker;
/// use memory_core::EventNotifier;
/// use memory_dispatch::MemorySystem;
/// use std::sync::{Arc, Mutex, Weak, mpsc};
///
/// struct Bell(Mutex<mpsc::Sender<usize>>);
/// let (sender, rung) = mpsc::channel();
/// let bell = Arc::new(Bell(Mutex::new(sender)));
/// let system = MemorySystem::new();
/// let weak: Weak<Bell> = Arc::downgrade(&bell);
/// let entry = system.entry(system.memory().owner("/machine/bell", weak).id());
/// let events: Vec<_> = (0..2).map(|_| EventNotifier::new()).collect::<Result<_, _>>()?;
/// let ring = |bell: &Bell, event: usize| bell.0.lock().unwrap().send(event).unwrap();
/// let worker = EventWorker::new("bell", &events, entry, &bell, ring)?;
/// events[1].signal();
/// assert_eq!(rung.recv()?, 1);
/// drop(worker);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventWorker {
    stop: EventNotifier,
    thread: Option<thread::JoinHandle<()>>,
}

impl EventWorker {
    /// Starts a thread that calls `handle` on `device`, which is held weakly and entered by `entry`, with the number of an
    /// event of `events` that was signalled.
    ///
    /// # Errors
    /// If the host has no descriptor or no thread left.
    pub fn new<D: Send + Sync + 'static>(
        name: &str,
        events: &[EventNotifier],
        entry: Entry,
        device: &Arc<D>,
        handle: fn(&D, usize),
    ) -> Result<Self, DeviceError> {
        let host = |source| DeviceError::Host { what: "a thread that handles events", source };
        let stop = EventNotifier::new().map_err(host)?;
        let epoll = Epoll::new().map_err(host)?;
        let all: Vec<_> = events.iter().chain([&stop]).cloned().collect();
        for (index, event) in all.iter().enumerate() {
            let interest = EpollEvent::new(EventSet::IN, index as u64);
            epoll.ctl(ControlOperation::Add, event.event_fd().as_raw_fd(), interest).map_err(host)?;
        }
        let device = Arc::downgrade(device);
        let run = move || run(&epoll, &all, &entry, &device, handle);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(host)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Handles events until the last one, which ends it, or until the device is gone.
fn run<D>(epoll: &Epoll, events: &[EventNotifier], entry: &Entry, device: &Weak<D>, handle: fn(&D, usize)) {
    let mut ready = vec![EpollEvent::default(); events.len()];
    loop {
        let count = match epoll.wait(-1, &mut ready) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return tracing::error!(%error, "events are handled no more"),
        };
        for event in ready.iter().take(count) {
            let index = event.data() as usize;
            if index + 1 >= events.len() {
                return;
            }
            let Some(event) = events.get(index).filter(|event| event.take() > 0) else { continue };
            let Some(device) = device.upgrade() else { return };
            match entry.enter(EntryKind::EventHandler) {
                Ok(_inside) => handle(&device, index),
                // the only reason on this thread is that the device was unplugged
                Err(_) => return tracing::debug!(?event, "an event of a device that was unplugged"),
            }
        }
    }
}

impl Drop for EventWorker {
    fn drop(&mut self) {
        self.stop.signal();
        let Some(worker) = self.thread.take() else { return };
        // the handler may have held the last reference to the device that owns this
        if worker.thread().id() != thread::current().id() && worker.join().is_err() {
            tracing::error!("a handler of events has panicked");
        }
    }
}

impl fmt::Debug for EventWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWorker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use memory_dispatch::MemorySystem;
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Bell {
        rung: Mutex<Sender<usize>>,
    }

    impl Bell {
        fn ring(&self, event: usize) {
            self.rung.lock().unwrap().send(event).unwrap();
        }
    }

    fn bell() -> (Arc<Bell>, Receiver<usize>) {
        let (sender, rung) = channel();
        (Arc::new(Bell { rung: Mutex::new(sender) }), rung)
    }

    /// A device whose handler reaches for itself.
    struct Selfish {
        entry: Entry,
        seen: Mutex<Sender<bool>>,
    }

    impl Selfish {
        fn handle(&self, _: usize) {
            let refused = self.entry.enter(EntryKind::EventHandler).is_err();
            self.seen.lock().unwrap().send(refused).unwrap();
        }
    }

    #[test]
    fn a_handler_is_inside_its_device_for_the_re_entrancy_guard() {
        let system = MemorySystem::new();
        let (sender, seen) = channel();
        let weak: Weak<()> = Weak::new();
        let entry = system.entry(system.memory().owner("/machine/selfish", weak).id());
        let device = Arc::new(Selfish { entry: entry.clone(), seen: Mutex::new(sender) });
        let event = EventNotifier::new().unwrap();
        let worker =
            EventWorker::new("selfish", std::slice::from_ref(&event), entry, &device, Selfish::handle)
                .unwrap();
        event.signal();
        assert!(seen.recv().unwrap());
        drop(worker);
    }

    #[test]
    fn a_worker_ends_with_its_handle_and_with_its_device() {
        let (bell, rung) = bell();
        let system = MemorySystem::new();
        let weak: Weak<Bell> = Arc::downgrade(&bell);
        let owner = system.memory().owner("/machine/bell", weak);
        let event = EventNotifier::new().unwrap();
        let start = || {
            EventWorker::new(
                "bell",
                std::slice::from_ref(&event),
                system.entry(owner.id()),
                &bell,
                Bell::ring,
            )
        };
        let first = start().unwrap();
        event.signal();
        assert_eq!(rung.recv().unwrap(), 0);
        drop(first);
        event.signal();
        assert!(rung.try_recv().is_err(), "nobody listens");
        let second = start().unwrap();
        assert_eq!(rung.recv().unwrap(), 0, "and what was signalled is not lost");
        let plug = system.memory().plug(&owner, bell);
        drop(plug);
        event.signal();
        assert!(rung.recv().is_err(), "the device is gone");
        drop(second);
    }
}
