//! A machine for one guest: a megabyte of RAM at 0, a port that tells the test what the guest says, and what a test adds.

use iced_x86::code_asm::CodeAssembler;
use machines::kvm::{Kvm, KvmConfig, Start, VcpuControl};
use memory_core::{AccessRules, BusFault, Memory, Mmio, RamBlock, Region, RegionRef, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, Unassigned};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::watch::Watch;

/// Where guests are loaded.
pub const CODE: u64 = 0x1000;
/// What a guest writes here the test is told.
pub const SAY: u32 = 0xf4;
/// A guest that says nothing for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same of one that may not run at all.
const ENOUGH: Duration = Duration::from_secs(10);

/// How often to repeat what is `usual` on a processor: a twentieth of it where all of this is interpreted.
pub fn times(usual: u64) -> u64 {
    if tests::is_interpreted() { usual / 20 } else { usual }
}

/// What `run` returns, on a thread of its own.
///
/// # Panics
/// If that takes too long, with `why`.
pub fn in_time<T: Send + 'static>(why: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = channel();
    std::thread::spawn(move || send.send(run()));
    done.recv_timeout(PATIENCE).expect(why)
}

/// Tells the test what is written to it.
struct Say(Mutex<Sender<u64>>);

impl Mmio for Say {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        _ = self.0.lock().unwrap().send(value);
        Ok(())
    }
}

type Read = Box<dyn Fn(u64, Width) -> u64 + Send + Sync>;
type Write = Box<dyn Fn(u64, Width, u64) + Send + Sync>;

/// Registers that note what is written, and answer as the test says.
pub struct Registers {
    pub written: Mutex<Vec<(u64, Width, u64)>>,
    pub reads: Mutex<Vec<(u64, Width)>>,
    read: Read,
    write: Write,
}

impl Registers {
    pub fn new(
        read: impl Fn(u64, Width) -> u64 + Send + Sync + 'static,
        write: impl Fn(u64, Width, u64) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (written, reads) = Default::default();
        Arc::new(Self { written, reads, read: Box::new(read), write: Box::new(write) })
    }

    pub fn plain() -> Arc<Self> {
        Self::new(|offset, _| offset, |_, _, _| ())
    }

    pub fn values(&self) -> Vec<u64> {
        self.written.lock().unwrap().iter().map(|(_, _, value)| *value).collect()
    }
}

impl Mmio for Registers {
    fn read(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.reads.lock().unwrap().push((offset, width));
        Ok((self.read)(offset, width))
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.written.lock().unwrap().push((offset, width, value));
        (self.write)(offset, width, value);
        Ok(())
    }
}

pub struct Board {
    pub system: MemorySystem,
    pub root: Region,
    pub io: Region,
    pub ram: Region,
    pub memory: Arc<AddressSpace>,
    pub ports: Arc<AddressSpace>,
    /// How the accelerator made for this board is to be.
    pub config: KvmConfig,
    said: Receiver<u64>,
    regions: Vec<Region>,
    /// Tests wait for guests in many ways.
    _watch: Watch,
}

