//! QEMU's machine protocol, QMP: clients look at a machine, change it, and hear what happens to it.
//!
//! A client is greeted, negotiates (`qmp_capabilities`), and sends commands as JSON objects, each with one reply. Events come in
//! between. The commands are in `commands`, one file for each thing that they are about.

mod arguments;
mod commands;
mod error;
mod event;
mod frame;
mod outbox;
mod strict;
#[cfg(test)]
mod tests;

use crate::endpoint::{Connection, Link};
use crate::lifecycle::{MachineEvent, Wish};
use crate::machine::Machine;
use crate::sync::{Arc, Mutex, PoisonError, thread};
use arguments::Arguments;
use commands::{COMMANDS, Outcome};
use error::QmpError;
use frame::Frame;
use outbox::Outbox;
use serde_json::{Map, Value, json};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How long a client may take to read the last of what it is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// A machine that is looked after by clients of QMP; clones are the same.
#[derive(Clone)]
pub struct Qmp {
    machine: Arc<Machine>,
    /// What is on its way to clients. Held for an instant.
    outboxes: Arc<Mutex<Vec<Arc<Outbox>>>>,
}

impl Qmp {
    /// A machine without clients.
    pub fn new(machine: &Arc<Machine>) -> Self {
        Self { machine: machine.clone(), outboxes: Arc::default() }
    }

    /// Serves the clients of `link`, one after the other, on a thread of its own.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(&self, mut link: Link) -> io::Result<()> {
        let qmp = self.clone();
        let serve = move || {
            while let Some(connection) = link.accept() {
                if let Err(error) = qmp.serve(connection) {
                    tracing::warn!(%error, "a client of QMP cannot be served");
                }
            }
        };
        thread::Builder::new().name("qmp".into()).spawn(serve).map(drop)
    }

    /// Serves one client until it is gone. It may end what it sends and still hear the replies.
    ///
    /// # Errors
    /// The host has no thread for what the client is told.
    pub fn serve(&self, connection: Connection) -> io::Result<()> {
        let Connection { mut reader, writer } = connection;
        let out = Outbox::open(writer)?;
        self.lock_outboxes().push(out.clone());
        let mut session = Session { machine: self.machine.clone(), out: out.clone(), watch: None };
        out.reply(&greeting());
        let (mut frame, mut buffer) = (Frame::new(), vec![0; 1 << 14]);
        while out.is_open() {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            frame.take(buffer.get(..count).unwrap_or(&[]), |value| session.answer(value));
        }
        drop(session);
        out.close();
        self.lock_outboxes().retain(|other| !Arc::ptr_eq(other, &out));
        Ok(())
    }

    fn lock_outboxes(&self) -> crate::sync::MutexGuard<'_, Vec<Arc<Outbox>>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the clients have been told everything, though not long: for the end of the process.
    pub fn drain(&self) {
        let deadline = Instant::now() + PATIENCE;
        let outboxes = self.lock_outboxes().clone();
        outboxes.iter().for_each(|outbox| outbox.drain(deadline));
    }
}

impl std::fmt::Debug for Qmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qmp").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// What stands for QEMU's version: whose protocol this is.
fn version() -> Value {
    let package = concat!("Flatland ", env!("CARGO_PKG_VERSION"));
    json!({ "qemu": { "micro": 0, "minor": 2, "major": 7 }, "package": package })
}

fn greeting() -> Value {
    json!({ "QMP": { "version": version(), "capabilities": [] } })
}

/// One client.
struct Session {
    machine: Arc<Machine>,
    out: Arc<Outbox>,
    /// What tells the client of events, from its negotiation on.
    watch: Option<crate::lifecycle::Watch>,
}

impl Session {
    fn answer(&mut self, value: Result<Value, frame::NoValue>) {
        let (id, result) = match value {
            Err(what) => (None, Err(QmpError::generic(what))),
            Ok(Value::Object(mut request)) => {
                let id = request.remove("id");
                (id, self.request(request))
            }
            Ok(_) => (None, Err(QmpError::generic("QMP input must be a JSON object"))),
        };
        let (member, value, then) = match result {
            Ok(Outcome::Value(value)) => ("return", value, None),
            Ok(Outcome::Then(value, then)) => ("return", value, Some(then)),
            Err(error) => ("error", error.to_json(), None),
        };
        let mut reply = Map::from_iter([(member.to_owned(), value)]);
        reply.extend(id.map(|id| ("id".to_owned(), id)));
        self.out.reply(&Value::Object(reply));
        match then {
            None => {}
            Some(Then::Ask(wish)) => self.machine.lifecycle().post(wish),
            Some(Then::Tell(event)) => self.machine.lifecycle().tell(&event),
        }
    }

    fn request(&mut self, mut request: Map<String, Value>) -> Result<Outcome, QmpError> {
        let command = request.remove("execute");
        let arguments = request.remove("arguments");
        if let Some(member) = request.keys().next() {
            return Err(QmpError::generic(format!("QMP input member '{member}' is unexpected")));
        }
        let member = |what: &str| QmpError::generic(format!("QMP input {what}"));
        let command = match command {
            Some(Value::String(command)) => command,
            Some(_) => return Err(member("member 'execute' must be a string")),
            None => return Err(member("lacks member 'execute'")),
        };
        let arguments = match arguments {
            None => Arguments::default(),
            Some(Value::Object(arguments)) => Arguments::new(arguments),
            Some(_) => return Err(member("member 'arguments' must be an object")),
        };
        match (command.as_str(), &self.watch) {
            ("qmp_capabilities", None) => self.negotiate(arguments),
            ("qmp_capabilities", Some(_)) => {
                let desc = "Capabilities negotiation is already complete, command ignored";
                Err(QmpError::command_not_found(desc))
            }
            (_, None) => {
                let desc = "Expecting capabilities negotiation with 'qmp_capabilities'";
                Err(QmpError::command_not_found(desc))
            }
            (command, Some(_)) => match COMMANDS.iter().find(|(name, _)| *name == command) {
                Some((_, run)) => run(&self.machine, arguments),
                None => {
                    let desc = format!("The command {command} has not been found");
                    Err(QmpError::command_not_found(desc))
                }
            },
        }
    }

    /// There is nothing that could be enabled.
    fn negotiate(&mut self, mut arguments: Arguments) -> Result<Outcome, QmpError> {
        let wanted = match arguments.optional("enable") {
            None => Vec::new(),
            Some(Value::Array(wanted)) => wanted,
            Some(_) => return Err(arguments::wrong_type("enable", "array")),
        };
        arguments.end()?;
        match wanted.first() {
            None => {}
            Some(Value::String(word)) if word == "oob" => {
                return Err(QmpError::generic("Capability 'oob' is not available"));
            }
            Some(Value::String(word)) => {
                let desc = format!("Parameter 'enable' does not accept value '{word}'");
                return Err(QmpError::generic(desc));
            }
            Some(_) => return Err(arguments::wrong_type("enable", "string")),
        }
        let out = self.out.clone();
        self.watch = Some(self.machine.lifecycle().watch(move |what| out.event(&event::to_json(what))));
        Ok(Outcome::done())
    }
}

/// What is done about a command when its reply is said.
enum Then {
    /// Something is asked of the machine.
    Ask(Wish),
    /// Everybody is told.
    Tell(MachineEvent),
}
