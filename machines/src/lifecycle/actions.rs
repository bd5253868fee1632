//! What a machine does about what happens to it.

/// What a reset means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RebootAction {
    /// The machine is reset.
    #[default]
    Reset,
    /// The machine shuts down.
    Shutdown,
}

/// What a guest's shutdown means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShutdownAction {
    /// The machine ends.
    #[default]
    Poweroff,
    /// The machine stops, and stays.
    Pause,
}

/// What a panic of the guest's kernel means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PanicAction {
    /// The machine stops, and stays.
    Pause,
    /// The machine shuts down.
    Shutdown,
    /// The machine shuts down, and ends with a failure.
    #[default]
    ExitFailure,
    /// Nothing.
    None,
}

/// What a watchdog that runs out means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WatchdogAction {
    /// The machine is reset.
    #[default]
    Reset,
    /// The guest is asked to shut down.
    Shutdown,
    /// The machine ends at once.
    Poweroff,
    /// The machine stops, and stays.
    Pause,
    /// A message on standard error.
    Debug,
    /// Nothing.
    None,
    /// The guest gets a non-maskable interrupt, where the machine has a way to give it one.
    InjectNmi,
}

/// Reads and writes the words of one of these types.
macro_rules! words {
    ($type:ident: $($word:literal => $value:ident),+ $(,)?) => {
        impl $type {
            /// The words that there are.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The value of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

words!(RebootAction: "reset" => Reset, "shutdown" => Shutdown);
words!(ShutdownAction: "poweroff" => Poweroff, "pause" => Pause);
words!(PanicAction: "pause" => Pause, "shutdown" => Shutdown, "exit-failure" => ExitFailure, "none" => None);
words!(WatchdogAction:
    "reset" => Reset,
    "shutdown" => Shutdown,
    "poweroff" => Poweroff,
    "pause" => Pause,
    "debug" => Debug,
    "none" => None,
    "inject-nmi" => InjectNmi,
);

/// What a machine does about what happens to it, as QEMU's `-action` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Actions {
    /// About a reset.
    pub reboot: RebootAction,
    /// About a guest's shutdown.
    pub shutdown: ShutdownAction,
    /// About a panic of the guest's kernel.
    pub panic: PanicAction,
    /// About a watchdog that runs out.
    pub watchdog: WatchdogAction,
}
