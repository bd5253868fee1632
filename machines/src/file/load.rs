//! From a file, or its text, to a specification.

use std::path::{Path, PathBuf};

use super::{DeviceSpec, FileError, MachineSpec, Place, Problem, json, read, toml};
use crate::sync::Arc;

impl MachineSpec {
    /// Reads the machine file at `path`: JSON if its name ends in `.json`, else TOML.
    ///
    /// # Errors
    ///
    /// The first mistake in the file, or that it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let name = path.to_string_lossy();
        let text = std::fs::read_to_string(path)
            .map_err(|error| FileError::new(&*name, Place::Nowhere, "", Problem::Unreadable(error)))?;
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            Self::from_json(&name, &text)
        } else {
            Self::from_toml(&name, &text)
        }
    }

    /// Reads a machine from TOML `text`. Errors call it `file`, and files that it names are relative to that.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, FileError> {
        let file = Arc::from(file);
        read::machine(&file, toml::parse(&file, text)?)
    }

    /// Reads a machine from JSON `text`. Errors call it `file`, and files that it names are relative to that.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn from_json(file: &str, text: &str) -> Result<Self, FileError> {
        let file = Arc::from(file);
        read::machine(&file, json::parse(&file, text)?)
    }

    /// Reads one more device from TOML `text`, the keys of a `[[device]]` without that line: one to
    /// [plug](crate::machine::Machine::plug_device) into a machine of this specification, whose names it may use. Errors call
    /// it `file`.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn device_from_toml(&self, file: &str, text: &str) -> Result<DeviceSpec, FileError> {
        let file = Arc::from(file);
        read::device(&file, toml::parse(&file, text)?, self)
    }

    /// As [`device_from_toml`](Self::device_from_toml), from a JSON object.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn device_from_json(&self, file: &str, text: &str) -> Result<DeviceSpec, FileError> {
        let file = Arc::from(file);
        read::device(&file, json::parse(&file, text)?, self)
    }

    /// Where a file named in the machine file is: relative to the directory of the machine file, unless
    /// absolute.
    pub fn resolve(&self, file: &str) -> PathBuf {
        Path::new(self.origin.file()).parent().unwrap_or(Path::new("")).join(file)
    }
}
