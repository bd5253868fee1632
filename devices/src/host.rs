//! What a machine offers its devices.

use crate::clock::Clock;
use crate::console::Console;
use crate::mtime_offset::MtimeOffset;
use crate::power::Power;
use crate::sync::{Arc, OnceLock};
use std::path::{Path, PathBuf};

/// Where a machine's RAM is, as firmware is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RamLayout {
    /// Bytes from address 0 on.
    pub below_4g: u64,
    /// Bytes from 4 GiB on.
    pub above_4g: u64,
}

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
    /// Bytes of RAM that the machine file or the user asks for; 0 if nobody does.
    pub memory: u64,
    /// Where a host bridge has put them: the first that says so has it. [`Host::ram`] is what devices ask.
    pub layout: Arc<OnceLock<RamLayout>>,
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
            memory: 0,
            layout: Arc::default(),
            looking: false,
        }
    }

    /// Where RAM is: where the host bridge before this device has put it, or else from address 0 on.
    pub fn ram(&self) -> RamLayout {
        let all = RamLayout { below_4g: self.memory, above_4g: 0 };
        self.layout.get().copied().unwrap_or(all)
    }

    /// A path of the machine file as the host knows it.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}
