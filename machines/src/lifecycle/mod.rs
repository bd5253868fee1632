//! The life of a machine: whether it runs, what is asked of it, and what happens to it.
//!
//! Guests, monitors and signals ask; the one thread that runs the machine ([`Runner`](crate::runner::Runner)) does what was
//! asked, in order, while no instruction of the guest runs, and tells those who watch.

mod actions;
mod event;
#[cfg(test)]
mod tests;

pub use actions::{Actions, PanicAction, RebootAction, ShutdownAction, WatchdogAction};
pub use event::{Cause, MachineEvent, Outcome};

use crate::runner::Stopped;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use devices::{Clock, PowerRequest};
use memory_dispatch::MemorySystem;
use std::collections::VecDeque;
use std::fmt;

/// Whether a machine runs, and why not, in QEMU's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunState {
    /// It was not started, or reset while it stood still.
    Prelaunch,
    /// It runs.
    Running,
    /// Somebody stopped it.
    Paused,
    /// The guest shut down, and the machine stayed.
    Shutdown,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// A watchdog ran out.
    Watchdog,
}

impl RunState {
    /// QMP's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::GuestPanicked => "guest-panicked",
            Self::Watchdog => "watchdog",
        }
    }
}

/// Something that is asked of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A device asks.
    Power(PowerRequest),
    /// Stop the guest, and stay.
    Stop,
    /// Go on.
    Continue,
    /// Reset.
    Reset(Cause),
    /// Ask the guest to power off.
    Powerdown,
    /// End.
    Quit(Cause),
    /// End, because the guest did what nothing can run on from: why, and where it was.
    GuestFailed(Arc<str>),
}

/// What is left to do for the one who runs the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Nothing.
    Done,
    /// Take out what the guest has let go of.
    Eject,
    /// Reset the devices, and say so with [`Lifecycle::was_reset`].
    Reset(Cause),
    /// End.
    End(Stopped),
}

type Listener = Arc<dyn Fn(&MachineEvent) + Send + Sync>;

struct State {
    run: RunState,
    actions: Actions,
    /// What nobody has seen to yet. A device's request is in it once, so a guest cannot make it grow.
    wishes: VecDeque<Wish>,
    /// Wishes ever made, and how many of them are seen to.
    asked: u64,
    settled: u64,
    /// Somebody left a replaced map: the thread that runs the machine is one on which destructors may run.
    reclaim: bool,
    /// Threads that reclaim themselves when they are done with what they do.
    reclaimers: usize,
    /// Nobody runs the machine any more.
    ended: bool,
}

struct Shared {
    clock: Clock,
    /// Held for an instant, never while a listener or a device runs.
    state: Mutex<State>,
    changed: Condvar,
    /// Held for an instant.
    listeners: Mutex<(u64, Vec<(u64, Listener)>)>,
}

/// The life of a machine; clones are the same one.
#[derive(Clone)]
pub struct Lifecycle {
    shared: Arc<Shared>,
}

