//! The figures, in the order of the tables.

mod commit;
mod footprint;
mod guest;
mod host;
mod hotplug;
mod kvm;
mod mmio;
mod ram;
mod stall;

pub use hotplug::Pci;

use crate::figure::Figure;
use crate::pin::Cores;
use anyhow::Result;

/// Something that gives figures, whose ids begin with its name.
pub struct Topic {
    /// What the ids of its figures begin with.
    pub name: &'static str,
    /// The ids.
    pub figures: &'static [&'static str],
    /// Measures those that are wanted.
    pub measure: fn(&Wanted<'_>) -> Result<Vec<Figure>>,
}

/// What is to be measured, and on what.
pub struct Wanted<'a> {
    /// The cores.
    pub cores: &'a Cores,
    /// What the ids have to contain.
    pub filter: &'a str,
}

impl Wanted<'_> {
    /// Whether the figure is to be measured.
    pub fn has(&self, id: &str) -> bool {
        id.contains(self.filter)
    }
}

/// Every topic.
pub const TOPICS: &[Topic] = &[
    mmio::TOPIC,
    ram::TOPIC,
    host::TOPIC,
    commit::TOPIC,
    hotplug::TOPIC,
    stall::TOPIC,
    footprint::TOPIC,
    guest::TOPIC,
    kvm::TOPIC,
];
