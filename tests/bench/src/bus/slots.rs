//! The limits: it is known without a look-up which device is meant, and that is called; and the one load without which
//! nobody can know that the map has not changed.

use super::{Bus, Layout, name};
use crate::device::device;
use crate::stream::{Stream, Work};
use memory_core::{Mmio, TxAttrs, Width};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Devices by number.
pub struct Slots {
    devices: Vec<Arc<dyn Mmio>>,
    layout: Layout,
    width: Width,
}

/// From the first offset of one device to that of the next, in streams of numbers and offsets.
const SLOT: u64 = 0x1000;

impl Slots {
    pub fn new(layout: &Layout) -> Self {
        let device = |index: usize| -> Arc<dyn Mmio> {
            device!(layout.mixed, index, Kind => Arc::new(Kind::default()))
        };
        let devices = (0..layout.regions.len()).map(device).collect();
        let width = if layout.ports { Width::W1 } else { Width::W4 };
        Self { devices, layout: layout.clone(), width }
    }

    /// The same registers as `stream`, each by the number of its device and the offset in it: that is what is known.
    fn known(&self, stream: &Stream) -> Stream {
        stream.mapped(0, |address| {
            let (number, offset) = self.layout.locate(address).expect("an address of a register");
            number as u64 * SLOT + offset
        })
    }

    #[inline]
    fn device(&self, address: u64) -> Option<&dyn Mmio> {
        self.devices.get((address / SLOT) as usize).map(|device| &**device)
    }
}

impl Bus for Slots {
    fn name(&self) -> &'static str {
        name::LIMIT
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        self.known(stream).chase(|address| {
            let device = self.device(address);
            let value = device.map(|device| device.read(address % SLOT, self.width, TxAttrs::default()));
            value.and_then(Result::ok).unwrap_or(1)
        })
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        self.known(stream).march(|address| {
            let device = self.device(address);
            let written =
                device.map(|device| device.write(address % SLOT, self.width, 0, TxAttrs::default()));
            assert_eq!(written, Some(Ok(())));
        })
    }
}

/// One atomic load with acquire ordering, and no device.
#[derive(Default)]
pub struct Acquire {
    words: [AtomicU64; 2],
}

impl Acquire {
    /// A load that must wait for `address`: a check of bounds would let the processor guess its place, so there is none.
    #[inline(always)]
    fn load(&self, address: u64, none: usize) -> u64 {
        self.words[address as usize & none & 1].load(Ordering::Acquire)
    }
}

impl Bus for Acquire {
    fn name(&self) -> &'static str {
        "limit: one atomic acquire load"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let none = black_box(0);
        stream.chase(move |address| self.load(address, none))
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let none = black_box(0);
        stream.march(move |address| {
            black_box(self.load(address, none));
        })
    }
}
