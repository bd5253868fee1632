//! Callbacks of MMIO regions, ROM devices and IOMMUs, and how regions are bound to devices.

use crate::access::{BusFault, TxAttrs, Width};
use crate::sync::{Arc, Weak};

/// The callbacks of a block of registers.
///
/// Both are called from any thread, with none of our locks held, and may dispatch accesses themselves (DMA). A
/// device chooses its own locks, and holds none of them while it dispatches.
pub trait Mmio: Send + Sync {
    /// Reads `width` bytes at `offset` bytes from the region's start; bits above the width are ignored.
    ///
    /// # Errors
    /// The fault that the initiator sees.
    fn read(&self, offset: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault>;

    /// Writes the low `width` bytes of `value`; the bits above are 0.
    ///
    /// # Errors
    /// The fault that the initiator sees.
    fn write(&self, offset: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault>;
}

/// Where a region finds its callbacks when it is rendered.
///
/// The tree holds devices weakly, views hold them strongly: this is the step between.
pub trait BindMmio: Send + Sync {
    /// The callbacks with a strong reference to the device, or `None` if the device is gone.
    fn bind(&self) -> Option<Arc<dyn Mmio>>;
}

impl<M: Mmio + 'static> BindMmio for Weak<M> {
    fn bind(&self) -> Option<Arc<dyn Mmio>> {
        self.upgrade().map(|device| device as Arc<dyn Mmio>)
    }
}

/// Holds its callbacks strongly: for regions that belong to the machine. A device that holds the handle of such
/// a region would keep itself alive for ever.
impl<M: Mmio + 'static> BindMmio for Arc<M> {
    fn bind(&self) -> Option<Arc<dyn Mmio>> {
        Some(self.clone())
    }
}

/// Two methods of a device as the callbacks of one of its regions, so that a device may have many.
///
/// ```
/// use memory_core::{BusFault, Methods, TxAttrs, Width};
/// use std::sync::Arc;
///
/// struct Timer;
/// impl Timer {
///     fn read_regs(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(42) }
///     fn write_regs(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> { Ok(()) }
/// }
/// let timer = Arc::new(Timer);
/// let _callbacks = Methods::new(&timer, Timer::read_regs, Timer::write_regs);
/// ```
pub struct Methods<D, R, W> {
    device: Weak<D>,
    read: R,
    write: W,
}

impl<D, R, W> Methods<D, R, W>
where
    D: Send + Sync + 'static,
    R: Fn(&D, u64, Width, TxAttrs) -> Result<u64, BusFault> + Copy + Send + Sync + 'static,
    W: Fn(&D, u64, Width, u64, TxAttrs) -> Result<(), BusFault> + Copy + Send + Sync + 'static,
{
    /// Binds `read` and `write` to `device`, which is held weakly.
    pub fn new(device: &Arc<D>, read: R, write: W) -> Self {
        Self { device: Arc::downgrade(device), read, write }
    }
}

/// [`Methods`] with their device.
struct Bound<D, R, W> {
    device: Arc<D>,
    read: R,
    write: W,
}

impl<D, R, W> Mmio for Bound<D, R, W>
where
    D: Send + Sync,
    R: Fn(&D, u64, Width, TxAttrs) -> Result<u64, BusFault> + Send + Sync,
    W: Fn(&D, u64, Width, u64, TxAttrs) -> Result<(), BusFault> + Send + Sync,
{
    fn read(&self, offset: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        (self.read)(&self.device, offset, width, attrs)
    }

    fn write(&self, offset: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        (self.write)(&self.device, offset, width, value, attrs)
    }
}

impl<D, R, W> BindMmio for Methods<D, R, W>
where
    D: Send + Sync + 'static,
    R: Fn(&D, u64, Width, TxAttrs) -> Result<u64, BusFault> + Copy + Send + Sync + 'static,
    W: Fn(&D, u64, Width, u64, TxAttrs) -> Result<(), BusFault> + Copy + Send + Sync + 'static,
{
    fn bind(&self) -> Option<Arc<dyn Mmio>> {
        let device = self.device.upgrade()?;
        Some(Arc::new(Bound { device, read: self.read, write: self.write }))
    }
}
