//! A machine for the tests: some RAM, a ROM, a device, and a page that is switched between two banks.

use memory_core::{BusFault, HostPage, RamBlock, Width};

use super::super::{Bus, Hart, HartLines, Mode, TimeSource};
use crate::sync::{Arc, AtomicU32, Mutex, Ordering};
use crate::vcpu::Vcpu;

/// Where RAM starts; programs are loaded here.
pub const BASE: u64 = 0x8000_0000;
/// Bytes of RAM.
pub const RAM: u64 = 0x10_0000;
/// A page of memory that refuses writes.
pub const ROM: u64 = 0x7000_0000;
/// A page whose memory is bank 0 or bank 1.
pub const BANK: u64 = 0x9000_0000;
/// A device of one page. It reads as the offset times 3, logs writes, and a write at [`SWITCH`] switches the bank.
pub const DEVICE: u64 = 0x1000_0000;
pub const SWITCH: u64 = DEVICE + 0x800;

/// Half a page of memory.
pub const SCRAP: u64 = 0x6000_0000;

pub struct Machine {
    pub scrap: Arc<RamBlock>,
    pub ram: Arc<RamBlock>,
    pub rom: Arc<RamBlock>,
    pub banks: [Arc<RamBlock>; 2],
    /// The bank that is visible, and the generation of the map at once: it is the number of switches.
    switches: AtomicU32,
    pub writes: Mutex<Vec<(u64, Width, u64)>>,
    /// Times that a hart parked minus times that it came back.
    pub parked: AtomicU32,
    pub parks: AtomicU32,
}

impl Machine {
    pub fn new() -> Arc<Self> {
        let block = |size: u64| RamBlock::anonymous(size).unwrap();
        Arc::new(Self {
            scrap: block(4096),
            ram: block(RAM),
            rom: block(4096),
            banks: [block(4096), block(4096)],
            switches: AtomicU32::new(0),
            writes: Mutex::default(),
            parked: AtomicU32::new(0),
            parks: AtomicU32::new(0),
        })
    }

    pub fn switch(&self) {
        self.switches.fetch_add(1, Ordering::SeqCst);
    }

    pub fn load_program(&self, addr: u64, program: &[u32]) {
        let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(self.ram.write(addr - BASE, &bytes));
    }

    pub fn peek(&self, addr: u64) -> u64 {
        self.ram.load(addr - BASE, Width::W8).unwrap()
    }

    pub fn poke(&self, addr: u64, value: u64) {
        assert!(self.ram.store(addr - BASE, Width::W8, value));
    }

    /// A hart of this machine that starts at [`BASE`]; time stands at 777.
    pub fn hart(self: &Arc<Self>, id: u64) -> Hart<TestBus> {
        let time: TimeSource = Arc::new(|| 777);
        let mut hart = Hart::new(id, TestBus(Arc::clone(self)), Arc::new(HartLines::new()), time);
        hart.set_boot(BASE, id, 0);
        hart
    }
}

pub struct TestBus(pub Arc<Machine>);

impl Bus for TestBus {
    fn load(&mut self, addr: u64, _width: Width) -> Result<u64, BusFault> {
        match addr {
            DEVICE..0x1000_1000 => Ok((addr - DEVICE) * 3),
            _ => Err(BusFault::DECODE),
        }
    }

    fn store(&mut self, addr: u64, width: Width, value: u64) -> Result<(), BusFault> {
        match addr {
            SWITCH => self.0.switch(),
            DEVICE..0x1000_1000 => self.0.writes.lock().unwrap().push((addr, width, value)),
            _ => return Err(BusFault::DECODE),
        }
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        addr: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault> {
        let offset = addr.checked_sub(SCRAP).filter(|offset| *offset < 0x800).ok_or(BusFault::ACCESS)?;
        self.0.scrap.compare_exchange(offset, width, current, new).ok_or(BusFault::ACCESS)
    }

    fn page(&mut self, addr: u64, write: bool) -> Option<HostPage> {
        match addr & !0xfff {
            ROM if !write => self.0.rom.page(0),
            BANK => self.0.banks[self.generation() as usize & 1].page(0),
            page => self.0.ram.page(page.checked_sub(BASE)?),
        }
    }

    fn generation(&self) -> u64 {
        self.0.switches.load(Ordering::SeqCst).into()
    }

    fn park(&mut self) {
        self.0.parked.fetch_add(1, Ordering::SeqCst);
        self.0.parks.fetch_add(1, Ordering::SeqCst);
    }

    fn unpark(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A program on a fresh machine, run instruction by instruction of its own.
pub struct Run {
    pub machine: Arc<Machine>,
    pub hart: Hart<TestBus>,
}

impl Run {
    /// Loads `program` at [`BASE`], with a trap handler at `BASE + 0x400` (M) and `BASE + 0x800` (S) that is a
    /// loop on the spot; nothing is executed yet.
    pub fn new(program: &[u32]) -> Self {
        let machine = Machine::new();
        machine.load_program(BASE, program);
        machine.load_program(BASE + 0x400, &[0x6f]);
        machine.load_program(BASE + 0x800, &[0x6f]);
        let hart = machine.hart(0);
        let mut run = Self { machine, hart };
        run.write_csr(0x305, BASE + 0x400);
        run.write_csr(0x105, BASE + 0x800);
        run
    }

    pub fn with(mut self, register: u32, value: u64) -> Self {
        self.hart.set_register(register as u8, value);
        self
    }

    pub fn steps(mut self, count: u64) -> Self {
        self.hart.advance(count);
        self
    }

    pub fn reg(&self, register: u32) -> u64 {
        self.hart.register(register as u8)
    }

    pub fn csr(&self, csr: u32) -> u64 {
        self.hart.csr(csr).unwrap()
    }

    /// Writes a CSR as the current mode may.
    pub fn write_csr(&mut self, csr: u32, value: u64) {
        self.hart.poke_csr(csr, value);
    }

    /// Asserts that no exception was taken and execution is at `BASE + offset`.
    #[track_caller]
    pub fn at(&self, offset: u64) {
        assert_eq!(self.hart.pc(), BASE + offset, "mcause {:?}", self.hart.csr(0x342));
    }

    /// Asserts that the hart took an exception to M-mode: its cause, `mtval`, and the offset of the instruction.
    #[track_caller]
    pub fn trapped(&self, cause: u64, tval: u64, offset: u64) {
        assert_eq!(self.hart.pc(), BASE + 0x400);
        let got = (self.csr(0x342), self.csr(0x343), self.csr(0x341));
        assert_eq!(got, (cause, tval, BASE + offset), "cause, tval, epc");
    }
}

impl Run {
    /// Puts the hart in `mode`, with PMP open to everyone.
    pub fn in_mode(mut self, mode: Mode) -> Self {
        if self.csr(0x3a0) & 0xff == 0 {
            self.write_csr(0x3b0, u64::MAX);
            self.write_csr(0x3a0, 0x1f);
        }
        self.hart.poke_mode(mode);
        self
    }
}
