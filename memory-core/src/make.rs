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

    /// A region of a real device's memory: accesses from the host's side are made of the guest's widths, and never copied in
    /// bulk. QEMU's name: `memory_region_init_ram_device_ptr`.
    ///
    /// ```
    /// use memory_core::{Memory, RamBlock};
    /// let memory = Memory::new();
    /// // in place of the file of a real device, such as VFIO has
    /// let block = RamBlock::builder(0x1000u64).memfd("bar").build()?;
    /// let bar = memory.ram_device("vfio-bar0", block).build()?;
    /// assert_eq!(bar.size()?.bytes(), 0x1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use memory_core::{AccessRules, BusFault, Memory, Mmio, RamBlock, RegionRef, TxAttrs, Width};
    /// use std::sync::{Arc, OnceLock};
    ///
    /// /// Flash: 0x70 shows the status instead of the array, 0xff the array again.
    /// #[derive(Default)]
    /// struct Flash(OnceLock<RegionRef>);
    /// impl Mmio for Flash {
    ///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(0x80) }
    ///     fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
    ///         let region = self.0.get().ok_or(BusFault::ERROR)?;
    ///         match value {
    ///             0x70 => region.set_romd(false).map_err(|_| BusFault::ERROR),
    ///             0xff => region.set_romd(true).map_err(|_| BusFault::ERROR),
    ///             _ => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// let memory = Memory::new();
    /// let flash = Arc::new(Flash::default());
    /// let array = RamBlock::anonymous(0x1_0000u64)?;
    /// let region = memory.rom_device("flash", array, AccessRules::new(), Arc::downgrade(&flash)).build()?;
    /// assert!(flash.0.set(region.by_ref().clone()).is_ok());
    /// flash.write(0, Width::W1, 0x70, TxAttrs::default()).expect("a command");
    /// let romd = |tree: &memory_core::Tree| tree.get(region.id()).map(|node| node.flags());
    /// assert!(!memory.read(romd)?.expect("it is there").contains(memory_core::Flags::ROMD));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// A region that claims `size` bytes which are handled elsewhere: accesses are refused as where nothing is, and maps show
    /// who is there. QEMU's name: `memory_region_init_reservation`.
    ///
    /// ```
    /// use memory_core::{Memory, Size};
    /// let memory = Memory::new();
    /// let system = memory.container("system", Size::FULL).build()?;
    /// // the kernel answers there
    /// let apic = memory.reservation("kvm-apic-msi", 0x10_0000u64).build()?;
    /// system.map(0xfee0_0000, &apic)?;
    /// let taken = memory.reservation("other", 0x1000u64).build()?;
    /// assert!(system.map(0xfee0_0000, &taken).is_err(), "a plain mapping does not overlap another");
    /// # Ok::<(), memory_core::MemoryError>(())
    /// ```
    pub fn reservation(&self, name: impl Into<Arc<str>>, size: impl Into<Size>) -> RegionBuilder {
        RegionBuilder::new(self, name.into(), Ok(Kind::Reservation), size.into())
    }
}
