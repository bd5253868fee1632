//! `mtime` and the `mtimecmp` registers.

use crate::MtimeOffset;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Clock, IrqLine, Realize, Timer};
use memory_core::Width;
use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A counter of the machine's timebase, and a comparator per hart whose line is high while `mtime >= mtimecmp`, both
/// taken as unsigned.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(transparent)]
pub(super) struct Mtime {
    /// Lines and timers are set with it held, so that they follow the registers in order.
    state: Mutex<State>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

/// By hart.
#[derive(Debug)]
struct Wiring {
    lines: Vec<IrqLine>,
    timers: Vec<Timer>,
}

/// One of the registers, each 8 bytes long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Register {
    Mtime,
    /// Of this hart.
    Mtimecmp(usize),
}

/// Where the registers are in a region, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) mtime: u64,
    pub(super) mtimecmp: u64,
}

impl Layout {
    /// The register that holds `offset`; that of a hart which may not be there.
    pub(super) fn decode(self, offset: u64) -> Option<Register> {
        let start = offset & !7;
        if start == self.mtime {
            return Some(Register::Mtime);
        }
        let hart = start.checked_sub(self.mtimecmp)? / 8;
        usize::try_from(hart).ok().map(Register::Mtimecmp)
    }
}

/// What counts.
#[derive(Clone, Debug)]
enum Counter {
    /// Not realised yet: the count to start from, that of the clock if there is none.
    Saved(Option<u64>),
    /// `offset` ticks, modulo 2^64, more than the ticks of `timebase` a second that `clock` has seen.
    Running { clock: Clock, timebase: u64, offset: MtimeOffset },
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(from = "SavedState", into = "SavedState")]
struct State {
    counter: Counter,
    mtimecmp: Vec<u64>,
    /// When, in nanoseconds of the clock, each hart's line has to be looked at again.
    due: Vec<Option<u64>>,
}

/// The state as a file has it: the count itself, since another run has another clock.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct SavedState {
    /// Absent after power on.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<u64>,
    /// By hart; one that is missing is all ones.
    mtimecmp: Vec<u64>,
}

impl From<SavedState> for State {
    fn from(saved: SavedState) -> Self {
        Self { counter: Counter::Saved(saved.mtime), mtimecmp: saved.mtimecmp, due: Vec::new() }
    }
}

impl From<State> for SavedState {
    fn from(state: State) -> Self {
        let mtime = match state.counter {
            Counter::Saved(mtime) => mtime,
            Counter::Running { .. } => Some(state.mtime()),
        };
        Self { mtime, mtimecmp: state.mtimecmp }
    }
}

impl Default for State {
    fn default() -> Self {
        SavedState::default().into()
    }
}

/// Whole ticks of `timebase` a second in `nanos` nanoseconds.
fn ticks(nanos: u64, timebase: u64) -> u128 {
    u128::from(nanos) * u128::from(timebase) / NANOS_PER_SECOND
}

/// `value` modulo 2^64.
fn low(value: u128) -> u64 {
    (value & u128::from(u64::MAX)) as u64
}

impl State {
    fn mtime(&self) -> u64 {
        match &self.counter {
            Counter::Saved(mtime) => mtime.unwrap_or_default(),
            Counter::Running { clock, timebase, offset } => {
                low(ticks(clock.now(), *timebase)).wrapping_add(offset.get())
            }
        }
    }

    fn set_mtime(&mut self, value: u64) {
        match &mut self.counter {
            Counter::Saved(mtime) => *mtime = Some(value),
            Counter::Running { clock, timebase, offset } => {
                offset.set(value.wrapping_sub(low(ticks(clock.now(), *timebase))));
            }
        }
    }

    /// The level of a comparator, and when, in nanoseconds of the clock, it changes next: at `mtimecmp`, or past it when
    /// `mtime` wraps. `None` if that is beyond what the clock can count.
    fn compare(&self, mtimecmp: u64) -> (bool, Option<u64>) {
        let Counter::Running { clock, timebase, offset } = &self.counter else { return (false, None) };
        let now = ticks(clock.now(), *timebase);
        let mtime = low(now).wrapping_add(offset.get());
        let level = mtime >= mtimecmp;
        let target = if level { 1 << 64 } else { u128::from(mtimecmp) };
        let nanos = (now + target - u128::from(mtime)).checked_mul(NANOS_PER_SECOND);
        // a timebase of 0 is a clock that stands still
        let deadline = nanos.filter(|_| *timebase > 0).map(|nanos| nanos.div_ceil(u128::from(*timebase)));
        (level, deadline.and_then(|deadline| u64::try_from(deadline).ok()))
    }
}

