//! `rsemu`'s address space: regions, a flat view, and a dispatch table on request, behind an `RwLock`.

use super::{Bus, Layout};
use crate::device::device;
use crate::stream::{Stream, Work};
use rsemu::core::Width;
use rsemu::core::space::{AddressSpace, MappingId, MemAttrs, MemOps, Region};
use std::sync::Arc;

/// The registers mapped into `space`, each with its mapping.
pub fn fill(space: &AddressSpace, layout: &Layout) -> Vec<MappingId> {
    let mut topology = space.topology();
    let mut map = |(index, (start, size)): (usize, &(u64, u64))| {
        let ops: Arc<dyn MemOps> = device!(layout.mixed, index, Kind => Arc::new(Kind::default()));
        topology.map(Region::io("register", *size, ops), *start).expect("a mapping")
    };
    layout.regions.iter().enumerate().map(&mut map).collect()
}

/// The address space, as it is by default.
pub struct Rsemu {
    space: AddressSpace,
    width: Width,
}

impl Rsemu {
    pub fn new(layout: &Layout) -> Self {
        let (bits, width) = if layout.ports { (16, Width::U8) } else { (48, Width::U32) };
        let space = AddressSpace::new("memory", bits);
        fill(&space, layout);
        Self { space, width }
    }
}

impl Bus for Rsemu {
    fn name(&self) -> &'static str {
        "rsemu"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.chase(|address| self.space.read(address, self.width, MemAttrs::DEFAULT).unwrap_or(1))
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.march(|address| {
            self.space.write(address, self.width, 0, MemAttrs::DEFAULT).expect("a register");
        })
    }
}
