//! Interrupt lines: wires between devices.

use crate::sync::{Arc, AtomicBool, OnceLock, Ordering, Weak};
use std::fmt;

/// One end that listens to the level of a line.
#[derive(Clone)]
pub struct IrqInput {
    set: Arc<dyn Fn(bool) + Send + Sync>,
}

impl IrqInput {
    /// An input that calls `set` with each new level, on the thread that changes it. It takes no lock but its own.
    pub fn new(set: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self { set: Arc::new(set) }
    }

    /// Sets its level, as a line that leads to it does.
    pub fn set(&self, level: bool) {
        (self.set)(level);
    }
}

impl fmt::Debug for IrqInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IrqInput")
    }
}

/// The inputs of one kind that a device has, by number.
#[derive(Clone)]
pub struct IrqInputs {
    count: u32,
    set: Arc<dyn Fn(u32, bool) + Send + Sync>,
    watcher: Arc<OnceLock<Watcher>>,
}

/// Who is told of the number of an input and of each level that it is set to.
type Watcher = Box<dyn Fn(u32, bool) + Send + Sync>;

impl IrqInputs {
    /// `count` inputs of `device`; `set` gets the input's number and the new level. The device is held weakly.
    ///
    /// `set` runs inside the device that drives the line, perhaps with that one's lock held, so it does not dispatch
    /// accesses: a device that wants DMA for an input [defers](crate::Deferred) it.
    pub fn new<D: Send + Sync + 'static>(count: u32, device: &Arc<D>, set: fn(&D, u32, bool)) -> Self {
        let device: Weak<D> = Arc::downgrade(device);
        let set = move |index, level| {
            if let Some(device) = device.upgrade() {
                set(&device, index, level);
            }
        };
        Self::from_fn(count, set)
    }

    /// Inputs that call `set`, for what is no device: a CPU.
    pub fn from_fn(count: u32, set: impl Fn(u32, bool) + Send + Sync + 'static) -> Self {
        Self { count, set: Arc::new(set), watcher: Arc::default() }
    }

    /// Calls `watcher` with the number of an input and the level that it was set to, after the device, from now on and
    /// for all time; false if somebody watches already. It takes no lock but its own.
    pub fn watch(&self, watcher: impl Fn(u32, bool) + Send + Sync + 'static) -> bool {
        self.watcher.set(Box::new(watcher)).is_ok()
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Input number `index`, if there is one.
    pub fn input(&self, index: u32) -> Option<IrqInput> {
        let (set, watcher) = (self.set.clone(), self.watcher.clone());
        let input = move |level| {
            set(index, level);
            if let Some(watcher) = watcher.get() {
                watcher(index, level);
            }
        };
        (index < self.count).then(|| IrqInput::new(input))
    }
}

#[derive(Default)]
struct Line {
    level: AtomicBool,
    input: OnceLock<IrqInput>,
    watcher: OnceLock<IrqInput>,
    /// The line was cut: it stays low.
    cut: AtomicBool,
}

/// The driving end of an interrupt line; clones drive the same line. One that leads nowhere can be driven, too.
///
/// Two threads that set a line at once may reach the input in any order: set it under the lock under which its
/// level is decided.
#[derive(Clone, Default)]
pub struct IrqLine {
    line: Arc<Line>,
}

impl IrqLine {
    /// A line that is low and leads nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leads the line to `input`, once; false if it led somewhere already. The input hears of a line that is high.
    pub fn connect(&self, input: IrqInput) -> bool {
        let set = input.set.clone();
        if self.line.input.set(input).is_err() {
            return false;
        }
        // who sets the line meanwhile may have told the input before it was told here
        let mut told = false;
        loop {
            let level = self.level();
            if level == told {
                return true;
            }
            set(level);
            told = level;
        }
    }

    /// Sets the level. The input hears of changes only, and of what it was when it was [connected](IrqLine::connect).
    pub fn set(&self, level: bool) {
        if level && self.is_cut() {
            return;
        }
        if self.line.level.swap(level, Ordering::SeqCst) == level {
            return;
        }
        if let Some(input) = self.line.input.get() {
            input.set(level);
            // cut meanwhile: who cuts may have lowered the input before it was raised here
            if level && self.is_cut() {
                self.line.level.store(false, Ordering::SeqCst);
                input.set(false);
            }
        }
        if let Some(watcher) = self.line.watcher.get() {
            watcher.set(self.level());
        }
    }

