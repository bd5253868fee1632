//! A PC's ISA devices together, as a machine file wires them: interrupts reach the processor, and a snapshot loses nothing.

use devices::{Clock, Console, Host, IrqInput, PowerRequest, ResetType};
use machines::file::MachineSpec;
use machines::machine::Machine;
use memory_core::{TxAttrs, Width};
use std::sync::{Arc, Mutex};

const BOARD: &str = r#"
    [machine]
    name = "isa"
    [[space]]
    name = "ports"
    root = "io"
    unassigned = "all-ones"
    [[region]]
    name = "io"
    kind = "container"
    size = "64K"
    [[space]]
    name = "memory"
    root = "system"
    [[region]]
    name = "system"
    kind = "container"
    size = "16E"
    [[device]]
    type = "i8259"
    name = "pic"
    map = [
        { region = "master", into = "io", at = "0x20" },
        { region = "slave", into = "io", at = "0xa0" },
        { region = "elcr-master", into = "io", at = "0x4d0" },
        { region = "elcr-slave", into = "io", at = "0x4d1" },
    ]
    [[device]]
    type = "ioapic"
    name = "ioapic"
    dma = "memory"
    map = { into = "system", at = "0xfec00000" }
    [[device]]
    type = "pc-gsi"
    name = "gsi"
    wire = { pic = "pic:0", ioapic = "ioapic:0" }
    [[device]]
    type = "isa-pit"
    name = "pit"
    map = [{ region = "regs", into = "io", at = "0x40" }, { region = "speaker", into = "io", at = "0x61" }]
    wire = { irq = "gsi:0" }
    [[device]]
    type = "mc146818rtc"
    name = "rtc"
    base = "2011-02-02T02:04:58"
    map = { into = "io", at = "0x70" }
    wire = { irq = "gsi:8" }
    [[device]]
    type = "i8042"
    name = "i8042"
    map = [{ region = "data", into = "io", at = "0x60" }, { region = "cmd", into = "io", at = "0x64" }]
    wire = { kbd = "gsi:1", mouse = "gsi:12" }
    [[device]]
    type = "port92"
    name = "port92"
    map = { into = "io", at = "0x92" }
    [[device]]
    type = "ioport80"
    name = "post"
    map = { into = "io", at = "0x80" }
    [[device]]
    type = "pvpanic"
    name = "pvpanic"
    map = { into = "io", at = "0x505" }
"#;

const SECOND: u64 = 1_000_000_000;

struct Pc {
    machine: Machine,
}

impl Pc {
    fn new(text: &str) -> Self {
        let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
        let spec = MachineSpec::from_toml("isa.toml", text).unwrap();
        Self { machine: Machine::build(spec, host).unwrap() }
    }

    fn outb(&self, port: u64, value: u8) {
        let space = self.machine.space("ports").unwrap();
        space.store(port, Width::W1, value.into(), TxAttrs::default()).unwrap();
    }

    fn inb(&self, port: u64) -> u8 {
        let space = self.machine.space("ports").unwrap();
        u8::try_from(space.load(port, Width::W1, TxAttrs::default()).unwrap()).unwrap()
    }

    fn cmos(&self, register: u8) -> u8 {
        self.outb(0x70, register);
        self.inb(0x71)
    }

    fn set_cmos(&self, register: u8, value: u8) {
        self.outb(0x70, register);
        self.outb(0x71, value);
    }

    /// Vectors 0x08 and 0x70, nothing masked.
    fn initialise(&self) {
        for (port, base, cascade) in [(0x20, 0x08, 4), (0xa0, 0x70, 2)] {
            self.outb(port, 0x11);
            [base, cascade, 1, 0].into_iter().for_each(|word| self.outb(port + 1, word));
        }
    }

    /// What a processor does that lets interrupts in: the vectors that it is given, each ended at once.
    fn interrupts(&self) -> Vec<u8> {
        let pic = self.machine.device("pic").unwrap();
        let intr = pic.outputs().iter().find(|output| output.name == "intr").unwrap().lines[0].clone();
        let controller = pic.device().unwrap().interrupt_controller().unwrap();
        std::iter::from_fn(|| {
            let vector = intr.level().then(|| controller.acknowledge())?;
            if vector >= 0x70 {
                self.outb(0xa0, 0x20);
            }
            self.outb(0x20, 0x20);
            Some(vector)
        })
        .collect()
    }

