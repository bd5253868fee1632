//! The machine that is put under stress.

use super::card::Slot;
use super::dice::Dice;
use super::fixture::{BELL_SIZE, Bell, Epoch, FLASH, FLASH_MEMORY, POST, RING, Registers, VEIL, W8, canary};
use super::layout::{
    ALIAS_SIZE, BUS_AT, Chart, EPOCH_AT, FLASH_AT, FLASH_SIZE, Layout, RAM_SIZE, Switch, VEIL_AT, VEIL_SIZE,
    alias_offset,
};
use super::ledger::{Balance, Ledger, lock};
use super::session::Sessions;
use super::witness::{Refuser, Witness};
use anyhow::Result;
use memory_core::{
    AccessRules, AddrRange, EventNotifier, IoEvent, MemoryError, RamBlock, Region, Size, Width,
};
use memory_dispatch::{AddressSpace, ListenerGuard, MemorySystem, SpaceConfig};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Slots for cards.
pub const SLOTS: u64 = 6;

/// The machine: its regions, what is known of its map, and who watches it.
pub struct World {
    /// The regions and spaces.
    pub system: MemorySystem,
    /// What the machine is.
    pub root: Region,
    /// The vCPUs' space.
    pub space: Arc<AddressSpace>,
    /// The bus masters' space, which shows the machine from [`BUS_AT`] on.
    pub bus: Arc<AddressSpace>,
    /// RAM.
    pub ram: Region,
    /// RAM's own bytes.
    pub block: Arc<RamBlock>,
    /// The books.
    pub ledger: Arc<Ledger>,
    /// The map as it is meant to be.
    pub chart: Chart,
    /// Parts of RAM in the alias are multiples of this: then a word at an offset of the alias belongs to one worker
    /// whatever the part is.
    pub turn: u64,
    /// The registers over RAM.
    pub veil: Arc<Registers>,
    /// The ROM device.
    pub flash: Arc<Registers>,
    /// The bell.
    pub bell: Arc<Bell>,
    /// What is signalled instead of ringing.
    pub event: EventNotifier,
    /// For cards.
    pub slots: Vec<Arc<Slot>>,
    /// The newest serial number.
    pub serials: AtomicU64,
    /// The last epoch whose commit has begun, and the last whose commit has returned.
    pub epochs: Balance,
    /// What is on the map now. Held by who changes the map.
    pub changing: Mutex<Changing>,
    /// When displays want to know of writes to RAM.
    pub sessions: Sessions,
    /// Told of all spaces, always.
    pub witness: Arc<Witness>,
    guards: Vec<ListenerGuard>,
    regions: Switched,
}

/// What one thread replaces.
pub struct Changing {
    /// The two regions of the epoch, and the epoch.
    pub epoch: Option<(Region, Region, Arc<Epoch>)>,
    /// Regions that nobody looks at.
    pub clutter: Vec<Region>,
    /// A further space.
    pub space: Option<Arc<AddressSpace>>,
    /// A further listener.
    pub listener: Option<(Arc<Witness>, ListenerGuard)>,
}

/// The regions whose attributes are switched, and those that only have to be kept.
struct Switched {
    alias: Region,
    veil: Region,
    flash: Region,
    bell: Region,
    _window: Region,
    _bus: Region,
}

impl World {
    /// The machine for so many workers.
    ///
    /// # Errors
    /// What the host lacks.
    pub fn new(workers: usize) -> Result<Self> {
        let system = MemorySystem::new();
        let memory = system.memory();
        let ledger = Arc::<Ledger>::default();
        let root = memory.container("system", BUS_AT).build()?;
        let block = RamBlock::anonymous(RAM_SIZE)?;
        let ram = memory.ram("ram", block.clone()).build()?;
        root.map(0, &ram)?;
        let turn = workers as u64 * 8;
        let layout = Layout::first();
        let alias = memory.alias("alias", &ram, alias_offset(0, turn), ALIAS_SIZE).build()?;
        root.map(layout.alias_at(), &alias)?;

        let veil = Arc::new(Registers::new(VEIL));
        let rules = || AccessRules::new().valid(W8..=W8).implements(W8..=W8);
        let veil_region = memory.mmio("veil", VEIL_SIZE, rules(), veil.clone()).disabled().build()?;
        root.map_overlap(VEIL_AT, &veil_region, 1)?;
        let flash = Arc::new(Registers::new(FLASH));
        let rom = RamBlock::anonymous(FLASH_SIZE)?;
        for offset in (0..FLASH_SIZE).step_by(8) {
            let stored = rom.store(offset, W8, canary(FLASH_MEMORY, offset));
            ledger.check(stored, || format!("no memory of the flash at {offset:#x}"));
        }
        let flash_region = memory.rom_device("flash", rom, rules(), flash.clone()).build()?;
        root.map(FLASH_AT, &flash_region)?;
        let bell = Arc::new(Bell::new(ledger.clone(), workers));
        let bell_rules = AccessRules::new().valid(Width::W1..=W8).implements(Width::W1..=W8);
        let bell_region = memory.mmio("bell", BELL_SIZE, bell_rules, bell.clone()).build()?;
        root.map(layout.bell_at(), &bell_region)?;

        let bus_root = memory.container("bus", Size::FULL).build()?;
        let window = memory.alias("window", &root, 0, BUS_AT).build()?;
        bus_root.map(BUS_AT, &window)?;
        let space = system.address_space("memory", &root, SpaceConfig::default())?;
        let bus = system.address_space("bus", &bus_root, SpaceConfig::default())?;
        let witness = Witness::new("witness", None, &ledger);
        let guards = vec![
            system.listen(witness.clone(), 0, None)?,
            // told last what comes, so that the others have something to take back
            system.listen(Arc::new(Refuser), 10, None)?,
        ];
        system.coalesce(true);
        let books = ledger.clone();
        system.on_reclaimable(move || books.reclaimable.store(true, Ordering::Relaxed));
        let slots = (0..SLOTS).map(|index| Slot::new(index, &system, &ledger)).collect();
        let regions = Switched {
            alias,
            veil: veil_region,
            flash: flash_region,
            bell: bell_region,
            _window: window,
            _bus: bus_root,
        };
        let changing = Changing { epoch: None, clutter: Vec::new(), space: None, listener: None };
        let world = Self {
            system,
            root,
            space,
            bus,
            ram,
            block,
            ledger,
            chart: Chart::default(),
            turn,
            veil,
            flash,
            bell,
            event: EventNotifier::new()?,
            slots,
            serials: AtomicU64::new(0),
            epochs: Balance::default(),
            changing: Mutex::new(changing),
            sessions: Sessions::new(workers),
            witness,
            guards,
            regions,
        };
        world.next_epoch(&mut lock(&world.changing), false)?;
        Ok(world)
    }

