//! A guest in ring 3 of 64-bit mode, which hosts whose KVM is nested run natively too, and the board under it.
//!
//! The guest asks a port what to do, does it so many times, and asks again: whoever answers sees when it begins and ends,
//! on the thread that runs it.

use crate::device::Register;
use anyhow::{Context, Result, anyhow, bail};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use machines::kvm::{BareVcpu, Kvm, KvmConfig, Start, VcpuControl, VcpuExit};
use memory_core::{
    AccessRules, BusFault, MemoryError, Mmio, RamBlock, Region, RegionRef, Size, TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where the guest's first bytes are; below are page tables.
const CODE: u64 = 0x1_0000;
/// Page tables that show the first [`SHOWN`] GiB as they are, for ring 3.
const TABLES: u64 = 0x1000;
const SHOWN: u64 = 4;
/// Where guests of ours count.
const COUNTERS: u64 = 0x8000;
/// What a guest does when there is nothing to do.
const IDLE: Order = Order { count: 1, address: COUNTERS as u32, stride: 0 };
/// The guest that asks.
const START: Start = Start::User { rip: CODE, rsp: CODE, cr3: TABLES };
/// A guest that counts where its stack is.
const COUNTER: u64 = CODE + 0x1000;
/// The port: how often, then where to, then by how much further each time.
const PORT: u16 = 0x300;
/// Registers around the one that is measured: a page each.
pub const NEIGHBOURS: u64 = 256;
/// Where these are.
pub const REGISTERS: u64 = 0x1000_0000;

/// What the guest is to do.
#[derive(Clone, Copy)]
pub struct Order {
    /// Writes of 4 bytes.
    pub count: u32,
    /// Of the first write.
    pub address: u32,
    /// To the next write.
    pub stride: u32,
}

/// What the guest runs.
fn program() -> Result<Vec<u8>> {
    let write = || -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let (mut ask, mut again) = (a.create_label(), a.create_label());
        a.set_label(&mut ask)?;
        a.mov(edx, u32::from(PORT))?;
        a.in_(eax, dx)?;
        a.mov(ecx, eax)?;
        a.add(edx, 4)?;
        a.in_(eax, dx)?;
        a.mov(ebx, eax)?;
        a.add(edx, 4)?;
        a.in_(eax, dx)?;
        a.mov(esi, eax)?;
        a.set_label(&mut again)?;
        a.mov(dword_ptr(rbx), ecx)?;
        a.add(rbx, rsi)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.jmp(ask)?;
        a.assemble(CODE)
    };
    write().map_err(|error| anyhow!("the guest cannot be assembled: {error}"))
}

/// Counts for ever.
fn counter() -> Result<Vec<u8>> {
    let write = || -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(qword_ptr(rsp))?;
        a.jmp(again)?;
        a.assemble(COUNTER)
    };
    write().map_err(|error| anyhow!("the guest cannot be assembled: {error}"))
}

/// RAM at 0 with the guest in it, and registers.
pub struct Board {
    pub system: MemorySystem,
    pub root: Region,
    pub memory: Arc<AddressSpace>,
    ports: Arc<AddressSpace>,
    io: Region,
    pub registers: Vec<RegionRef>,
    regions: Vec<Region>,
}

impl Board {
    pub fn new() -> Result<Self> {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("memory", Size::FULL).build()?;
        let io = memory.container("io", 0x1_0000u64).build()?;
        let ram = memory.ram("ram", RamBlock::anonymous(0x10_0000u64)?).build()?;
        root.map(0, &ram)?;
        let mut regions = vec![ram];
        let mut registers = Vec::new();
        memory.transaction(|_| {
            for index in 0..NEIGHBOURS {
                let device = Arc::new(Register::<0>::default());
                let name = format!("register{index}");
                let region = memory.mmio(name, 0x1000u64, AccessRules::new(), device).build()?;
                root.map(REGISTERS + index * 0x1000, &region)?;
                registers.push(region.by_ref().clone());
                regions.push(region);
            }
            Ok::<(), MemoryError>(())
        })?;
        let config = SpaceConfig::default();
        let space = system.address_space("memory", &root, config)?;
        let ports = system.address_space("ports", &io, config)?;
        let board = Self { system, root, memory: space, ports, io, registers, regions };
        board.load()?;
        Ok(board)
    }

