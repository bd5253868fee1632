//! Accesses through address spaces and vCPU handles, and what becomes of them while the map changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

mod at_hand;
mod atomic;
mod board;
mod chain;
mod dirty;
mod guest_memory;
mod intercept;
mod iommu;
mod iotlb;
mod known_holes;
mod lifetime;
mod listener;
mod locked;
mod map;
mod order;
mod publish;
mod removal;
mod rerender;
mod section;
mod single;
mod transfer;
mod window;
