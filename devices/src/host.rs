//! What a machine offers its devices.

use crate::clock::Clock;
use crate::console::Console;
use crate::power::Power;
use std::path::{Path, PathBuf};

/// What a machine offers its devices.
#[derive(Clone, Debug)]
pub struct Host {
    /// Time.
    pub clock: Clock,
    /// Where `stdio` leads.
    pub console: Console,
    /// The power switch.
    pub power: Power,
    /// The number of harts.
    pub harts: u32,
    /// Ticks a second of the machine's timer.
    pub timebase: u64,
    /// What relative paths are relative to: the folder of the machine file.
    pub base: PathBuf,
}

impl Host {
    /// A path of the machine file as the host knows it.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}
