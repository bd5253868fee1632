//! Translation: where an access goes on behind an IOMMU.

use super::Access;
use super::found::{Found, direct, is_memory};
use crate::chain;
use crate::map::{Direction, is_refused};
use crate::section::Pin;
use crate::space::{AddressSpace, Look};
use crate::sync::Arc;
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
    /// The host may have the bytes themselves.
    pub(crate) is_memory: bool,
}

impl Access<'_> {
    /// What is at `address`, up to `len` bytes of it.
    ///
    /// # Errors
    /// What an access of that direction gets, so far as that can be known without one.
    pub(crate) fn reach(&self, address: u64, len: usize, direction: Direction) -> Result<Reached, BusFault> {
        let found = Found::at(self.view, address).filter(|_| len > 0).ok_or(BusFault::DECODE)?;
        let (part, permission) = match direction {
            Direction::Read => (found.range.read(), Permissions::READ),
            Direction::Write => (found.range.write(), Permissions::WRITE),
        };
        let part = part.ok_or(BusFault::DECODE)?;
        let most = |rest: u64| usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len));
        if matches!(part.target().backing(), Backing::Iommu(_)) {
            let onward = self.translate(&found, part, permission)?;
            return onward.run(self, |access| access.reach(onward.address, most(onward.rest), direction));
        }
        if self.attrs.is_memory_only() && !is_memory(part.target()) {
            return Err(BusFault::ACCESS);
        }
        if is_refused(found.range, part, direction) {
            return Err(BusFault::DECODE);
        }
        if self.attrs.is_memory_only() && !is_memory(part.target()) {
            return Err(BusFault::ACCESS);
        }
        Ok(Reached {
            space: self.space.id(),
            address,
            pin: Pin::new(part.target()),
            offset: found.offset(part),
            len: most(found.rest()),
            is_memory: direct(&found, direction).is_some(),
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
