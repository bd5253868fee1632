//! Buses that are measured side by side: the same registers at the same addresses.

pub mod dragonball;
pub mod flatland;
pub mod hand;
pub mod machina;
pub mod rsemu;
mod slots;
mod vm_device;

use crate::harness::Contestant;
use crate::stream::{Dice, LENGTH, Stream, Work};

/// Names that figures refer to.
pub mod name {
    /// Through a vCPU's handle.
    pub const HANDLE: &str = "flatland, handle";
    /// Through the address space itself.
    pub const SPACE: &str = "flatland, no handle";
    /// The known slot and a `dyn` call.
    pub const LIMIT: &str = "limit: known slot + dyn call";
    /// The bus that is replaced as a whole.
    pub const DRAGONBALL: &str = "dbs-device behind arc_swap::Cache";
    /// The loop with nothing in it.
    pub const EMPTY: &str = "empty loop";
}

/// Which registers there are, and how they are accessed.
#[derive(Clone)]
pub struct Layout {
    /// First address and bytes of each.
    pub regions: Vec<(u64, u64)>,
    /// They are ports, and accessed by one byte; otherwise by four.
    pub ports: bool,
    /// Four types of devices in turn, not one.
    pub mixed: bool,
}

impl Layout {
    /// `count` regions of a page each, one after the other.
    pub fn pages(count: u64) -> Self {
        let regions = (0..count).map(|index| (0xc000_0000 + index * 0x1000, 0x1000)).collect();
        Self { regions, ports: false, mixed: false }
    }

    /// `count` regions of a page each with gaps between them that have no pattern.
    pub fn sparse(count: u64) -> Self {
        let mut dice = Dice::seeded(7);
        let mut next = 0x1_0000_0000;
        let mut place = || {
            next += 0x1000 * (1 + dice.below(1000));
            let at = next;
            next += 0x1000;
            (at, 0x1000)
        };
        Self { regions: (0..count).map(|_| place()).collect(), ports: false, mixed: false }
    }

    /// `count` groups of 1, 2, 4 or 8 ports.
    pub fn ports(count: u64) -> Self {
        let mut next = 0x100;
        let mut place = |index: u64| {
            let size = 1 << (index % 4);
            let at = next;
            next += 8;
            (at, size)
        };
        Self { regions: (0..count).map(&mut place).collect(), ports: true, mixed: false }
    }

    /// The same with four types of devices in turn.
    pub fn mixed(self) -> Self {
        Self { mixed: true, ..self }
    }

    /// The first region's first address.
    pub fn start(&self) -> u64 {
        self.regions.first().map_or(0, |(start, _)| *start)
    }

    /// The number of the region that an address lies in, and the offset in it.
    pub fn locate(&self, address: u64) -> Option<(usize, u64)> {
        let after = self.regions.partition_point(|(start, _)| *start <= address);
        let number = after.checked_sub(1)?;
        self.regions.get(number).map(|(start, _)| (number, address - start))
    }

    /// Addresses in the regions from number `first` on, `count` of them.
    pub fn stream(&self, first: usize, count: usize) -> Stream {
        let own = self.regions.get(first..first + count).unwrap_or_default();
        let base = own.first().map_or(0, |(start, _)| *start);
        let shift = if self.ports { 0 } else { 2 };
        Stream::new(base, shift, LENGTH, |dice| {
            let (start, size) = own.get(dice.below(own.len() as u64) as usize).copied().unwrap_or((base, 4));
            start + if self.ports { dice.below(size) } else { dice.below(size / 4) * 4 }
        })
    }
}

/// A bus with a layout's registers.
pub trait Bus: Sync {
    /// What the tables call it.
    fn name(&self) -> &'static str;
    /// Reads of a stream's addresses.
    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a>;
    /// Writes to a stream's addresses.
    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a>;
}

/// Ours in both forms, the limit, and every peer, in the order of the tables.
pub fn all(layout: &Layout) -> Vec<Box<dyn Bus>> {
    let machine = flatland::Machine::new(layout);
    vec![
        Box::new(flatland::ByHandle(machine.clone())),
        Box::new(flatland::BySpace(machine)),
        Box::new(slots::Slots::new(layout)),
        Box::new(slots::Acquire::default()),
        Box::new(dragonball::Alone::new(layout)),
        Box::new(dragonball::Cached::new(layout)),
        Box::new(vm_device::Alone::new(layout)),
        Box::new(machina::Machina::new(layout)),
        Box::new(rsemu::Rsemu::new(layout)),
        Box::new(hand::Shared::new(layout)),
        Box::new(hand::Locked::new(layout)),
    ]
}

/// Contestants that read, thread `i` from stream `i`, and the empty loop.
pub fn readers<'a>(buses: &'a [Box<dyn Bus>], streams: &'a [Stream]) -> Vec<Contestant<'a>> {
    let mut contestants: Vec<_> = buses
        .iter()
        .map(|bus| Contestant::new(bus.name(), move |thread| bus.reads(nth(streams, thread))))
        .collect();
    contestants.push(Contestant::new(name::EMPTY, move |thread| nth(streams, thread).empty_chase()));
    contestants
}

/// The same for writes.
pub fn writers<'a>(buses: &'a [Box<dyn Bus>], streams: &'a [Stream]) -> Vec<Contestant<'a>> {
    let mut contestants: Vec<_> = buses
        .iter()
        .map(|bus| Contestant::new(bus.name(), move |thread| bus.writes(nth(streams, thread))))
        .collect();
    contestants.push(Contestant::new(name::EMPTY, move |thread| nth(streams, thread).empty_march()));
    contestants
}

fn nth(streams: &[Stream], thread: usize) -> &Stream {
    streams.get(thread % streams.len().max(1)).expect("there is a stream")
}
