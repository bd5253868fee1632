//! The KVM accelerator, seen by guests that are assembled here, and from outside.
//!
//! Where there is no /dev/kvm each test says that it is skipped. Guests are small and plain: a host whose KVM is nested may run
//! ring 0 in the kernel's instruction emulator.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

mod bare;
mod board;
mod dirty;
mod ends;
mod intercepts;
mod interrupts;
mod joins;
mod maps;
mod memory;
mod modes;
mod ports;
mod privilege;
mod races;
mod resizing;
mod slots;
mod threads;
