//! The map as the one who changes it has it: a few switches, and by them what every address shows.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes of RAM, which starts at address 0.
pub const RAM_SIZE: u64 = 0x10_0000;
/// Bytes of a page of the dirty log.
pub const PAGE: u64 = 0x1000;
/// The RAM whose words belong to the workers in turn ends here.
pub const WORDS_END: u64 = 0xe_0000;
/// RAM that is cut into one stretch for each worker, up to [`COUNTERS_AT`].
pub const STRETCHES_AT: u64 = WORDS_END;
/// Counters that all workers count up, in the last page of RAM.
pub const COUNTERS_AT: u64 = RAM_SIZE - PAGE;
/// Counters that there are, 8 bytes each.
pub const COUNTERS: u64 = 4;
/// Registers over RAM, which come and go.
pub const VEIL_AT: u64 = 0xc_0000;
/// Their bytes.
pub const VEIL_SIZE: u64 = 0x4000;
/// Where the alias of RAM may be.
pub const ALIAS_AT: [u64; 2] = [0x100_0000, 0x110_0000];
/// Its bytes.
pub const ALIAS_SIZE: u64 = 0x8000;
/// The distance between the parts of RAM that it may show, before rounding.
const ALIAS_STRIDE: u64 = 0x2_8000;
/// Parts of RAM that the alias may show.
pub const ALIAS_PARTS: u64 = 4;
/// The ROM device.
pub const FLASH_AT: u64 = 0x200_0000;
/// Its bytes.
pub const FLASH_SIZE: u64 = 0x1000;
/// Where the bell may be.
pub const BELL_AT: [u64; 2] = [0x300_0000, 0x300_1000];
/// Two registers that always say the same.
pub const EPOCH_AT: u64 = 0x400_0000;
/// The first slot of cards.
pub const SLOTS_AT: u64 = 0x500_0000;
/// From one slot to the next.
pub const SLOT_STRIDE: u64 = 0x1_0000;
/// A card's memory, from its slot on.
pub const CARD_MEMORY: u64 = 0x1000;
/// Where regions come and go that nobody looks at.
pub const CLUTTER_AT: u64 = 0x600_0000;
/// The bytes for them.
pub const CLUTTER_SIZE: u64 = 0x10_0000;
/// All the system is seen from here on in the space of the bus.
pub const BUS_AT: u64 = 0x1_0000_0000;

/// A yes-or-no property of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// The alias is at the second place.
    AliasPlace,
    /// The alias is enabled.
    AliasEnabled,
    /// The alias is read-only.
    AliasReadOnly,
    /// Registers cover a part of RAM.
    Veil,
    /// The ROM device is in ROMD mode.
    Romd,
    /// The bell is at the second place.
    BellPlace,
    /// Ringing signals an event.
    BellEvent,
    /// Posted writes may be queued.
    BellCoalesced,
}

impl Switch {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::AliasPlace,
        Self::AliasEnabled,
        Self::AliasReadOnly,
        Self::Veil,
        Self::Romd,
        Self::BellPlace,
        Self::BellEvent,
        Self::BellCoalesced,
    ];
}

/// All properties of the map, in the low bits the part of RAM that the alias shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout(u64);

impl Layout {
    /// The map as it is made.
    pub fn first() -> Self {
        Self(0).with(Switch::AliasEnabled, true).with(Switch::Romd, true)
    }

    /// Whether a property holds.
    pub fn has(self, switch: Switch) -> bool {
        self.0 >> (8 + switch as u64) & 1 != 0
    }

    /// The same with one property set.
    #[must_use]
    pub fn with(self, switch: Switch, value: bool) -> Self {
        let bit = 1 << (8 + switch as u64);
        Self(if value { self.0 | bit } else { self.0 & !bit })
    }

    /// The part of RAM that the alias shows.
    pub fn alias_part(self) -> u64 {
        self.0 & 0xff
    }

    /// The same with another part of RAM in the alias.
    #[must_use]
    pub fn with_alias_part(self, part: u64) -> Self {
        Self(self.0 & !0xff | part & 0xff)
    }

