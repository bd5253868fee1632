//! A device behind a mutex, which therefore must not dispatch.

use crate::chain::LockMark;
use crate::space::AddressSpace;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use memory_core::{BusFault, Mmio, TxAttrs, Width};
use std::collections::VecDeque;

/// The most DMA requests that one access of a device may lead to.
const MOST_REQUESTS: usize = 4096;

/// A device whose methods take `&mut self`; [`Locked`] makes it one that any thread may call.
pub trait LockedDevice: Send {
    /// Reads a register; as [`Mmio::read`], but DMA goes to `dma`.
    ///
    /// # Errors
    /// The fault that the initiator sees.
    fn read(
        &mut self,
        offset: u64,
        width: Width,
        attrs: TxAttrs,
        dma: &mut DmaQueue,
    ) -> Result<u64, BusFault>;

    /// Writes a register; as [`Mmio::write`], but DMA goes to `dma`.
    ///
    /// # Errors
    /// The fault that the initiator sees.
    fn write(
        &mut self,
        offset: u64,
        width: Width,
        value: u64,
        attrs: TxAttrs,
        dma: &mut DmaQueue,
    ) -> Result<(), BusFault>;

    /// A request has been carried out. `data` is what a read brought, zeros where it failed; empty for a write.
    fn dma_done(&mut self, tag: u64, data: &[u8], result: Result<(), BusFault>, dma: &mut DmaQueue) {
        let _ = (tag, data, result, dma);
    }
}

enum Request {
    Read { tag: u64, address: u64, len: usize },
    Write { tag: u64, address: u64, data: Vec<u8> },
}

/// Where a locked device puts its DMA. It is carried out in order after the device's lock is given up, on the same
/// thread and in the same chain: DMA into the device itself gets an access error.
#[derive(Default)]
pub struct DmaQueue {
    requests: VecDeque<Request>,
}

impl DmaQueue {
    /// Asks for `len` bytes at `address`; they come with `tag`.
    pub fn read(&mut self, tag: u64, address: u64, len: usize) {
        self.requests.push_back(Request::Read { tag, address, len });
    }

    /// Asks for `data` to be written at `address`; the result comes with `tag`.
    pub fn write(&mut self, tag: u64, address: u64, data: impl Into<Vec<u8>>) {
        self.requests.push_back(Request::Write { tag, address, data: data.into() });
    }
}

/// Makes a `Mutex<D>` a device.
///
/// A device that dispatches with its lock held would hang the host as soon as two of them reach for each other from two
/// threads. So the device gets no way to dispatch: it queues DMA, which runs when the lock is given up. Should it find
/// a way all the same, it gets an access error.
pub struct Locked<D> {
    device: Mutex<D>,
    space: Weak<AddressSpace>,
    attrs: TxAttrs,
}

impl<D: LockedDevice> Locked<D> {
    /// A device whose DMA goes to `space` with `attrs`.
    pub fn new(device: D, space: &Arc<AddressSpace>, attrs: TxAttrs) -> Self {
        Self { device: Mutex::new(device), space: Arc::downgrade(space), attrs }
    }

    /// Runs `with` with the device, and then the DMA that it queues.
    pub fn with<R>(&self, with: impl FnOnce(&mut D, &mut DmaQueue) -> R) -> R {
        let mut dma = DmaQueue::default();
        let result = with(&mut self.lock(), &mut dma);
        self.carry_out(dma);
        result
    }

    fn lock(&self) -> Marked<'_, D> {
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        Marked { device, _mark: LockMark::new() }
    }

    fn carry_out(&self, mut dma: DmaQueue) {
        for _ in 0..MOST_REQUESTS {
            let Some(request) = dma.requests.pop_front() else { return };
            let space = self.space.upgrade();
            let (tag, data, result) = match request {
                Request::Read { tag, address, len } => {
                    let mut data = vec![0; len];
                    let read = |space: Arc<AddressSpace>| space.read(address, &mut data, self.attrs);
                    let result = space.map_or(Err(BusFault::DECODE), read);
                    (tag, data, result)
                }
                Request::Write { tag, address, data } => {
                    let write = |space: Arc<AddressSpace>| space.write(address, &data, self.attrs);
                    (tag, Vec::new(), space.map_or(Err(BusFault::DECODE), write))
                }
            };
            self.lock().dma_done(tag, &data, result, &mut dma);
        }
        tracing::warn!("a device goes on asking for DMA; the rest of its requests is dropped");
    }
}

/// A device's lock, and the mark that this thread holds it.
struct Marked<'a, D> {
    device: MutexGuard<'a, D>,
    _mark: LockMark,
}

impl<D> std::ops::Deref for Marked<'_, D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.device
    }
}

impl<D> std::ops::DerefMut for Marked<'_, D> {
    fn deref_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: LockedDevice> Mmio for Locked<D> {
    fn read(&self, offset: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        self.with(|device, dma| device.read(offset, width, attrs, dma))
    }

    fn write(&self, offset: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        self.with(|device, dma| device.write(offset, width, value, attrs, dma))
    }
}
