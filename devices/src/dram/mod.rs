//! What the host bridges of PCs do with memory: they show it below and above 4 GiB, reroute the areas from 768 KiB to 1 MiB
//! (PAM), and hide some of it from all but system management mode (SMRAM, TSEG).
//!
//! A bridge makes the parts that it has when it is realised, and tells them after each write to its registers what these
//! say, in one transaction.

mod pam;
mod smram;
mod split;
#[cfg(test)]
pub(crate) mod testing;
mod unclaimed;

pub use pam::{PAM_REGISTERS, Pam};
pub use smram::{Smram, SmramControl, SmramSetting, Tseg};
pub use split::RamSplit;
pub use unclaimed::hide_unclaimed;