impl Board {
    /// A board for the test `name`, or `None` if there is no KVM, which is said.
    pub fn new(name: &str) -> Option<Self> {
        if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
            tests::skip(name, &format!("no /dev/kvm: {error}"));
            return None;
        }
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("memory", Size::FULL).build().unwrap();
        let io = memory.container("io", 0x1_0000u64).build().unwrap();
        let ram = memory.ram("ram", RamBlock::anonymous(0x10_0000u64).unwrap()).build().unwrap();
        root.map(0, &ram).unwrap();
        let (send, said) = channel();
        let say = Arc::new(Say(Mutex::new(send)));
        let say = memory.mmio("say", 4u64, AccessRules::new(), say).build().unwrap();
        io.map(SAY.into(), &say).unwrap();
        let config = SpaceConfig::default();
        let space = system.address_space("memory", &root, config).unwrap();
        let config = SpaceConfig { unassigned: Unassigned::AllOnes, ..config };
        let ports = system.address_space("ports", &io, config).unwrap();
        Some(Self {
            system,
            root,
            io,
            ram,
            memory: space,
            ports,
            config: KvmConfig::default(),
            said,
            regions: vec![say],
            _watch: Watch::over(name),
        })
    }

    pub fn tree(&self) -> &Memory {
        self.system.memory()
    }

    /// Keeps a region, and maps it over what is there.
    pub fn map(&mut self, address: u64, region: Region) -> RegionRef {
        self.root.map_overlap(address, &region, 1).unwrap();
        self.keep(region)
    }

    pub fn map_port(&mut self, port: u64, region: Region) -> RegionRef {
        self.io.map(port, &region).unwrap();
        self.keep(region)
    }

    fn keep(&mut self, region: Region) -> RegionRef {
        let kept = region.by_ref().clone();
        self.regions.push(region);
        kept
    }

    /// Registers of a page at `address`.
    pub fn registers(&mut self, address: u64, registers: &Arc<Registers>) -> RegionRef {
        let region = self.tree().mmio("registers", 0x1000u64, AccessRules::new(), registers.clone());
        let region = region.build().unwrap();
        self.map(address, region)
    }

    pub fn ram_at(&mut self, address: u64, size: u64, name: &str) -> RegionRef {
        let region = self.tree().ram(name, RamBlock::anonymous(size).unwrap()).build().unwrap();
        self.map(address, region)
    }

    /// Loads what `write` assembles, for a processor mode of `bits`, to [`CODE`].
    pub fn load(&self, bits: u32, write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) {
        self.load_at(CODE, bits, write);
    }

    pub fn load_at(
        &self,
        address: u64,
        bits: u32,
        write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
    ) {
        let mut assembler = CodeAssembler::new(bits).unwrap();
        write(&mut assembler).unwrap();
        let code = assembler.assemble(address).unwrap();
        self.memory.write(address, &code, TxAttrs::default()).unwrap();
    }

    pub fn kvm(&self, irqchip: bool) -> Kvm {
        Kvm::new(&self.memory, Some(&self.ports), KvmConfig { irqchip, ..self.config }).unwrap()
    }

    /// Runs what was loaded in real mode.
    pub fn run(&self) -> Running {
        self.run_with(false)
    }

    pub fn run_with(&self, irqchip: bool) -> Running {
        self.start(irqchip, &Start::Real { segment: 0, ip: CODE as u16 })
    }

    pub fn start(&self, irqchip: bool, start: &Start) -> Running {
        let mut kvm = self.kvm(irqchip);
        let vcpu = kvm.start_vcpu(start).unwrap();
        Running { vcpu, kvm }
    }

    /// What the guest says next.
    pub fn said(&self) -> u64 {
        self.said.recv_timeout(PATIENCE).expect("the guest says nothing")
    }

    /// What the guest says next, or why that does not come: it is one that the host may not run.
    pub fn said_if_it_runs(&self, running: &Running) -> Result<u64, String> {
        let deadline = Instant::now() + if tests::is_interpreted() { PATIENCE } else { ENOUGH };
        loop {
            match (self.said.recv_timeout(Duration::from_millis(10)), running.vcpu.ended()) {
                (Ok(said), _) => return Ok(said),
                (Err(_), Some(report)) => {
                    return Err(report.to_string().lines().next().unwrap_or_default().to_owned());
                }
                (Err(_), None) if Instant::now() > deadline => return Err("it says nothing".to_owned()),
                (Err(_), None) => {}
            }
        }
    }

    /// Whether the guest has said something that nobody heard.
    pub fn has_said(&self) -> bool {
        self.said.try_recv().is_ok()
    }

    pub fn word(&self, address: u64) -> u64 {
        self.memory.load(address, Width::W2, TxAttrs::default()).unwrap()
    }
}

/// A guest that runs until this is dropped.
pub struct Running {
    pub vcpu: VcpuControl,
    pub kvm: Kvm,
}
