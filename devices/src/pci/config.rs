//! Configuration space: bytes, and which bits of them a guest can change.

use super::registers::{CAPABILITY_LIST, HEADER_SIZE, STATUS, Status};
use memory_core::Width;

/// Bytes of configuration space of a conventional function.
pub const CONFIG_SIZE: usize = 0x100;
/// Bytes of configuration space of a PCI Express function.
pub const EXPRESS_CONFIG_SIZE: usize = 0x1000;

/// Registers of a function, with what a write may do to each bit. Offsets beyond the end read as 0 and are not written.
///
/// What lies behind the header can be written unless a capability or the device says otherwise, as QEMU has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfigSpace {
    pub(super) bytes: Vec<u8>,
    /// Bits that a write sets and clears.
    writable: Vec<u8>,
    /// Bits that a write of 1 clears.
    clears: Vec<u8>,
    /// Bits that are what the function is: a snapshot of another one is refused by them.
    fixed: Vec<u8>,
}

impl ConfigSpace {
    /// `size` bytes of 0; those of the header cannot be written.
    pub fn new(size: usize) -> Self {
        let zeros = vec![0; size];
        let mut writable = zeros.clone();
        writable.iter_mut().skip(HEADER_SIZE).for_each(|byte| *byte = 0xff);
        Self { bytes: zeros.clone(), writable, clears: zeros.clone(), fixed: zeros }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none, as long as the function was not realised.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn get(&self, offset: usize, bytes: usize) -> u64 {
        let byte = |at| self.bytes.get(offset + at).copied().map_or(0, u64::from);
        (0..bytes).map(|at| byte(at) << (8 * at)).sum()
    }

    /// The byte at `offset`.
    pub fn byte(&self, offset: usize) -> u8 {
        self.get(offset, 1) as u8
    }

    /// The two bytes from `offset`.
    pub fn word(&self, offset: usize) -> u16 {
        self.get(offset, 2) as u16
    }

    /// The four bytes from `offset`.
    pub fn long(&self, offset: usize) -> u32 {
        self.get(offset, 4) as u32
    }

    /// The eight bytes from `offset`.
    pub fn quad(&self, offset: usize) -> u64 {
        self.get(offset, 8)
    }

    /// What a read of the guest's gives.
    pub fn read(&self, offset: usize, width: Width) -> u64 {
        self.get(offset, width.len())
    }

    /// Changes bytes from `offset`, as the device does, whatever a guest may write.
    pub fn set(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.bytes, offset, bytes);
    }

    /// Changes one byte.
    pub fn set_byte(&mut self, offset: usize, value: u8) {
        self.set(offset, &[value]);
    }

    /// Changes two bytes.
    pub fn set_word(&mut self, offset: usize, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }

    /// Changes four bytes.
    pub fn set_long(&mut self, offset: usize, value: u32) {
        self.set(offset, &value.to_le_bytes());
    }

    /// Changes eight bytes.
    pub fn set_quad(&mut self, offset: usize, value: u64) {
        self.set(offset, &value.to_le_bytes());
    }

    /// Sets or clears the bits `bits` of two bytes.
    pub fn change_word(&mut self, offset: usize, bits: u16, value: bool) {
        let word = self.word(offset);
        self.set_word(offset, if value { word | bits } else { word & !bits });
    }

    /// Which bits a guest can write, from `offset` on. A device may change this as it goes, and has to do so anew when it
    /// is realised from a snapshot: it is no part of one.
    pub fn set_writable(&mut self, offset: usize, bits: &[u8]) {
        put(&mut self.writable, offset, bits);
    }

    /// Which bits of the byte at `offset` a guest can write.
    pub fn writable(&self, offset: usize) -> u8 {
        self.writable.get(offset).copied().unwrap_or(0)
    }

    /// Which bits a guest clears by writing 1, from `offset` on.
    pub fn set_clears(&mut self, offset: usize, bits: &[u8]) {
        put(&mut self.clears, offset, bits);
    }

    /// Which bits say what the function is, from `offset` on.
    pub fn set_fixed(&mut self, offset: usize, bits: &[u8]) {
        put(&mut self.fixed, offset, bits);
    }

