//! Address translation (Sv39, privileged specification 4.4) and where it leads: memory or the bus.

use bitflags::bitflags;
use memory_core::HostPage;

use super::bus::Bus;
use super::core::Core;
use super::pmp::Verdict;
use super::status::Mode;
use super::tlb::Context;
use super::trap::{Cause, Trap};
use crate::sync::Ordering;

/// What an access wants to do. AMOs and store-conditionals are stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Fetch,
    Load,
    Store,
}

impl Access {
    /// The exception when physical memory refuses.
    pub fn access_fault(self, addr: u64) -> Trap {
        let cause = match self {
            Self::Fetch => Cause::FetchAccess,
            Self::Load => Cause::LoadAccess,
            Self::Store => Cause::StoreAccess,
        };
        Trap::new(cause, addr)
    }

    /// The exception when the page tables refuse.
    fn page_fault(self, addr: u64) -> Trap {
        let cause = match self {
            Self::Fetch => Cause::FetchPage,
            Self::Load => Cause::LoadPage,
            Self::Store => Cause::StorePage,
        };
        Trap::new(cause, addr)
    }
}

bitflags! {
    /// The flags of a page-table entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Pte: u64 {
        const V = 1;
        const R = 1 << 1;
        const W = 1 << 2;
        const X = 1 << 3;
        const U = 1 << 4;
        const G = 1 << 5;
        const A = 1 << 6;
        const D = 1 << 7;
        /// Bits 63..=54: N, PBMT and those without a meaning. There are no such extensions here.
        const RESERVED = 0x3ff << 54;
    }
}

/// Bytes of the page-table entry's page number, in the entry.
const PPN: u64 = ((1 << 44) - 1) << 10;
/// Levels of Sv39.
const LEVELS: u32 = 3;
/// How often a walk starts anew because another hart changed the entry under it. The guest sees a page fault
/// after that, and tries again: a hart cannot be kept in a walk.
const WALKS: u32 = 64;
/// Under what [`Core::tables`] keeps its pages, which are looked up by physical address.
const PHYSICAL: Context = Context::new(0);

/// Where an access goes.
pub(super) struct Target {
    pub phys: u64,
    /// The page, if it is plain memory.
    pub page: Option<HostPage>,
}

impl<B: Bus> Core<B> {
    /// Translates, checks and remembers: where an access of `len` bytes at `addr`, which does not cross a page,
    /// goes. `len` is at least 1.
    pub(super) fn target(&mut self, addr: u64, len: u64, access: Access) -> Result<Target, Trap> {
        // The first half of an access may have changed the map.
        self.catch_up();
        let (tlb, context) = match access {
            Access::Fetch => (&self.fetch, self.fetch_context),
            Access::Load => (&self.load, self.data_context),
            Access::Store => (&self.store, self.data_context),
        };
        if let Some(place) = tlb.find(addr, context) {
            return Ok(Target { phys: place.phys, page: place.page.cloned() });
        }
        let mode = match access {
            Access::Fetch => self.mode,
            _ => self.csrs.status.data_mode(self.mode),
        };
        let phys = self.translate(addr, access, mode)?;
        let whole = self.pmp.check(phys & !0xfff, 4096, access, mode);
        let verdict = if whole == Verdict::Mixed { self.pmp.check(phys, len, access, mode) } else { whole };
        if verdict != Verdict::Allow {
            return Err(access.access_fault(addr));
        }
        let page = self.bus.page(phys, access == Access::Store);
        if whole == Verdict::Allow {
            let tlb = match access {
                Access::Fetch => &mut self.fetch,
                Access::Load => &mut self.load,
                Access::Store => &mut self.store,
            };
            tlb.fill(addr, context, phys, page.clone());
        }
        Ok(Target { phys, page })
    }

    /// The physical address of `addr`, for `mode`.
    fn translate(&mut self, addr: u64, access: Access, mode: Mode) -> Result<u64, Trap> {
        let Some(root) = self.csrs.page_table().filter(|_| mode != Mode::Machine) else {
            return Ok(addr);
        };
        // Bits 63..=39 repeat bit 38.
        if ((addr << 25) as i64) >> 25 != addr as i64 {
            return Err(access.page_fault(addr));
        }
        for _ in 0..WALKS {
            if let Some(phys) = self.walk(root, addr, access, mode)? {
                return Ok(phys);
            }
        }
        Err(access.page_fault(addr))
    }

    /// One walk down the tables. `None`: another hart changed the entry before A or D could be set.
    fn walk(&mut self, root: u64, addr: u64, access: Access, mode: Mode) -> Result<Option<u64>, Trap> {
        let mut table = root;
        for level in (0..LEVELS).rev() {
            let shift = 12 + 9 * level;
            let at = table + ((addr >> shift) & 0x1ff) * 8;
            let raw = self.read_entry(at).ok_or(access.access_fault(addr))?;
            let pte = Pte::from_bits_retain(raw);
            let writable_only = pte.contains(Pte::W) && !pte.contains(Pte::R);
            if !pte.contains(Pte::V) || writable_only || pte.intersects(Pte::RESERVED) {
                return Err(access.page_fault(addr));
            }
            let base = (raw & PPN) << 2;
            if !pte.intersects(Pte::R | Pte::X) {
                if pte.intersects(Pte::D | Pte::A | Pte::U) {
                    return Err(access.page_fault(addr));
                }
                table = base;
                continue;
            }
            let in_page = (1 << shift) - 1;
            if base & in_page != 0 || !self.permits(pte, access, mode) {
                return Err(access.page_fault(addr));
            }
            let used = if access == Access::Store { Pte::A | Pte::D } else { Pte::A };
            if !pte.contains(used)
                && !self.mark_entry(at, raw, raw | used.bits()).ok_or(access.access_fault(addr))?
            {
                return Ok(None);
            }
            return Ok(Some(base | addr & in_page));
        }
        Err(access.page_fault(addr))
    }

    /// Does a leaf allow this access?
    fn permits(&self, pte: Pte, access: Access, mode: Mode) -> bool {
        let status = self.csrs.status;
        let by_mode = match mode {
            Mode::User => pte.contains(Pte::U),
            _ => !pte.contains(Pte::U) || (status.sum() && access != Access::Fetch),
        };
        by_mode
            && match access {
                Access::Fetch => pte.contains(Pte::X),
                Access::Load => pte.contains(Pte::R) || (status.mxr() && pte.contains(Pte::X)),
                Access::Store => pte.contains(Pte::W),
            }
    }

    /// Reads the page-table entry at physical address `at`; `None` if that is not readable memory. Implicit
    /// accesses have the rights of S-mode.
    fn read_entry(&mut self, at: u64) -> Option<u64> {
        if self.pmp.check(at, 8, Access::Load, Mode::Supervisor) != Verdict::Allow {
            return None;
        }
        if let Some(page) = self.tables.page(at, 7, PHYSICAL) {
            return Some(page.load_u64(at as usize, Ordering::Acquire));
        }
        let page = self.bus.page(at, false)?;
        let value = page.load_u64(at as usize, Ordering::Acquire);
        self.tables.fill(at, PHYSICAL, at, Some(page));
        Some(value)
    }

    /// Sets A and D in the entry at `at` if it still is `old`; false if it is not. `None` if the table cannot be
    /// written.
    fn mark_entry(&mut self, at: u64, old: u64, new: u64) -> Option<bool> {
        if self.pmp.check(at, 8, Access::Store, Mode::Supervisor) != Verdict::Allow {
            return None;
        }
        let page = self.bus.page(at, true)?;
        Some(page.compare_exchange_u64(at as usize, old, new).is_ok())
    }
}
