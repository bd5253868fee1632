//! Accesses through address spaces and vCPU handles, and what becomes of them while the map changes.

mod atomic;
mod board;
mod chain;
mod iommu;
mod lifetime;
mod locked;
mod order;
mod publish;
mod single;
mod transfer;
