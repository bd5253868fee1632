//! QEMU's qtest protocol: a client drives a machine's devices line by line, with no CPU in the way.
//!
//! Each line is a command, and each command has one reply: `OK`, `OK` with what was asked for, or `FAIL` with what is wrong.
//! Lines `IRQ raise N` and `IRQ lower N` come in between, before the reply to the command that made them.
//! Memory commands are transfers in the address space that the first CPU sees, port commands in its port space; what is wrong
//! with an access is not reported, as the protocol has no word for it. Time is the machine's stepped clock: it stands at
//! 0 in the beginning and is moved by `clock_step` and `clock_set` only.

mod interrupts;
mod memory;
mod output;
#[cfg(test)]
mod tests;
mod words;

use crate::endpoint::{Connection, Link};
use crate::lifecycle::{Cause, Wish};
use crate::machine::Machine;
use crate::sync::{Arc, thread};
use interrupts::{Direction, Interrupts};
use memory_dispatch::AddressSpace;
use output::Output;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;
use words::{Refusal, Words, parse_u64, shown};

/// Bytes in one line, at most.
const LONGEST: usize = 1 << 26;

/// Bytes that are read at once.
const READ: usize = 1 << 16;

/// How long the last reply may take to be written.
const PATIENCE: Duration = Duration::from_secs(2);

/// The machine as a client of qtest sees it.
pub struct Qtest {
    machine: Arc<Machine>,
    out: Output,
    interrupts: Interrupts,
    /// What the first CPU sees.
    memory: Option<Arc<AddressSpace>>,
    ports: Option<Arc<AddressSpace>>,
    /// The machine ends when standard input does, since nobody could ever reach it any more.
    ends_with_client: bool,
}

/// The replies of a [`Qtest`] that serves clients on its own thread.
pub struct Replies(Output);

impl Replies {
    /// Waits until the commands that clients have sent are answered, though not long: for the end of the process. The command that
    /// ends the machine has a reply as well.
    pub fn drain(&self) {
        self.0.drain(PATIENCE);
    }
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

/// What a command is answered.
enum Reply {
    Ok,
    Value(u64),
    Word(String),
    /// It was said already.
    Said,
}

impl Qtest {
    /// A machine with a stepped clock, driven by clients one after the other; commands and replies go to `log` if there is one.
    pub fn new(machine: &Arc<Machine>, log: Option<Box<dyn Write + Send>>) -> Self {
        let out = Output::new(log);
        Self {
            interrupts: Interrupts::new(out.clone()),
            out,
            memory: machine.cpu_space().cloned(),
            ports: machine.port_space().cloned(),
            machine: machine.clone(),
            ends_with_client: false,
        }
    }

    /// Has the machine end when the last client is gone.
    #[must_use]
    pub fn ends_with_client(mut self, ends: bool) -> Self {
        self.ends_with_client = ends;
        self
    }

    /// Serves the clients of `link`, one after the other, on a thread of its own.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(mut self, mut link: Link) -> io::Result<Replies> {
        let replies = Replies(self.out.clone());
        let serve = move || {
            while let Some(connection) = link.accept() {
                self.serve(connection);
            }
            if self.ends_with_client {
                self.machine.lifecycle().post(Wish::Quit(Cause::HostUi));
            }
        };
        thread::Builder::new().name("qtest".into()).spawn(serve).map(|_| replies)
    }

    /// Serves one client until it is gone.
    pub fn serve(&mut self, connection: Connection) {
        self.interrupts.forget_levels();
        self.out.open(connection.writer);
        let mut reader = BufReader::with_capacity(READ, connection.reader);
        let (mut line, logged) = (Vec::new(), self.out.is_logged());
        while let Ok(read) = read_line(&mut reader, &mut line) {
            if read == Line::End {
                break;
            }
            self.out.begin();
            self.answer(&line, read, logged);
            // replies to commands that came in one piece go in one piece
            let is_last = !reader.buffer().contains(&b'\n');
            if is_last && !self.out.flush() {
                break;
            }
        }
        self.out.close();
    }

    fn answer(&mut self, line: &[u8], read: Line, logged: bool) {
        let result = match (read, std::str::from_utf8(line)) {
            (Line::TooLong, _) => Err(format!("a line has at most {LONGEST} bytes")),
            (_, Err(_)) => Err("the line is no text".to_owned()),
            (_, Ok(line)) => {
                if logged {
                    self.out.note(line.trim_end());
                }
                let machine = self.machine.clone();
                machine.lifecycle().reclaiming(machine.system(), || self.command(line))
            }
        };
        self.settle();
        match result {
            Ok(Reply::Ok) => self.out.line(format_args!("OK")),
            Ok(Reply::Value(value)) => self.out.line(format_args!("OK 0x{value:016x}")),
            Ok(Reply::Word(word)) => self.out.line(format_args!("OK {word}")),
            Ok(Reply::Said) => {}
            Err(refusal) => self.out.line(format_args!("FAIL {refusal}")),
        }
    }

    /// Lets what the command has set off come to rest: what devices have put off, and what is asked of the machine.
    fn settle(&self) {
        let clock = &self.machine.host().clock;
        if clock.is_due() {
            clock.step(0);
        }
        let lifecycle = self.machine.lifecycle();
        if !lifecycle.is_settled() {
            lifecycle.settle();
        }
    }

