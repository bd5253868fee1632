//! Which time the clock starts with.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which time the clock shows when the machine starts: `"host"` or nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Base {
    /// The host's time of day.
    #[default]
    Host,
    /// This many nanoseconds since 1970, so that runs can be repeated.
    Nanoseconds(u64),
}

impl Base {
    /// Nanoseconds since 1970 when the machine starts. A host whose clock is before 1970 or after 2554 counts as 1970.
    pub(crate) fn start(self) -> u64 {
        match self {
            Self::Host => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_nanos()).unwrap_or_default()
            }
            Self::Nanoseconds(start) => start,
        }
    }
}

impl Serialize for Base {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Host => serializer.serialize_str("host"),
            Self::Nanoseconds(start) => serializer.serialize_u64(*start),
        }
    }
}

impl<'de> Deserialize<'de> for Base {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BaseVisitor;

        impl Visitor<'_> for BaseVisitor {
            type Value = Base;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"host\" or nanoseconds since 1970")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Base, E> {
                Ok(Base::Nanoseconds(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Base, E> {
                let start = u64::try_from(value);
                start.map(Base::Nanoseconds).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Base, E> {
                match value {
                    "host" => Ok(Base::Host),
                    _ => Err(E::invalid_value(Unexpected::Str(value), &self)),
                }
            }
        }

        deserializer.deserialize_any(BaseVisitor)
    }
}
