//! Where a protocol is spoken: standard input and output, or a socket of the host.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long a peer that does not read may keep a write waiting before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which side of a socket is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Side {
    /// The client's if somebody listens there, otherwise the server's.
    #[default]
    Either,
    /// We connect.
    Client,
    /// We listen: one peer at a time, one after the other.
    Server,
}

/// Where a protocol is spoken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// Standard input and output.
    Stdio,
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Which side is ours.
        side: Side,
    },
}

impl FromStr for Endpoint {
    type Err = String;

    /// `stdio`, or `unix:PATH[,server=on|off][,wait=on|off]`. Nothing waits, whatever `wait` says.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stdio" {
            return Ok(Self::Stdio);
        }
        let unknown = || format!("`{text}` is neither `stdio` nor `unix:PATH[,server=on|off]`");
        let mut parts = text.strip_prefix("unix:").ok_or_else(unknown)?.split(',');
        let path = parts.next().filter(|path| !path.is_empty()).ok_or_else(unknown)?;
        let mut side = Side::Either;
        for part in parts {
            match part {
                "server" | "server=on" => side = Side::Server,
                "server=off" => side = Side::Client,
                "wait" | "nowait" | "wait=on" | "wait=off" => {}
                _ => return Err(format!("`{part}` of `{text}` is not known; there are `server` and `wait`")),
            }
        }
        Ok(Self::Unix { path: path.into(), side })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Connects, or begins to listen.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(&self) -> Result<Link, EndpointError> {
        let opened = match self {
            Self::Stdio => Ok(Link::One(Some(Connection::stdio()))),
            Self::Unix { path, side: Side::Client } => Link::connect(path),
            Self::Unix { path, side: Side::Server } => Link::listen(path),
            Self::Unix { path, side: Side::Either } => {
                Link::connect(path).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Link::listen(path),
                    _ => Err(error),
                })
            }
        };
        opened.map_err(|error| EndpointError { endpoint: self.clone(), error })
    }
}

/// Why nothing can be spoken somewhere.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {error}")]
pub struct EndpointError {
    endpoint: Endpoint,
    error: io::Error,
}

/// A peer, or a place where peers come from.
#[derive(Debug)]
pub enum Link {
    /// One peer.
    One(Option<Connection>),
    /// One peer after the other.
    Many(Listener),
}

impl Link {
    fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self::One(Some(Connection::of_socket(UnixStream::connect(path)?)?)))
    }

    fn listen(path: &Path) -> io::Result<Self> {
        // what a process that is gone has left
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        Ok(Self::Many(Listener { socket: UnixListener::bind(path)? }))
    }

    /// The path that is to be removed in the end, of a socket that was made.
    pub fn made(&self) -> Option<PathBuf> {
        match self {
            Self::One(_) => None,
            Self::Many(listener) => listener.socket.local_addr().ok()?.as_pathname().map(Path::to_owned),
        }
    }

    /// Waits for the next peer; `None` if there will be none.
    pub fn accept(&mut self) -> Option<Connection> {
        match self {
            Self::One(connection) => connection.take(),
            Self::Many(listener) => loop {
                let accepted = listener.socket.accept().and_then(|(stream, _)| Connection::of_socket(stream));
                match accepted {
                    Ok(connection) => return Some(connection),
                    // a peer that is gone before it was there
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(%error, "no more clients are taken");
                        return None;
                    }
                }
            },
        }
    }
}

/// A socket that is listened to.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
}

/// A peer.
pub struct Connection {
    /// What it says.
    pub reader: Box<dyn Read + Send>,
    /// What it is told.
    pub writer: Box<dyn Write + Send>,
}

impl Connection {
    fn stdio() -> Self {
        Self { reader: Box::new(io::stdin()), writer: Box::new(io::stdout()) }
    }

    fn of_socket(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: Box::new(stream.try_clone()?), writer: Box::new(stream) })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_the_command_line_has_them() {
        let unix = |side| Endpoint::Unix { path: "/a b".into(), side };
        for (text, endpoint) in [
            ("stdio", Endpoint::Stdio),
            ("unix:/a b", unix(Side::Either)),
            ("unix:/a b,server=off", unix(Side::Client)),
            ("unix:/a b,server=on,wait=off", unix(Side::Server)),
            ("unix:/a b,server,nowait", unix(Side::Server)),
        ] {
            assert_eq!(text.parse(), Ok(endpoint));
        }
        for text in ["", "unix:", "tcp:host:80", "unix:a,serve=on", "/a"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(text) && error.contains("server"), "{error}");
        }
    }

    #[test]
    fn either_side_is_the_servers_until_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let endpoint = Endpoint::Unix { path: path.clone(), side: Side::Either };
        let mut server = endpoint.open().unwrap();
        assert_eq!(server.made(), Some(path.clone()));
        let mut client = endpoint.open().unwrap();
        assert_eq!(client.made(), None);
        let (mut here, mut there) = (client.accept().unwrap(), server.accept().unwrap());
        here.writer.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        there.reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        assert!(client.accept().is_none());
        drop(server);
        // its socket is still in the folder, and nobody listens
        assert!(Endpoint::Unix { path: path.clone(), side: Side::Client }.open().is_err());
        assert!(endpoint.open().unwrap().made().is_some());
        let error = Endpoint::Unix { path: folder.path().into(), side: Side::Server }.open().unwrap_err();
        assert!(error.to_string().starts_with("unix:/"), "{error}");
    }
}
