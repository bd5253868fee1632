//! Translation: where an access goes on behind an IOMMU.

use super::Access;
use super::found::Found;
use crate::chain;
use crate::space::AddressSpace;
use crate::sync::Arc;
use memory_core::{Backing, BusFault, Permissions};
use memory_flatview::Part;

/// The most IOMMUs that one access may be translated by.
const MAX_TRANSLATIONS: usize = 8;

impl Access<'_> {
    /// Asks the IOMMU behind `found` where an access goes on.
    pub(super) fn translate(
        &self,
        found: &Found<'_>,
        part: &Part,
        access: Permissions,
    ) -> Result<Onward, BusFault> {
        let Backing::Iommu(iommu) = part.target().backing() else { return Err(BusFault::DECODE) };
        if self.translations >= MAX_TRANSLATIONS || self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        let offset = found.offset(part);
        let entry = {
            let _link = chain::enter(part.target().guard(), false)?;
            iommu.translate(offset, access, self.attrs).ok_or(BusFault::ACCESS)?
        };
        let refused = found.is_read_only() && access.contains(Permissions::WRITE);
        if refused || !entry.permissions.contains(access) {
            return Err(BusFault::ACCESS);
        }
        Ok(Onward {
            space: self.space.system().space(entry.space).ok_or(BusFault::DECODE)?,
            address: (entry.translated & !entry.mask) | (offset & entry.mask),
            rest: (entry.mask - (offset & entry.mask)).min(found.rest()),
            translations: self.translations + 1,
        })
    }
}

/// Where an access goes on behind an IOMMU.
pub(super) struct Onward {
    space: Arc<AddressSpace>,
    pub(super) address: u64,
    /// The bytes from the address to the end of the page, less one.
    pub(super) rest: u64,
    translations: usize,
}

impl Onward {
    pub(super) fn run<R>(
        &self,
        access: &Access<'_>,
        run: impl FnOnce(&Access<'_>) -> Result<R, BusFault>,
    ) -> Result<R, BusFault> {
        let view = self.space.look();
        run(&Access { space: &self.space, view: &view, attrs: access.attrs, translations: self.translations })
    }
}
