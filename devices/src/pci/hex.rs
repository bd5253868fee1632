//! Bytes as text, for snapshots.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Write;

/// Bytes that a snapshot has as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

impl HexBytes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * self.0.len());
        for byte in &self.0 {
            // writing to a string cannot fail
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("not an even number of hexadecimal digits");
        let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(wrong);
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Ok((digit(high)? << 4 | digit(low)?) as u8),
            _ => Err(wrong()),
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}
