//! A device's state for people.

use std::fmt::{self, Display};

/// Collects names and values in the order in which a device tells them.
#[derive(Debug, Default)]
pub struct Inspector {
    fields: Vec<(String, String)>,
}

impl Inspector {
    /// An inspector that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a value.
    pub fn field(&mut self, name: impl Into<String>, value: impl Display) -> &mut Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// Notes a register's value in hexadecimal.
    pub fn register(&mut self, name: impl Into<String>, value: u64) -> &mut Self {
        self.field(name, format_args!("{value:#x}"))
    }

    /// What was noted.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }
}

impl Display for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))
    }
}
