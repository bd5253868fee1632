//! `machina-memory`: regions and a flat view behind an `RwLock`, each device behind a `Mutex`.

use super::{Bus, Layout};
use crate::device::device;
use crate::stream::{Stream, Work};
use machina_core::address::GPA;
use machina_memory::{AddressSpace, MemoryRegion, MmioOps};

/// A root region with the registers.
pub fn root(layout: &Layout) -> MemoryRegion {
    let mut root = MemoryRegion::container("system", u64::MAX);
    for (index, (start, size)) in layout.regions.iter().enumerate() {
        let ops: Box<dyn MmioOps> = device!(layout.mixed, index, Kind => Box::new(Kind::default()));
        root.add_subregion(MemoryRegion::io("register", *size, ops), GPA::new(*start));
    }
    root
}

/// The address space. It knows no ports: those are measured as memory at the same addresses.
pub struct Machina {
    space: AddressSpace,
    width: u32,
}

impl Machina {
    pub fn new(layout: &Layout) -> Self {
        Self { space: AddressSpace::new(root(layout)), width: if layout.ports { 1 } else { 4 } }
    }
}

impl Bus for Machina {
    fn name(&self) -> &'static str {
        "machina-memory"
    }

    fn reads<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.chase(|address| self.space.read(GPA::new(address), self.width))
    }

    fn writes<'a>(&'a self, stream: &'a Stream) -> Work<'a> {
        stream.march(|address| self.space.write(GPA::new(address), self.width, 0))
    }
}
