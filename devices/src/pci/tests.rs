//! Bus mastering and messages, by a function made for that.

use super::*;
use crate::i440fx::I440fx;
use crate::sync::{Arc, Mutex, OnceLock, thread};
use crate::testing::{Bench, Board, PCI, RAM};
use crate::{Device, DeviceError, Realize, ResetType};
use memory_core::{RamBlock, Region, Size, Width};
use memory_dispatch::{Listener, Refusal, Section};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};

const W2: Width = Width::W2;
const W4: Width = Width::W4;
const W8: Width = Width::W8;
const COMMAND: usize = 4;
const CAP: usize = 0x60;
/// Address of the probe's register 0.
const BAR: u64 = 0xe000_0000;

/// A function with messages of one kind: `msi` with so many vectors, or `msix` with so many, table and pending bits at these offsets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    #[serde(default)]
    msi: Option<(u8, bool, bool)>,
    #[serde(default)]
    msix: Option<(u16, u32, u32)>,
    /// Registers from 2 on that show memory.
    #[serde(default)]
    memories: u8,
    #[serde(default)]
    pci: PciFunction,
    #[serde(skip)]
    bars: OnceLock<Vec<Region>>,
}

impl PciDevice for Probe {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "probe")]
impl Device for Probe {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let bar = ctx.memory().container("bar", 0x1_0000u64).owner(ctx.owner()).build()?;
        let identity = Identity { vendor: 0x1234, device: 0x5678, ..Identity::default() };
        let mut setup = FunctionSetup::new(identity).interrupt_pin(1);
        setup = setup.bar(0, BarKind::Memory32 { prefetchable: false }, &bar)?;
        if let Some((vectors, wide, maskable)) = self.msi {
            setup = setup.msi(MsiSetup { offset: CAP as u8, vectors, wide, maskable });
        }
        if let Some((vectors, table, pending)) = self.msix {
            let (table, pending) = ((0, table), (0, pending));
            setup = setup.msix(MsixSetup { offset: CAP as u8, vectors, table, pending })?;
        }
        let mut bars = vec![bar];
        for index in 2..2 + self.memories {
            let block = RamBlock::anonymous(0x1000u64).unwrap();
            let memory = ctx.memory().ram(format!("memory{index}"), block).owner(ctx.owner()).build()?;
            setup = setup.bar(index, BarKind::Memory32 { prefetchable: true }, &memory)?;
            bars.push(memory);
        }
        let _ = self.bars.set(bars);
        self.pci.realize(ctx, &self, setup)
    }

    fn reset(&self, _: ResetType) {
        self.pci.reset(|_| ());
    }
}

fn board() -> Board {
    Board::new()
}

fn probe<'a>(board: &'a Board, properties: serde_json::Value) -> (Bench<'a, I440fx>, Bench<'a, Probe>) {
    let host = board.plug(json!({}), 1 << 60);
    let probe = board.plug_pci(properties, "3.0");
    board.set_config("3.0", 0x10, W4, BAR);
    board.set_config("3.0", COMMAND, W2, 6);
    (host, probe)
}

/// What a message has left at `at` of memory, which is cleared.
fn take(board: &Board, at: u64) -> u64 {
    let found = board.load(RAM + at, W4).unwrap();
    board.store(RAM + at, W4, 0).unwrap();
    found
}

#[test]
fn a_function_masters_the_bus_as_long_as_it_may_and_carries_its_address() {
    let board = board();
    let (_host, probe) = probe(&board, json!({}));
    let function = &probe.device.pci;
    assert_eq!((function.requester(), function.devfn()), (0x18, 0x18));
    let dma = function.dma().unwrap();
    dma.write(RAM, &[1, 2, 3, 4]).unwrap();
    assert_eq!(board.load(RAM, W4), Ok(0x0403_0201));
    board.set_config("3.0", COMMAND, W2, 2);
    assert!(dma.write(RAM, &[9]).is_err() && dma.read(RAM, &mut [0]).is_err());
    assert_eq!(board.load(RAM, W4), Ok(0x0403_0201));
    // all functions that may see the same one view, which is the system's
    board.set_config("3.0", COMMAND, W2, 6);
    let spaces = board.system.spaces();
    let generation = |name: &str| {
        let space = spaces.iter().rfind(|space| space.name() == name).unwrap();
        space.with_view(|view| (view.generation(), view.len()))
    };
    assert_eq!(generation("device"), generation("memory"));
}

