//! Making regions of each kind.

use crate::address::Size;
use crate::builder::RegionBuilder;
use crate::error::MemoryError;
use crate::host::RamBlock;
use crate::iommu::BindIommu;
use crate::kind::{Callbacks, Kind};
use crate::memory::Memory;
use crate::mmio::BindMmio;
use crate::region::RegionRef;
use crate::rules::AccessRules;
use crate::sync::Arc;

/// The size of a region that shows all of a block that is in use.
fn used(block: &RamBlock) -> Size {
    if block.is_resizeable() { Size::from(block.used()) } else { block.size() }
}

impl Memory {
    /// A region that groups others, `size` bytes long.
    pub fn container(&self, name: impl Into<Arc<str>>, size: impl Into<Size>) -> RegionBuilder {
        RegionBuilder::new(self, name.into(), Ok(Kind::Container), size.into())
    }

    /// A region of host memory.
    pub fn ram(&self, name: impl Into<Arc<str>>, block: Arc<RamBlock>) -> RegionBuilder {
        let size = used(&block);
        RegionBuilder::new(self, name.into(), Ok(Kind::Ram(block)), size)
    }

    /// A region of a real device's memory.
    pub fn ram_device(&self, name: impl Into<Arc<str>>, block: Arc<RamBlock>) -> RegionBuilder {
        let size = used(&block);
        RegionBuilder::new(self, name.into(), Ok(Kind::RamDevice(block)), size)
    }

    /// A region of host memory that guests cannot write.
    pub fn rom(&self, name: impl Into<Arc<str>>, block: Arc<RamBlock>) -> RegionBuilder {
        let size = used(&block);
        RegionBuilder::new(self, name.into(), Ok(Kind::Rom(block)), size)
    }

    /// A region that reads as host memory in ROMD mode, in which it starts, and by callback otherwise; writes always
    /// go to the callback.
    pub fn rom_device(
        &self,
        name: impl Into<Arc<str>>,
        block: Arc<RamBlock>,
        rules: AccessRules,
        callbacks: impl BindMmio + 'static,
    ) -> RegionBuilder {
        let size = used(&block);
        let kind = Kind::RomDevice(block, Callbacks::new(rules, callbacks));
        RegionBuilder::new(self, name.into(), Ok(kind), size)
    }

    /// A region of callbacks, `size` bytes long.
    pub fn mmio(
        &self,
        name: impl Into<Arc<str>>,
        size: impl Into<Size>,
        rules: AccessRules,
        callbacks: impl BindMmio + 'static,
    ) -> RegionBuilder {
        let kind = Kind::Mmio(Callbacks::new(rules, callbacks));
        RegionBuilder::new(self, name.into(), Ok(kind), size.into())
    }

    /// A region whose addresses are translated into another address space.
    pub fn iommu(
        &self,
        name: impl Into<Arc<str>>,
        size: impl Into<Size>,
        translate: impl BindIommu + 'static,
    ) -> RegionBuilder {
        RegionBuilder::new(self, name.into(), Ok(Kind::Iommu(Arc::new(translate))), size.into())
    }

    /// A window of `size` bytes onto `target`, from its byte `offset` on.
    pub fn alias(
        &self,
        name: impl Into<Arc<str>>,
        target: &RegionRef,
        offset: u64,
        size: impl Into<Size>,
    ) -> RegionBuilder {
        let name = name.into();
        let kind = if self.is_same(target.memory()) {
            Ok(Kind::Alias { target: target.id(), offset })
        } else {
            Err(MemoryError::Foreign(target.name().clone()))
        };
        RegionBuilder::new(self, name, kind, size.into())
    }

    /// A region that claims `size` bytes which are handled elsewhere.
    pub fn reservation(&self, name: impl Into<Arc<str>>, size: impl Into<Size>) -> RegionBuilder {
        RegionBuilder::new(self, name.into(), Ok(Kind::Reservation), size.into())
    }
}
