//! The options of the command line, one by one.

use super::display::Vga;
use super::keys::Keys;
use super::processors::Processors;
use crate::command::outside::Log;
use anyhow::{Context, bail};
use machines::endpoint::{Endpoint, Side};
use machines::lifecycle::{Actions, PanicAction, RebootAction, ShutdownAction, WatchdogAction};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stands behind a serial port, or a monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Chardev {
    Null,
    Stdio,
    File(String),
    Socket { path: String, server: bool },
}

/// What the command line says, before any of it is done.
#[derive(Clone, Debug, Default)]
pub(super) struct CommandLine {
    /// Of all `-machine` together.
    pub(super) machine: Keys,
    pub(super) memory: Option<String>,
    pub(super) cpus: Option<Processors>,
    pub(super) accel: Option<String>,
    pub(super) bios: Option<String>,
    pub(super) kernel: Option<String>,
    pub(super) append: Option<String>,
    pub(super) rtc: Vec<(String, String)>,
    pub(super) boot: Vec<(String, String)>,
    pub(super) uuid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) floppy_check: Option<bool>,
    pub(super) no_graphic: bool,
    pub(super) no_defaults: bool,
    pub(super) vga: Option<Vga>,
    pub(super) globals: Vec<(String, String, String)>,
    pub(super) devices: Vec<Keys>,
    pub(super) drives: Vec<Keys>,
    pub(super) objects: BTreeMap<String, Keys>,
    pub(super) fw_cfg: Vec<Keys>,
    pub(super) chardevs: BTreeMap<String, Chardev>,
    pub(super) serials: Vec<String>,
    /// Names of chardevs that QMP is spoken on.
    pub(super) monitors: Vec<String>,
    pub(super) qmp: Vec<Endpoint>,
    pub(super) qtest: Option<Endpoint>,
    pub(super) qtest_log: Option<Log>,
    pub(super) actions: Actions,
    pub(super) paused: bool,
    pub(super) pidfile: Option<PathBuf>,
    /// What only prints: `help` of something, or the version.
    pub(super) help: Option<Help>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Help {
    Options,
    Version,
    Machines,
    Devices,
    Accels,
}

/// What follows an option, and what is done with it.
enum Option_ {
    Switch(fn(&mut CommandLine)),
    Value(fn(&mut CommandLine, &str) -> anyhow::Result<()>),
}

use Option_::{Switch, Value};

/// The options with QEMU's names, those that have no meaning for a machine without pictures, sound and network included.
const OPTIONS: &[(&str, Option_)] = &[
    ("M", Value(machine)),
    ("machine", Value(machine)),
    ("m", Value(|line, text| set(&mut line.memory, Keys::parse(text, Some("size")).take("size")))),
    ("smp", Value(|line, text| set(&mut line.cpus, Some(Processors::parse(text)?)))),
    ("accel", Value(accel)),
    ("enable-kvm", Switch(|line| line.accel = Some("kvm".to_owned()))),
    ("bios", Value(|line, text| set(&mut line.bios, Some(text.to_owned())))),
    ("kernel", Value(|line, text| set(&mut line.kernel, Some(text.to_owned())))),
    ("append", Value(|line, text| set(&mut line.append, Some(text.to_owned())))),
    ("device", Value(device)),
    ("global", Value(global)),
    ("drive", Value(|line, text| push(&mut line.drives, Keys::parse(text, None)))),
    ("pflash", Value(|line, text| push(&mut line.drives, pflash(text)))),
    ("object", Value(object)),
    ("fw_cfg", Value(|line, text| push(&mut line.fw_cfg, Keys::parse(text, Some("name"))))),
    ("rtc", Value(|line, text| extend(&mut line.rtc, Keys::parse(text, None)))),
    ("boot", Value(|line, text| extend(&mut line.boot, Keys::parse(text, Some("order"))))),
    ("uuid", Value(|line, text| set(&mut line.uuid, Some(text.to_owned())))),
    ("name", Value(|line, text| set(&mut line.name, Keys::parse(text, Some("guest")).take("guest")))),
    ("no-fd-bootchk", Switch(|line| line.floppy_check = Some(false))),
    ("nographic", Switch(no_graphic)),
    ("chardev", Value(chardev)),
    ("serial", Value(|line, text| push(&mut line.serials, text.to_owned()))),
    ("mon", Value(mon)),
    ("monitor", Value(|_, text| only(&["none", "null"], text))),
    ("qmp", Value(qmp)),
    ("qtest", Value(qtest)),
    ("qtest-log", Value(qtest_log)),
    ("action", Value(action)),
    ("watchdog-action", Value(watchdog_action)),
    ("no-reboot", Switch(|line| line.actions.reboot = RebootAction::Shutdown)),
    ("no-shutdown", Switch(|line| line.actions.shutdown = ShutdownAction::Pause)),
    ("S", Switch(|line| line.paused = true)),
    ("pidfile", Value(|line, text| set(&mut line.pidfile, Some(text.into())))),
    ("nodefaults", Switch(|line| line.no_defaults = true)),
    ("no-user-config", Switch(|_| ())),
    ("nodefconfig", Switch(|_| ())),
    ("no-acpi", Switch(|_| ())),
    ("no-hpet", Switch(|_| ())),
    ("display", Value(|_, text| only(&["none"], text))),
    ("vga", Value(vga)),
    ("audio", Value(|_, text| only(&["none"], text))),
    ("audiodev", Value(|_, text| only(&["none"], text))),
    ("net", Value(|_, text| only(&["none"], text))),
    ("nic", Value(|_, text| only(&["none"], text))),
    ("parallel", Value(|_, text| only(&["none", "null"], text))),
    ("cpu", Value(|_, _| Ok(()))),
    ("run-with", Value(|_, _| Ok(()))),
    ("sandbox", Value(|_, _| Ok(()))),
    ("overcommit", Value(|_, _| Ok(()))),
    ("msg", Value(|_, _| Ok(()))),
    ("d", Value(|_, _| Ok(()))),
    ("D", Value(|_, _| Ok(()))),
    ("trace", Value(|_, _| Ok(()))),
    ("L", Value(|_, _| Ok(()))),
    ("k", Value(|_, _| Ok(()))),
    ("h", Switch(|line| line.help = Some(Help::Options))),
    ("help", Switch(|line| line.help = Some(Help::Options))),
    ("version", Switch(|line| line.help = Some(Help::Version))),
];

