//! Takes the keys of one table, each at most once, and refuses those that nobody knows.

use memory_core::Size;

use super::{FileError, Kind, Origin, Place, Problem, Table, Value, number};
use crate::sync::Arc;

/// A table that is being read: keys are taken out of it, and what is left belongs to somebody else.
pub(super) struct Section {
    /// Where the table is.
    pub(super) origin: Origin,
    table: Table,
}

impl Section {
    /// The table in `value`, which stands under `path`.
    pub(super) fn new(file: &Arc<str>, path: impl Into<String>, value: Value) -> Result<Self, FileError> {
        let path = path.into();
        match value.kind {
            Kind::Table(table) => {
                Ok(Self { origin: Origin::of_table(file, path, value.place, &table), table })
            }
            _ => Err(FileError::new(file.clone(), value.place, path, wrong_type("a table", &value))),
        }
    }

    /// The same, with no other keys than `known`.
    pub(super) fn with_keys(
        file: &Arc<str>,
        path: impl Into<String>,
        value: Value,
        known: &[&str],
    ) -> Result<Self, FileError> {
        let section = Self::new(file, path, value)?;
        match section.table.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            Some(entry) => Err(FileError::new(
                file.clone(),
                entry.key_place,
                section.origin.path(),
                Problem::UnknownKey {
                    key: entry.key.clone(),
                    known: known.iter().map(|&key| key.to_owned()).collect(),
                },
            )),
            None => Ok(section),
        }
    }

    /// Takes the value of `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key).map(|entry| entry.value)
    }

    /// Whether `key` is still there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The text of `key`, left there, if it is text.
    pub(super) fn peek_text(&self, key: &str) -> Option<&str> {
        match self.table.get(key).map(|entry| &entry.value.kind) {
            Some(Kind::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The keys that nobody took.
    pub(super) fn rest(self) -> Table {
        self.table
    }

    /// The error that `key` is missing.
    pub(super) fn missing(&self, key: &str) -> FileError {
        let (path, place) = (self.origin.path(), self.origin.place());
        FileError::new(self.origin.shared_file().clone(), place, path, Problem::MissingKey(key.to_owned()))
    }

    /// Text.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, FileError> {
        self.convert(key, text)
    }

    /// Text that must be there.
    pub(super) fn required_text(&mut self, key: &str) -> Result<String, FileError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> Result<bool, FileError> {
        let flag = self.convert(key, |value| match value.kind {
            Kind::Boolean(flag) => Ok(flag),
            _ => Err(wrong_type("a boolean", &value)),
        })?;
        Ok(flag.unwrap_or(default))
    }

    /// A whole number from `min` to `max`.
    pub(super) fn integer<T>(&mut self, key: &str, min: T, max: T) -> Result<Option<T>, FileError>
    where
        T: Into<i128> + TryFrom<i128>,
    {
        let (min, max) = (min.into(), max.into());
        self.convert(key, |value| match value.kind {
            Kind::Integer(integer) if (min..=max).contains(&integer) => {
                T::try_from(integer).map_err(|_| Problem::OutOfRange { value: integer, min, max })
            }
            Kind::Integer(integer) => Err(Problem::OutOfRange { value: integer, min, max }),
            _ => Err(wrong_type("an integer", &value)),
        })
    }

    /// A size.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<Size>, FileError> {
        self.convert(key, |value| number::size(&value))
    }

    /// An address or an offset.
    pub(super) fn address(&mut self, key: &str) -> Result<Option<u64>, FileError> {
        self.convert(key, |value| number::address(&value))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, FileError> {
        self.convert(key, |value| {
            let word = text(value)?;
            words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning).ok_or_else(|| {
                Problem::UnknownWord {
                    what: key.to_owned(),
                    word,
                    known: words.iter().map(|(known, _)| (*known).to_owned()).collect(),
                }
            })
        })
    }

    /// Takes `key` and converts its value; a problem is placed at the value.
    pub(super) fn convert<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(Value) -> Result<T, Problem>,
    ) -> Result<Option<T>, FileError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        convert(value).map(Some).map_err(|problem| self.origin.problem(key, problem))
    }
}

/// The text in `value`.
pub(super) fn text(value: Value) -> Result<String, Problem> {
    match value.kind {
        Kind::String(text) => Ok(text),
        _ => Err(wrong_type("a string", &value)),
    }
}

/// The items of the array `key` of the file, with the path that each has as long as its name is not known.
pub(super) fn items(
    file: &Arc<str>,
    key: &str,
    value: Option<Value>,
) -> Result<Vec<(String, Value)>, FileError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let place = value.place;
    match value.kind {
        Kind::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(n, item)| (format!("{key}[{n}]"), item)).collect())
        }
        _ => {
            let expected = format!("an array of tables ([[{key}]])");
            Err(FileError::new(file.clone(), place, key, wrong_type(&expected, &value)))
        }
    }
}

/// The problem that `found` has another type than `expected`.
pub(super) fn wrong_type(expected: &str, found: &Value) -> Problem {
    Problem::WrongType { expected: expected.to_owned(), found: found.type_name().to_owned() }
}

/// The name in the table `value`, and its place, if there is one of the right type that is not empty.
pub(super) fn name_of(value: &Value) -> Option<(&str, Place)> {
    match &value.kind {
        Kind::Table(table) => match table.get("name") {
            Some(entry) => match &entry.value.kind {
                Kind::String(name) if !name.is_empty() => Some((name, entry.value.place)),
                _ => None,
            },
            None => None,
        },
        _ => None,
    }
}