#[test]
fn messages_without_a_table_are_writes_masked_ones_wait() {
    let board = board();
    let (_host, probe) = probe(&board, json!({ "msi": [8, true, true] }));
    let function = &probe.device.pci;
    assert_eq!(board.config("3.0", CAP, W4), 0x0186_0005);
    function.msi_notify(0);
    board.set_config("3.0", CAP + 4, W4, RAM | 0x103);
    board.set_config("3.0", CAP + 8, W4, 0);
    board.set_config("3.0", CAP + 0xc, W4, 0xffff_4321);
    assert!(!function.msi_enabled());
    function.msi_notify(0);
    assert_eq!(take(&board, 0x100), 0, "nobody wants messages");
    function.set_irq(true);
    assert_eq!(board.config("3.0", 6, W2) & 8, 8);
    // four of eight vectors
    board.set_config("3.0", CAP + 2, W2, 0x21);
    assert_eq!(board.config("3.0", 6, W2) & 8, 0, "messages replace the pin");
    for (vector, data) in [(0, 0x4320), (3, 0x4323), (7, 0x4323)] {
        function.msi_notify(vector);
        assert_eq!(take(&board, 0x100), data, "{vector}");
    }
    board.set_config("3.0", CAP + 0x10, W4, 0xffff_ffff);
    assert_eq!(board.config("3.0", CAP + 0x10, W4), 0xff);
    function.msi_notify(1);
    function.msi_notify(2);
    assert_eq!((take(&board, 0x100), board.config("3.0", CAP + 0x14, W4)), (0, 6));
    board.set_config("3.0", CAP + 0x10, W4, 0xfd);
    assert_eq!((take(&board, 0x100), board.config("3.0", CAP + 0x14, W4)), (0x4321, 4));
    board.set_config("3.0", COMMAND, W2, 2);
    function.msi_notify(1);
    assert_eq!(take(&board, 0x100), 0, "a message is a write of the bus master's");
    probe.device.reset(ResetType::Cold);
    assert_eq!(
        [0, 4, 8, 0xc, 0x10, 0x14].map(|at| board.config("3.0", CAP + at, W4)),
        [0x0186_0005, 0, 0, 0, 0, 0]
    );
}

#[test]
fn a_short_capability_for_messages_has_its_data_after_32_bits_of_address() {
    let board = board();
    let (_host, probe) = probe(&board, json!({ "msi": [1, false, false] }));
    assert_eq!(board.config("3.0", CAP, W4), 0x0000_0005);
    board.set_config("3.0", CAP + 4, W4, RAM);
    board.set_config("3.0", CAP + 8, W2, 0x77);
    board.set_config("3.0", CAP + 2, W2, 0x71);
    probe.device.pci.msi_notify(5);
    assert_eq!(take(&board, 0), 0x77, "there is one vector, whatever the guest allows");
}

#[test]
fn vectors_of_a_table_are_writes_and_masked_ones_set_their_pending_bit() {
    let board = board();
    let (_host, probe) = probe(&board, json!({ "msix": [70, 0x2008, 0x800] }));
    let function = &probe.device.pci;
    assert_eq!([0, 4, 8].map(|at| board.config("3.0", CAP + at, W4)), [0x0045_0011, 0x2008, 0x800]);
    let (table, pending) = (PCI + BAR + 0x2008, PCI + BAR + 0x800);
    let entry = |vector: u64| table + 16 * vector;
    assert_eq!(board.load(entry(69) + 12, W4), Ok(1), "masked after power on");
    assert!(board.load(entry(70), W4).is_err() && board.load(pending + 16, W4).is_err());
    for vector in [0, 69] {
        board.store(entry(vector), W8, RAM + 4 * vector).unwrap();
        board.store(entry(vector) + 8, W4, 0xabc0_0000 + vector).unwrap();
    }
    function.msix_notify(0);
    board.set_config("3.0", CAP + 2, W2, 0xc000);
    assert!(function.msix_enabled());
    function.msix_notify(69);
    assert_eq!([board.load(pending, W8), board.load(pending + 8, W8)], [Ok(0), Ok(1 << 5)]);
    // unmasked while all are masked it waits, and goes with the mask of all
    board.store(entry(69) + 12, W4, 0).unwrap();
    assert_eq!(take(&board, 4 * 69), 0);
    board.set_config("3.0", CAP + 2, W2, 0x8000);
    assert_eq!((take(&board, 4 * 69), board.load(pending + 8, W8)), (0xabc0_0045, Ok(0)));
    function.msix_notify(69);
    assert_eq!(take(&board, 4 * 69), 0xabc0_0045);
    // its own mask
    function.msix_notify(0);
    function.msix_notify(0);
    assert_eq!((take(&board, 0), board.load(pending, W4)), (0, Ok(1)));
    board.store(pending, W4, 0).unwrap();
    assert_eq!(board.load(pending, W4), Ok(1), "pending bits cannot be written");
    board.store(entry(0) + 12, W4, 0).unwrap();
    assert_eq!((take(&board, 0), board.load(pending, W4)), (0xabc0_0000, Ok(0)));
    function.msix_notify(70);
    function.msix_notify(u16::MAX);
    let saved = probe.save();
    assert_eq!(saved["pci"]["msix-pending"], "00".repeat(16));
    probe.device.reset(ResetType::Cold);
    assert!(!function.msix_enabled());
    board.set_config("3.0", 0x10, W4, BAR);
    board.set_config("3.0", COMMAND, W2, 6);
    assert_eq!([0, 4, 8, 12].map(|at| board.load(entry(69) + at, W4)), [Ok(0), Ok(0), Ok(0), Ok(1)]);
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let board = board();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    for (vectors, table, pending) in
        [(0, 0, 0x800), (2049, 0, 0x9000), (64, 0, 0x3f8), (1, 0xfff8, 0), (1, 0, 0x1_0000), (1, 4, 0x100)]
    {
        let made = board.try_plug::<Probe>(json!({ "msix": [vectors, table, pending] }), 0);
        let error = made.err().expect("refused").to_string();
        assert!(error.contains("vectors"), "{vectors} {table:#x} {pending:#x}: {error}");
    }
    assert_eq!(MsixSetup::exclusive(0x40, 3, 1).1, 0x1000);
    assert_eq!(MsixSetup::exclusive(0x40, 2048, 1).1, 0x1_0000);
    let _ = Size::FULL;
}