    /// Has `watcher` hear of each change, after what the line leads to, from now on and for all time; false if somebody watches
    /// already.
    pub fn watch(&self, watcher: IrqInput) -> bool {
        self.line.watcher.set(watcher).is_ok()
    }

    /// Lowers the line and cuts it: from now on it stays low. For a device that is unplugged.
    pub fn disconnect(&self) {
        self.line.cut.store(true, Ordering::SeqCst);
        self.set(false);
    }

    fn is_cut(&self) -> bool {
        self.line.cut.load(Ordering::SeqCst)
    }

    /// The level.
    pub fn level(&self) -> bool {
        self.line.level.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqLine").field("level", &self.level()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicU32, Mutex};

    #[test]
    fn what_a_line_is_led_to_hears_that_it_is_high_already() {
        let seen = Arc::<Mutex<Vec<bool>>>::default();
        let input = || {
            let log = seen.clone();
            IrqInput::new(move |level| log.lock().unwrap().push(level))
        };
        let line = IrqLine::new();
        line.set(true);
        assert!(line.connect(input()));
        line.set(false);
        assert_eq!(*seen.lock().unwrap(), [true, false]);
        assert!(IrqLine::new().connect(input()) && seen.lock().unwrap().len() == 2, "a low line is no news");
    }

    #[test]
    fn a_line_that_is_set_while_it_is_connected_leaves_the_input_at_its_level() {
        let (line, seen) = (IrqLine::new(), Arc::<Mutex<Vec<bool>>>::default());
        let (log, other) = (seen.clone(), line.clone());
        // both times that it is told of the level the input hears first what another thread makes of it meanwhile
        let calls = AtomicU32::new(0);
        let set = move |level: bool| {
            if let 0 | 2 = calls.fetch_add(1, Ordering::SeqCst) {
                other.set(!level);
            }
            log.lock().unwrap().push(level);
        };
        line.set(true);
        assert!(line.connect(IrqInput::new(set)) && line.level());
        assert_eq!(*seen.lock().unwrap(), [false, true, true, false, true]);
    }

    #[test]
    fn who_watches_lines_and_inputs_hears_of_them_after_those_they_lead_to() {
        let seen = Arc::<Mutex<Vec<(u32, bool)>>>::default();
        let note = |more: u32| {
            let log = seen.clone();
            move |index: u32, level: bool| log.lock().unwrap().push((index + more, level))
        };
        let inputs = IrqInputs::from_fn(2, note(0));
        let early = inputs.input(1).unwrap();
        assert!(inputs.watch(note(100)) && !inputs.watch(note(0)));
        let line = IrqLine::new();
        let told = note(200);
        assert!(line.watch(IrqInput::new(move |level| told(0, level))));
        assert!(line.connect(early) && !line.watch(IrqInput::new(|_| ())));
        line.set(true);
        line.set(true);
        inputs.input(0).unwrap().set(false);
        assert_eq!(*seen.lock().unwrap(), [(1, true), (101, true), (200, true), (0, false), (100, false)]);
    }

    #[test]
    fn a_line_that_is_cut_goes_low_and_stays_so() {
        let seen = Arc::<Mutex<Vec<bool>>>::default();
        let (line, log) = (IrqLine::new(), seen.clone());
        assert!(line.connect(IrqInput::new(move |level| log.lock().unwrap().push(level))));
        line.set(true);
        line.disconnect();
        line.set(true);
        assert!(!line.level());
        assert_eq!(*seen.lock().unwrap(), [true, false]);
    }

    #[test]
    fn a_line_that_is_cut_while_it_is_raised_ends_low() {
        let (line, seen) = (IrqLine::new(), Arc::<Mutex<Vec<bool>>>::default());
        let (log, cutter) = (seen.clone(), line.clone());
        // the input hears that it is cut before it hears that it is raised
        let cut = AtomicBool::new(false);
        let set = move |level: bool| {
            if level && !cut.swap(true, Ordering::SeqCst) {
                cutter.disconnect();
            }
            log.lock().unwrap().push(level);
        };
        assert!(line.connect(IrqInput::new(set)));
        line.set(true);
        assert_eq!(*seen.lock().unwrap(), [false, true, false]);
    }
}
