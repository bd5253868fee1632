//! How threads read a machine's memory map while it changes.
//!
//! A [`MemorySystem`] renders the regions of a machine for each [`AddressSpace`] and publishes the views: accesses
//! take no lock, a commit waits for no reader, and what a reader may still be on stays alive until it has moved on.
//! A vCPU thread has a [`VcpuHandle`]; devices that do DMA, and everybody else, use the space itself.
//!
//! ```
//! use memory_core::{AccessRules, BusFault, Mmio, RamBlock, Size, TxAttrs, Width};
//! use memory_dispatch::{MemorySystem, SpaceConfig};
//! use std::sync::Arc;
//!
//! struct Doubler;
//! impl Mmio for Doubler {
//!     fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(2 * offset) }
//!     fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> { Ok(()) }
//! }
//!
//! let system = MemorySystem::new();
//! let root = system.memory().container("system", Size::FULL).build()?;
//! let regs = system.memory().mmio("doubler", 0x100u64, AccessRules::new(), Arc::new(Doubler)).build()?;
//! root.map(0x1000, &regs)?;
//! let space = system.address_space("memory", &root, SpaceConfig::default())?;
//! let mut vcpu = space.handle(|| ());
//! assert_eq!(vcpu.load(0x1010, Width::W4, TxAttrs::default()), Ok(0x20));
//! regs.set_address(0x2000)?;
//! assert_eq!(vcpu.load(0x1010, Width::W4, TxAttrs::default()), Err(BusFault::DECODE));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod access;
pub mod chain;
mod coalesced;
mod dirty;
mod entry;
mod guest_memory;
mod handle;
mod hints;
mod iommu;
mod listener;
mod locked;
mod map;
mod reclaim;
mod removal;
mod rerender;
mod section;
mod space;
mod spaces;
mod sync;
mod system;
mod window;

pub use coalesced::{COALESCED_RING, CoalescedRing, CoalescedWrite};
pub use entry::{Entry, EntryKind, EntryLink};
pub use guest_memory::{DmaMemory, LoaderMemory, LoaderRegion};
pub use handle::VcpuHandle;
pub use iommu::{IOTLB_ENTRIES, IommuError, IommuNotice, IommuNotifierGuard, IommuPort, IotlbStats};
pub use listener::{Listener, ListenerGuard, Refusal};
pub use locked::{DmaQueue, Locked, LockedDevice};
pub use map::{BOUNCE_BUDGET, Direction, MapError, MapGuard};
pub use removal::{Detached, Laggard, WaitError};
pub use section::{Pin, Section, SectionPart};
pub use space::{AddressSpace, SpaceConfig, Unassigned};
pub use system::MemorySystem;
pub use window::Window;
