//! The arguments of a command.

use super::error::QmpError;
use serde_json::{Map, Value};

/// The arguments that no command has looked at yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments(Map<String, Value>);

impl Arguments {
    pub(super) fn new(arguments: Map<String, Value>) -> Self {
        Self(arguments)
    }

    /// Takes the argument `name`, if it is given.
    pub(super) fn optional(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Takes the argument `name`.
    pub(super) fn required(&mut self, name: &str) -> Result<Value, QmpError> {
        self.optional(name).ok_or_else(|| QmpError::generic(format!("Parameter '{name}' is missing")))
    }

    /// Takes the argument `name`, a text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, QmpError> {
        match self.required(name)? {
            Value::String(text) => Ok(text),
            _ => Err(wrong_type(name, "string")),
        }
    }

    /// Takes the argument `name`, a text, if it is given.
    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, QmpError> {
        if self.0.contains_key(name) { self.text(name).map(Some) } else { Ok(None) }
    }

    /// Takes the word `name`, one of those that `of` knows, if it is given.
    pub(super) fn optional_word<T>(
        &mut self,
        name: &str,
        of: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, QmpError> {
        let Some(word) = self.optional_text(name)? else { return Ok(None) };
        let unknown = || QmpError::generic(format!("Parameter '{name}' does not accept value '{word}'"));
        of(&word).map(Some).ok_or_else(unknown)
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), QmpError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(QmpError::generic(format!("Parameter '{name}' is unexpected"))),
        }
    }

    /// Takes what is left.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.0
    }
}

pub(super) fn wrong_type(name: &str, expected: &str) -> QmpError {
    QmpError::generic(format!("Invalid parameter type for '{name}', expected: {expected}"))
}
