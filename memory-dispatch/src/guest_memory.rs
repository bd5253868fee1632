//! Address spaces as `vm-memory` has them: for virtqueues, and for loaders.
//!
//! One type cannot serve both. `vm-memory` makes everything that implements `GuestMemoryBackend` a `GuestMemory` which
//! ignores permissions, and would let a virtqueue write ROM.

mod dma;
mod loader;
mod snapshot;

pub use dma::DmaMemory;
pub use loader::{LoaderMemory, LoaderRegion};
