//! PCI interrupt requests (PIRQ) led to the lines of an ISA bus, as south bridges do.

use crate::IrqLine;
use crate::sync::{Mutex, PoisonError};

/// Lines of the ISA bus.
pub const ISA_LINES: u32 = 16;
/// Bit 7 of a routing register: the request is led nowhere.
const DISABLED: u8 = 0x80;

/// The requests of a south bridge, and the ISA lines that they are led to. The levels are those of the bus's pins, so they
/// are no part of a snapshot.
#[derive(Debug)]
pub struct PirqRouter {
    isa: Vec<IrqLine>,
    /// Held while lines are set. Lock order: after those of functions and buses.
    levels: Mutex<Levels>,
}

#[derive(Debug, Default)]
struct Levels {
    /// Which requests are high, a bit each.
    requests: u32,
    /// Routing registers, by request.
    routes: Vec<u8>,
    /// Lines that something else in the bridge holds high, a bit each.
    held: u16,
}

impl PirqRouter {
    /// Requests that lead nowhere yet; `isa` are the [`ISA_LINES`] lines.
    pub fn new(isa: Vec<IrqLine>) -> Self {
        Self { isa, levels: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels);
        let mut high = u32::from(levels.held);
        for (request, route) in levels.routes.iter().enumerate() {
            if levels.requests & 1 << request != 0 && route & DISABLED == 0 {
                high |= 1 << (route & 0xf);
            }
        }
        for (number, line) in self.isa.iter().enumerate() {
            line.set(high & 1 << number != 0);
        }
    }

    /// Sets the level of a request.
    pub fn set_request(&self, request: u32, level: bool) {
        let bit = 1u32.checked_shl(request).unwrap_or(0);
        self.change(|levels| {
            levels.requests = if level { levels.requests | bit } else { levels.requests & !bit }
        });
    }

    /// Leads requests where the routing registers `routes` say, from request 0 on. `look` is called with the lock held that
    /// orders changes, so that the last one counts.
    pub fn set_routes(&self, look: impl FnOnce() -> Vec<u8>) {
        self.change(|levels| levels.routes = look());
    }

    /// Holds an ISA line high besides the requests, or no longer: for an interrupt of the bridge's own.
    pub fn hold(&self, line: u32, level: bool) {
        let bit = 1u16.checked_shl(line).unwrap_or(0);
        self.change(|levels| levels.held = if level { levels.held | bit } else { levels.held & !bit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_high_as_long_as_a_request_that_is_led_there_is() {
        let lines: Vec<_> = (0..ISA_LINES).map(|_| IrqLine::new()).collect();
        let router = PirqRouter::new(lines.clone());
        let high = || (0..16).filter(|line| lines[*line].level()).collect::<Vec<_>>();
        router.set_request(0, true);
        assert_eq!(high(), Vec::<usize>::new(), "it leads nowhere yet");
        router.set_routes(|| vec![10, 0x80 | 11, 10, 5]);
        assert_eq!(high(), [10]);
        router.set_request(2, true);
        router.set_request(1, true);
        router.set_request(0, false);
        assert_eq!(high(), [10], "another one is high, and one is disabled");
        router.hold(9, true);
        router.set_routes(|| vec![10, 11, 5, 5]);
        assert_eq!(high(), [5, 9, 11]);
        router.hold(9, false);
        router.set_request(2, false);
        router.set_request(1, false);
        router.set_request(40, true);
        assert_eq!(high(), Vec::<usize>::new());
    }
}
