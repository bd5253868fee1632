//! The one place of this crate that names what threads share.

pub(crate) use std::sync::Arc;
