//! A hart: the core with its decoded code, and the loop that runs it.

use super::bus::Bus;
use super::code::CodeCache;
use super::core::{Core, TimeSource};
use super::decode::{Kind, Op, decode, is_long};
use super::exec::Stop;
use super::lines::HartLines;
use super::mmu::Access;
use super::status::Mode;
use super::trap::Trap;
use crate::sync::{Arc, Ordering};
use crate::vcpu::{Vcpu, VcpuExit};

/// How many instructions go by between two looks at the lines: a few microseconds.
const SLICE: u64 = 1024;

/// An RV64IMAC hart that runs against a [`Bus`].
///
/// It is run by one thread at a time; the other threads reach it through its [`HartLines`]. The guest cannot
/// make it panic or hang: whatever it does wrong is an exception of its own.
pub struct Hart<B: Bus> {
    core: Core<B>,
    code: CodeCache,
    /// Where the hart starts, and `a0` and `a1` then.
    boot: (u64, u64, u64),
}

/// Why [`Hart::advance`] came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// The instructions that were asked for have retired.
    Done,
    /// The hart waits for an interrupt (WFI).
    Waiting,
    /// A stop was requested.
    Stopped,
}

impl<B: Bus> Hart<B> {
    /// A hart in its reset state, in M-mode at address 0, until [`Vcpu::set_boot`] says otherwise.
    ///
    /// `hart_id` is what `mhartid` reads; `time` gives the ticks that `time` reads.
    pub fn new(hart_id: u64, bus: B, lines: Arc<HartLines>, time: TimeSource) -> Self {
        let core = Core::new(hart_id, bus, lines, time);
        Self { core, code: CodeCache::new(), boot: (0, hart_id, 0) }
    }

    /// The address of the next instruction.
    pub fn pc(&self) -> u64 {
        self.core.pc
    }

    /// The mode that the hart is in.
    pub fn mode(&self) -> Mode {
        self.core.mode
    }

    /// Integer register `number`; the low five bits count.
    pub fn register(&self, number: u8) -> u64 {
        self.core.reg(number & 31)
    }

    /// Sets integer register `number`, of which the low five bits count; `x0` stays 0.
    pub fn set_register(&mut self, number: u8, value: u64) {
        if number & 31 != 0 {
            self.core.set_reg(number & 31, value);
        }
    }

    /// What M-mode would read from CSR `csr`, or `None` where there is none.
    pub fn csr(&self, csr: u32) -> Option<u64> {
        self.core.read_csr_as(csr, Mode::Machine)
    }

    /// Writes CSR `csr` as the current mode may.
    #[cfg(test)]
    pub(super) fn poke_csr(&mut self, csr: u32, value: u64) {
        self.core.write_csr(csr, value, u64::MAX).expect("the register can be written");
    }

    /// Goes to `mode`, as no instruction could.
    #[cfg(test)]
    pub(super) fn poke_mode(&mut self, mode: Mode) {
        self.core.mode = mode;
        self.core.refresh_contexts();
    }

    /// The bus.
    pub fn bus(&self) -> &B {
        &self.core.bus
    }

