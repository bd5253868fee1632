//! Owners, as maps print them.

use serde::Serialize;
use std::fmt;

/// The owner of a region, if owners are printed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct PrintedOwner(
    /// Its path, or `None` if the region belongs to the machine.
    pub Option<String>,
);

/// With a leading space: the end of a line.
impl fmt::Display for PrintedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, " owner:{{obj path={path}}}"),
            None => f.write_str(" orphan"),
        }
    }
}
