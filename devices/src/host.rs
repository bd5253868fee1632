//! What a machine offers its devices.

use crate::clock::Clock;
use crate::console::Console;
use crate::mtime_offset::MtimeOffset;
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
    /// What the guest has added to its time counter.
    pub mtime_offset: MtimeOffset,
    /// The machine is only looked at and never runs: back ends lead nowhere, and no file is made or changed.
    pub looking: bool,
}

impl Host {
    /// One hart, a timebase of 10 MHz, the present folder, for a machine that runs.
    pub fn new(clock: Clock, console: Console) -> Self {
        let (power, base) = (Power::new(), PathBuf::from("."));
        Self {
            clock,
            console,
            power,
            harts: 1,
            timebase: 10_000_000,
            base,
            mtime_offset: MtimeOffset::default(),
            looking: false,
        }
    }

    /// A path of the machine file as the host knows it.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}
