use super::*;
use crate::catalog;
use crate::machine::Machine;
use crate::runner::Runner;
use crate::sync::thread;
use MachineEvent as Event;
use devices::{Console, Host};

fn board() -> Machine {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Machine::build(catalog::load("bank-switch").unwrap(), host).unwrap()
}

/// What happens to a board that is run with `actions` while `with` drives it, and how it ends.
fn life(actions: Actions, with: impl FnOnce(&Machine) + Send) -> (Vec<Event>, Stopped) {
    let machine = board();
    let life = machine.lifecycle();
    life.change_actions(|present| *present = actions);
    let seen = Arc::<Mutex<Vec<Event>>>::default();
    let log = seen.clone();
    let watch = life.watch(move |event| log.lock().unwrap().push(event.clone()));
    let runner = Runner::new(&machine);
    let stopped = thread::scope(|scope| {
        scope.spawn(|| with(&machine));
        runner.run_without_cpus().unwrap()
    });
    drop(watch);
    life.tell(&Event::Powerdown);
    (Arc::into_inner(seen).expect("nobody watches any more").into_inner().unwrap(), stopped)
}

/// The same for one request of a device, after which the machine is ended.
fn after(request: PowerRequest, change: impl FnOnce(&mut Actions)) -> (Vec<Event>, RunState, Stopped) {
    let mut actions = Actions { panic: PanicAction::Shutdown, ..Actions::default() };
    change(&mut actions);
    let state = Mutex::new(RunState::Prelaunch);
    let (events, stopped) = life(actions, |machine| {
        machine.host().power.request(request);
        machine.lifecycle().settle();
        *state.lock().unwrap() = machine.lifecycle().state();
        machine.lifecycle().ask(Wish::Quit(Cause::HostSignal));
    });
    (events, state.into_inner().unwrap(), stopped)
}

const KILLED: Event = Event::Shutdown(Cause::HostSignal);

#[test]
fn a_guests_shutdown_ends_the_machine_or_stops_it() {
    let off = PowerRequest::Off { code: 3 };
    let (events, _, stopped) = after(off, |_| ());
    assert_eq!(events, [Event::Shutdown(Cause::GuestShutdown)]);
    assert_eq!(stopped, Stopped::PoweredOff { code: 3 });
    let (events, state, stopped) = after(off, |actions| actions.shutdown = ShutdownAction::Pause);
    assert_eq!(events, [Event::Shutdown(Cause::GuestShutdown), Event::Stop, KILLED]);
    assert_eq!((state, stopped), (RunState::Shutdown, Stopped::Quit));
    let (events, ..) = after(PowerRequest::PvShutdown, |_| ());
    assert_eq!(events, [Event::GuestPvShutdown, Event::Shutdown(Cause::GuestShutdown)]);
}

#[test]
fn a_guests_reset_resets_or_ends_the_machine() {
    let (events, state, _) = after(PowerRequest::Reset, |_| ());
    assert_eq!((events, state), (vec![Event::Reset(Cause::GuestReset), KILLED], RunState::Running));
    let (events, _, stopped) = after(PowerRequest::Reset, |actions| actions.reboot = RebootAction::Shutdown);
    assert_eq!(events, [Event::Shutdown(Cause::GuestReset)]);
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}

#[test]
fn a_panic_stops_the_machine_ends_it_or_is_told() {
    let panicked = |action| after(PowerRequest::Panicked, |actions| actions.panic = action);
    let (events, state, _) = panicked(PanicAction::Pause);
    assert_eq!(events, [Event::GuestPanicked(Outcome::Pause), Event::Stop, KILLED]);
    assert_eq!(state, RunState::GuestPanicked);
    let ended = [Event::GuestPanicked(Outcome::Poweroff), Event::Stop, Event::Shutdown(Cause::GuestPanic)];
    let (events, _, stopped) = panicked(PanicAction::Shutdown);
    assert_eq!((events.as_slice(), stopped), (&ended[..], Stopped::PoweredOff { code: 0 }));
    let (events, _, stopped) = panicked(PanicAction::ExitFailure);
    assert_eq!((events.as_slice(), stopped), (&ended[..], Stopped::PoweredOff { code: 1 }));
    let (events, state, _) = panicked(PanicAction::None);
    assert_eq!((events, state), (vec![Event::GuestPanicked(Outcome::Run), KILLED], RunState::Running));
    let (events, ..) = after(PowerRequest::CrashLoaded, |_| ());
    assert_eq!(events, [Event::GuestCrashLoaded, KILLED]);
}

