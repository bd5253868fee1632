use super::*;
use crate::testing::Board;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn parse(json: serde_json::Value) -> Result<Backend, serde_json::Error> {
    serde_json::from_value(json)
}

#[test]
fn back_ends_are_read_as_they_are_written() {
    let texts = [r#""none""#, r#""stdio""#, r#"{"file":"out.log"}"#, r#"{"socket":"unix:a:b"}"#];
    for text in texts.into_iter().chain([r#"{"socket":"tcp:[::1]:80"}"#]) {
        let backend: Backend = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&backend).unwrap(), text);
    }
    for address in ["unix:", "tcp:host", "tcp:host:99999", "host:80", ""] {
        let error = parse(serde_json::json!({ "socket": address })).unwrap_err();
        assert!(error.to_string().contains("tcp:HOST:PORT"), "{error}");
    }
    assert!(parse(serde_json::json!("serial")).is_err());
}

#[test]
fn a_file_takes_output_and_starts_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    std::fs::write(folder.path().join("out"), "old").unwrap();
    let file = Backend::File("out".into()).open(&board.host).unwrap();
    file.write(b"one ");
    file.write(b"two");
    assert_eq!(std::fs::read(folder.path().join("out")).unwrap(), b"one two");
    assert_eq!(file.read(10), b"");
    let error = Backend::File("no/out".into()).open(&board.host).err().unwrap();
    assert!(matches!(error, DeviceError::File { path, .. } if path.ends_with("no/out")));
}

/// Both directions over a connected pair, and the end of it.
fn talk(chardev: Arc<dyn Chardev>, peer: &mut (impl Read + Write)) {
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    chardev.on_input(Box::new(move || sender.lock().unwrap().send(()).unwrap_or_default()));
    chardev.write(b"hello");
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    // more than waits in the back end, so that the thread that reads has to wait for room
    let text: Vec<u8> = (0..20_000u32).map(|at| at.to_le_bytes()[0]).collect();
    peer.write_all(&text).unwrap();
    let mut got = Vec::new();
    while got.len() < text.len() {
        receiver.recv_timeout(SOON).unwrap();
        loop {
            let bytes = chardev.read(16);
            if bytes.is_empty() {
                break;
            }
            got.extend(bytes);
        }
    }
    assert!(got == text);
    drop(chardev);
    assert_eq!(peer.read(&mut bytes).unwrap(), 0, "dropping the back end closes the socket");
}

#[test]
fn sockets_carry_bytes_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let chardev = Backend::Socket("unix:socket".parse().unwrap()).open(&board.host).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    talk(chardev, &mut peer);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let chardev = Backend::Socket(address.parse().unwrap()).open(&board.host).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    talk(chardev, &mut peer);
}

#[test]
fn a_socket_without_listener_is_refused_and_a_lost_peer_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    let backend = Backend::Socket("unix:socket".parse().unwrap());
    let error = backend.open(&board.host).err().unwrap().to_string();
    assert!(error.starts_with("property `backend`: unix:socket: "), "{error}");

    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let chardev = backend.open(&board.host).unwrap();
    drop(listener.accept().unwrap());
    chardev.write(b"nobody");
    chardev.write(b"there");
    assert_eq!(chardev.read(1), b"");
}
