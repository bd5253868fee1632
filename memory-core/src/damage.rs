//! Where a transaction may have changed what regions show.

use crate::address::AddrRange;
use crate::id::RegionId;
use std::collections::{BTreeMap, BTreeSet};

/// What a transaction has changed, without how.
#[derive(Default)]
pub struct Damage {
    touched: BTreeSet<RegionId>,
    /// Those of them that changed themselves.
    changed: BTreeSet<RegionId>,
    windows: BTreeMap<RegionId, Vec<AddrRange>>,
    /// Somebody wants to be told even if nothing is here.
    asked: bool,
}

impl Damage {
    /// The regions whose attributes or mapping may have changed, with their old and new parents.
    pub fn touched(&self) -> &BTreeSet<RegionId> {
        &self.touched
    }

    /// Those of the touched regions that changed themselves; the others are parents of such.
    pub fn changed(&self) -> &BTreeSet<RegionId> {
        &self.changed
    }

    /// Where regions may show something else than before, for reasons of their own or because of their children: in bytes
    /// from each region's start. Who shows such a region, as its parent or an alias, is not in the list on that account.
    pub fn windows(&self) -> impl Iterator<Item = (RegionId, &[AddrRange])> {
        self.windows.iter().map(|(id, windows)| (*id, windows.as_slice()))
    }

    /// Whether there is nothing that anybody has to be told of.
    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty() && !self.asked
    }

    /// `id` has changed.
    pub(crate) fn change(&mut self, id: RegionId) {
        self.touched.insert(id);
        self.changed.insert(id);
    }

    /// `id` may show something else in `window`, if that is a range at all.
    pub(crate) fn add(&mut self, id: RegionId, window: Option<AddrRange>) {
        self.touched.insert(id);
        if let Some(window) = window {
            self.windows.entry(id).or_default().push(window);
        }
    }

    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    pub(crate) fn clear(&mut self) {
        self.touched.clear();
        self.changed.clear();
        self.windows.clear();
        self.asked = false;
    }
}
