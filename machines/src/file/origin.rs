//! Where a part of a specification came from, so that whoever uses it later can still say so.

use super::{FileError, Place, Problem, Table};
use crate::sync::Arc;

/// The file, key path and places behind one part of a [`MachineSpec`](super::MachineSpec).
///
/// Two origins are always equal: where a thing was written is no part of what it says.
#[derive(Debug, Clone)]
pub struct Origin {
    file: Arc<str>,
    path: String,
    place: Place,
    keys: Vec<(String, Place)>,
}

impl Origin {
    /// The origin of `table`, which stands at `place` of `file` under `path`.
    pub(super) fn of_table(file: &Arc<str>, path: String, place: Place, table: &Table) -> Self {
        let keys = table.iter().map(|entry| (entry.key.clone(), entry.value.place)).collect();
        Self { file: file.clone(), path, place, keys }
    }

    /// The origin of a single value, which has no keys.
    pub(super) fn of_value(file: &Arc<str>, path: String, place: Place) -> Self {
        Self { file: file.clone(), path, place, keys: Vec::new() }
    }

    /// An error about `key`, placed at its value if it was written, else at the table that it is missing
    /// from. With an empty key it is about the table itself.
    ///
    /// For what only shows when the machine is built: an overlap, a file that is missing.
    pub fn error(&self, key: &str, message: impl Into<String>) -> FileError {
        self.problem(key, Problem::Other(message.into()))
    }

    /// Like [`error`](Self::error), for any problem.
    pub fn problem(&self, key: &str, problem: Problem) -> FileError {
        FileError::new(self.file.clone(), self.place_of(key), self.path_of(key), problem)
    }

    /// The file, as it was named when it was opened.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The dotted path of the table, such as `region.ram`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the table begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where the value of `key` was written; where the table begins if it was not.
    pub fn place_of(&self, key: &str) -> Place {
        self.keys.iter().find(|(name, _)| name == key).map_or(self.place, |(_, place)| *place)
    }

    /// The dotted path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    /// The file's name, to share.
    pub(super) fn shared_file(&self) -> &Arc<str> {
        &self.file
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}
