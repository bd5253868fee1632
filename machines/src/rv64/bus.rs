//! What a hart sees of the machine: its bus.

use memory_core::{BusFault, HostPage, Width};

/// The machine's memory, as one hart's thread sees it.
///
/// A hart keeps the [`HostPage`]s that it was given and goes straight to them, for as long as
/// [`generation`](Bus::generation) stands still; everything that is not plain memory goes through
/// [`load`](Bus::load) and [`store`](Bus::store). All addresses are physical, in bytes.
pub trait Bus: Send {
    /// Reads `width` bytes at `addr`: devices, a ROM device in its MMIO mode, or nothing at all.
    ///
    /// The value is zero-extended. `addr` may be unaligned, but the bytes never cross a 4 KiB page.
    ///
    /// # Errors
    ///
    /// The guest sees any fault as a load (or instruction) access fault.
    fn load(&mut self, addr: u64, width: Width) -> Result<u64, BusFault>;

    /// Writes the low `width` bytes of `value` at `addr`, under the rules of [`load`](Bus::load).
    ///
    /// # Errors
    ///
    /// The guest sees any fault as a store/AMO access fault.
    fn store(&mut self, addr: u64, width: Width, value: u64) -> Result<(), BusFault>;

    /// Replaces the number at `addr`, a multiple of `width` (4 or 8 bytes), by `new` if it is `current`, in one step
    /// with regard to every other access. Gives the old number as `Ok` if it was replaced, as `Err` if not.
    ///
    /// The hart asks this for atomics on memory that does not fill a page; elsewhere it uses the page.
    ///
    /// # Errors
    ///
    /// The place is not writable memory; no device was asked. The guest sees an access fault.
    fn compare_exchange(
        &mut self,
        addr: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault>;

    /// The 4 KiB page of host memory that holds physical address `addr`, if the whole page is memory
    /// that can be read (`!write`), or read and written (`write`), without asking a device.
    fn page(&mut self, addr: u64, write: bool) -> Option<HostPage>;

    /// The generation of the published map; one atomic load.
    ///
    /// The hart compares it before every instruction and forgets every [`HostPage`] and everything it
    /// decoded when it moved, so that a change of the map is seen by the very next access.
    fn generation(&self) -> u64;

    /// Called before the hart's thread blocks; the hart holds no [`HostPage`] then.
    fn park(&mut self);

    /// Called after the hart's thread woke, before it touches memory again.
    fn unpark(&mut self);
}
