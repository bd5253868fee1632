//! The machine that models are about, and its devices.

use loom::sync::atomic::AtomicUsize;
use loom::thread::ThreadId;
use memory_core::{AccessRules, BusFault, Mmio, Owner, Plug, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, VcpuHandle, chain};
use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

pub const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

/// One space over one root.
pub struct Machine {
    pub system: MemorySystem,
    pub root: Region,
    pub space: Arc<AddressSpace>,
}

impl Machine {
    pub fn new() -> Arc<Self> {
        let system = MemorySystem::new();
        let root = system.memory().container("system", Size::FULL).build().unwrap();
        let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
        Arc::new(Self { system, root, space })
    }

    /// Registers at `address`.
    pub fn mmio<D: Mmio + 'static>(&self, address: u64, size: u64, device: &Arc<D>) -> Region {
        self.keep_at(address, self.regs(size, device))
    }

    /// Registers that are not mapped.
    pub fn regs<D: Mmio + 'static>(&self, size: u64, device: &Arc<D>) -> Region {
        self.system.memory().mmio("regs", size, AccessRules::new(), device.clone()).build().unwrap()
    }

    pub fn keep_at(&self, address: u64, region: Region) -> Region {
        self.root.map_overlap(address, &region, 0).unwrap();
        region
    }

    /// A page of RAM at `address`.
    pub fn ram(&self, address: u64) -> (Arc<RamBlock>, Region) {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        let region = self.system.memory().ram(format!("ram {address:#x}"), block.clone()).build().unwrap();
        (block, self.keep_at(address, region))
    }

    /// A device that is plugged in, with registers at `address`.
    pub fn plugged<D: Mmio + 'static>(&self, address: u64, device: D) -> (Plug<D>, Region) {
        let device = Arc::new(device);
        let owner = self.owner(&device);
        let weak = Arc::downgrade(&device);
        let regs = self.system.memory().mmio("regs", 0x10u64, AccessRules::new(), weak).owner(&owner);
        let regs = self.keep_at(address, regs.build().unwrap());
        (self.system.memory().plug(&owner, device), regs)
    }

    pub fn owner<D: Send + Sync + 'static>(&self, device: &Arc<D>) -> Owner {
        let weak: Weak<D> = Arc::downgrade(device);
        let weak: Weak<dyn Any + Send + Sync> = weak;
        self.system.memory().owner("/machine/device", weak)
    }

    pub fn load(&self, address: u64) -> Result<u64, BusFault> {
        self.space.load(address, Width::W4, ATTRS)
    }

    pub fn store(&self, address: u64, value: u64) -> Result<(), BusFault> {
        self.space.store(address, Width::W4, value, ATTRS)
    }

    /// A handle that nobody needs to kick.
    pub fn handle(&self) -> VcpuHandle {
        self.space.handle(|| ())
    }
}

/// Registers that always read the same.
pub struct Constant(pub u64);

impl Mmio for Constant {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.0)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

/// What a canary leaves. What it says is not the checker's: to look at it is no step, and orders nothing. But the checker
/// only tries both orders of steps that touch the same thing, so everybody who looks touches `step` first.
#[derive(Default)]
pub struct Remains {
    step: AtomicUsize,
    drops: std::sync::atomic::AtomicUsize,
    inside: std::sync::atomic::AtomicUsize,
    forbidden: std::sync::atomic::AtomicBool,
    on: Mutex<Option<ThreadId>>,
}

impl Remains {
    /// A step that comes before or after those of all others, and orders nothing else.
    fn touch(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the device has ended.
    pub fn drops(&self) -> usize {
        self.touch();
        self.drops.load(Ordering::SeqCst)
    }

    /// The thread on which it has.
    pub fn on(&self) -> Option<ThreadId> {
        *self.on.lock().unwrap()
    }

    /// From here on nobody may be inside.
    pub fn forbid(&self) {
        self.touch();
        assert_eq!(self.inside.load(Ordering::SeqCst), 0, "somebody is inside");
        self.forbidden.store(true, Ordering::SeqCst);
    }
}

/// A device that ends once, where destructors may run, with nobody inside.
#[derive(Default)]
pub struct Canary {
    remains: Arc<Remains>,
}

impl Canary {
    pub fn new() -> (Self, Arc<Remains>) {
        let canary = Self::default();
        let remains = canary.remains.clone();
        (canary, remains)
    }

    /// In and out, with a step of the checker's between, so that others come between as well.
    pub fn visit(&self) {
        self.remains.inside.fetch_add(1, Ordering::SeqCst);
        let check = || {
            assert_eq!(self.remains.drops.load(Ordering::SeqCst), 0, "a device has ended and is used");
            assert!(
                !self.remains.forbidden.load(Ordering::SeqCst),
                "a device is entered that nobody is inside of"
            );
        };
        check();
        self.remains.touch();
        check();
        self.remains.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Mmio for Canary {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.visit();
        Ok(42)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.visit();
        Ok(())
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.remains.touch();
        assert_eq!(self.remains.inside.load(Ordering::SeqCst), 0, "a device ends with somebody inside");
        assert!(chain::is_idle(), "a device ends inside an access");
        assert_eq!(self.remains.drops.fetch_add(1, Ordering::SeqCst), 0, "a device ends twice");
        *self.remains.on.lock().unwrap() = Some(loom::thread::current().id());
    }
}

/// A count that is no step of the checker's.
#[derive(Clone, Default)]
pub struct Count(Arc<std::sync::atomic::AtomicUsize>);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that one thread puts down and another waits for.
pub struct Mailbox<T> {
    letter: loom::sync::Mutex<Option<T>>,
    come: loom::sync::Condvar,
}

impl<T> Mailbox<T> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { letter: loom::sync::Mutex::new(None), come: loom::sync::Condvar::new() })
    }

    pub fn put(&self, letter: T) {
        *self.letter.lock().unwrap() = Some(letter);
        self.come.notify_all();
    }

    pub fn take(&self) -> T {
        let mut letter = self.letter.lock().unwrap();
        loop {
            if let Some(letter) = letter.take() {
                return letter;
            }
            letter = self.come.wait(letter).unwrap();
        }
    }
}
