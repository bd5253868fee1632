//! Bodies of the fuzz targets.
//!
//! A body takes any bytes, makes of them what it is about with [`arbitrary`], and panics if the project's promises do
//! not hold. A fuzzer calls it (`cargo xtask fuzz`, which builds `tests/fuzz`), and so does an ordinary test, with the
//! committed corpora and with random bytes: that needs no fuzzer.
//!
//! What a body needs to be told it is told by the bytes alone: the same bytes are the same run. (Two devices have
//! threads of their own; with these the order of what they do is the host's.)

mod cfi;
mod device;
mod import;
mod machine_file;
mod mmio;
mod rv64;
mod tree;
mod virtqueue;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its program and of its corpus.
    pub name: &'static str,
    /// What it tries, against what.
    pub about: &'static str,
    body: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target { name: "tree", about: "changes of a region tree against the slow oracle", body: tree::body },
    Target { name: "mmio", about: "access rules against a literal model", body: mmio::body },
    Target { name: "import", about: "the importer of printed maps", body: import::body },
    Target { name: "machine-file", about: "machine files, read, written, built", body: machine_file::body },
    Target { name: "device", about: "any registered device, misused and restored", body: device::body },
    Target {
        name: "rv64",
        about: "the RV64 decoder and its CSRs against the manual's tables",
        body: rv64::body,
    },
    Target { name: "virtqueue", about: "virtqueues with hostile descriptors", body: virtqueue::body },
    Target { name: "cfi", about: "command streams to CFI flash against a literal model", body: cfi::body },
];

impl Target {
    /// Runs the body once.
    ///
    /// # Panics
    /// If something that the project promises does not hold.
    pub fn run(&self, data: &[u8]) {
        (self.body)(data);
    }
}

/// Runs the target of that name once.
///
/// # Panics
/// If there is no such target, or if something that the project promises does not hold.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("no fuzz target `{name}`")).run(data);
}
