//! Devices that are plugged and unplugged, and the slots for them.

use super::dice::mix;
use super::layout::{BUS_AT, CARD_MEMORY, COUNTERS_AT, SLOT_STRIDE, SLOTS_AT};
use super::ledger::{Ledger, lock};
use memory_core::{
    AccessRules, AddrRange, BusFault, MemoryError, Methods, Plug, RamBlock, Region, RegionRef, TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, Detached, MemorySystem, Section, chain};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Registers below this say who the card is.
pub const IDENTITY_END: u64 = 0x40;
/// A write is counted.
pub const COUNT: u64 = 0x40;
/// A write has the card store the upper half at the address in the lower half.
pub const STORE: u64 = 0x48;
/// A write has the card count up the counter of that number.
pub const ADD: u64 = 0x50;
/// A write has the card read its own first register, which lies at that address.
pub const SELF: u64 = 0x58;
/// A write has the card unplug itself.
pub const EJECT: u64 = 0x60;
/// A write has the card's slot hold what is at that address, and let go of what it held: inside the callback.
pub const HOLD: u64 = 0x68;
/// Bytes of registers, and of memory.
pub const CARD_SIZE: u64 = 0x1000;

const KEY: u64 = 0x5eed_ca4d_0000_0000;

/// What a card with that serial number says at `offset`.
pub fn identity(serial: u64, offset: u64) -> u64 {
    (serial << 8 | offset) ^ KEY
}

/// The serial number and offset that a card has said.
pub fn identified(value: u64) -> (u64, u64) {
    let plain = value ^ KEY;
    (plain >> 8, plain & 0xff)
}

/// A card: registers, and memory whose first word is the serial number.
pub struct Card {
    serial: u64,
    /// Poisoned by the destructor.
    canary: AtomicU64,
    ledger: Arc<Ledger>,
    /// What the card does DMA on.
    bus: Weak<AddressSpace>,
    slot: Weak<Slot>,
    /// A wait has said that nobody is inside.
    left: Arc<AtomicBool>,
    /// Held for as long as the card lives.
    regions: Mutex<Vec<Region>>,
}

