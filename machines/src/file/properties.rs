//! A device's own properties: from the tree to the device's serde type, and back.
//!
//! The tag `type` is handed over first. An internally tagged type that finds its tag first reads the other
//! keys straight from here instead of buffering them, so an error arises where its key is read, and text like
//! `"64K"` can stand for an integer where the device asks for one. A trait object still turns every error
//! that passes through it into mere text, so the first one is noted, as data and with its place, in a
//! [`Track`] beside the deserialiser.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::number::parse_number;
use super::{DeviceSpec, Entry, FileError, Kind, Place, Problem, Table, Value};

/// The keys of a `[[device]]` that are not the device's own.
const RESERVED: [&str; 7] = ["type", "name", "at", "map", "dma", "requester", "wire"];

impl DeviceSpec {
    /// Builds the device: `T` is `Box<dyn Trait>` of an internally tagged trait, or any other type that takes
    /// `type`.
    ///
    /// Where `T` asks for an integer, the file may also say `"0x..."` or a number with a suffix K to E.
    ///
    /// # Errors
    ///
    /// What `T` does not accept, with the place of the key: an unknown type or key, a missing key, a wrong
    /// value.
    pub fn deserialize_properties<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        let tag_place = self.origin.place_of("type");
        let tag = Value::new(self.type_name.as_str()).at(tag_place);
        let mut entries = vec![Entry { key: "type".to_owned(), key_place: tag_place, value: tag }];
        entries.extend(self.properties.iter().filter(|entry| entry.key != "type").cloned());
        let root = Value::new(Table::from_unique(entries)).at(self.origin.place());

        let track = Track::default();
        let source = Source { value: &root, track: &track };
        T::deserialize(source).map_err(|error| {
            track.note(error, root.place);
            let path = track.path(self.origin.path());
            let (problem, place) = track.take();
            let problem = match problem {
                Problem::UnknownWord { word, mut known, .. } if path == self.origin.path_of("type") => {
                    known.sort();
                    Problem::UnknownWord { what: "device type".to_owned(), word, known }
                }
                other => other,
            };
            FileError::new(self.origin.shared_file().clone(), place, path, problem)
        })
    }

    /// Replaces all properties by those of a device that was serialised, so that the file describes its
    /// present state.
    ///
    /// # Errors
    ///
    /// If `device` is not an object, is of another type, or has a property with a name that the machine file
    /// keeps for itself (`name`, `at`, `map`, `wire`). The properties stay as they were then.
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

/// The first error, while it passes outwards.
#[derive(Default)]
struct Track(RefCell<Option<Failure>>);

struct Failure {
    problem: Problem,
    place: Place,
    /// The way from the root to the place, in reverse.
    path: Vec<Segment>,
}

enum Segment {
    Key(String),
    Index(usize),
}

impl Track {
    /// Forgets an error that somebody recovered from: reading goes on.
    fn go_on(&self) {
        self.0.replace(None);
    }

    /// Takes note of `error` at `place`, unless it is an earlier one on its way; what goes on is only its
    /// text.
    fn note(&self, error: PropertyError, place: Place) -> PropertyError {
        let passed = PropertyError(Problem::Other(error.to_string()));
        let mut failure = self.0.borrow_mut();
        if failure.is_none() {
            *failure = Some(Failure { problem: error.0, place, path: Vec::new() });
        }
        passed
    }

    /// Says that the error that passes came from below `segment`.
    fn leave(&self, segment: Segment) {
        if let Some(failure) = self.0.borrow_mut().as_mut() {
            failure.path.push(segment);
        }
    }

    /// The dotted path to the error, below `root`.
    fn path(&self, root: &str) -> String {
        let mut path = root.to_owned();
        if let Some(failure) = self.0.borrow().as_ref() {
            for segment in failure.path.iter().rev() {
                match segment {
                    Segment::Key(key) => path += &format!(".{key}"),
                    Segment::Index(index) => path += &format!("[{index}]"),
                }
            }
        }
        path
    }

    /// The error that was noted.
    fn take(&self) -> (Problem, Place) {
        match self.0.take() {
            Some(failure) => (failure.problem, failure.place),
            None => (Problem::Other("the properties were refused".to_owned()), Place::Nowhere),
        }
    }
}

