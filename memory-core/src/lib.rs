//! The mutable half of Flatland's memory API: regions, the tree that they form, transactions that change it, host
//! memory behind it, and the rules under which devices are called.
//!
//! A machine's memory is an acyclic graph of regions. [`Memory`] makes them: RAM, ROM, ROM devices, devices' registers
//! (MMIO), IOMMUs, containers, aliases, reservations. They are mapped into each other with signed priorities and may
//! overlap. A [`Region`] is the handle that a device keeps, and its drop unmaps what it stands for. A
//! [`Transaction`] groups changes; at its end a [`CommitSink`] is told, which renders and publishes flat views.
//!
//! This crate knows nothing of views, nor of the threads that read them.
//!
//! ```
//! use memory_core::{Memory, RamBlock, Size};
//! let memory = Memory::new();
//! let system = memory.container("system", Size::FULL).build()?;
//! let ram = memory.ram("ram", RamBlock::anonymous(0x100_0000u64)?).build()?;
//! // the upper half of RAM shows up low, too
//! let window = memory.alias("window", &ram, 0x80_0000, 0x80_0000u64).build()?;
//! system.map(0x8000_0000, &ram)?;
//! system.map(0, &window)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod address;
mod builder;
mod damage;
mod error;
mod extents;
mod host;
mod id;
mod intercept;
mod ioevent;
mod iommu;
mod kind;
mod make;
mod memory;
mod mmio;
mod node;
mod owner;
mod region;
mod rules;
mod state;
mod sync;
mod target;
mod transaction;
mod tree;

pub use access::{BusFault, ByteOrder, TxAttrs, TxFlags, Width};
pub use address::{AddrRange, Size};
pub use builder::RegionBuilder;
pub use damage::Damage;
pub use error::MemoryError;
pub use host::fence;
pub use host::{
    BlockLog, DirtyClients, DirtyLog, DirtySnapshot, HostMemoryError, HostPage, LogSlice, PAGE_SIZE,
    RamBlock, RamBlockBuilder, RamSpan,
};
pub use id::{OwnerId, RegionId, SpaceId};
pub use intercept::Intercepts;
pub use ioevent::{EventNotifier, IoEvent, IoEventKey};
pub use iommu::{BindIommu, Iommu, IommuEntry, IommuEvents, Permissions, ReplayVisitor};
pub use kind::{Callbacks, Kind};
pub use memory::{CommitSink, Memory};
pub use mmio::{BindMmio, Methods, Mmio};
pub use node::{Flags, Node, Placement, Shows};
pub use owner::{Owner, Plug};
pub use region::{Mapping, Region, RegionRef};
pub use rules::{AccessRules, DirectRules, Endian, Request};
#[cfg(flatland_loom)]
pub use sync::model;
pub use target::{Backing, BoundMmio, Target};
pub use transaction::Transaction;
pub use tree::Tree;