    /// Carries out a guest's write.
    pub fn write(&mut self, offset: usize, width: Width, value: u64) {
        for (at, new) in value.to_le_bytes().into_iter().take(width.len()).enumerate() {
            let at = offset + at;
            let writable = self.writable.get(at).copied().unwrap_or(0);
            let clears = self.clears.get(at).copied().unwrap_or(0);
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte = (*byte & !writable | new & writable) & !(new & clears);
            }
        }
    }

    /// Clears what a guest could have changed in `len` bytes from `offset` on.
    pub(super) fn clear_changeable(&mut self, offset: usize, len: usize) {
        for at in offset..offset + len {
            let bits =
                self.writable.get(at).copied().unwrap_or(0) | self.clears.get(at).copied().unwrap_or(0);
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte &= !bits;
            }
        }
    }

    /// Puts a capability at the head of the list: `body` follows its two bytes at `offset`. It cannot be written, until
    /// [`ConfigSpace::set_writable`] says otherwise.
    pub fn add_capability(&mut self, offset: u8, id: u8, body: &[u8]) {
        let at = usize::from(offset);
        let next = self.byte(CAPABILITY_LIST);
        self.set(at, &[id, next]);
        self.set(at + 2, body);
        self.set_byte(CAPABILITY_LIST, offset);
        self.set_fixed(CAPABILITY_LIST, &[0xff]);
        self.change_word(STATUS, Status::CAPABILITIES.bits(), true);
        let size = body.len() + 2;
        self.set_writable(at, &vec![0; size]);
        self.set_fixed(at, &[0xff, 0xff]);
    }

    /// Where the capability `id` is, if there is one. The list is walked as a guest does.
    pub fn find_capability(&self, id: u8) -> Option<u8> {
        let mut at = self.byte(CAPABILITY_LIST);
        for _ in 0..CONFIG_SIZE / 4 {
            if at == 0 {
                return None;
            }
            if self.byte(at.into()) == id {
                return Some(at);
            }
            at = self.byte(usize::from(at) + 1);
        }
        None
    }

    /// The first byte that says that `bytes` are those of another function, if there is one.
    pub(super) fn conflict(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() != self.bytes.len() {
            return Some(bytes.len().min(self.bytes.len()));
        }
        let differ = |(saved, (own, fixed)): (&u8, (&u8, &u8))| (saved ^ own) & fixed != 0;
        bytes.iter().zip(self.bytes.iter().zip(&self.fixed)).position(differ)
    }
}

fn put(into: &mut [u8], offset: usize, bytes: &[u8]) {
    into.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_changes_what_can_be_written_and_clears_what_is_cleared_by_ones() {
        let mut config = ConfigSpace::new(CONFIG_SIZE);
        config.set_long(0x00, 0x1234_8086);
        config.set_word(STATUS, 0xffff);
        config.set_writable(0x04, &[0x07, 0x05]);
        config.set_clears(STATUS, &[0, 0xf9]);
        config.write(0x00, Width::W4, 0);
        config.write(0x04, Width::W4, 0x0100_ffff);
        assert_eq!(config.long(0x00), 0x1234_8086);
        assert_eq!(config.long(0x04), 0xfeff_0507);
        config.write(0xfe, Width::W4, 0xaabb_ccdd);
        assert_eq!((config.long(0xfc), config.read(0xff, Width::W4)), (0xccdd_0000, 0xcc));
        config.write(usize::from(u16::MAX), Width::W4, 1);
    }

    #[test]
    fn capabilities_are_a_list_that_begins_with_the_last() {
        let mut config = ConfigSpace::new(CONFIG_SIZE);
        config.add_capability(0x40, 0x11, &[0; 10]);
        config.add_capability(0x60, 0x05, &[1, 2]);
        assert_eq!((config.byte(CAPABILITY_LIST), config.long(0x60)), (0x60, 0x0201_4005));
        assert_eq!([0x11, 0x05, 0x09].map(|id| config.find_capability(id)), [Some(0x40), Some(0x60), None]);
        assert_eq!(config.word(STATUS), 0x10);
        config.write(0x60, Width::W4, 0xffff_ffff);
        assert_eq!(config.long(0x60), 0x0201_4005);
        // a list in a circle, which a snapshot could say, is not followed for ever
        config.set_byte(0x41, 0x60);
        assert_eq!(config.find_capability(0x09), None);
    }
}