    fn command(&mut self, line: &str) -> Result<Reply, Refusal> {
        let (command, words) = Words::split(line);
        match command {
            "readb" => self.read::<1>(words),
            "readw" => self.read::<2>(words),
            "readl" => self.read::<4>(words),
            "readq" => self.read::<8>(words),
            "writeb" => self.write::<1>(words),
            "writew" => self.write::<2>(words),
            "writel" => self.write::<4>(words),
            "writeq" => self.write::<8>(words),
            "inb" => self.port_in::<1>(words),
            "inw" => self.port_in::<2>(words),
            "inl" => self.port_in::<4>(words),
            "outb" => self.port_out::<1>(words),
            "outw" => self.port_out::<2>(words),
            "outl" => self.port_out::<4>(words),
            "read" => memory::read_hex(self.memory()?, words, &self.out).map(|()| Reply::Said),
            "b64read" => memory::read_base64(self.memory()?, words, &self.out).map(|()| Reply::Said),
            "write" => memory::write_hex(self.memory()?, words).map(|()| Reply::Ok),
            "b64write" => memory::write_base64(self.memory()?, words).map(|()| Reply::Ok),
            "memset" => memory::fill(self.memory()?, words).map(|()| Reply::Ok),
            "endianness" => words.end().map(|()| Reply::Word(self.endianness().to_owned())),
            "clock_step" => self.clock_step(words),
            "clock_set" => self.clock_set(words),
            "irq_intercept_in" => {
                self.interrupts.intercept(&self.machine, words, Direction::In).map(|()| Reply::Ok)
            }
            "irq_intercept_out" => {
                self.interrupts.intercept(&self.machine, words, Direction::Out).map(|()| Reply::Ok)
            }
            "set_irq_in" => interrupts::set_input(&self.machine, words).map(|()| Reply::Ok),
            "module_load" => Err("there are no modules to load".to_owned()),
            other => Err(format!("Unknown command '{}'", shown(other))),
        }
    }

    fn memory(&self) -> Result<&AddressSpace, Refusal> {
        self.memory.as_deref().ok_or_else(|| "the machine has no memory".to_owned())
    }

    fn ports(&self) -> Result<&AddressSpace, Refusal> {
        self.ports.as_deref().ok_or_else(|| "the machine has no ports".to_owned())
    }

    fn endianness(&self) -> &'static str {
        match self.memory.as_ref().map(|space| space.config().order) {
            Some(memory_core::ByteOrder::Big) => "big",
            _ => "little",
        }
    }

    fn read<const N: usize>(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let address = words.number("address")?;
        words.end()?;
        Ok(Reply::Value(self.in_order::<N>(memory::read::<N>(self.memory()?, address))))
    }

    fn write<const N: usize>(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let (address, value) = (words.number("address")?, words.number("value")?);
        words.end()?;
        memory::write::<N>(self.memory()?, address, self.in_order::<N>(value));
        Ok(Reply::Ok)
    }

    /// A little-endian number in the order of the CPU, and the other way round.
    fn in_order<const N: usize>(&self, value: u64) -> u64 {
        match self.endianness() {
            "big" => value.swap_bytes() >> (64 - 8 * N),
            _ => value,
        }
    }

    fn port_in<const N: usize>(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let port = port(&mut words)?;
        words.end()?;
        Ok(Reply::Word(format!("0x{:04x}", memory::read::<N>(self.ports()?, port))))
    }

    fn port_out<const N: usize>(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let (port, value) = (port(&mut words)?, words.number("value")?);
        words.end()?;
        memory::write::<N>(self.ports()?, port, value);
        Ok(Reply::Ok)
    }

    /// Without a number to when the next timer is due.
    fn clock_step(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let clock = &self.machine.host().clock;
        let target = match words.optional() {
            Some(word) => {
                words.end()?;
                let nanos = parse_time(word)?;
                clock.now().saturating_add(nanos)
            }
            None => clock.next_deadline().unwrap_or(0),
        };
        self.move_clock(target)
    }

    fn clock_set(&self, mut words: Words<'_>) -> Result<Reply, Refusal> {
        let target = parse_time(words.word("time")?)?;
        words.end()?;
        self.move_clock(target)
    }

    /// Moves the clock on to `target`, unless it is there, from timer to timer: should they never end, the machine can
    /// be ended all the same.
    fn move_clock(&self, target: u64) -> Result<Reply, Refusal> {
        let clock = &self.machine.host().clock;
        let target = target.min(i64::MAX.unsigned_abs());
        while let Some(next) = clock.next_deadline().filter(|next| *next <= target) {
            if self.machine.lifecycle().is_ending() {
                break;
            }
            clock.step(next.saturating_sub(clock.now()));
        }
        clock.step(target.saturating_sub(clock.now()));
        Ok(Reply::Word(clock.now().to_string()))
    }
}

/// A time or a span in nanoseconds; what is negative is none.
fn parse_time(word: &str) -> Result<u64, Refusal> {
    let number = parse_u64(word).ok_or_else(|| format!("`{}` is no time", shown(word)))?;
    Ok(if word.starts_with('-') { 0 } else { number.min(i64::MAX.unsigned_abs()) })
}

fn port(words: &mut Words<'_>) -> Result<u64, Refusal> {
    let port = words.number("port")?;
    if port > 0xffff { Err(format!("{port:#x} is no port")) } else { Ok(port) }
}

/// What came of reading a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Whole,
    /// Only its beginning is there.
    TooLong,
    /// There are no more; a last one without an end is none.
    End,
}

/// Reads a line, of which no more than [`LONGEST`] bytes are kept.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    line.shrink_to(READ);
    let mut is_long = false;
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            return Ok(Line::End);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        is_long |= line.len() + part.len() > LONGEST;
        if !is_long {
            line.extend_from_slice(part);
        }
        let count = part.len() + usize::from(end.is_some());
        reader.consume(count);
        if end.is_some() {
            return Ok(if is_long { Line::TooLong } else { Line::Whole });
        }
    }
}