/// A value as serde reads it.
#[derive(Clone, Copy)]
struct Source<'v> {
    value: &'v Value,
    track: &'v Track,
}

impl<'v> Source<'v> {
    fn note<T>(self, result: Result<T, PropertyError>) -> Result<T, PropertyError> {
        result.map_err(|error| self.track.note(error, self.value.place))
    }

    fn wrong_type<T>(self, expected: String) -> Result<T, PropertyError> {
        let found = self.value.type_name().to_owned();
        self.note(Err(PropertyError(Problem::WrongType { expected, found })))
    }

    fn sequence<V: Visitor<'v>>(self, items: &'v [Value], visitor: V) -> Result<V::Value, PropertyError> {
        let mut access = Items { items: items.iter().enumerate(), track: self.track };
        let value = visitor.visit_seq(&mut access)?;
        match access.items.len() {
            0 => Ok(value),
            left => {
                let message = format!("expected {} items, found {}", items.len() - left, items.len());
                Err(PropertyError(Problem::Other(message)))
            }
        }
    }
}

/// The items of an array.
struct Items<'v> {
    items: std::iter::Enumerate<std::slice::Iter<'v, Value>>,
    track: &'v Track,
}

impl<'v> SeqAccess<'v> for &mut Items<'v> {
    type Error = PropertyError;

    fn next_element_seed<T: DeserializeSeed<'v>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, PropertyError> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        self.track.go_on();
        let source = Source { value, track: self.track };
        source
            .note(seed.deserialize(source))
            .map(Some)
            .inspect_err(|_| self.track.leave(Segment::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The keys of a table.
struct Members<'v> {
    entries: std::slice::Iter<'v, Entry>,
    present: Option<&'v Entry>,
    track: &'v Track,
}

impl<'v> MapAccess<'v> for Members<'v> {
    type Error = PropertyError;

    fn next_key_seed<K: DeserializeSeed<'v>>(&mut self, seed: K) -> Result<Option<K::Value>, PropertyError> {
        self.present = self.entries.next();
        let Some(entry) = self.present else { return Ok(None) };
        self.track.go_on();
        seed.deserialize(entry.key.as_str().into_deserializer())
            .map(Some)
            .map_err(|error| self.track.note(error, entry.key_place))
    }

    fn next_value_seed<T: DeserializeSeed<'v>>(&mut self, seed: T) -> Result<T::Value, PropertyError> {
        let Some(entry) = self.present.take() else {
            return Err(PropertyError::custom("a value was asked for before its key"));
        };
        self.track.go_on();
        let source = Source { value: &entry.value, track: self.track };
        source
            .note(seed.deserialize(source))
            .inspect_err(|_| self.track.leave(Segment::Key(entry.key.clone())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

fn members<'v>(table: &'v Table, track: &'v Track) -> Members<'v> {
    Members { entries: table.iter(), present: None, track }
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
            let number = match &self.value.kind {
                Kind::String(text) => parse_number(text).and_then(|number| i128::try_from(number).ok()),
                _ => None,
            };
            match number {
                Some(number) => self.note(visit_integer(visitor, number)),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = PropertyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PropertyError> {
        self.note(match &self.value.kind {
            Kind::Boolean(flag) => visitor.visit_bool(*flag),
            Kind::Integer(integer) => visit_integer(visitor, *integer),
            Kind::Float(float) => visitor.visit_f64(*float),
            Kind::String(text) => visitor.visit_str(text),
            Kind::Array(items) => self.sequence(items, visitor),
            Kind::Table(table) => visitor.visit_map(members(table, self.track)),
        })
    }

    integer_or_text! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PropertyError> {
        // An absent key is the only `None`.
        self.note(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PropertyError> {
        self.note(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PropertyError> {
        self.note(match &self.value.kind {
            Kind::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Kind::Table(table) if table.len() == 1 => MapAccessDeserializer::new(members(table, self.track))
                .deserialize_enum(name, variants, visitor),
            _ => self.wrong_type(format!("one of {}", variants.join(", "))),
        })
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
