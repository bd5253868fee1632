//! Translations that a hart remembers, with the host pages that they lead to.

use memory_core::HostPage;

/// Number of entries; a power of two.
const SIZE: usize = 256;
/// The bits of an address within its page.
const IN_PAGE: u64 = 0xfff;

/// What an access depends on besides its address: mode, SUM, MXR. Kept in bits 3..=11, which no aligned
/// address of a page has, so that one comparison checks page, context and alignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Context(u64);

impl Context {
    /// A context of eight bits.
    pub const fn new(bits: u8) -> Self {
        Self(1 << 3 | (bits as u64) << 4)
    }
}

/// One translation: the page of virtual addresses in `tag` is at `phys`.
struct Entry {
    /// Virtual page and [`Context`]; 0 is no translation.
    tag: u64,
    /// Physical address of the page.
    phys: u64,
    /// The page, if it is plain memory; otherwise accesses go to the bus.
    page: Option<HostPage>,
}

/// Where an address leads to.
pub(super) struct Place<'a> {
    /// The physical address.
    pub phys: u64,
    /// Its page, if it is plain memory.
    pub page: Option<&'a HostPage>,
}

/// A direct-mapped table of translations for one kind of access.
///
/// An entry stands for a translation that may be used without further checks: page tables and PMP allow
/// the access, A and D are set. It is valid until the map, the PMP or the page tables change; then
/// [`Tlb::flush`] drops everything, host pages included.
pub(super) struct Tlb {
    entries: Box<[Entry; SIZE]>,
    /// Nothing was filled since the last flush.
    empty: bool,
}

impl Tlb {
    pub fn new() -> Self {
        Self { entries: Box::new([const { Entry { tag: 0, phys: 0, page: None } }; SIZE]), empty: true }
    }

    /// The page of plain memory that holds `addr`, if it is remembered and `addr` is a multiple of
    /// `mask + 1` (1, 2, 4, or 8).
    #[inline(always)]
    pub fn page(&self, addr: u64, mask: u64, context: Context) -> Option<&HostPage> {
        let entry = self.entries.get((addr >> 12) as usize & (SIZE - 1))?;
        if entry.tag == addr & (!IN_PAGE | mask) | context.0 { entry.page.as_ref() } else { None }
    }

    /// Where `addr` leads to, if that is remembered.
    #[inline(always)]
    pub fn find(&self, addr: u64, context: Context) -> Option<Place<'_>> {
        let entry = self.entries.get((addr >> 12) as usize & (SIZE - 1))?;
        (entry.tag == addr & !IN_PAGE | context.0)
            .then_some(Place { phys: entry.phys | addr & IN_PAGE, page: entry.page.as_ref() })
    }

    /// Remembers that the page of `addr` is the one of `phys`.
    pub fn fill(&mut self, addr: u64, context: Context, phys: u64, page: Option<HostPage>) {
        if let Some(entry) = self.entries.get_mut((addr >> 12) as usize & (SIZE - 1)) {
            *entry = Entry { tag: addr & !IN_PAGE | context.0, phys: phys & !IN_PAGE, page };
            self.empty = false;
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        if !self.empty {
            for entry in self.entries.iter_mut() {
                entry.tag = 0;
                entry.page = None;
            }
            self.empty = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory_core::RamBlock;

    const CTX: Context = Context::new(3);

    #[test]
    fn a_hit_needs_page_context_and_alignment() {
        let page = RamBlock::anonymous(0x1000u64).unwrap().page(0);
        let mut tlb = Tlb::new();
        assert!(tlb.find(0, CTX).is_none());
        tlb.fill(0x5123, CTX, 0x8000_0000, page);
        assert!(tlb.page(0x5ff8, 7, CTX).is_some());
        assert!(tlb.page(0x5ffc, 7, CTX).is_none());
        assert!(tlb.page(0x5ffc, 3, CTX).is_some());
        assert!(tlb.page(0x5ff8, 7, Context::new(2)).is_none());
        assert!(tlb.page(0x5ff8 + 4096 * SIZE as u64, 7, CTX).is_none());
        assert_eq!(tlb.find(0x5ffd, CTX).unwrap().phys, 0x8000_0ffd);
        tlb.flush();
        assert!(tlb.page(0x5ff8, 7, CTX).is_none());
        assert!(tlb.find(0x5ff8, CTX).is_none());
    }

    #[test]
    fn a_device_page_is_found_but_is_no_memory() {
        let mut tlb = Tlb::new();
        tlb.fill(0x1000, CTX, 0x1000_0000, None);
        assert!(tlb.page(0x1000, 0, CTX).is_none());
        let place = tlb.find(0x1004, CTX).unwrap();
        assert_eq!((place.phys, place.page.is_none()), (0x1000_0004, true));
    }
}