/// The names of the options.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

impl CommandLine {
    /// Reads the words after the program's name.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut line = Self::default();
        // a panic of the guest is no failure of the program's, unless somebody says so
        line.actions.panic = PanicAction::Shutdown;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            let Some(name) = name else { bail!("{word}: a disk image is given by -drive") };
            match OPTIONS.iter().find(|(known, _)| *known == name) {
                None => bail!("{word}: invalid option"),
                Some((_, Switch(apply))) => apply(&mut line),
                Some((_, Value(apply))) => {
                    let value = words.next().with_context(|| format!("{word}: requires an argument"))?;
                    apply(&mut line, value).with_context(|| format!("{word} {value}"))?;
                }
            }
        }
        Ok(line)
    }

    /// What `text` behind `-serial` or the like means.
    pub(super) fn chardev(&self, text: &str) -> anyhow::Result<Chardev> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("chardev", id) => {
                self.chardevs.get(id).cloned().with_context(|| format!("Chardev '{id}' not found"))
            }
            ("none" | "null", "") => Ok(Chardev::Null),
            ("stdio", "") | ("mon", "stdio") => Ok(Chardev::Stdio),
            ("file", path) if !path.is_empty() => Ok(Chardev::File(path.to_owned())),
            ("unix", rest) => socket(Keys::parse(rest, Some("path"))),
            _ => bail!("'{text}' is not a known character device"),
        }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> anyhow::Result<()> {
    *place = value;
    Ok(())
}

fn push<T>(list: &mut Vec<T>, value: T) -> anyhow::Result<()> {
    list.push(value);
    Ok(())
}

fn extend(list: &mut Vec<(String, String)>, keys: Keys) -> anyhow::Result<()> {
    list.extend(keys.rest());
    Ok(())
}

/// What can be nothing but off.
fn only(words: &[&str], text: &str) -> anyhow::Result<()> {
    let word = text.split(',').next().unwrap_or("");
    let word = word.strip_prefix("driver=").unwrap_or(word);
    if words.contains(&word) {
        Ok(())
    } else {
        bail!("'{word}' is not supported; there is '{}'", words.join("', '"))
    }
}

fn no_graphic(line: &mut CommandLine) {
    line.no_graphic = true;
}

fn machine(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    if matches!(text, "help" | "?") {
        line.help = Some(Help::Machines);
    }
    let mut keys = Keys::parse(text, Some("type"));
    if let Some(wanted) = keys.take("accel") {
        accel(line, &wanted)?;
    }
    line.machine.append(keys);
    Ok(())
}

fn accel(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let accel = Keys::parse(text, Some("accel")).take("accel").unwrap_or_default();
    match accel.as_str() {
        "help" => line.help = Some(Help::Accels),
        // the first of several that were said one after the other is meant
        _ if line.accel.is_some() => {}
        _ => line.accel = accel.split(':').next().map(str::to_owned),
    }
    Ok(())
}

fn device(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    if matches!(text, "help" | "?") {
        line.help = Some(Help::Devices);
        return Ok(());
    }
    let keys =
        if text.starts_with('{') { Keys::parse_json(text)? } else { Keys::parse(text, Some("driver")) };
    push(&mut line.devices, keys)
}

