//! Errors as QMP has them.

use serde_json::{Value, json};

/// What kind of error it is, where a client may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Generic,
    CommandNotFound,
    DeviceNotFound,
}

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct QmpError {
    class: Class,
    desc: String,
}

impl QmpError {
    pub(super) fn generic(desc: impl Into<String>) -> Self {
        Self { class: Class::Generic, desc: desc.into() }
    }

    pub(super) fn command_not_found(desc: impl Into<String>) -> Self {
        Self { class: Class::CommandNotFound, desc: desc.into() }
    }

    pub(super) fn device_not_found(device: &str) -> Self {
        Self { class: Class::DeviceNotFound, desc: format!("Device '{device}' not found") }
    }

    /// What is wrong, for people.
    pub(super) fn desc(&self) -> &str {
        &self.desc
    }

    /// The member `error` of a reply.
    pub(super) fn to_json(&self) -> Value {
        let class = match self.class {
            Class::Generic => "GenericError",
            Class::CommandNotFound => "CommandNotFound",
            Class::DeviceNotFound => "DeviceNotFound",
        };
        json!({ "class": class, "desc": self.desc })
    }
}
