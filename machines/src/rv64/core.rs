//! The state of a hart, apart from the instructions that it has decoded.

use super::bus::Bus;
use super::csr::Csrs;
use super::lines::{HartLines, Irq};
use super::pmp::Pmp;
use super::status::Mode;
use super::tlb::{Context, Tlb};
use crate::sync::Arc;

/// Gives `time`: the ticks of the machine's timer (`mtime`), from any thread.
pub type TimeSource = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A load-reserved that was not used up yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reservation {
    /// Physical address.
    pub phys: u64,
    /// Bytes: 4 or 8.
    pub bytes: u64,
    /// What the load saw, and what the store-conditional must find.
    pub value: u64,
}

/// Registers, translations and wiring of a hart.
pub(super) struct Core<B: Bus> {
    /// `x0`..`x31`, then [`SINK`](super::decode::SINK) and room up to a power of two, so that no index needs a check.
    x: [u64; 64],
    pub pc: u64,
    pub mode: Mode,
    pub csrs: Csrs,
    pub pmp: Pmp,
    pub reservation: Option<Reservation>,
    /// Instructions retired since power-on; never written by the guest.
    pub retired: u64,
    /// A WFI retired, and nothing that ends it came yet.
    pub waiting: bool,
    /// What was decoded may be outdated.
    pub code_stale: bool,
    /// How many instructions may go by before the hart looks at its lines; a device access sets it to 0.
    pub limit: u64,

    pub fetch: Tlb,
    pub load: Tlb,
    pub store: Tlb,
    /// Pages of page tables, by physical address.
    pub tables: Tlb,
    pub fetch_context: Context,
    pub data_context: Context,
    /// The generation of the map that the above stands for.
    pub generation: u64,

    pub hart_id: u64,
    pub bus: B,
    pub lines: Arc<HartLines>,
    pub time: TimeSource,
}

impl<B: Bus> Core<B> {
    pub fn new(hart_id: u64, bus: B, lines: Arc<HartLines>, time: TimeSource) -> Self {
        let generation = bus.generation();
        let mut core = Self {
            x: [0; 64],
            pc: 0,
            mode: Mode::Machine,
            csrs: Csrs::default(),
            pmp: Pmp::default(),
            reservation: None,
            retired: 0,
            waiting: false,
            code_stale: false,
            limit: 0,
            fetch: Tlb::new(),
            load: Tlb::new(),
            store: Tlb::new(),
            tables: Tlb::new(),
            fetch_context: Context::new(0),
            data_context: Context::new(0),
            generation,
            hart_id,
            bus,
            lines,
            time,
        };
        core.refresh_contexts();
        core
    }

    /// Power-on, at `pc` in M-mode. The count of retired instructions goes on.
    pub fn reset(&mut self, pc: u64) {
        self.x = [0; 64];
        self.pc = pc;
        self.mode = Mode::Machine;
        self.csrs = Csrs::starting_at(self.retired);
        self.pmp = Pmp::default();
        self.reservation = None;
        self.waiting = false;
        self.code_stale = true;
        // The latch is the hart's own state, unlike the levels of the other lines.
        self.lines.latch_ssip(false);
        self.forget_pages();
        self.refresh_contexts();
    }

    /// Register `number`; only the low six bits count.
    #[inline(always)]
    pub fn reg(&self, number: u8) -> u64 {
        self.x.get(usize::from(number & 63)).copied().unwrap_or(0)
    }

    /// Sets register `number`, which is not 0: decoding turned 0 into the sink.
    #[inline(always)]
    pub fn set_reg(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number & 63)) {
            *register = value;
        }
    }

    /// The interrupts that are pending: lines, and what software set.
    pub fn pending(&self) -> Irq {
        self.lines.pending() | self.csrs.mip
    }

    /// Recomputes what [`Tlb`] look-ups depend on. To be called when the mode or `mstatus` changed.
    pub fn refresh_contexts(&mut self) {
        let status = self.csrs.status;
        let bits = |mode: Mode| mode as u8 | u8::from(status.sum()) << 2 | u8::from(status.mxr()) << 3;
        self.fetch_context = Context::new(bits(self.mode));
        self.data_context = Context::new(bits(status.data_mode(self.mode)));
    }

    /// Forgets every translation, since page tables or protection may have changed.
    pub fn forget_translations(&mut self) {
        self.fetch.flush();
        self.load.flush();
        self.store.flush();
        self.reservation = None;
    }

    /// Forgets every translation and lets go of every host page.
    pub fn forget_pages(&mut self) {
        self.forget_translations();
        self.tables.flush();
    }

    /// Is the map still the one that the translations stand for?
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        self.bus.generation() == self.generation
    }

    /// Goes over to the map that is published now.
    #[inline]
    pub fn catch_up(&mut self) {
        if !self.is_current() {
            self.change_map();
        }
    }

    #[cold]
    fn change_map(&mut self) {
        // Read before anything is looked up again: what a later change makes outdated is then noticed.
        self.generation = self.bus.generation();
        self.code_stale = true;
        self.forget_pages();
    }
}