impl Lifecycle {
    /// The life of a machine whose time is `clock`, which stands still while the machine does.
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State {
            run: RunState::Running,
            actions: Actions::default(),
            wishes: VecDeque::new(),
            asked: 0,
            settled: 0,
            reclaim: false,
            reclaimers: 0,
            ended: false,
        };
        let shared =
            Shared { clock, state: Mutex::new(state), changed: Condvar::new(), listeners: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the machine runs, and why not.
    pub fn state(&self) -> RunState {
        self.lock().run
    }

    /// What the machine does about what happens to it.
    pub fn actions(&self) -> Actions {
        self.lock().actions
    }

    /// Changes what the machine does about what happens to it.
    pub fn change_actions(&self, change: impl FnOnce(&mut Actions)) {
        change(&mut self.lock().actions);
    }

    /// Has the machine stand still from its beginning, until somebody lets it [go on](Wish::Continue). For before it is run.
    pub fn start_paused(&self) {
        self.lock().run = RunState::Prelaunch;
        self.shared.clock.pause();
    }

    /// Calls `hear` with everything that happens from now on, until what is returned is dropped. It is called with no lock held,
    /// and must not wait for the machine.
    #[must_use]
    pub fn watch(&self, hear: impl Fn(&MachineEvent) + Send + Sync + 'static) -> Watch {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.0 += 1;
        let id = listeners.0;
        listeners.1.push((id, Arc::new(hear)));
        Watch { lifecycle: self.clone(), id }
    }

    /// Tells everybody who watches.
    pub(crate) fn tell(&self, event: &MachineEvent) {
        let listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        listeners.iter().for_each(|(_, hear)| hear(event));
    }

    /// Asks for something, and does not wait for it: for signals, and for devices inside an access.
    pub fn post(&self, wish: Wish) {
        let mut state = self.lock();
        if matches!(wish, Wish::Power(_)) && state.wishes.contains(&wish) {
            return;
        }
        state.wishes.push_back(wish);
        state.asked += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Asks for something, and waits until it is done or the machine has ended. Not for the thread that runs the machine, nor
    /// inside an access.
    pub fn ask(&self, wish: Wish) {
        self.post(wish);
        self.settle();
    }

    /// Waits until everything that was asked for so far is done, or the machine has ended.
    pub fn settle(&self) {
        let state = self.lock();
        let asked = state.asked;
        let waits = |state: &mut State| state.settled < asked && !state.ended;
        drop(self.shared.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether something is asked for that is not done.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.settled == state.asked || state.ended
    }

    /// Whether somebody wants the machine to end, or it has.
    pub fn is_ending(&self) -> bool {
        let state = self.lock();
        state.ended || state.wishes.iter().any(|wish| matches!(wish, Wish::Quit(_)))
    }

    /// Has the thread that runs the machine let go of what nobody uses any more.
    pub(crate) fn post_reclaim(&self) {
        let mut state = self.lock();
        // a thread that was woken and has not come to it yet is not woken again: changes of the map may be many
        let is_seen_to = std::mem::replace(&mut state.reclaim, true) || state.reclaimers > 0;
        drop(state);
        if !is_seen_to {
            self.shared.changed.notify_all();
        }
    }

    /// Does something that may change the map, and lets go of what nobody uses any more on this thread afterwards: waking the one
    /// that runs the machine for each change takes longer than the change. Destructors may run on this thread.
    pub(crate) fn reclaiming<R>(&self, system: &MemorySystem, work: impl FnOnce() -> R) -> R {
        self.lock().reclaimers += 1;
        let result = work();
        let is_due = {
            let mut state = self.lock();
            state.reclaimers -= 1;
            std::mem::take(&mut state.reclaim)
        };
        if is_due {
            system.reclaim();
        }
        result
    }

    /// Nobody runs the machine any more: nobody waits for it.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits for a wish, and reclaims meanwhile.
    pub(crate) fn wait(&self, system: &MemorySystem) {
        let mut state = self.lock();
        while state.wishes.is_empty() {
            if std::mem::take(&mut state.reclaim) {
                drop(state);
                system.reclaim();
                state = self.lock();
                continue;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the next wish and does of it what needs no machine; `None` if there is none. What is returned is done before the
    /// next call.
    pub(crate) fn next(&self) -> Option<Act> {
        let mut state = self.lock();
        let Some(wish) = state.wishes.pop_front() else {
            state.settled = state.asked;
            drop(state);
            self.shared.changed.notify_all();
            return None;
        };
        let actions = state.actions;
        drop(state);
        Some(match wish {
            Wish::Power(request) => self.power(request, actions),
            Wish::Stop => self.stop(RunState::Paused),
            Wish::Continue => self.go_on(),
            Wish::Reset(cause) => self.reset(cause, actions),
            Wish::Powerdown => self.told(&MachineEvent::Powerdown),
            Wish::Quit(cause) => {
                self.tell(&MachineEvent::Shutdown(cause));
                Act::End(Stopped::Quit)
            }
            Wish::GuestFailed(report) => {
                self.tell(&MachineEvent::Shutdown(Cause::HostError));
                Act::End(Stopped::GuestFailed { report })
            }
        })
    }

    fn told(&self, event: &MachineEvent) -> Act {
        self.tell(event);
        Act::Done
    }

    fn power(&self, request: PowerRequest, actions: Actions) -> Act {
        match request {
            PowerRequest::Off { code } => self.shut_down(Cause::GuestShutdown, code, actions),
            PowerRequest::PvShutdown => {
                self.tell(&MachineEvent::GuestPvShutdown);
                self.shut_down(Cause::GuestShutdown, 0, actions)
            }
            PowerRequest::Reset => self.reset(Cause::GuestReset, actions),
            PowerRequest::Panicked => self.panicked(actions),
            PowerRequest::CrashLoaded => self.told(&MachineEvent::GuestCrashLoaded),
            PowerRequest::Watchdog => self.watchdog(actions),
            PowerRequest::Ejected => Act::Eject,
        }
    }

    fn shut_down(&self, cause: Cause, code: u8, actions: Actions) -> Act {
        self.tell(&MachineEvent::Shutdown(cause));
        match actions.shutdown {
            ShutdownAction::Pause => self.stop(RunState::Shutdown),
            ShutdownAction::Poweroff => Act::End(Stopped::PoweredOff { code }),
        }
    }

    fn reset(&self, cause: Cause, actions: Actions) -> Act {
        match actions.reboot {
            RebootAction::Shutdown => self.shut_down(cause, 0, actions),
            RebootAction::Reset => Act::Reset(cause),
        }
    }

    fn panicked(&self, actions: Actions) -> Act {
        let code = match (actions.panic, actions.shutdown) {
            (PanicAction::None, _) => return self.told(&MachineEvent::GuestPanicked(Outcome::Run)),
            (PanicAction::Pause, _) | (PanicAction::Shutdown, ShutdownAction::Pause) => {
                self.tell(&MachineEvent::GuestPanicked(Outcome::Pause));
                return self.stop(RunState::GuestPanicked);
            }
            (PanicAction::Shutdown, _) => 0,
            (PanicAction::ExitFailure, _) => 1,
        };
        self.tell(&MachineEvent::GuestPanicked(Outcome::Poweroff));
        self.stop(RunState::GuestPanicked);
        self.shut_down(Cause::GuestPanic, code, actions)
    }

    fn watchdog(&self, actions: Actions) -> Act {
        self.tell(&MachineEvent::Watchdog(actions.watchdog));
        match actions.watchdog {
            WatchdogAction::Reset => self.reset(Cause::GuestReset, actions),
            WatchdogAction::Shutdown => self.told(&MachineEvent::Powerdown),
            WatchdogAction::Poweroff => Act::End(Stopped::PoweredOff { code: 0 }),
            WatchdogAction::Pause => self.stop(RunState::Watchdog),
            WatchdogAction::Debug => {
                eprintln!("watchdog: timer fired");
                Act::Done
            }
            WatchdogAction::None | WatchdogAction::InjectNmi => Act::Done,
        }
    }

    fn stop(&self, why: RunState) -> Act {
        let mut state = self.lock();
        if state.run != RunState::Running {
            return Act::Done;
        }
        state.run = why;
        drop(state);
        self.shared.clock.pause();
        self.told(&MachineEvent::Stop)
    }

    fn go_on(&self) -> Act {
        let mut state = self.lock();
        // a guest that shut down has nothing to go on with until it is reset
        if matches!(state.run, RunState::Running | RunState::Shutdown) {
            return Act::Done;
        }
        state.run = RunState::Running;
        drop(state);
        self.shared.clock.resume();
        self.told(&MachineEvent::Resume)
    }

    /// The devices were reset.
    pub(crate) fn was_reset(&self, cause: Cause) {
        let mut state = self.lock();
        if state.run != RunState::Running {
            state.run = RunState::Prelaunch;
        }
        drop(state);
        self.tell(&MachineEvent::Reset(cause));
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Somebody who watches a machine, until it is dropped.
pub struct Watch {
    lifecycle: Lifecycle,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let listeners = &self.lifecycle.shared.listeners;
        let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let at = listeners.1.iter().position(|(id, _)| *id == self.id);
        // what it holds goes when the lock is released
        let gone = at.map(|at| listeners.1.remove(at));
        drop(listeners);
        drop(gone);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
