//! Devices that are led to reach for themselves by DMA, as guests have done to QEMU: each test is shaped after the hole that
//! it is named for, and ends in a fault that the device sees instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

mod board;
mod cards;
mod ehci;
mod lsi;
mod nvme;
mod reset;
mod virtio;
