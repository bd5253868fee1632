//! Translation: where an access goes on behind an IOMMU.

use super::Access;
use super::found::{Found, direct, is_memory};
use crate::chain;
use crate::map::{Direction, is_refused};
use crate::section::Pin;
use crate::space::{AddressSpace, Look};
use crate::sync::Arc;
use crate::system::SystemInner;
use memory_core::{Backing, BusFault, Permissions, SpaceId};
use memory_flatview::{Part, View};
use std::cell::OnceCell;

/// The most IOMMUs that one access may be translated by.
const MAX_TRANSLATIONS: usize = 8;

impl Access<'_> {
    /// Asks the IOMMU behind `found` where an access goes on.
    pub(super) fn translate(
        &self,
        found: &Found<'_>,
        part: &Part,
        access: Permissions,
    ) -> Result<Onward<'_>, BusFault> {
        let Backing::Iommu(iommu) = part.target().backing() else { return Err(BusFault::DECODE) };
        // what an initiator that wants memory only may reach is judged where the access ends
        if self.translations >= MAX_TRANSLATIONS || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        let offset = found.offset(part);
        let target = part.target();
        let entry =
            self.space.system().ask_iommu((target, &**iommu), (offset, access, self.attrs), || {
                chain::enter(target.guard(), false)
            })?;
        let refused = found.is_read_only() && access.contains(Permissions::WRITE);
        if refused || !entry.permissions.contains(access) {
            return Err(BusFault::ACCESS);
        }
        let (space, view) = self.seen(entry.space).ok_or(BusFault::DECODE)?;
        Ok(Onward {
            space,
            view,
            address: (entry.translated & !entry.mask) | (offset & entry.mask),
            rest: (entry.mask - (offset & entry.mask)).min(found.rest()),
            translations: self.translations + 1,
        })
    }

    /// A space, and what it shows to this access: the same whenever the access comes there, and to all that it is a part of.
    fn seen(&self, id: SpaceId) -> Option<(&AddressSpace, &View)> {
        let whole = self.whole.unwrap_or(self);
        if whole.space.id() == id {
            return Some((whole.space, whole.view));
        }
        let mut looks = &whole.behind;
        loop {
            let look = match looks.first.get() {
                None => {
                    let space = whole.space.system().space(id)?;
                    looks.first.get_or_init(|| Look::new(space))
                }
                Some(look) if look.space().id() == id => look,
                Some(_) => {
                    looks = looks.more.get_or_init(Box::default);
                    continue;
                }
            };
            return Some((look.space(), look));
        }
    }
}

/// The views of spaces behind IOMMUs that an access is on, in the order in which it has come there.
#[derive(Default)]
pub(super) struct Looks {
    first: OnceCell<Look<Arc<AddressSpace>>>,
    more: OnceCell<Box<Looks>>,
}

/// What an access reaches, through IOMMUs or without.
pub(crate) struct Reached {
    /// The space that shows it, and its address there.
    pub(crate) space: SpaceId,
    pub(crate) address: u64,
    pub(crate) pin: Pin,
    /// In its region, which for memory is that in its block.
    pub(crate) offset: u64,
    /// Bytes of it, no more than were asked for nor than the page of an IOMMU has.
    pub(crate) len: usize,
    pub(crate) what: What,
    /// The IOMMUs on the way announce what they change.
    pub(crate) is_announced: bool,
}

/// What an initiator may have of what it reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The bytes themselves.
    Memory,
    /// Nothing: it is to be written, and is ROM or read-only.
    Refused,
    /// A copy.
    Copy,
}

/// The way through IOMMUs to what somebody keeps.
#[derive(Default)]
pub(crate) struct Way {
    /// How often IOMMUs had invalidated something before the first one was asked; `None` if there is none on the way.
    invalidations: Option<u64>,
    /// The spaces that they led to, with the generations of their views.
    spaces: Vec<(SpaceId, u64)>,
}

impl Way {
    /// Whether it leads through an IOMMU.
    pub(crate) fn is_translated(&self) -> bool {
        self.invalidations.is_some()
    }

    /// Whether an IOMMU may have changed since, or the map of a space behind one.
    pub(crate) fn is_stale(&self, system: &SystemInner) -> bool {
        let is_other = |(id, generation): &(SpaceId, u64)| {
            system.space(*id).is_none_or(|space| space.generation() != *generation)
        };
        self.invalidations.is_some_and(|before| before != system.iotlb().invalidations())
            || self.spaces.iter().any(is_other)
    }

    fn note(&mut self, access: &Access<'_>) {
        let led_to = (access.space.id(), access.view.generation());
        if !self.spaces.contains(&led_to) {
            self.spaces.push(led_to);
        }
    }
}

impl Access<'_> {
    /// What is at `address`, up to `len` bytes of it. Notes the way there.
    ///
    /// # Errors
    /// What an access of that direction gets, where nobody answers, the initiator wants memory and there is none, or an IOMMU
    /// says no.
    pub(crate) fn reach(
        &self,
        address: u64,
        len: usize,
        direction: Direction,
        way: &mut Way,
    ) -> Result<Reached, BusFault> {
        let found = Found::at(self.view, address).filter(|_| len > 0).ok_or(BusFault::DECODE)?;
        let (part, permission) = match direction {
            Direction::Read => (found.range.read(), Permissions::READ),
            Direction::Write => (found.range.write(), Permissions::WRITE),
        };
        let part = part.ok_or(BusFault::DECODE)?;
        let most = |rest: u64| usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len));
        if let Backing::Iommu(iommu) = part.target().backing() {
            // before it is asked: what it changes meanwhile counts
            way.invalidations.get_or_insert(self.space.system().iotlb().invalidations());
            let onward = self.translate(&found, part, permission)?;
            let reached = onward.run(self, |access| {
                way.note(access);
                access.reach(onward.address, most(onward.rest), direction, way)
            })?;
            let is_announced = reached.is_announced && iommu.announces();
            return Ok(Reached { is_announced, ..reached });
        }
        if self.attrs.is_memory_only() && !is_memory(part.target()) {
            return Err(BusFault::ACCESS);
        }
        let what = if is_refused(found.range, part, direction) {
            What::Refused
        } else if direct(&found, direction).is_some() {
            What::Memory
        } else {
            What::Copy
        };
        Ok(Reached {
            space: self.space.id(),
            address,
            pin: Pin::new(part.target()),
            offset: found.offset(part),
            len: most(found.rest()),
            what,
            is_announced: true,
        })
    }
}

/// Where an access goes on behind an IOMMU.
pub(super) struct Onward<'a> {
    space: &'a AddressSpace,
    view: &'a View,
    pub(super) address: u64,
    /// The bytes from the address to the end of the page, less one.
    pub(super) rest: u64,
    translations: usize,
}

impl Onward<'_> {
    pub(super) fn run<R>(
        &self,
        access: &Access<'_>,
        run: impl FnOnce(&Access<'_>) -> Result<R, BusFault>,
    ) -> Result<R, BusFault> {
        let Self { space, view, translations, .. } = *self;
        let whole = Some(access.whole.unwrap_or(access));
        run(&Access { space, view, attrs: access.attrs, translations, whole, behind: Looks::default() })
    }
}
