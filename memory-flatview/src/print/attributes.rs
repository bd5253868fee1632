//! What of a region the monitor of QEMU does not print.

use crate::range::{FlatRange, RangeFlags};
use memory_core::{AddrRange, DirtyClients, IoEvent, Node, RegionId, Tree};
use serde::Serialize;
use std::fmt;

/// Attributes of a region besides those that the form of the map has a place for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PrintedAttributes {
    /// Who wants to know of writes to it: `display`, `code`, `migration`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<&'static str>,
    /// Whether queued writes are carried out before it is accessed.
    #[serde(skip_serializing_if = "super::is_false")]
    pub flush_coalesced: bool,
    /// Ranges to which writes may be queued, in bytes from its start; of a range of a flat view, addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coalesced: Vec<String>,
    /// Writes that signal an event: the offset, or the address, the width in bytes unless it is any, the value unless it is
    /// any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ioevents: Vec<String>,
    /// The identifier of its RAM block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
}

impl PrintedAttributes {
    pub(super) fn new(tree: &Tree, id: RegionId, node: &Node) -> Self {
        let intercepts = node.intercepts();
        let ioevents = intercepts.into_iter().flat_map(|intercepts| intercepts.events());
        let ioevents = ioevents.map(|event| ioevent(event.offset, event));
        let coalesced = intercepts.into_iter().flat_map(|intercepts| intercepts.coalesced());
        Self {
            log: clients(tree.log(id)),
            flush_coalesced: node.flushes_coalesced(),
            coalesced: coalesced.map(AddrRange::to_string).collect(),
            ioevents: ioevents.collect(),
            identifier: node.identifier().map(str::to_owned),
        }
    }

    /// Those of the region that writes to a range of a flat view go to, as far as it is seen there.
    pub(super) fn of_range(tree: &Tree, range: &FlatRange) -> Self {
        let node = range.write().and_then(|part| tree.get(part.target().region()));
        Self {
            log: clients(range.log()),
            flush_coalesced: range.flags().contains(RangeFlags::FLUSH_COALESCED),
            coalesced: range.coalesced().map(|range| range.to_string()).collect(),
            ioevents: range.events().map(|(address, event)| ioevent(address, event)).collect(),
            identifier: node.and_then(Node::identifier).map(str::to_owned),
        }
    }
}

fn ioevent(place: u64, event: &IoEvent) -> String {
    let width = event.width.map(|width| format!(" width {}", width.bytes()));
    let value = event.value.map(|value| format!(" value {value:#x}"));
    format!("{place:#x}{}{}", width.unwrap_or_default(), value.unwrap_or_default())
}

fn clients(clients: DirtyClients) -> Vec<&'static str> {
    let names = [
        (DirtyClients::DISPLAY, "display"),
        (DirtyClients::CODE, "code"),
        (DirtyClients::MIGRATION, "migration"),
    ];
    names.into_iter().filter(|(client, _)| clients.contains(*client)).map(|(_, name)| name).collect()
}

impl fmt::Display for PrintedAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.log.is_empty() {
            write!(f, " [log: {}]", self.log.join(" "))?;
        }
        if self.flush_coalesced {
            f.write_str(" [flush-coalesced]")?;
        }
        for range in &self.coalesced {
            write!(f, " [coalesced: {range}]")?;
        }
        for event in &self.ioevents {
            write!(f, " [ioeventfd: {event}]")?;
        }
        match &self.identifier {
            Some(identifier) => write!(f, " [id: {identifier}]"),
            None => Ok(()),
        }
    }
}
