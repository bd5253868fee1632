//! What the command line gives names to: `-drive`, `-object`, `-chardev`.

use super::keys::Keys;
use super::options::{Chardev, CommandLine};
use anyhow::{Context, bail};
use machines::backends::Backends;
use serde_json::{Map, Value, json};

/// Bytes of a disk that is nothing, if nobody says how many.
const NULL_SIZE: u64 = 1 << 30;

impl CommandLine {
    /// Everything that has a name, for devices that are there already and for those that are plugged in later.
    pub(super) fn backends(&self) -> anyhow::Result<Backends> {
        let mut backends = Backends::default();
        for keys in &self.drives {
            let Some(id) = keys.clone().take("id") else { continue };
            let options = drive(&id, keys.clone()).with_context(|| format!("-drive id={id}"))?;
            backends.drives.insert(id, options);
        }
        for (id, keys) in &self.objects {
            backends.memory.insert(id.clone(), memory(keys.clone()));
        }
        for (id, chardev) in &self.chardevs {
            // one that monitors are spoken on may be what no device can use
            if let Ok(backend) = backend_json(chardev) {
                let options = Map::from_iter([("backend".to_owned(), backend)]);
                backends.chardevs.insert(id.clone(), options);
            }
        }
        Ok(backends)
    }
}

/// The options of the device that gets a drive: none if it is empty.
fn drive(id: &str, mut keys: Keys) -> anyhow::Result<Map<String, Value>> {
    let mut options = Map::new();
    let file = keys.take("file").or_else(|| keys.take("file.filename"));
    let driver = keys.take("file.driver").or_else(|| keys.take("driver"));
    let nothing = ["null-co", "null-aio"];
    if file
        .as_deref()
        .and_then(|file| file.split_once("://"))
        .is_some_and(|(what, _)| nothing.contains(&what))
        || driver.as_deref().is_some_and(|driver| nothing.contains(&driver))
    {
        let size = keys.take("file.size").or_else(|| keys.take("size"));
        let size =
            size.map(|size| machines::file::parse_number(&size).context("Parameter 'size' expects a size"));
        let size = size.transpose()?.map(u64::try_from).transpose()?;
        options.insert("size".to_owned(), json!(size.unwrap_or(NULL_SIZE)));
    } else if let Some(file) = file {
        options.insert("image".to_owned(), json!(absolute(&file)?));
    } else {
        return Ok(options);
    }
    let read_only = keys.switch("readonly", false)? || keys.switch("read-only", false)?;
    options.insert("read-only".to_owned(), json!(read_only));
    options.insert("drive-name".to_owned(), json!(id));
    Ok(options)
}

/// The file and the size of memory.
fn memory(mut keys: Keys) -> Map<String, Value> {
    let names = [("size", "size"), ("mem-path", "file")];
    names
        .into_iter()
        .filter_map(|(theirs, ours)| Some((ours.to_owned(), json!(keys.take(theirs)?))))
        .collect()
}

/// A path that means the same wherever the machine's file lies.
pub(super) fn absolute(path: &str) -> anyhow::Result<String> {
    let full = std::path::absolute(path).with_context(|| path.to_owned())?;
    Ok(full.to_str().context("the path is not UTF-8")?.to_owned())
}

/// What stands behind `backend` in a machine file.
fn backend_json(chardev: &Chardev) -> anyhow::Result<Value> {
    Ok(match chardev {
        Chardev::Null => json!("none"),
        Chardev::Stdio => json!("stdio"),
        Chardev::File(path) => json!({ "file": absolute(path)? }),
        Chardev::Socket { path, server: false } => json!({ "socket": format!("unix:{}", absolute(path)?) }),
        Chardev::Socket { .. } => bail!("a device connects to a socket, and does not listen"),
    })
}
