//! IOMMUs: kept translations, and who is told of changes.

use crate::machine::{Count, Machine};
use crate::model::Model;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use memory_core::{
    AddrRange, Iommu, IommuEntry, IommuEvents, PAGE_SIZE, Permissions, Region, Size, SpaceId, TxAttrs,
};
use memory_dispatch::{AddressSpace, IommuPort, SpaceConfig};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Translates everything to one page, which changes.
struct Unit {
    to: AtomicU64,
    space: SpaceId,
}

impl Iommu for Unit {
    fn translate(&self, _: u64, _: Permissions, _: TxAttrs) -> Option<IommuEntry> {
        let translated = self.to.load(Ordering::Acquire);
        let permissions = Permissions::READ | Permissions::WRITE;
        Some(IommuEntry { space: self.space, translated, mask: PAGE_SIZE as u64 - 1, permissions })
    }

    fn announces(&self) -> bool {
        true
    }
}

struct Scene {
    machine: Arc<Machine>,
    unit: Arc<Unit>,
    dma: Arc<AddressSpace>,
    port: IommuPort,
    regions: Vec<Region>,
}

/// Two pages of RAM with 1 and 2 in them, and a space in which an IOMMU leads to the first.
fn scene() -> Scene {
    let machine = Machine::new();
    let mut regions = Vec::new();
    for (at, value) in [(0, 1), (0x1000, 2)] {
        let (block, ram) = machine.ram(at);
        assert!(block.fill(0x100, 1, value));
        regions.push(ram);
    }
    let unit = Arc::new(Unit { to: AtomicU64::new(0), space: machine.space.id() });
    let region = machine.system.memory().iommu("iommu", Size::FULL, Arc::downgrade(&unit)).build().unwrap();
    let dma = machine.system.address_space("dma", &region, SpaceConfig::default()).unwrap();
    let port = machine.system.iommu_port(&region);
    regions.push(region);
    Scene { machine, unit, dma, port, regions }
}

fn load(dma: &AddressSpace) -> u64 {
    dma.load(0x100, memory_core::Width::W1, TxAttrs::UNSPECIFIED).unwrap()
}

pub const IOTLB: Model = Model {
    name: "iotlb-invalidation",
    proves: "once an invalidation has returned no access, of any thread, goes where the page led before",
    threads: 3,
    preemptions: Some(3),
    run: iotlb,
};

fn iotlb() {
    let Scene { machine: _machine, unit, dma, port, regions: _regions } = scene();
    let devices = [(); 2].map(|()| {
        let dma = dma.clone();
        thread::spawn(move || load(&dma))
    });
    unit.to.store(0x1000, Ordering::Release);
    port.unmap(0, AddrRange::new(0, 0xfff).unwrap());
    assert_eq!(load(&dma), 2, "a stale translation was kept");
    for device in devices {
        assert!([1, 2].contains(&device.join().unwrap()));
    }
    assert_eq!(load(&dma), 2, "a stale translation was kept later");
}

pub const NOTIFIER: Model = Model {
    name: "iommu-notifier-guard",
    proves: "when a notifier's guard is dropped nobody is in the callback, and nobody enters it from then on",
    threads: 2,
    preemptions: None,
    run: notifier,
};

fn notifier() {
    let Scene { machine, port, regions, unit: _unit, dma: _dma } = scene();
    let (inside, over) = (Count::default(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    // touched by both sides, so that the checker tries both orders
    let step = Arc::new(AtomicU64::new(0));
    let tell = {
        let (over, step) = (over.clone(), step.clone());
        move |_: &_| {
            inside.add();
            assert!(!over.load(Ordering::SeqCst), "called after the end");
            step.fetch_add(1, Ordering::Relaxed);
            assert!(!over.load(Ordering::SeqCst), "called at the end");
        }
    };
    let iommu = regions.last().unwrap();
    let guard =
        machine.system.notify_iommu(iommu, (0, AddrRange::ALL), (IommuEvents::UNMAP, false), tell).unwrap();
    let device = thread::spawn(move || port.unmap(0, AddrRange::new(0, 0xfff).unwrap()));
    drop(guard);
    step.fetch_add(1, Ordering::Relaxed);
    over.store(true, Ordering::SeqCst);
    device.join().unwrap();
}