#[test]
fn a_watchdog_does_what_it_was_told_to() {
    let fired = |action| after(PowerRequest::Watchdog, |actions| actions.watchdog = action);
    let then = |action, more: &[Event]| [&[Event::Watchdog(action)], more, &[KILLED]].concat();
    for (action, more, state) in [
        (WatchdogAction::Reset, &[Event::Reset(Cause::GuestReset)][..], RunState::Running),
        (WatchdogAction::Shutdown, &[Event::Powerdown], RunState::Running),
        (WatchdogAction::Pause, &[Event::Stop], RunState::Watchdog),
        (WatchdogAction::Debug, &[], RunState::Running),
        (WatchdogAction::None, &[], RunState::Running),
        (WatchdogAction::InjectNmi, &[], RunState::Running),
    ] {
        assert_eq!(fired(action), (then(action, more), state, Stopped::Quit), "{action:?}");
    }
    let (events, _, stopped) = fired(WatchdogAction::Poweroff);
    assert_eq!(events, [Event::Watchdog(WatchdogAction::Poweroff)]);
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}

#[test]
fn a_machine_stops_and_goes_on_when_somebody_says_so() {
    let (events, _) = life(Actions::default(), |machine| {
        let life = machine.lifecycle();
        for wish in [Wish::Stop, Wish::Stop] {
            life.ask(wish);
            assert_eq!(life.state(), RunState::Paused);
        }
        life.ask(Wish::Reset(Cause::HostQmpSystemReset));
        assert_eq!(life.state(), RunState::Prelaunch);
        for wish in [Wish::Continue, Wish::Continue] {
            life.ask(wish);
            assert_eq!(life.state(), RunState::Running);
        }
        life.ask(Wish::Powerdown);
        assert!(life.is_settled());
        life.ask(Wish::Quit(Cause::HostQmpQuit));
        // nobody runs it any more, and nobody waits for it
        life.ask(Wish::Stop);
    });
    let reset = Event::Reset(Cause::HostQmpSystemReset);
    let ended = Event::Shutdown(Cause::HostQmpQuit);
    assert_eq!(events, [Event::Stop, reset, Event::Resume, Event::Powerdown, ended]);
}

#[test]
fn a_device_that_asks_again_and_again_is_heard_once() {
    let machine = board();
    for _ in 0..1000 {
        machine.host().power.request(PowerRequest::Reset);
        machine.host().power.request(PowerRequest::Watchdog);
    }
    let life = machine.lifecycle();
    assert_eq!(life.next(), Some(Act::Reset(Cause::GuestReset)));
    assert_eq!(life.next(), Some(Act::Reset(Cause::GuestReset)));
    assert!(!life.is_settled());
    assert_eq!(life.next(), None);
    assert!(life.is_settled());
}

#[test]
fn words_stand_for_actions_and_back() {
    assert!(
        WatchdogAction::WORDS.iter().all(|word| WatchdogAction::from_word(word).unwrap().word() == *word)
    );
    assert!(PanicAction::WORDS.iter().all(|word| PanicAction::from_word(word).unwrap().word() == *word));
    assert!(ShutdownAction::from_word("reset").is_none() && RebootAction::from_word("pause").is_none());
}

#[test]
fn who_changes_the_map_often_reclaims_without_waking_the_one_who_runs_the_machine() {
    let (life, system) = (Lifecycle::new(Clock::stepped()), MemorySystem::new());
    life.post_reclaim();
    assert!(life.lock().reclaim, "the one who runs the machine does it");
    life.reclaiming(&system, || life.reclaiming(&system, || assert!(life.lock().reclaim)));
    assert!(!life.lock().reclaim && life.lock().reclaimers == 0);
    // nobody waits in vain: what is asked for still wakes it
    thread::scope(|scope| {
        scope.spawn(|| life.reclaiming(&system, || life.post(Wish::Stop)));
        life.wait(&system);
    });
}
