//! Writes that signal an event instead of running a callback.

use crate::access::Width;
use crate::sync::Arc;
use std::fmt;
use std::io;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// An event that one side signals and the other waits for: an `eventfd` of the host. QEMU's name: `EventNotifier`.
/// Clones are the same event.
#[derive(Clone)]
pub struct EventNotifier {
    event: Arc<EventFd>,
}

impl EventNotifier {
    /// An event that nobody has signalled.
    ///
    /// # Errors
    /// What the host says, if it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?) })
    }

    /// Signals the event. Never blocks: one that nobody takes for ever stays signalled.
    pub fn signal(&self) {
        if let Err(error) = self.event.write(1)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::error!(%error, "an event was not signalled");
        }
    }

    /// How often the event was signalled since this was last called; it counts as not signalled then.
    pub fn take(&self) -> u64 {
        self.event.read().unwrap_or(0)
    }

    /// The descriptor, for the kernel and for waiting.
    pub fn event_fd(&self) -> &EventFd {
        &self.event
    }

    /// Whether both are the same event.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.event, &other.event)
    }
}

impl fmt::Debug for EventNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.event, f)
    }
}

/// A write that signals an event and does not reach the callback: a doorbell. QEMU's name: `ioeventfd`.
///
/// ```
/// use memory_core::{AccessRules, BusFault, EventNotifier, IoEvent, Memory, Mmio, TxAttrs, Width};
/// use std::sync::Arc;
///
/// struct Queues;
/// impl Mmio for Queues {
///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(0) }
///     fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> { Ok(()) }
/// }
///
/// let memory = Memory::new();
/// let registers = memory.mmio("queues", 0x100u64, AccessRules::new(), Arc::new(Queues)).build()?;
/// // a write of 2 bytes at 0x50 that says 1 is for the second queue, whose worker waits for this
/// let second = EventNotifier::new()?;
/// let doorbell = IoEvent::new(0x50, Width::W2, second.clone()).value(1);
/// registers.add_ioevent(doorbell.clone())?;
/// // one write cannot be for two
/// assert!(registers.add_ioevent(IoEvent::new(0x50, Width::W2, EventNotifier::new()?)).is_err());
/// second.signal();
/// assert_eq!((second.take(), second.take()), (1, 0));
/// registers.remove_ioevent(&doorbell)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct IoEvent {
    /// Where, in bytes from the region's start.
    pub offset: u64,
    /// The width of the write, or any.
    pub width: Option<Width>,
    /// The value that is written, in the device's byte order, or any. Needs a width.
    pub value: Option<u64>,
    /// What is signalled.
    pub event: EventNotifier,
}

/// What events are sorted by.
pub type IoEventKey = (u64, Option<Width>, Option<u64>);

impl IoEvent {
    /// Any write of `width` bytes at `offset` signals `event`.
    pub fn new(offset: u64, width: Width, event: EventNotifier) -> Self {
        Self { offset, width: Some(width), value: None, event }
    }

    /// The same, for writes of one value.
    #[must_use]
    pub fn value(self, value: u64) -> Self {
        Self { value: Some(value), ..self }
    }

    /// The same, for writes of any width and value.
    #[must_use]
    pub fn any_width(self) -> Self {
        Self { width: None, value: None, ..self }
    }

    /// What tells the event from others of its region.
    pub fn key(&self) -> IoEventKey {
        (self.offset, self.width, self.value)
    }

    /// Whether both are the same in all.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key() && self.event.is_same(&other.event)
    }

    /// Whether a write of `value`, in the device's byte order, at the event's offset signals it.
    pub fn hits(&self, width: Width, value: u64) -> bool {
        self.width.is_none_or(|only| only == width) && self.value.is_none_or(|only| only == value)
    }

    /// Whether one write could hit both: as the kernel judges it (`ioeventfd_check_collision` in Linux's KVM).
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let widths = match (self.width, other.width) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let values = match (self.value, other.value) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.offset == other.offset && widths && values
    }
}
