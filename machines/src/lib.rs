//! Machines: read from files, composed of devices, run.
//!
//! A machine file ([`mod@file`]) says what a board is made of. [`Machine::build`](machine::Machine::build) makes its regions
//! and devices and maps them in one transaction; [`runner`] runs it on an accelerator ([`accel`]): the embedded RV64 CPU
//! ([`rv64`]) or KVM. The command `flatland` is this crate's program.
//!
//! ```
//! use devices::{Clock, Console, Host};
//! use machines::{catalog, machine::Machine};
//!
//! let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
//! let machine = Machine::build(catalog::load("bank-switch")?, host)?;
//! let space = machine.cpu_space().expect("the board has an address space");
//! assert!(space.with_view(|view| view.len() > 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accel;
pub mod backends;
pub mod boot;
pub mod catalog;
mod compose;
pub mod cpu;
pub mod endpoint;
pub mod fdt;
pub mod file;
mod hotplug;
pub mod image;
pub mod import;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod kvm;
pub mod lifecycle;
pub mod machine;
pub mod maps;
mod parts;
pub mod paths;
mod plugged;
pub mod plugging;
pub mod qmp;
pub mod qtest;
pub mod runner;
pub mod rv64;
pub mod space_bus;
pub mod sync;
pub mod vcpu;
mod wiring;