    fn step(&self, nanos: u64) {
        self.machine.host().clock.step(nanos);
    }
}

#[test]
fn timer_clock_and_keyboard_interrupt_the_processor_of_a_pc() {
    let pc = Pc::new(BOARD);
    pc.initialise();
    // a pulse each 10 ms
    pc.outb(0x43, 0x34);
    [0x9c, 0x2e].into_iter().for_each(|byte| pc.outb(0x40, byte));
    pc.interrupts();
    let mut ticks = 0;
    for _ in 0..100 {
        pc.step(SECOND / 100);
        ticks += pc.interrupts().iter().filter(|vector| **vector == 0x08).count();
    }
    assert!((99..=100).contains(&ticks), "{ticks}");
    pc.outb(0x21, 0x01);
    pc.set_cmos(0x0b, 0x12);
    pc.step(SECOND);
    assert_eq!(pc.interrupts(), [0x70]);
    assert_eq!((pc.cmos(0x0c), pc.cmos(0x04), pc.cmos(0x02)), (0x90, 0x02, 0x05));
    pc.outb(0x60, 0xf2);
    let mut said = Vec::new();
    while !pc.interrupts().is_empty() {
        said.push(pc.inb(0x60));
    }
    assert_eq!(said, [0xfa, 0xab, 0x83], "an interrupt for each byte");
    pc.outb(0x64, 0xd4);
    pc.outb(0x60, 0xf4);
    assert_eq!((pc.interrupts(), pc.inb(0x60)), (vec![0x74], 0xfa));
}

#[test]
fn a_pc_in_a_snapshot_keeps_its_interrupts_its_time_and_its_cmos() {
    let pc = Pc::new(BOARD);
    pc.initialise();
    pc.outb(0x21, 0x01);
    pc.set_cmos(0x40, 0x5a);
    pc.set_cmos(0x0a, 0x2f);
    pc.set_cmos(0x0b, 0x42);
    pc.step(3 * SECOND / 4);
    pc.outb(0x60, 0xee);
    let text = pc.machine.snapshot().unwrap().to_toml();
    let restored = Pc::new(&text);
    assert_eq!(restored.machine.snapshot().unwrap().to_toml(), text);
    for pc in [&pc, &restored] {
        assert_eq!((pc.interrupts(), pc.inb(0x60)), (vec![0x09, 0x70], 0xee));
        pc.cmos(0x0c);
        pc.step(SECOND / 4 - 1);
        assert!(pc.interrupts().is_empty());
        pc.step(40_000);
        assert_eq!((pc.interrupts(), pc.cmos(0x00), pc.cmos(0x40)), (vec![0x70], 0x59, 0x5a));
    }
}

#[test]
fn what_a_guest_does_to_the_whole_machine_is_heard() {
    let pc = Pc::new(BOARD);
    let heard = Arc::<Mutex<Vec<_>>>::default();
    let log = heard.clone();
    pc.machine.host().power.on_request(move |request| log.lock().unwrap().push(request));
    let gate = Arc::<Mutex<Vec<_>>>::default();
    let log = gate.clone();
    let port92 = pc.machine.device("port92").unwrap();
    let line = port92.outputs()[0].lines[0].clone();
    assert!(line.connect(IrqInput::new(move |level| log.lock().unwrap().push(level))));
    pc.outb(0x92, 2);
    pc.outb(0x92, 3);
    pc.outb(0x64, 0xfe);
    assert_eq!(pc.inb(0x505), 3);
    pc.outb(0x505, 1);
    assert_eq!(*gate.lock().unwrap(), [true]);
    assert_eq!(*heard.lock().unwrap(), [PowerRequest::Reset, PowerRequest::Reset, PowerRequest::Panicked]);
    pc.outb(0x80, 0x55);
    pc.machine.reset_devices(ResetType::Warm).unwrap();
    assert_eq!((pc.inb(0x92), pc.inb(0x64), pc.inb(0x80)), (2, 0x18, 0xff));
}