    /// Where the alias is.
    pub fn alias_at(self) -> u64 {
        ALIAS_AT[usize::from(self.has(Switch::AliasPlace))]
    }

    /// Where the bell is.
    pub fn bell_at(self) -> u64 {
        BELL_AT[usize::from(self.has(Switch::BellPlace))]
    }

    /// What `address`, which is in RAM or at a place of the alias, shows. `turn` is what the parts of RAM in the alias are
    /// multiples of.
    pub fn seen(self, address: u64, turn: u64) -> Seen {
        if address < RAM_SIZE {
            let veiled = self.has(Switch::Veil) && in_veil(address);
            return if veiled { Seen::Veil(address - VEIL_AT) } else { Seen::Ram(address, true) };
        }
        let into = address.wrapping_sub(self.alias_at());
        if into < ALIAS_SIZE && self.has(Switch::AliasEnabled) {
            let offset = alias_offset(self.alias_part(), turn) + into;
            return Seen::Ram(offset, !self.has(Switch::AliasReadOnly));
        }
        Seen::Nothing
    }
}

/// Whether registers may cover an address.
pub fn in_veil(address: u64) -> bool {
    (VEIL_AT..VEIL_AT + VEIL_SIZE).contains(&address)
}

/// The first byte of RAM that the alias shows with part `part`.
pub fn alias_offset(part: u64, turn: u64) -> u64 {
    part * (ALIAS_STRIDE / turn * turn)
}

/// What is seen at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// This byte of RAM, and whether it can be written.
    Ram(u64, bool),
    /// This byte of the registers over RAM.
    Veil(u64),
    /// Nobody.
    Nothing,
}

/// All that `address`, which is in RAM or at a place of the alias, may show.
pub fn possible(address: u64, turn: u64) -> Vec<Seen> {
    if address < RAM_SIZE {
        let mut all = vec![Seen::Ram(address, true)];
        if in_veil(address) {
            all.push(Seen::Veil(address - VEIL_AT));
        }
        return all;
    }
    let into = address % ALIAS_AT[1].abs_diff(ALIAS_AT[0]);
    let parts = (0..ALIAS_PARTS).map(|part| alias_offset(part, turn) + into);
    let mut all: Vec<Seen> = parts.flat_map(|at| [Seen::Ram(at, true), Seen::Ram(at, false)]).collect();
    all.push(Seen::Nothing);
    all
}

/// The layout for all threads, with a version that is odd while it changes: a sequence lock. Whoever finds the same
/// even version before and after an access knows what the access must have seen.
#[derive(Debug)]
pub struct Chart {
    version: AtomicU64,
    layout: AtomicU64,
}

/// A look at the chart.
#[derive(Clone, Copy, Debug)]
pub struct Glimpse {
    version: u64,
    layout: Layout,
}

impl Default for Chart {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), layout: AtomicU64::new(Layout::first().0) }
    }
}

impl Chart {
    /// What it says now, for [`Chart::held`].
    pub fn glimpse(&self) -> Glimpse {
        let version = self.version.load(Ordering::Acquire);
        Glimpse { version, layout: self.layout() }
    }

    /// What it says now.
    pub fn layout(&self) -> Layout {
        Layout(self.layout.load(Ordering::Acquire))
    }

    /// The layout that held from the glimpse until now, if there was only one.
    pub fn held(&self, glimpse: Glimpse) -> Option<Layout> {
        fence(Ordering::SeqCst);
        let same = self.version.load(Ordering::SeqCst) == glimpse.version;
        (same && glimpse.version.is_multiple_of(2)).then_some(glimpse.layout)
    }

    /// Changes the layout by `change`, which says what it has become. One thread does this.
    pub fn change<R>(&self, change: impl FnOnce(Layout) -> (Layout, R)) -> R {
        self.version.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let (layout, result) = change(self.layout());
        self.layout.store(layout.0, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
        result
    }
}
