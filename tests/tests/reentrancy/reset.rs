//! Reset: deferred when a device asks for it, and never inside a device.

use devices::{Clock, Console, Device, DeviceError, Host, PowerRequest, Realize, ResetType};
use machines::file::MachineSpec;
use machines::machine::{InsideAccess, Machine};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use memory_dispatch::chain;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Asks for a reset of the machine when it is written to.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ResetProbe {
    #[serde(skip)]
    inside: AtomicBool,
    #[serde(skip)]
    resets: AtomicUsize,
    /// Resets that came in the middle of an access.
    #[serde(skip)]
    wrong: AtomicUsize,
    #[serde(skip)]
    wiring: OnceLock<(devices::Power, Region)>,
}

impl ResetProbe {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.resets.load(Ordering::SeqCst) as u64)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.inside.store(true, Ordering::SeqCst);
        self.wiring.get().unwrap().0.request(PowerRequest::Reset);
        self.inside.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[typetag::serde(name = "reset-probe")]
impl Device for ResetProbe {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let regs = ctx.mmio("regs", 0x1000u64, AccessRules::new(), &self, (Self::read, Self::write))?;
        let _ = self.wiring.set((ctx.host().power.clone(), regs));
        Ok(())
    }

    fn reset(&self, _: ResetType) {
        self.resets.fetch_add(1, Ordering::SeqCst);
        self.wrong.fetch_add(usize::from(self.inside.load(Ordering::SeqCst)), Ordering::SeqCst);
        // the guard knows that the device is entered
        assert!(!chain::is_idle());
    }
}

const BOARD: &str = r#"
    [machine]
    name = "reset"

    [[region]]
    name = "system"
    kind = "container"
    size = "16E"

    [[space]]
    name = "memory"
    root = "system"

    [[device]]
    type = "reset-probe"
    name = "first"
    at = 0x1000

    [[device]]
    type = "reset-probe"
    name = "second"
    at = 0x2000
"#;

fn board() -> Arc<Machine> {
    let spec = MachineSpec::from_toml("reset.toml", BOARD).unwrap();
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Arc::new(Machine::build(spec, host).unwrap())
}

fn store(machine: &Machine, address: u64) {
    machine.cpu_space().unwrap().store(address, Width::W4, 0, TxAttrs::UNSPECIFIED).unwrap();
}

/// How often each device was reset.
fn resets(machine: &Machine) -> [u64; 2] {
    let space = machine.cpu_space().unwrap();
    [0x1000, 0x2000].map(|address| space.load(address, Width::W4, TxAttrs::UNSPECIFIED).unwrap())
}

fn probes(machine: &Machine) -> Vec<Arc<ResetProbe>> {
    let probe = |device: Arc<dyn Device>| {
        let any: Arc<dyn std::any::Any + Send + Sync> = device;
        any.downcast::<ResetProbe>().unwrap()
    };
    machine.devices().iter().map(|plugged| probe(plugged.device().unwrap())).collect()
}

#[test]
fn a_machine_that_is_reset_inside_an_access_resets_nothing_and_says_so() {
    let machine = board();
    let results = Arc::<Mutex<Vec<_>>>::default();
    // a monitor that takes the request at its word
    let (weak, log) = (Arc::downgrade(&machine), results.clone());
    machine.host().power.on_request(move |_| {
        let machine = weak.upgrade().unwrap();
        let one = machine.device("first").unwrap().reset(ResetType::Warm);
        log.lock().unwrap().push((machine.reset_devices(ResetType::Warm), one));
    });
    store(&machine, 0x1000);
    assert_eq!(*results.lock().unwrap(), [(Err(InsideAccess), false)]);
    assert_eq!(resets(&machine), [0, 0]);
    machine.reset_devices(ResetType::Warm).unwrap();
    assert_eq!(resets(&machine), [1, 1]);
    assert!(probes(&machine).iter().all(|probe| probe.wrong.load(Ordering::SeqCst) == 0));
}

#[test]
fn a_reset_that_a_device_asks_for_is_done_when_its_access_is_over() {
    let machine = board();
    let wanted = Arc::<AtomicBool>::default();
    // a monitor that remembers, as the runner does
    let wish = wanted.clone();
    machine.host().power.on_request(move |_| wish.store(true, Ordering::SeqCst));
    for round in 1..=3 {
        store(&machine, 0x2000);
        assert!(wanted.swap(false, Ordering::SeqCst));
        machine.reset_devices(ResetType::Warm).unwrap();
        assert_eq!(resets(&machine), [round; 2]);
    }
    assert!(probes(&machine).iter().all(|probe| probe.wrong.load(Ordering::SeqCst) == 0));
}

#[test]
fn a_device_that_was_unplugged_is_not_reset() {
    let machine = board();
    let probes = probes(&machine);
    let plugged = machine.device("second").unwrap();
    machine.unplug("second").unwrap().wait(std::time::Instant::now()).unwrap();
    machine.reset_devices(ResetType::Cold).unwrap();
    assert!(!plugged.reset(ResetType::Cold));
    let resets: Vec<_> = probes.iter().map(|probe| probe.resets.load(Ordering::SeqCst)).collect();
    assert_eq!(resets, [1, 0]);
}