impl Card {
    fn check(&self) {
        let right = self.canary.load(Ordering::Relaxed) == mix(self.serial);
        self.ledger.check(right, || format!("card {} is called after its destructor", self.serial));
        let inside = !self.left.load(Ordering::SeqCst);
        self.ledger.check(inside, || format!("card {} is called after a wait has ended", self.serial));
    }

    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.check();
        Ok(identity(self.serial, offset))
    }

    /// What an access of the card's own fails with is an error of the device: nothing that it reaches is ever away.
    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.check();
        let result = match offset {
            COUNT => {
                self.ledger.counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            STORE => {
                let at = BUS_AT + (value & 0xffff_ffff);
                self.bus()?.store(at, Width::W4, value >> 32, TxAttrs::requester(1))
            }
            ADD => self.add(BUS_AT + COUNTERS_AT + value * 8),
            SELF => self.read_itself(BUS_AT + value),
            HOLD => {
                let range = AddrRange::from_len(BUS_AT + value, 8).ok_or(BusFault::ERROR)?;
                let found = self.bus()?.find(range);
                if let Some(slot) = self.slot.upgrade() {
                    slot.hold(found);
                }
                Ok(())
            }
            EJECT => {
                self.slot.upgrade().map(|slot| slot.unplug());
                Ok(())
            }
            _ => Err(BusFault::ERROR),
        };
        // whatever the map has become meanwhile, this is still here
        self.check();
        result.map_err(|_| BusFault::ERROR)
    }

    fn bus(&self) -> Result<Arc<AddressSpace>, BusFault> {
        self.bus.upgrade().ok_or(BusFault::ERROR)
    }

    fn add(&self, counter: u64) -> Result<(), BusFault> {
        let bus = self.bus()?;
        let mut seen = bus.load(counter, Width::W8, TxAttrs::requester(1))?;
        loop {
            let attrs = TxAttrs::requester(1);
            match bus.compare_exchange(counter, Width::W8, seen, seen.wrapping_add(1), attrs)? {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }

    fn read_itself(&self, register: u64) -> Result<(), BusFault> {
        let read = self.bus()?.load(register, Width::W8, TxAttrs::requester(1));
        if let Ok(value) = read {
            let (serial, _) = identified(value);
            self.ledger.check(serial != self.serial, || format!("card {serial} is entered again"));
        }
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let canary = self.canary.swap(0, Ordering::SeqCst);
        self.ledger.check(canary == mix(self.serial), || format!("card {} has lost its canary", self.serial));
        self.ledger.check(chain::is_idle(), || format!("card {} is dropped inside an access", self.serial));
        let locked =
            lock(&self.regions).first().is_some_and(|region| region.memory().is_inside_transaction());
        self.ledger.check(!locked, || format!("card {} is dropped inside a transaction", self.serial));
        self.ledger.died(self.serial);
    }
}

/// A card that is off the map.
pub struct Leaving {
    serial: u64,
    detached: Detached,
    left: Arc<AtomicBool>,
}

impl Leaving {
    /// The wait for it.
    pub fn detached(&self) -> &Detached {
        &self.detached
    }
}

struct Plugged {
    plug: Plug<Card>,
    serial: u64,
    left: Arc<AtomicBool>,
}

/// A place for one card at a time.
pub struct Slot {
    index: u64,
    system: MemorySystem,
    ledger: Arc<Ledger>,
    plugged: Mutex<Option<Plugged>>,
    leaving: Mutex<Vec<Leaving>>,
    /// What cards in it have found. Not held by them: two cards that hold each other would never go.
    held: Mutex<Option<Section>>,
    /// Threads that take the card out.
    unplugging: AtomicU64,
    /// The newest serial number that may be on the map.
    newest: AtomicU64,
    /// The newest serial number of which a wait has said that nobody is inside.
    left: AtomicU64,
}

impl Slot {
    /// An empty slot. Whoever drops the last card drops the slot: it holds the system.
    pub fn new(index: u64, system: &MemorySystem, ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            index,
            system: system.clone(),
            ledger: ledger.clone(),
            plugged: Mutex::default(),
            leaving: Mutex::default(),
            held: Mutex::default(),
            unplugging: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            left: AtomicU64::new(0),
        })
    }

    /// Where a card in it is mapped.
    pub fn address(&self) -> u64 {
        SLOTS_AT + self.index * SLOT_STRIDE
    }

    /// The newest serial number that may be on the map.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// The newest serial number that is off the map and that nobody is inside.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether a card may be plugged in: there is none, and nobody is about to take one out.
    pub fn is_free(&self) -> bool {
        self.serial().is_none() && self.unplugging.load(Ordering::SeqCst) == 0
    }

    /// The serial number of the card that is plugged in.
    pub fn serial(&self) -> Option<u64> {
        lock(&self.plugged).as_ref().map(|plugged| plugged.serial)
    }

    /// Plugs a new card in, where there is none. It promises to overlap nothing: a card that was unplugged is off the map
    /// for every transaction that begins later.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn plug(
        self: &Arc<Self>,
        root: &RegionRef,
        bus: &Arc<AddressSpace>,
        serial: u64,
    ) -> Result<(), MemoryError> {
        let left = Arc::new(AtomicBool::new(false));
        self.ledger.born(serial);
        let card = Arc::new(Card {
            serial,
            canary: AtomicU64::new(mix(serial)),
            ledger: self.ledger.clone(),
            bus: Arc::downgrade(bus),
            slot: Arc::downgrade(self),
            left: left.clone(),
            regions: Mutex::default(),
        });
        let memory = self.system.memory();
        let weak: Weak<Card> = Arc::downgrade(&card);
        let owner = memory.owner(format!("/machine/card{serial}"), weak);
        let rules = AccessRules::new().valid(Width::W8..=Width::W8).implements(Width::W8..=Width::W8);
        let callbacks = Methods::new(&card, Card::read, Card::write);
        let regs = memory.mmio("card", CARD_SIZE, rules, callbacks).owner(&owner).build()?;
        let block = RamBlock::anonymous(CARD_SIZE).map_err(|error| MemoryError::Refused(Box::new(error)))?;
        let stored = block.store(0, Width::W8, serial);
        self.ledger.check(stored, || format!("card {serial} has no memory"));
        let buffer = memory.ram("card memory", block).owner(&owner).build()?;
        let (regs_ref, buffer_ref) = (regs.by_ref().clone(), buffer.by_ref().clone());
        lock(&card.regions).extend([regs, buffer]);
        let plug = memory.plug(&owner, card);
        self.newest.store(serial, Ordering::SeqCst);
        memory.transaction(|_| {
            root.map(self.address(), &regs_ref)?;
            root.map(self.address() + CARD_MEMORY, &buffer_ref)
        })?;
        *lock(&self.plugged) = Some(Plugged { plug, serial, left });
        Ok(())
    }

    /// Takes the card off the map, if there is one. From any thread, in the card's own callback too.
    pub fn unplug(&self) -> bool {
        // taken out first: no lock of ours is held while the map changes
        self.unplugging.fetch_add(1, Ordering::SeqCst);
        let plugged = lock(&self.plugged).take();
        let any = plugged.is_some();
        if let Some(Plugged { plug, serial, left }) = plugged {
            let detached = self.system.detach(plug);
            lock(&self.leaving).push(Leaving { serial, detached, left });
        }
        self.unplugging.fetch_sub(1, Ordering::SeqCst);
        any
    }

    /// Holds something, and lets go of what it held before, with no lock of its own held.
    pub fn hold(&self, found: Option<Section>) {
        let before = std::mem::replace(&mut *lock(&self.held), found);
        drop(before);
    }

    /// The cards that are off the map and have not been waited for.
    pub fn take_leaving(&self) -> Vec<Leaving> {
        std::mem::take(&mut *lock(&self.leaving))
    }

    /// A card has to be waited for another time.
    pub fn put_back(&self, leaving: Leaving) {
        lock(&self.leaving).push(leaving);
    }

    /// A wait has said that nobody is inside a card.
    pub fn note_left(&self, leaving: &Leaving) {
        leaving.left.store(true, Ordering::SeqCst);
        self.left.fetch_max(leaving.serial, Ordering::SeqCst);
    }
}
