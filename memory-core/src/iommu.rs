//! IOMMUs: callbacks that translate addresses, what they announce, and how their regions are bound to devices.

use crate::access::TxAttrs;
use crate::address::AddrRange;
use crate::id::SpaceId;
use crate::sync::{Arc, Weak};
use bitflags::bitflags;
use std::error::Error;

bitflags! {
    /// What an IOMMU lets an initiator do with a page.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Permissions: u8 {
        /// May be read.
        const READ = 1;
        /// May be written.
        const WRITE = 2;
    }
}

/// What an IOMMU says of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IommuEntry {
    /// The address space in which the access goes on.
    pub space: SpaceId,
    /// The address there.
    pub translated: u64,
    /// The bits of the address that translation leaves alone: the page's size less one.
    pub mask: u64,
    /// What is allowed.
    pub permissions: Permissions,
}

bitflags! {
    /// What an IOMMU announces. QEMU's names: `IOMMU_NOTIFIER_{MAP, UNMAP, DEVIOTLB_UNMAP}`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct IommuEvents: u8 {
        /// A page has been mapped that was not.
        const MAP = 1;
        /// A page is mapped no more, or otherwise.
        const UNMAP = 2;
        /// Devices that translate for themselves (ATS) have to forget a page.
        const DEVICE_IOTLB_UNMAP = 4;
    }
}

/// Who is told of a page that is mapped, when an IOMMU replays: its addresses in the region, and its entry.
pub type ReplayVisitor<'a> = &'a mut dyn FnMut(AddrRange, IommuEntry);

/// Translates addresses: the callback of an IOMMU region. QEMU's name: `IOMMUMemoryRegionClass`.
///
/// Everything is called from any thread with none of our locks held.
///
/// ```
/// use memory_core::{Iommu, IommuEntry, Memory, Permissions, RamBlock, Size, SpaceId, TxAttrs};
/// use std::sync::Arc;
///
/// /// Leads the page at 0x1000 to 0x8000_0000 of another space, to be read.
/// struct OnePage(SpaceId);
/// impl Iommu for OnePage {
///     fn translate(&self, address: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
///         let (space, translated, permissions) = (self.0, 0x8000_0000, Permissions::READ);
///         let entry = IommuEntry { space, translated, mask: 0xfff, permissions };
///         (address & !0xfff == 0x1000).then_some(entry)
///     }
/// }
///
/// let memory = Memory::new();
/// // the id of the address space, which `AddressSpace::id` tells
/// let system = memory.new_space_id();
/// let iommu = Arc::new(OnePage(system));
/// // the region holds its device weakly
/// let region = memory.iommu("iommu", Size::FULL, Arc::downgrade(&iommu)).build()?;
/// // what devices see
/// let bus = memory.container("bus", Size::FULL).build()?;
/// bus.map(0, &region)?;
/// let entry = iommu.translate(0x1234, Permissions::READ, TxAttrs::default()).expect("it is mapped");
/// assert_eq!((entry.translated & !entry.mask) | (0x1234 & entry.mask), 0x8000_0234);
/// assert!(iommu.translate(0x2000, Permissions::READ, TxAttrs::default()).is_none());
/// # Ok::<(), memory_core::MemoryError>(())
/// ```
pub trait Iommu: Send + Sync {
    /// The entry for the page that holds `address` bytes from the region's start, for an access that wants
    /// `access`; `None` if nothing is mapped there.
    fn translate(&self, address: u64, access: Permissions, attrs: TxAttrs) -> Option<IommuEntry>;

    /// How many translations there are beside each other, secure and not for example.
    fn indexes(&self) -> usize {
        1
    }

    /// Which of them an access with `attrs` goes by, below [`Iommu::indexes`]. Entries depend on nothing else of the
    /// attributes if [`Iommu::announces`].
    fn index_of(&self, _attrs: TxAttrs) -> usize {
        0
    }

    /// Whether every change that takes something away is announced, before the initiator may rely on it. Only then are
    /// entries kept for further accesses.
    fn announces(&self) -> bool {
        false
    }

    /// Visits every page of `range` that translation `index` maps, ascending, and no others. False if the IOMMU cannot.
    fn replay(&self, _index: usize, _range: AddrRange, _visit: ReplayVisitor<'_>) -> bool {
        false
    }

    /// Somebody wants other announcements of translation `index` than before: `events`, all taken together. QEMU's name:
    /// `notify_flag_changed`.
    ///
    /// # Errors
    /// If the IOMMU cannot announce them.
    fn events_wanted(&self, _index: usize, _events: IommuEvents) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Where an IOMMU region finds its callback when it is rendered; see [`BindMmio`](crate::BindMmio).
pub trait BindIommu: Send + Sync {
    /// The callback with a strong reference to the device, or `None` if the device is gone.
    fn bind(&self) -> Option<Arc<dyn Iommu>>;
}

impl<T: Iommu + 'static> BindIommu for Weak<T> {
    fn bind(&self) -> Option<Arc<dyn Iommu>> {
        self.upgrade().map(|device| device as Arc<dyn Iommu>)
    }
}