    /// The bus, for its owner to change; never while the hart runs.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.core.bus
    }

    /// Runs until `count` instructions have retired, a stop is requested, or the hart waits for an interrupt that is
    /// not there. Does not block. Exceptions and interrupts that it takes count as one instruction each, so that a
    /// guest which does nothing but trap comes to an end too.
    pub fn advance(&mut self, count: u64) -> Pause {
        let mut left = count;
        while left > 0 {
            if self.core.lines.stop_requested() {
                return Pause::Stopped;
            }
            if self.core.waiting {
                if !self.core.is_woken() {
                    return Pause::Waiting;
                }
                self.core.waiting = false;
            }
            if self.core.take_interrupt() {
                left -= 1;
                continue;
            }
            let slice = left.min(SLICE);
            let before = self.core.retired;
            self.core.limit = slice;
            let trapped = self.slice();
            left = left.saturating_sub(self.core.retired.wrapping_sub(before) + u64::from(trapped));
        }
        Pause::Done
    }

    /// Runs until the limit is used up or something happened after which interrupts must be looked at again. Gives
    /// whether that was an exception.
    fn slice(&mut self) -> bool {
        while self.core.limit > 0 {
            match self.run_page() {
                Ok(()) => {}
                Err(Stop::Trap(trap)) => {
                    self.core.take_exception(trap);
                    return true;
                }
                Err(Stop::System(op)) => {
                    let done = self.core.system(op, self.core.pc);
                    if self.core.code_stale {
                        self.core.code_stale = false;
                        self.code.forget();
                    }
                    return self.retire(done);
                }
                Err(Stop::Decode) => self.decode_one(),
                Err(Stop::Cross) => {
                    let done = self.step();
                    return self.retire(done);
                }
            }
        }
        false
    }

    /// Finishes an instruction that was executed apart from the loop. Gives whether it trapped.
    fn retire(&mut self, done: Result<u64, Trap>) -> bool {
        match done {
            Ok(next) => {
                self.core.pc = next;
                self.core.retired = self.core.retired.wrapping_add(1);
                false
            }
            Err(trap) => {
                self.core.take_exception(trap);
                true
            }
        }
    }

    /// Runs the page that `pc` is in. What is not plain memory, or is protected in parts, is not cached, and
    /// stops as if it crossed a page.
    fn run_page(&mut self) -> Result<(), Stop> {
        let core = &mut self.core;
        core.catch_up();
        if core.code_stale {
            core.code_stale = false;
            self.code.forget();
        }
        let phys = match core.fetch.find(core.pc, core.fetch_context) {
            Some(place) if place.page.is_some() => place.phys,
            Some(_) => return Err(Stop::Cross),
            None => {
                core.target(core.pc, 2, Access::Fetch)?;
                let Some(place) = core.fetch.find(core.pc, core.fetch_context) else {
                    return Err(Stop::Cross);
                };
                if place.page.is_none() {
                    return Err(Stop::Cross);
                }
                place.phys
            }
        };
        match self.code.page(phys) {
            Some(page) => core.run_page(page),
            None => Err(Stop::Cross),
        }
    }

    /// Decodes the instruction at `pc`, whose page is plain memory that was just looked up.
    fn decode_one(&mut self) {
        let core = &self.core;
        let pc = core.pc;
        let Some((phys, page)) =
            core.fetch.find(pc, core.fetch_context).and_then(|place| Some((place.phys, place.page?)))
        else {
            return;
        };
        let parcel = |at: u64| page.load_u16(at as usize, Ordering::Relaxed);
        let low = parcel(pc);
        let op = if !is_long(low) {
            decode(low.into())
        } else if pc & 0xfff == 0xffe {
            Op { kind: Kind::Cross, ..Op::UNDECODED }
        } else {
            decode(u32::from(parcel(pc.wrapping_add(2))) << 16 | u32::from(low))
        };
        if let Some(code) = self.code.page(phys) {
            code.put(pc, op);
        }
    }

    /// Fetches and executes one instruction without any cache of decoded ones.
    fn step(&mut self) -> Result<u64, Trap> {
        let pc = self.core.pc;
        let low = self.core.fetch_parcel(pc)?;
        let raw = if is_long(low) {
            u32::from(self.core.fetch_parcel(pc.wrapping_add(2))?) << 16 | u32::from(low)
        } else {
            low.into()
        };
        let op = decode(raw);
        match self.core.execute(op, pc) {
            Ok(next) => Ok(next),
            Err(Stop::Trap(trap)) => Err(trap),
            // Decoding gives none of the other kinds, so this is an instruction for `system`.
            Err(_) => self.core.system(op, pc),
        }
    }

    /// Blocks until an interrupt that `mie` lets through is pending, or somebody wants the thread.
    ///
    /// No page of host memory is held meanwhile, so that a sleeping hart keeps no unplugged RAM alive.
    fn sleep(&mut self) {
        self.core.forget_pages();
        self.core.bus.park();
        self.core.lines.sleep(self.core.csrs.mie);
        self.core.bus.unpark();
    }
}

impl<B: Bus> Vcpu for Hart<B> {
    fn set_boot(&mut self, pc: u64, a0: u64, a1: u64) {
        self.boot = (pc, a0, a1);
        self.reset();
    }

    fn reset(&mut self) {
        let (pc, a0, a1) = self.boot;
        self.core.reset(pc);
        self.set_register(10, a0);
        self.set_register(11, a1);
    }

    fn run(&mut self) -> VcpuExit {
        loop {
            // Whoever kicked wants what an outdated map lent to this thread.
            if self.core.lines.take_kick() {
                self.core.catch_up();
            }
            match self.advance(SLICE) {
                Pause::Done => {}
                Pause::Waiting => self.sleep(),
                Pause::Stopped => {
                    // The caller may keep the hart for long without running it.
                    self.core.forget_pages();
                    self.core.bus.park();
                    self.core.bus.unpark();
                    return VcpuExit::Stopped;
                }
            }
        }
    }

    fn lines(&self) -> Arc<HartLines> {
        Arc::clone(&self.core.lines)
    }

    fn retired(&self) -> u64 {
        self.core.retired
    }
}