/// `DRIVER.PROPERTY=VALUE`, or the same in keys.
fn global(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let short = text.split_once('=').and_then(|(key, value)| Some((key.split_once('.')?, value)));
    if let Some(((driver, property), value)) = short
        && !driver.contains(',')
    {
        return push(&mut line.globals, (driver.to_owned(), property.to_owned(), value.to_owned()));
    }
    let mut keys = Keys::parse(text, None);
    let (driver, property, value) = (keys.take("driver"), keys.take("property"), keys.take("value"));
    keys.end()?;
    let missing = "expects DRIVER.PROPERTY=VALUE";
    let global = (driver.context(missing)?, property.context(missing)?, value.context(missing)?);
    push(&mut line.globals, global)
}

fn pflash(text: &str) -> Keys {
    Keys::parse(&format!("if=pflash,format=raw,file={}", text.replace(',', ",,")), None)
}

fn object(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let mut keys = Keys::parse(text, Some("qom-type"));
    let id = keys.take("id").context("Parameter 'id' is missing")?;
    line.objects.insert(id, keys);
    Ok(())
}

fn vga(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    line.vga = Some(match text {
        "none" => Vga::None,
        "std" => Vga::Std,
        _ => bail!("'{text}' is not supported; there is 'none', 'std'"),
    });
    Ok(())
}

fn chardev(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let mut keys = Keys::parse(text, Some("backend"));
    let id = keys.take("id").context("Parameter 'id' is missing")?;
    let backend = keys.take("backend").unwrap_or_default();
    keys.ignore(&["mux", "logfile", "logappend", "signal", "append"]);
    let chardev = match backend.as_str() {
        "socket" => socket(keys)?,
        "null" => Chardev::Null,
        // what nobody reads is nothing
        "ringbuf" | "memory" => Chardev::Null,
        "stdio" => Chardev::Stdio,
        "file" => Chardev::File(keys.take("path").context("Parameter 'path' is missing")?),
        other => bail!("'{other}' is not a valid char driver name"),
    };
    line.chardevs.insert(id, chardev);
    Ok(())
}

fn socket(mut keys: Keys) -> anyhow::Result<Chardev> {
    let path =
        keys.take("path").context("a socket has a 'path'; others than those of Unix are not supported")?;
    let server = keys.switch("server", false)?;
    keys.ignore(&["wait", "nowait", "reconnect", "abstract", "tight", "telnet"]);
    keys.end()?;
    Ok(Chardev::Socket { path, server })
}

fn mon(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let mut keys = Keys::parse(text, Some("chardev"));
    let chardev = keys.take("chardev").context("Parameter 'chardev' is missing")?;
    match keys.take("mode").as_deref() {
        Some("control") => {}
        other => bail!("mode '{}' is not supported; there is 'control'", other.unwrap_or("readline")),
    }
    keys.ignore(&["pretty", "id", "default"]);
    keys.end()?;
    push(&mut line.monitors, chardev)
}

impl Chardev {
    /// Where a protocol is spoken on it.
    pub(super) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        match self {
            Self::Stdio => Ok(Endpoint::Stdio),
            Self::Socket { path, server } => {
                let side = if *server { Side::Server } else { Side::Client };
                Ok(Endpoint::Unix { path: path.into(), side })
            }
            Self::Null | Self::File(_) => bail!("nobody speaks there"),
        }
    }
}

fn qmp(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    let endpoint = line.chardev(text)?.endpoint()?;
    push(&mut line.qmp, endpoint)
}

fn qtest(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    line.qtest = Some(line.chardev(text)?.endpoint()?);
    Ok(())
}

fn qtest_log(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    line.qtest_log = Some(match text {
        "none" | "/dev/null" => Log::Nowhere,
        path => Log::File(path.into()),
    });
    Ok(())
}

fn word<T>(key: &str, text: &str, of: fn(&str) -> Option<T>) -> anyhow::Result<T> {
    of(text).with_context(|| format!("Parameter '{key}' does not accept value '{text}'"))
}

fn action(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    for (key, value) in Keys::parse(text, None).rest() {
        let actions = &mut line.actions;
        match key.as_str() {
            "reboot" => actions.reboot = word(&key, &value, RebootAction::from_word)?,
            "shutdown" => actions.shutdown = word(&key, &value, ShutdownAction::from_word)?,
            "panic" => actions.panic = word(&key, &value, PanicAction::from_word)?,
            "watchdog" => actions.watchdog = word(&key, &value, WatchdogAction::from_word)?,
            _ => bail!("Invalid parameter '{key}'"),
        }
    }
    Ok(())
}

fn watchdog_action(line: &mut CommandLine, text: &str) -> anyhow::Result<()> {
    line.actions.watchdog = word("watchdog-action", text, WatchdogAction::from_word)?;
    Ok(())
}
