//! Transfers that a guest describes in its memory.

use super::interface::Interface;
use super::registers::DmaControl;
use crate::DmaPort;
use memory_core::BusFault;

/// What is copied at a time: a guest may ask for 4 GiB.
const CHUNK: usize = 4096;

/// A request as it lies in guest memory, big-endian.
struct Request {
    control: DmaControl,
    key: u16,
    length: u32,
    address: u64,
}

impl Request {
    fn load(port: &DmaPort, address: u64) -> Result<Self, BusFault> {
        let mut bytes = [0; 16];
        // the request must not wrap round the end of memory
        address.checked_add(15).ok_or(BusFault::DECODE)?;
        port.read(address, &mut bytes)?;
        let [k0, k1, _, c, l0, l1, l2, l3, target @ ..] = bytes;
        Ok(Self {
            control: DmaControl::from_bits_truncate(c.into()),
            key: u16::from_be_bytes([k0, k1]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            address: u64::from_be_bytes(target),
        })
    }
}

impl Interface<'_> {
    /// Runs the request at `address` and writes its outcome there. No lock is held while memory is reached.
    pub(super) fn run_dma(&self, address: u64) {
        let done = Request::load(self.dma, address).and_then(|request| self.transfer(&request));
        let outcome = if done.is_ok() { DmaControl::empty() } else { DmaControl::ERROR };
        // a request that cannot be reached cannot be answered
        let _ = self.dma.write(address, &outcome.bits().to_be_bytes());
    }

    fn transfer(&self, request: &Request) -> Result<(), BusFault> {
        let Request { control, key, length, address } = *request;
        let mut state = self.state();
        if control.contains(DmaControl::SELECT) {
            state.select(key);
        }
        // the position moves at once, so that another hart's transfer goes on behind this one
        let item = self.items.get(state.selected());
        let reads = control.contains(DmaControl::READ);
        let writes = !reads && control.contains(DmaControl::WRITE);
        let skips = !writes && control.contains(DmaControl::SKIP);
        let rest = if reads || skips { state.advance(item, length) } else { &[] };
        drop(state);
        if reads {
            return copy_out(self.dma, address, length, rest);
        }
        if writes && length > 0 {
            // no item can be written
            return Err(BusFault::ERROR);
        }
        Ok(())
    }
}

/// Writes `length` bytes at `address`: those of `item`, then zeros. Ends at the first that fails.
fn copy_out(port: &DmaPort, address: u64, length: u32, item: &[u8]) -> Result<(), BusFault> {
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    address.checked_add(last.into()).ok_or(BusFault::DECODE)?;
    let mut at = address;
    for chunk in item.chunks(CHUNK) {
        port.write(at, chunk)?;
        at = at.wrapping_add(chunk.len() as u64);
    }
    let mut left = u64::from(length).saturating_sub(item.len() as u64);
    while left > 0 {
        let count = left.min(CHUNK as u64);
        let zeros = [0; CHUNK];
        port.write(at, zeros.get(..count as usize).unwrap_or(&zeros))?;
        at = at.wrapping_add(count);
        left -= count;
    }
    Ok(())
}
