//! The limit: it is known without a look-up which device is meant, and that is called.

use super::{Bus, Layout, name};
use crate::device::device;
use crate::stream::{Stream, Work};
use memory_core::{Mmio, TxAttrs, Width};
use std::sync::Arc;

/// Devices by number. Where an address's number cannot be computed, a table of all pages (all ports) has it, which is
/// as little as any look-up can do.
pub struct Slots {
    devices: Vec<Arc<dyn Mmio>>,
    /// Device numbers by `(address - base) >> shift`.
    numbers: Vec<u16>,
    base: u64,
    shift: u32,
    width: Width,
}

impl Slots {
    pub fn new(layout: &Layout) -> Self {
        let device = |index: usize| -> Arc<dyn Mmio> {
            device!(layout.mixed, index, Kind => Arc::new(Kind::default()))
        };
        let devices: Vec<_> = (0..layout.regions.len()).map(device).collect();
        let base = layout.regions.first().map_or(0, |(start, _)| *start);
        let shift = if layout.ports { 0 } else { 12 };
        let mut numbers = Vec::new();
        for (number, (start, size)) in layout.regions.iter().enumerate() {
            let first = ((start - base) >> shift) as usize;
            numbers.resize(first, 0);
            numbers.resize(first + (size >> shift) as usize, number as u16);
        }
        let width = if layout.ports { Width::W1 } else { Width::W4 };
        Self { devices, numbers, base, shift, width }
    }

    /// Regions that lie one after the other need no table.
    fn is_dense(&self) -> bool {
        self.numbers.len() == self.devices.len() && self.devices.len().is_power_of_two()
    }

    #[inline]
    fn by_place(&self, address: u64) -> Option<&dyn Mmio> {
        let index = ((address - self.base) >> self.shift) as usize & (self.devices.len() - 1);
        self.devices.get(index).map(|device| &**device)
    }

    #[inline]
    fn by_number(&self, address: u64) -> Option<&dyn Mmio> {
        let number = *self.numbers.get(((address - self.base) >> self.shift) as usize)?;
        self.devices.get(usize::from(number)).map(|device| &**device)
    }
}

impl Bus for Slots {
    fn name(&self) -> &'static str {
        name::LIMIT
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let width = self.width;
        let read = move |device: Option<&dyn Mmio>, address: u64| {
            let value = device.map(|device| device.read(address & 0xfff, width, TxAttrs::default()));
            value.and_then(Result::ok).unwrap_or(1)
        };
        if self.is_dense() {
            stream.chase(move |address| read(self.by_place(address), address))
        } else {
            stream.chase(move |address| read(self.by_number(address), address))
        }
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        let width = self.width;
        let write = move |device: Option<&dyn Mmio>, address: u64| {
            let written = device.map(|device| device.write(address & 0xfff, width, 0, TxAttrs::default()));
            assert_eq!(written, Some(Ok(())));
        };
        if self.is_dense() {
            stream.march(move |address| write(self.by_place(address), address))
        } else {
            stream.march(move |address| write(self.by_number(address), address))
        }
    }
}