    fn load(&self) -> Result<()> {
        let write = |address: u64, bytes: &[u8]| {
            self.memory.write(address, bytes, TxAttrs::default()).map_err(|fault| anyhow!("no RAM: {fault}"))
        };
        // present, writable, for users; the last level shows pages of 2 MiB
        let (second, third) = (TABLES + 0x1000, TABLES + 0x2000);
        write(TABLES, &(second | 7).to_le_bytes())?;
        for gigabyte in 0..SHOWN {
            let table = third + gigabyte * 0x1000;
            write(second + 8 * gigabyte, &(table | 7).to_le_bytes())?;
            for page in 0..512 {
                write(table + 8 * page, &(gigabyte << 30 | page << 21 | 0x87).to_le_bytes())?;
            }
        }
        write(CODE, &program()?)?;
        write(COUNTER, &counter()?)
    }

    /// Starts guest number `id`, which stays inside, and waits until it runs.
    pub fn count(&self, kvm: &mut Kvm, id: u64) -> Result<()> {
        let place = COUNTERS + 0x100 * (id + 1);
        let vcpu = kvm.start_vcpu(&Start::User { rip: COUNTER, rsp: place, cr3: TABLES })?;
        while self.memory.load(place, Width::W8, TxAttrs::default()) == Ok(0) {
            if let Some(report) = vcpu.ended() {
                bail!("the guest has ended: {report}");
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    pub fn kvm(&self, config: KvmConfig) -> Result<Kvm> {
        Ok(Kvm::new(&self.memory, Some(&self.ports), config)?)
    }

    /// A vCPU whose exits are discarded.
    pub fn bare(&self, kvm: &Kvm) -> Result<Bare> {
        Ok(Bare { vcpu: kvm.bare_vcpu(&START)?, order: IDLE })
    }

    /// A vCPU that the accelerator runs, on the cores that the caller may use.
    pub fn driven(&mut self, kvm: &mut Kvm) -> Result<Driven> {
        let (order, orders) = channel();
        let (done, times) = channel();
        let device = Arc::new(Port(Mutex::new(State { orders, done, order: None, begun: None })));
        let region = self.system.memory().mmio("port", 12u64, AccessRules::new(), device).build()?;
        self.io.map(PORT.into(), &region)?;
        self.regions.push(region);
        let vcpu = kvm.start_vcpu(&START)?;
        Ok(Driven { vcpu, order, times })
    }
}

/// The answers to a guest that the accelerator runs.
struct Port(Mutex<State>);

struct State {
    orders: Receiver<Order>,
    done: Sender<Duration>,
    order: Option<Order>,
    begun: Option<Instant>,
}

impl Mmio for Port {
    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(u64::from(match offset {
            0 => {
                if let Some(begun) = state.begun.take() {
                    // nobody waits for it at the end
                    _ = state.done.send(now - begun);
                }
                let order = state.orders.recv().unwrap_or(IDLE);
                state.order = Some(order);
                order.count
            }
            4 => state.order.map_or(0, |order| order.address),
            _ => {
                state.begun = Some(Instant::now());
                state.order.map_or(0, |order| order.stride)
            }
        }))
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

/// A guest whose exits the accelerator dispatches.
pub struct Driven {
    vcpu: VcpuControl,
    order: Sender<Order>,
    times: Receiver<Duration>,
}

impl Driven {
    /// Has the guest do it, and says how long it took.
    pub fn run(&mut self, order: Order) -> Result<Duration> {
        self.order.send(order).map_err(|_| anyhow!("the guest has gone"))?;
        self.times.recv_timeout(Duration::from_secs(60)).with_context(|| match self.vcpu.ended() {
            Some(report) => format!("the guest has ended: {report}"),
            None => "the guest is stuck".to_owned(),
        })
    }
}

/// A guest whose exits are discarded, on the caller's thread.
pub struct Bare {
    pub vcpu: BareVcpu,
    /// What the guest was told last.
    order: Order,
}

impl Bare {
    /// Has the guest do it, and says how long it took.
    pub fn run(&mut self, order: Order) -> Result<Duration> {
        let (mut given, mut begun) = (false, None::<Instant>);
        loop {
            match self.vcpu.run()? {
                VcpuExit::MmioWrite(..) | VcpuExit::Intr => {}
                VcpuExit::IoIn(port, bytes) => {
                    let now = Instant::now();
                    let answer = match port.wrapping_sub(PORT) {
                        // it takes the answer when it is entered again
                        0 => {
                            self.order = if begun.is_some() { IDLE } else { order };
                            given = true;
                            self.order.count
                        }
                        4 => self.order.address,
                        _ => {
                            begun = given.then_some(now);
                            self.order.stride
                        }
                    };
                    bytes.copy_from_slice(&answer.to_le_bytes());
                    if let Some(begun) = begun.filter(|_| port == PORT) {
                        return Ok(now - begun);
                    }
                }
                other => bail!("the guest has ended: {other:?}"),
            }
        }
    }
}
