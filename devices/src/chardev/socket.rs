//! A stream socket as a back end.

use super::Chardev;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, PoisonError, thread};
use crate::{DeviceError, Host};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Bytes of input that wait for the device; what comes beyond waits in the host.
const MOST_INPUT: usize = 4096;

/// How long a peer that does not read may hold up the machine, once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a socket leads: `unix:PATH` or `tcp:HOST:PORT`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(try_from = "String", into = "String")]
pub enum SocketAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A TCP port, as `HOST:PORT`.
    Tcp(String),
}

impl FromStr for SocketAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |place: &str| place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) if port(place) => Ok(Self::Tcp(place.to_owned())),
            _ => Err(format!("`{text}` is neither `unix:PATH` nor `tcp:HOST:PORT`")),
        }
    }
}

impl TryFrom<String> for SocketAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SocketAddress> for String {
    fn from(address: SocketAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(address: &SocketAddress, host: &Host) -> io::Result<Self> {
        match address {
            SocketAddress::Unix(path) => {
                let stream = UnixStream::connect(host.resolve(path))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(stream))
            }
            SocketAddress::Tcp(place) => {
                let stream = TcpStream::connect(place)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                // people type here
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => { stream }.read(bytes),
            Self::Tcp(stream) => { stream }.read(bytes),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => { stream }.write_all(bytes),
            Self::Tcp(stream) => { stream }.write_all(bytes),
        }
    }

    fn shut_down(&self) {
        // it may be down already
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Input {
    bytes: VecDeque<u8>,
    wake: Option<Wake>,
    /// The device is gone: the thread that reads must end.
    closed: bool,
}

/// What the back end and the thread that reads share.
struct Shared {
    stream: Stream,
    /// Held for an instant, never while the socket is used or the device woken.
    input: Mutex<Input>,
    /// There is room for input again, or the back end is closed.
    room: Condvar,
}

impl Shared {
    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, and returns how much there is; `None` when the back end is closed.
    fn wait_for_room(&self) -> Option<usize> {
        let full = |input: &mut Input| !input.closed && input.bytes.len() >= MOST_INPUT;
        let input = self.room.wait_while(self.input(), full).unwrap_or_else(PoisonError::into_inner);
        (!input.closed).then(|| MOST_INPUT.saturating_sub(input.bytes.len()))
    }

    /// Reads until either side closes.
    fn receive(&self) {
        let mut buffer = [0; 512];
        while let Some(room) = self.wait_for_room() {
            let most = room.min(buffer.len());
            let Some(space) = buffer.get_mut(..most) else { return };
            let count = match self.stream.read(space) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let mut input = self.input();
            input.bytes.extend(space.iter().take(count));
            let wake = input.wake.clone();
            drop(input);
            if let Some(wake) = wake {
                wake();
            }
        }
    }
}

/// A connected socket, with a thread that reads from it.
pub(super) struct SocketChardev {
    shared: Arc<Shared>,
    /// Held while writing, so that bytes of two threads do not mix.
    writing: Mutex<()>,
    /// The peer is gone, or reads no more.
    lost: AtomicBool,
}

impl SocketChardev {
    /// Connects to somebody who listens at `address`.
    pub(super) fn connect(address: &SocketAddress, host: &Host) -> Result<Self, DeviceError> {
        let refuse = |error: io::Error| DeviceError::Property {
            property: "backend",
            reason: format!("{address}: {error}"),
        };
        let stream = Stream::connect(address, host).map_err(refuse)?;
        let shared = Arc::new(Shared { stream, input: Mutex::default(), room: Condvar::new() });
        let reader = shared.clone();
        thread::Builder::new().name("socket input".into()).spawn(move || reader.receive()).map_err(refuse)?;
        Ok(Self { shared, writing: Mutex::new(()), lost: AtomicBool::new(false) })
    }
}

impl Chardev for SocketChardev {
    fn write(&self, bytes: &[u8]) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lost.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.shared.stream.write_all(bytes) {
            tracing::warn!(%error, "the peer of a socket takes no output any more: it is lost");
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    fn read(&self, most: usize) -> Vec<u8> {
        let mut input = self.shared.input();
        let count = most.min(input.bytes.len());
        let bytes = input.bytes.drain(..count).collect();
        drop(input);
        self.shared.room.notify_one();
        bytes
    }

    fn on_input(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let wake: Wake = wake.into();
        let mut input = self.shared.input();
        input.wake = Some(wake.clone());
        let waiting = !input.bytes.is_empty();
        drop(input);
        if waiting {
            wake();
        }
    }
}

impl Drop for SocketChardev {
    fn drop(&mut self) {
        let mut input = self.shared.input();
        input.closed = true;
        // it refers to the device
        let wake = input.wake.take();
        drop(input);
        drop(wake);
        self.shared.stream.shut_down();
        self.shared.room.notify_one();
    }
}
