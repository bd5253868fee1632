//! What crosses crates: the tests are in `tests/tests`, what they share is here.
#![forbid(unsafe_code)]

pub mod board;
pub mod fuzz;
pub mod program;
pub mod readme;
pub mod session;
mod skip;
pub mod stress;
#[cfg(target_os = "linux")]
pub mod terminal;
pub mod watch;

pub use skip::skip;

/// The environment variable by which tests know that all is interpreted, KVM included: in `cargo xtask kvm-nested`.
pub const INTERPRETED: &str = "FLATLAND_INTERPRETED";

/// Whether all is interpreted: a hundred times slower than usual, and with all that KVM can do.
pub fn is_interpreted() -> bool {
    std::env::var_os(INTERPRETED).is_some()
}

/// The README's snippets of Rust, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
