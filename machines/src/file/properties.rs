//! A device's own properties: from the tree to the device's serde type, and back.
//!
//! The tag `type` is handed over first. An internally tagged type that finds its tag first reads the other keys
//! straight from here instead of buffering them, so serde's errors keep their path, and text like `"64K"` can stand for
//! an integer where the device asks for one.

use std::fmt;

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_path_to_error::{Path, Segment};

use super::number::parse_number;
use super::{DeviceSpec, Entry, FileError, Kind, Problem, Table, Value};

/// The keys of a `[[device]]` that are not the device's own.
const RESERVED: [&str; 5] = ["type", "name", "at", "map", "wire"];

impl DeviceSpec {
    /// Builds the device: `T` is `Box<dyn Trait>` of an internally tagged trait, or any other type that takes `type`.
    ///
    /// Where `T` asks for an integer, the file may also say `"0x..."` or a number with a suffix K to E.
    ///
    /// # Errors
    ///
    /// What `T` does not accept, with the place of the key: an unknown type or key, a missing key, a wrong value.
    pub fn deserialize_properties<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        let tag_place = self.origin.place_of("type");
        let tag = Value::new(self.type_name.as_str()).at(tag_place);
        let mut entries = vec![Entry { key: "type".to_owned(), key_place: tag_place, value: tag }];
        entries.extend(self.properties.iter().filter(|entry| entry.key != "type").cloned());
        let root = Value::new(Table::from_unique(entries)).at(self.origin.place());
        serde_path_to_error::deserialize(Source(&root)).map_err(|error| {
            let path = error.path().clone();
            self.locate(&root, &path, error.into_inner().0)
        })
    }

    /// Replaces all properties by those of a device that was serialised, so that the file describes its present state.
    ///
    /// # Errors
    ///
    /// If `device` is not an object, is of another type, or has a property with a name that the machine file keeps for
    /// itself (`name`, `at`, `map`, `wire`). The properties stay as they were then.
    pub fn replace_properties(&mut self, device: serde_json::Value) -> Result<(), FileError> {
        let Some(Value { kind: Kind::Table(mut table), .. }) = Value::from_json(device) else {
            return Err(self.origin.error("", "the device was not serialised to an object"));
        };
        if let Some(tag) = table.remove("type")
            && tag.value != Value::new(self.type_name.as_str())
        {
            return Err(self.origin.error("type", "the properties are those of another type of device"));
        }
        if let Some(key) = RESERVED.into_iter().find(|key| table.get(key).is_some()) {
            let message = format!("a device cannot have a property named `{key}`");
            return Err(self.origin.error("", message));
        }
        self.properties = table;
        Ok(())
    }

    /// Places `problem`, which arose at `path` below `root`.
    fn locate(&self, root: &Value, path: &Path, problem: Problem) -> FileError {
        let mut here = root;
        let mut written = self.origin.path().to_owned();
        for segment in path {
            let (next, name) = match (segment, &here.kind) {
                (Segment::Map { key } | Segment::Enum { variant: key }, Kind::Table(table)) => {
                    (table.get(key), format!(".{key}"))
                }
                (Segment::Seq { index }, Kind::Array(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    written += &format!("[{index}]");
                    here = item;
                    continue;
                }
                _ => break,
            };
            // An unknown key is told about its table.
            let Some(entry) = next else { break };
            if matches!(&problem, Problem::UnknownKey { key, .. } if *key == entry.key) {
                break;
            }
            written += &name;
            here = &entry.value;
        }
        let mut place = here.place;
        let problem = match problem {
            Problem::UnknownKey { key, known } => {
                if let Kind::Table(table) = &here.kind
                    && let Some(entry) = table.get(&key)
                {
                    place = entry.key_place;
                }
                Problem::UnknownKey { key, known }
            }
            Problem::UnknownWord { word, known, .. } if written == self.origin.path_of("type") => {
                let mut known = known;
                known.sort();
                Problem::UnknownWord { what: "device type".to_owned(), word, known }
            }
            other => other,
        };
        FileError::new(self.origin.shared_file().clone(), place, written, problem)
    }
}

/// What serde says is wrong, kept as data until its place is known.
#[derive(Debug)]
struct PropertyError(Problem);

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for PropertyError {}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl Error for PropertyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Problem::WrongType { expected: expected.to_string(), found: found.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self(Problem::UnknownKey { key: field.to_owned(), known: owned(expected) })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let (what, word) = ("word".to_owned(), variant.to_owned());
        Self(Problem::UnknownWord { what, word, known: owned(expected) })
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Problem::MissingKey(field.to_owned()))
    }
}

/// A value as serde reads it.
#[derive(Clone, Copy)]
struct Source<'v>(&'v Value);

impl<'v> IntoDeserializer<'v, PropertyError> for Source<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

type Items<'v> = std::iter::Map<std::slice::Iter<'v, Value>, fn(&'v Value) -> Source<'v>>;
type Members<'v> = std::iter::Map<std::slice::Iter<'v, Entry>, fn(&'v Entry) -> (&'v str, Source<'v>)>;

fn sequence<'v>(items: &'v [Value]) -> SeqDeserializer<Items<'v>, PropertyError> {
    SeqDeserializer::new(items.iter().map(Source as fn(&'v Value) -> Source<'v>))
}

fn map<'v>(table: &'v Table) -> MapDeserializer<'v, Members<'v>, PropertyError> {
    let member: fn(&'v Entry) -> (&'v str, Source<'v>) = |entry| (entry.key.as_str(), Source(&entry.value));
    MapDeserializer::new(table.iter().map(member))
}

fn visit_integer<'de, V: Visitor<'de>>(visitor: V, integer: i128) -> Result<V::Value, PropertyError> {
    if let Ok(integer) = u64::try_from(integer) {
        visitor.visit_u64(integer)
    } else if let Ok(integer) = i64::try_from(integer) {
        visitor.visit_i64(integer)
    } else if let Ok(integer) = u128::try_from(integer) {
        visitor.visit_u128(integer)
    } else {
        visitor.visit_i128(integer)
    }
}

/// Where the type asks for an integer, text that says a number is one. Other text is left to the type.
macro_rules! integer_or_text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PropertyError> {
            match &self.0.kind {
                Kind::String(text) => match parse_number(text).and_then(|number| i128::try_from(number).ok()) {
                    Some(number) => visit_integer(visitor, number),
                    None => visitor.visit_str(text),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = PropertyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PropertyError> {
        match &self.0.kind {
            Kind::Boolean(flag) => visitor.visit_bool(*flag),
            Kind::Integer(integer) => visit_integer(visitor, *integer),
            Kind::Float(float) => visitor.visit_f64(*float),
            Kind::String(text) => visitor.visit_str(text),
            Kind::Array(items) => {
                let mut access = sequence(items);
                let value = visitor.visit_seq(&mut access)?;
                access.end()?;
                Ok(value)
            }
            Kind::Table(table) => {
                let mut access = map(table);
                let value = visitor.visit_map(&mut access)?;
                access.end()?;
                Ok(value)
            }
        }
    }

    integer_or_text! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PropertyError> {
        // An absent key is the only `None`.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PropertyError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PropertyError> {
        match &self.0.kind {
            Kind::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Kind::Table(table) if table.len() == 1 => {
                MapAccessDeserializer::new(map(table)).deserialize_enum(name, variants, visitor)
            }
            _ => Err(PropertyError(Problem::WrongType {
                expected: format!("one of {}", variants.join(", ")),
                found: self.0.type_name().to_owned(),
            })),
        }
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