impl Mtime {
    /// Makes the output `mtip`, starts the counter, and puts lines and timers to what the registers say. `fire` has to
    /// call [`Mtime::fire`].
    pub(super) fn realize<D: Send + Sync + 'static>(
        &self,
        ctx: &mut Realize<'_>,
        device: &Arc<D>,
        fire: fn(&D),
    ) {
        let host = ctx.host();
        let (harts, clock, timebase) = (host.harts, host.clock.clone(), host.timebase);
        let offset = host.mtime_offset.clone();
        let lines = ctx.outputs("mtip", harts);
        let timers = lines.iter().map(|_| ctx.timer(device, fire)).collect();
        let mut state = self.lock();
        state.mtimecmp.resize(lines.len(), u64::MAX);
        state.due = vec![None; lines.len()];
        if let Counter::Saved(mtime) = state.counter {
            state.counter = Counter::Running { clock, timebase, offset };
            if let Some(mtime) = mtime {
                state.set_mtime(mtime);
            }
        }
        let _ = self.wiring.set(Wiring { lines, timers });
        self.refresh_all(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a hart's line to what its comparator says, and its timer to when that changes.
    fn refresh(&self, state: &mut State, hart: usize) -> Option<()> {
        let (level, deadline) = state.compare(*state.mtimecmp.get(hart)?);
        *state.due.get_mut(hart)? = deadline;
        let wiring = self.wiring.get()?;
        let timer = wiring.timers.get(hart)?;
        match deadline {
            Some(deadline) => timer.set(deadline),
            None => timer.cancel(),
        }
        wiring.lines.get(hart)?.set(level);
        Some(())
    }

    fn refresh_all(&self, state: &mut State) {
        for hart in 0..state.mtimecmp.len() {
            self.refresh(state, hart);
        }
    }

    /// Looks at the comparators that are due. All harts' timers come here, since a timer does not tell which it is.
    pub(super) fn fire(&self) {
        let mut state = self.lock();
        let Counter::Running { clock, .. } = &state.counter else { return };
        let now = clock.now();
        for hart in 0..state.due.len() {
            if state.due.get(hart).copied().flatten().is_some_and(|due| due <= now) {
                self.refresh(&mut state, hart);
            }
        }
    }

    /// Reads 4 or 8 bytes of a register at `offset`, of which the low 3 bits count; `None` if there is no such hart.
    pub(super) fn read(&self, register: Register, offset: u64, width: Width) -> Option<u64> {
        let state = self.lock();
        let value = match register {
            Register::Mtime => state.mtime(),
            Register::Mtimecmp(hart) => *state.mtimecmp.get(hart)?,
        };
        Some(value >> shift(offset) & width.mask())
    }

    /// Writes 4 or 8 bytes of a register at `offset`, of which the low 3 bits count; `None` if there is no such hart.
    pub(super) fn write(&self, register: Register, offset: u64, width: Width, value: u64) -> Option<()> {
        let mut state = self.lock();
        let mask = width.mask() << shift(offset);
        let merge = |old: u64| old & !mask | value << shift(offset) & mask;
        match register {
            Register::Mtime => {
                let mtime = merge(state.mtime());
                state.set_mtime(mtime);
                self.refresh_all(&mut state);
                Some(())
            }
            Register::Mtimecmp(hart) => {
                let mtimecmp = state.mtimecmp.get_mut(hart)?;
                *mtimecmp = merge(*mtimecmp);
                self.refresh(&mut state, hart)
            }
        }
    }

    /// Sets `mtimecmp` to all ones, so that no interrupt comes before software asks for one, and `mtime` back to the
    /// machine's clock.
    ///
    /// The specification has `mtime` cleared; here it counts from when the machine was made, as the harts' `time` does.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.mtimecmp.fill(u64::MAX);
        match &mut state.counter {
            Counter::Saved(mtime) => *mtime = None,
            Counter::Running { offset, .. } => offset.set(0),
        }
        self.refresh_all(&mut state);
    }

    /// `mtime`, and `mtimecmp` by hart.
    pub(super) fn registers(&self) -> (u64, Vec<u64>) {
        let state = self.lock();
        (state.mtime(), state.mtimecmp.clone())
    }
}

/// How far above the bottom of its register the byte at `offset` is, in bits.
fn shift(offset: u64) -> u64 {
    8 * (offset & 7)
}
