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

pub use skip::skip;

/// The README's snippets of Rust, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
