//! The chores of the Flatland workspace, each a module: format, lint, test, fuzz, check models, guests, firmware,
//! documentation.
//!
//! `cargo xtask CHORE` is the one door to them. They are a library too, so that the `tests` package can run the
//! structural checks and fetch the firmware in tests of its own, and can check the commands that the README shows.
//!
//! ```
//! use xtask::{Workspace, lint};
//!
//! let findings = lint::structure(&Workspace::here())?;
//! for finding in &findings {
//!     eprintln!("{finding}");
//! }
//! # anyhow::Ok(())
//! ```
#![forbid(unsafe_code)]

mod asan;
pub mod bench;
mod cli;
mod coverage;
mod debian;
pub mod firmware;
pub mod fuzz;
pub mod guests;
pub mod kvm_nested;
pub mod lint;
mod llvm;
pub mod loom;
mod miri;
pub mod proofs;
pub mod stress;
mod tally;
mod test;
mod toolchain;
mod tsan;
mod workspace;

pub use cli::{Cli, Command};
pub use tally::{Skip, Summary, Tally};
pub use workspace::Workspace;