/// What the inputs of an interrupt controller were set to, by pin.
#[derive(Default)]
struct Inputs(Mutex<BTreeMap<u32, bool>>);

impl PciIrqRouter for Inputs {
    fn route(&self, _: u8, pin: u8) -> u32 {
        pin.into()
    }

    fn set_irq(&self, irq: u32, level: bool) {
        self.0.lock().unwrap().insert(irq, level);
    }
}

/// Has a commit wait until a function is on its bus no more.
struct UntilGone {
    bus: Arc<PciBus>,
    devfn: u8,
    inside: Mutex<Option<Sender<()>>>,
}

impl Listener for UntilGone {
    fn region_add(&self, _: &Section) -> Result<(), Refusal> {
        if let Some(inside) = self.inside.lock().unwrap().take() {
            inside.send(()).unwrap();
            while self.bus.is_live(self.devfn) {
                thread::yield_now();
            }
            // who takes it off has gone on by now
            (0..1000).for_each(|_| thread::yield_now());
        }
        Ok(())
    }
}

#[test]
fn a_pin_that_is_raised_while_its_function_leaves_the_bus_ends_low() {
    let board = board();
    let (_host, mut probe) = probe(&board, json!({}));
    let bus = board.buses.lock().unwrap()[0].clone();
    let inputs = Arc::<Inputs>::default();
    assert!(bus.set_router(&inputs));
    // raised, but disabled
    board.set_config("3.0", COMMAND, W2, 0x400);
    probe.device.pci.set_irq(true);
    assert!(inputs.0.lock().unwrap().is_empty());
    let until = Arc::new(UntilGone { bus: bus.clone(), devfn: 0x18, inside: Mutex::default() });
    let _guard = board.system.listen(until.clone(), 0, None).unwrap();
    let (sender, receiver) = channel();
    *until.inside.lock().unwrap() = Some(sender);
    let seats = std::mem::take(&mut probe.seats);
    thread::scope(|scope| {
        // the map changes after the function was found on the bus, and before the pin is set
        scope.spawn(|| board.set_config("3.0", COMMAND, W2, 6));
        receiver.recv().unwrap();
        drop(seats);
    });
    assert_eq!(inputs.0.lock().unwrap().get(&0), Some(&false));
}

/// Counts what goes in each commit.
#[derive(Default)]
struct Goes(Mutex<Vec<usize>>);

impl Listener for Goes {
    fn begin(&self) {
        self.0.lock().unwrap().push(0);
    }

    fn region_del(&self, _: &Section) -> Result<(), Refusal> {
        *self.0.lock().unwrap().last_mut().unwrap() += 1;
        Ok(())
    }
}

#[test]
fn a_function_that_leaves_the_bus_leaves_the_map_in_one_transaction() {
    let board = board();
    let (_host, mut probe) = probe(&board, json!({ "memories": 3 }));
    for (register, address) in [(0x18, 0xe010_0000), (0x1c, 0xe020_0000), (0x20, 0xe030_0000)] {
        board.set_config("3.0", register, W4, address);
        assert!(board.load(PCI + address, W4).is_ok());
    }
    let goes = Arc::<Goes>::default();
    let _guard = board.system.listen(goes.clone(), 0, Some(&board.space)).unwrap();
    goes.0.lock().unwrap().clear();
    drop(std::mem::take(&mut probe.seats));
    assert_eq!(*goes.0.lock().unwrap(), [3]);
}
