//! A small IOMMU with page tables in guest memory, for tests: each requester has a region of its own, the root of the
//! address space that its DMA goes to.
//!
//! In a machine file the spaces are made of the regions, and devices say which one is theirs:
//!
//! ```toml
//! [[device]]
//! type = "test-iommu"
//! name = "iommu"
//! map = { region = "regs", at = "0x1000_0000" }
//!
//! [[space]]
//! name = "dma1"
//! root = "iommu.requester1"
//!
//! [[device]]
//! type = "dma-test"
//! name = "engine"
//! at = "0x1000_1000"
//! dma = "dma1"
//! requester = 1
//! ```

pub mod registers;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use crate::{Device, DeviceError, DeviceInfo, DmaPort, Inspector, IrqLine, Property, Realize, ResetType};
use memory_core::{
    AccessRules, AddrRange, BindIommu, BusFault, Iommu, IommuEntry, Permissions, Region, ReplayVisitor,
    SpaceId, TxAttrs, Width,
};
use memory_dispatch::IommuPort;
use registers::*;
use serde::{Deserialize, Serialize};

/// Requesters that one unit may have.
const MOST: u16 = 256;

/// The IOMMU.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TestIommu {
    /// How many requesters there are, numbered from 0.
    #[serde(default = "four")]
    requesters: u16,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    /// Held while the interrupt line is set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

fn four() -> u16 {
    4
}

#[derive(Debug)]
struct Wiring {
    irq: IrqLine,
    dma: DmaPort,
    /// Where translated accesses go on.
    space: SpaceId,
    _regs: Region,
    /// By requester.
    ports: Vec<IommuPort>,
    _regions: Vec<Region>,
}

/// What one requester sees of the unit.
struct Requester {
    unit: Arc<TestIommu>,
    number: u16,
}

/// The same, held weakly.
struct Bound {
    unit: Weak<TestIommu>,
    number: u16,
}

impl BindIommu for Bound {
    fn bind(&self) -> Option<Arc<dyn Iommu>> {
        Some(Arc::new(Requester { unit: self.unit.upgrade()?, number: self.number }))
    }
}

/// Why an address is not translated.
type Refused = u32;

/// A page that a table maps: its first address, its bytes less one, where it leads, what is allowed.
struct Page {
    start: u64,
    mask: u64,
    translated: u64,
    permissions: Permissions,
}

impl Iommu for Requester {
    fn translate(&self, address: u64, access: Permissions, _attrs: TxAttrs) -> Option<IommuEntry> {
        match self.unit.walk(self.number, address) {
            Ok(page) => {
                if !page.permissions.contains(access) {
                    self.unit.fault(self.number, address, NOT_ALLOWED);
                }
                Some(self.unit.entry(&page)?)
            }
            Err(why) => {
                self.unit.fault(self.number, address, why);
                None
            }
        }
    }

    fn announces(&self) -> bool {
        true
    }

    fn replay(&self, _index: usize, range: AddrRange, visit: ReplayVisitor<'_>) -> bool {
        if let Ok(table) = self.unit.context(self.number) {
            self.unit.replay(table, (0, LEVELS), range, visit);
        }
        true
    }
}

