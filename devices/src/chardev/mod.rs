//! Character back ends: what is at the other end of a serial line.

mod file;
mod socket;
#[cfg(test)]
mod tests;

use crate::sync::Arc;
use crate::{Console, DeviceError, Host};
use file::FileChardev;
use serde::{Deserialize, Serialize};
use socket::SocketChardev;
use std::path::PathBuf;

pub use socket::SocketAddress;

/// What is at the other end of a serial line: the property `backend`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Nothing: output is lost, and there is no input.
    #[default]
    None,
    /// The machine's console.
    Stdio,
    /// A file that takes the output, made anew when the machine starts. There is no input.
    File(PathBuf),
    /// A stream socket that somebody listens on already; it is never connected again.
    Socket(SocketAddress),
}

/// A byte stream in each direction.
///
/// Devices call it with none of their locks held: writing may wait for the host.
pub trait Chardev: Send + Sync {
    /// Writes output. What cannot be written is lost, as on an unplugged cable.
    fn write(&self, bytes: &[u8]);

    /// Takes at most `most` bytes of input, and never waits for them.
    fn read(&self, most: usize) -> Vec<u8>;

    /// Names what is called, from any thread and with no lock of the back end held, when input has come.
    fn on_input(&self, wake: Box<dyn Fn() + Send + Sync>);
}

impl Backend {
    /// Opens the back end. Relative paths start where those of the machine file do.
    ///
    /// # Errors
    /// If a file cannot be made, or a socket not be connected.
    pub fn open(&self, host: &Host) -> Result<Arc<dyn Chardev>, DeviceError> {
        Ok(match self {
            Self::None => Arc::new(Unconnected),
            Self::File(_) | Self::Socket(_) if host.looking => Arc::new(Unconnected),
            Self::Stdio => Arc::new(host.console.clone()),
            Self::File(path) => Arc::new(FileChardev::create(&host.resolve(path))?),
            Self::Socket(address) => Arc::new(SocketChardev::connect(address, host)?),
        })
    }
}

/// The end of a cable with nothing behind it.
struct Unconnected;

impl Chardev for Unconnected {
    fn write(&self, _bytes: &[u8]) {}

    fn read(&self, _most: usize) -> Vec<u8> {
        Vec::new()
    }

    fn on_input(&self, _wake: Box<dyn Fn() + Send + Sync>) {}
}

impl Chardev for Console {
    fn write(&self, bytes: &[u8]) {
        Self::write(self, bytes);
    }

    fn read(&self, most: usize) -> Vec<u8> {
        Self::read(self, most)
    }

    fn on_input(&self, wake: Box<dyn Fn() + Send + Sync>) {
        Self::on_input(self, wake);
    }
}
