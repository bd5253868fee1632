//! The model: the rules of accesses, read literally, byte by byte.

use super::{Call, RAM, is_faulty, register};
use memory_core::{BusFault, ByteOrder, Width};

type Outcome = Result<(), BusFault>;

/// A device at `start`, RAM behind it, and nobody anywhere else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    pub valid: Option<(Width, Width)>,
    pub valid_unaligned: bool,
    pub refused: Option<u8>,
    pub implements: (Width, Width),
    pub implements_unaligned: bool,
    pub device: ByteOrder,
    pub bus: ByteOrder,
    pub all_ones: bool,
    pub faulty: Option<u8>,
    pub start: u64,
    pub size: u64,
}

/// Who answers at an address: the device, with the offset; RAM, with the offset; nobody.
enum Who {
    Device(u64),
    Ram(u64),
    Nobody,
}

impl Model {
    /// Where the RAM is, if there is room for it below 2^64.
    pub fn ram(&self) -> Option<u64> {
        let start = self.start.checked_add(self.size)?;
        start.checked_add(RAM).map(|_| start)
    }

    fn who(&self, address: u64) -> Who {
        let offset = address.wrapping_sub(self.start);
        if offset < self.size {
            return Who::Device(offset);
        }
        match self.ram().map(|ram| address.wrapping_sub(ram)) {
            Some(offset) if offset < RAM => Who::Ram(offset),
            _ => Who::Nobody,
        }
    }

    /// Nobody answers: the policy of the space.
    fn nobody(&self) -> (u8, Outcome) {
        if self.all_ones { (0xff, Ok(())) } else { (0, Err(BusFault::DECODE)) }
    }

    /// Point 1: the predicate, alignment, size.
    fn accepts(&self, offset: u64, width: Width) -> bool {
        self.refused.is_none_or(|bits| offset as u8 & bits == 0)
            && (self.valid_unaligned || offset.is_multiple_of(width.bytes()))
            && self.valid.is_none_or(|(min, max)| min <= width && width <= max)
    }

    /// Whether the callback takes pieces at the access's own offset.
    fn in_place(&self, offset: u64, width: Width) -> bool {
        self.implements_unaligned || offset.is_multiple_of(width.min(self.implements.1).bytes())
    }

    /// Point 2 for reads: the callbacks that there are.
    fn reads(&self, offset: u64, width: Width) -> Vec<(u64, Width)> {
        let (min, max) = self.implements;
        let piece = if width < min { min } else { width.min(max) };
        let first = if self.in_place(offset, width) { offset } else { offset - offset % piece.bytes() };
        let mut calls = vec![(first, piece)];
        let mut covered = piece.bytes();
        while covered < offset - first + width.bytes() {
            calls.push((first.wrapping_add(covered), piece));
            covered += piece.bytes();
        }
        calls
    }

    /// Point 2 for writes: where from the access's start the callbacks are, or `None` if the device cannot do it.
    fn writes(&self, offset: u64, width: Width) -> Option<Vec<(u64, Width)>> {
        let (min, max) = self.implements;
        let mut calls = Vec::new();
        let mut done = 0;
        while done < width.bytes() {
            let piece = if self.in_place(offset, width) {
                if width < min { min } else { width.min(max) }
            } else {
                let fits = |piece: &Width| {
                    piece.bytes() <= width.bytes() - done
                        && *piece <= max
                        && offset.wrapping_add(done).is_multiple_of(piece.bytes())
                };
                Width::ALL.into_iter().rev().find(fits).filter(|piece| *piece >= min)?
            };
            calls.push((done, piece));
            done += piece.bytes();
        }
        Some(calls)
    }

    /// The bytes of one accepted or refused read of the device, in address order.
    fn device_read(&self, offset: u64, width: Width) -> (Vec<u8>, Outcome, Vec<Call>) {
        if !self.accepts(offset, width) {
            let (byte, result) = self.nobody();
            return (vec![byte; width.len()], result, Vec::new());
        }
        let (mut bytes, mut result, mut calls) = (vec![0; width.len()], Ok(()), Vec::new());
        for (at, piece) in self.reads(offset, width) {
            calls.push((at, piece, None));
            if is_faulty(self.faulty, at) {
                result = Err(BusFault::ERROR);
                continue;
            }
            let mut piece_bytes = [0; 8];
            self.device.encode(register(at, piece), &mut piece_bytes[..piece.len()]);
            for (index, byte) in piece_bytes[..piece.len()].iter().enumerate() {
                let place = at.wrapping_add(index as u64).wrapping_sub(offset);
                if let Some(slot) = usize::try_from(place).ok().and_then(|place| bytes.get_mut(place)) {
                    *slot = *byte;
                }
            }
        }
        (bytes, result, calls)
    }