impl TestIommu {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, address: u64) -> Result<u64, Refused> {
        let mut bytes = [0; 8];
        let read = self.wiring.get().map(|wiring| wiring.dma.read(address, &mut bytes));
        if read == Some(Ok(())) { Ok(u64::from_le_bytes(bytes)) } else { Err(NO_TABLE) }
    }

    /// The table of a requester.
    fn context(&self, requester: u16) -> Result<u64, Refused> {
        let (contexts, enabled) = {
            let state = self.state();
            (state.contexts, state.enabled)
        };
        if !enabled {
            return Err(NO_CONTEXT);
        }
        let context = self.load(contexts.wrapping_add(8 * u64::from(requester)))?;
        if context & CONTEXT_VALID == 0 { Err(NO_CONTEXT) } else { Ok(context & ADDRESS) }
    }

    fn walk(&self, requester: u16, address: u64) -> Result<Page, Refused> {
        let mut table = self.context(requester)?;
        if address >> BITS != 0 {
            return Err(NOT_MAPPED);
        }
        for level in (0..LEVELS).rev() {
            let shift = 12 + 9 * level;
            let entry = self.load(table.wrapping_add(8 * (address >> shift & 0x1ff)))?;
            if entry & VALID == 0 {
                return Err(NOT_MAPPED);
            }
            if let Some(page) = leaf(entry, address, shift) {
                return Ok(page);
            }
            table = entry & ADDRESS;
        }
        Err(NOT_MAPPED)
    }

    /// Visits the pages of one table and those below it, which begin at `start`.
    fn replay(&self, table: u64, (start, levels): (u64, u32), range: AddrRange, visit: ReplayVisitor<'_>) {
        let Some(level) = levels.checked_sub(1) else { return };
        let shift = 12 + 9 * level;
        for index in 0..512u64 {
            let at = start | index << shift;
            if at >> BITS != 0 {
                return;
            }
            let seen = AddrRange::new(at, at | ((1 << shift) - 1)).is_some_and(|part| part.overlaps(range));
            let entry = if seen { self.load(table.wrapping_add(8 * index)) } else { continue };
            let Ok(entry) = entry else { return };
            if entry & VALID == 0 {
                continue;
            }
            match leaf(entry, at, shift) {
                Some(page) => {
                    let pages = AddrRange::new(page.start, page.start | page.mask);
                    if let Some((range, entry)) = pages.zip(self.entry(&page)) {
                        visit(range, entry);
                    }
                }
                None => self.replay(entry & ADDRESS, (at, level), range, visit),
            }
        }
    }

    fn entry(&self, page: &Page) -> Option<IommuEntry> {
        let space = self.wiring.get()?.space;
        let Page { mask, translated, permissions, .. } = *page;
        Some(IommuEntry { space, translated, mask, permissions })
    }

    /// Notes the first fault, and calls for somebody to look at it.
    fn fault(&self, requester: u16, address: u64, why: Refused) {
        let mut state = self.state();
        if state.fault == 0 {
            state.fault = why;
            state.fault_requester = requester.into();
            state.fault_address = address;
        }
        self.interrupt(&state);
    }

    fn interrupt(&self, state: &State) {
        if let Some(wiring) = self.wiring.get() {
            wiring.irq.set(state.fault != 0);
        }
    }

    fn invalidate(&self, command: u64) {
        let (requester, address) = {
            let state = self.state();
            (state.requester as usize, state.address)
        };
        let Some(wiring) = self.wiring.get() else { return };
        let page = AddrRange::new(address & ADDRESS, address | 0xfff);
        match (command, wiring.ports.get(requester)) {
            (1, _) => wiring.ports.iter().for_each(|port| port.unmap(0, AddrRange::ALL)),
            (2, Some(port)) => port.unmap(0, AddrRange::ALL),
            (3, Some(port)) => {
                if let Some(page) = page {
                    port.unmap(0, page);
                }
            }
            _ => tracing::debug!(command, requester, "the IOMMU is told to forget what is not there"),
        }
    }

    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let state = self.state();
        Ok(match offset {
            CONTEXTS_LOW => state.contexts & 0xffff_ffff,
            CONTEXTS_HIGH => state.contexts >> 32,
            CONTROL => state.enabled.into(),
            REQUESTER => state.requester.into(),
            ADDRESS_LOW => state.address & 0xffff_ffff,
            ADDRESS_HIGH => state.address >> 32,
            FAULT => state.fault.into(),
            FAULT_REQUESTER => state.fault_requester.into(),
            FAULT_LOW => state.fault_address & 0xffff_ffff,
            FAULT_HIGH => state.fault_address >> 32,
            _ => 0,
        })
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let low = |old: u64| old & !0xffff_ffff | value;
        let high = |old: u64| old & 0xffff_ffff | value << 32;
        let mut state = self.state();
        let before = (state.contexts, state.enabled);
        match offset {
            CONTEXTS_LOW => state.contexts = low(state.contexts),
            CONTEXTS_HIGH => state.contexts = high(state.contexts),
            CONTROL => state.enabled = value & 1 != 0,
            REQUESTER => state.requester = value as u32,
            ADDRESS_LOW => state.address = low(state.address),
            ADDRESS_HIGH => state.address = high(state.address),
            FAULT => {
                state.fault = 0;
                self.interrupt(&state);
            }
            _ => {}
        }
        let changes = before != (state.contexts, state.enabled);
        drop(state);
        match offset {
            INVALIDATE => self.invalidate(value),
            // everything leads elsewhere
            _ if changes => self.invalidate(1),
            _ => {}
        }
        Ok(())
    }
}

/// The page of an entry at `address`, unless it leads to another table.
fn leaf(entry: u64, address: u64, shift: u32) -> Option<Page> {
    let mut permissions = Permissions::empty();
    permissions.set(Permissions::READ, entry & READ != 0);
    permissions.set(Permissions::WRITE, entry & WRITE != 0);
    let mask = (1 << shift) - 1;
    let (start, translated) = (address & !mask, entry & ADDRESS & !mask);
    (!permissions.is_empty()).then_some(Page { start, mask, translated, permissions })
}

#[typetag::serde(name = "test-iommu")]
impl Device for TestIommu {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        if !(1..=MOST).contains(&self.requesters) {
            let reason = format!("{} requesters; there are 1 to {MOST}", self.requesters);
            return Err(DeviceError::Property { property: "requesters", reason });
        }
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let (mut ports, mut regions) = (Vec::new(), Vec::new());
        for number in 0..self.requesters {
            let bound = Bound { unit: Arc::downgrade(&self), number };
            let name = format!("requester{number}");
            let region = ctx.memory().iommu(name.as_str(), 1u64 << BITS, bound).owner(ctx.owner()).build()?;
            ctx.export(name, &region);
            ports.push(ctx.dma_space().iommu_port(&region));
            regions.push(region);
        }
        let (irq, dma, space) = (ctx.output("irq"), ctx.dma(), ctx.dma_space().id());
        let wiring = Wiring { irq, dma, space, _regs: regs, ports, _regions: regions };
        let _ = self.wiring.set(wiring);
        self.interrupt(&self.state());
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        {
            let mut state = self.state();
            *state = State::default();
            self.interrupt(&state);
        }
        if let Some(wiring) = self.wiring.get() {
            wiring.ports.iter().for_each(|port| port.unmap(0, AddrRange::ALL));
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.field("context table", format!("{:#x}", state.contexts))
            .field("enabled", state.enabled)
            .field("fault", state.fault)
            .field("fault requester", state.fault_requester)
            .field("fault address", format!("{:#x}", state.fault_address));
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "test-iommu",
        about: "IOMMU for tests: page tables in memory, a context and a region for each requester",
        properties: &[Property {
            name: "requesters",
            kind: "1 to 256",
            default: Some("4"),
            about: "how many requesters there are, each with a region `requesterN`",
        }],
        example: "{}",
    }
}