    /// Any slot.
    pub fn slot(&self, dice: &mut Dice) -> &Arc<Slot> {
        let index = dice.below(self.slots.len() as u64);
        &self.slots[index as usize]
    }

    /// Makes the map what `new` says, and `old` does not, inside a transaction.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn switch(&self, old: Layout, new: Layout) -> Result<(), MemoryError> {
        let Switched { alias, veil, flash, bell, .. } = &self.regions;
        if old.alias_part() != new.alias_part() {
            alias.set_alias_offset(alias_offset(new.alias_part(), self.turn))?;
        }
        let changed = |switch: &Switch| old.has(*switch) != new.has(*switch);
        for switch in Switch::ALL.into_iter().filter(changed) {
            let on = new.has(switch);
            match switch {
                Switch::AliasPlace => alias.set_address(new.alias_at())?,
                Switch::AliasEnabled => alias.set_enabled(on)?,
                Switch::AliasReadOnly => alias.set_read_only(on)?,
                Switch::Veil => veil.set_enabled(on)?,
                Switch::Romd => flash.set_romd(on)?,
                Switch::BellPlace => bell.set_address(new.bell_at())?,
                Switch::BellEvent => {
                    let event = IoEvent::new(RING, W8, self.event.clone());
                    if on { bell.add_ioevent(event)? } else { bell.remove_ioevent(&event)? }
                }
                Switch::BellCoalesced if on => {
                    let range = AddrRange::new(POST, POST + 7);
                    range.map_or(Ok(()), |range| bell.add_coalesced(range))?;
                }
                Switch::BellCoalesced => bell.clear_coalesced()?,
            }
        }
        Ok(())
    }

    /// Replaces the two registers of the epoch by the next, in one transaction, which is refused if `refuse`: that
    /// changes nothing.
    ///
    /// # Errors
    /// A refusal.
    pub fn next_epoch(&self, changing: &mut Changing, refuse: bool) -> Result<(), MemoryError> {
        let number = self.epochs.gone.load(Ordering::SeqCst) + 1;
        let memory = self.system.memory();
        let epoch = Arc::new(Epoch::new(number, self.ledger.clone()));
        let rules = || AccessRules::new().valid(W8..=W8).implements(W8..=W8);
        let low = memory.mmio("epoch", 8u64, rules(), epoch.clone()).build()?;
        let high = memory.mmio("epoch", 8u64, rules(), epoch.clone()).build()?;
        self.epochs.come.fetch_max(number, Ordering::SeqCst);
        memory.transaction(|_| {
            if let Some((low, high, _)) = &changing.epoch {
                low.unmap()?;
                high.unmap()?;
            }
            self.root.map(EPOCH_AT, &low)?;
            self.root.map(EPOCH_AT + 8, &high)?;
            // not before: a removal, which cannot be refused, may be due when a transaction begins
            if refuse {
                Refuser::arm();
            }
            Ok::<_, MemoryError>(())
        })?;
        self.epochs.gone.store(number, Ordering::SeqCst);
        if let Some((_, _, before)) = changing.epoch.replace((low, high, epoch)) {
            before.replaced.get_or_init(Instant::now);
        }
        Ok(())
    }

    /// Takes the machine apart, so that nothing but the books is left.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn dismantle(mut self) -> Result<()> {
        let (ledger, witness) = (self.ledger.clone(), self.witness.clone());
        for guard in std::mem::take(&mut self.guards) {
            ledger.check(!guard.is_poisoned(), || "a listener is poisoned".to_owned());
            guard.unregister()?;
        }
        witness.ends_empty();
        let (bell, veil, flash) =
            (Arc::downgrade(&self.bell), Arc::downgrade(&self.veil), Arc::downgrade(&self.flash));
        let (block, space, bus) =
            (Arc::downgrade(&self.block), Arc::downgrade(&self.space), Arc::downgrade(&self.bus));
        drop(self);
        let left = |name: &str, count: usize| {
            ledger.check(count == 0, || format!("{name} has {count} owners when all else is gone"));
        };
        left("the bell", bell.strong_count());
        left("the veil", veil.strong_count());
        left("the flash", flash.strong_count());
        left("RAM", block.strong_count());
        left("the vCPUs' space", space.strong_count());
        left("the bus", bus.strong_count());
        let epochs = ledger.epochs.left();
        ledger.check(epochs == 0, || format!("{epochs} epochs are left when all else is gone"));
        Ok(())
    }
}