    /// One write to the device of bytes in address order.
    fn device_write(&self, offset: u64, bytes: &[u8]) -> (Outcome, Vec<Call>) {
        let width = Width::new(bytes.len() as u64).unwrap();
        let pieces = self.writes(offset, width).filter(|_| self.accepts(offset, width));
        let Some(pieces) = pieces else { return (self.nobody().1, Vec::new()) };
        let (mut result, mut calls) = (Ok(()), Vec::new());
        for (done, piece) in pieces {
            let byte = |index: usize| bytes.get(done as usize + index).copied().unwrap_or(0);
            let piece_bytes: Vec<u8> = (0..piece.len()).map(byte).collect();
            let at = offset.wrapping_add(done);
            calls.push((at, piece, Some(self.device.decode(&piece_bytes))));
            if is_faulty(self.faulty, at) {
                result = Err(BusFault::ERROR);
            }
        }
        (result, calls)
    }

    /// The next piece of a transfer at `offset` of which `left` bytes are left.
    fn piece(&self, offset: u64, left: u64) -> Width {
        let most = self.valid.map_or(Width::W4, |(_, max)| max);
        let fits = |width: &Width| {
            *width <= most
                && width.bytes() <= left
                && (self.implements_unaligned || offset.is_multiple_of(width.bytes()))
        };
        Width::ALL.into_iter().rev().find(fits).unwrap()
    }

    pub fn read(&self, address: u64, len: usize, ram: &[u8]) -> (Vec<u8>, Outcome, Vec<Call>) {
        let (mut bytes, mut result, mut calls) = (Vec::new(), Ok(()), Vec::new());
        while bytes.len() < len {
            // nothing wraps around
            let at = u64::try_from(u128::from(address) + bytes.len() as u128);
            let (new, outcome) = match at.map(|at| (at, self.who(at))) {
                Ok((_, Who::Ram(offset))) => (vec![ram[offset as usize]], Ok(())),
                Ok((at, Who::Device(offset))) => {
                    let left = ((len - bytes.len()) as u64).min((u64::MAX - at).saturating_add(1));
                    let (new, outcome, new_calls) = self.device_read(offset, self.piece(offset, left));
                    calls.extend(new_calls);
                    (new, outcome)
                }
                _ => (vec![self.nobody().0], self.nobody().1),
            };
            bytes.extend(new);
            result = BusFault::both(result, outcome);
        }
        (bytes, result, calls)
    }

    pub fn write(&self, address: u64, bytes: &[u8], ram: &mut [u8]) -> (Outcome, Vec<Call>) {
        let (mut result, mut calls) = (Ok(()), Vec::new());
        let mut done = 0;
        while done < bytes.len() {
            let at = u64::try_from(u128::from(address) + done as u128);
            let outcome = match at.map(|at| (at, self.who(at))) {
                Ok((_, Who::Ram(offset))) => {
                    ram[offset as usize] = bytes[done];
                    done += 1;
                    Ok(())
                }
                Ok((at, Who::Device(offset))) => {
                    let left = ((bytes.len() - done) as u64).min((u64::MAX - at).saturating_add(1));
                    let piece = self.piece(offset, left);
                    let (outcome, new) = self.device_write(offset, &bytes[done..done + piece.len()]);
                    calls.extend(new);
                    done += piece.len();
                    outcome
                }
                _ => {
                    done += 1;
                    self.nobody().1
                }
            };
            result = BusFault::both(result, outcome);
        }
        (result, calls)
    }

    pub fn load(&self, address: u64, width: Width, ram: &[u8]) -> (Result<u64, BusFault>, Vec<Call>) {
        let (bytes, result, calls) = match self.who(address) {
            // the start chooses the device for the whole access
            Who::Device(offset) => self.device_read(offset, width),
            Who::Nobody => (vec![self.nobody().0; width.len()], self.nobody().1, Vec::new()),
            // what starts in RAM is done range by range
            Who::Ram(_) => self.read(address, width.len(), ram),
        };
        (result.map(|()| self.bus.decode(&bytes)), calls)
    }

    pub fn store(&self, address: u64, width: Width, value: u64, ram: &mut [u8]) -> (Outcome, Vec<Call>) {
        let mut bytes = vec![0; width.len()];
        self.bus.encode(value, &mut bytes);
        match self.who(address) {
            Who::Device(offset) => self.device_write(offset, &bytes),
            Who::Nobody => (self.nobody().1, Vec::new()),
            Who::Ram(_) => self.write(address, &bytes, ram),
        }
    }
}
