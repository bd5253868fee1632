//! The tree that both TOML and JSON are parsed to: values that know where they were written.

use super::Place;

/// A value and where it was written. Two values are equal if they say the same, wherever they stand.
#[derive(Debug, Clone)]
pub struct Value {
    /// What the value is.
    pub kind: Kind,
    /// Where it was written.
    pub place: Place,
}

/// What a [`Value`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number; wide enough for every `u64` and `i64`.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// Values in a row.
    Array(Vec<Value>),
    /// Values by key.
    Table(Table),
}

/// Values by key, in the order in which they were written. The order plays no part when two tables are
/// compared.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
}

/// One key of a [`Table`], with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, unique in its table.
    pub key: String,
    /// Where the key was written.
    pub key_place: Place,
    /// The value.
    pub value: Value,
}

impl Value {
    /// A value that no file holds.
    pub fn new(kind: impl Into<Kind>) -> Self {
        Self { kind: kind.into(), place: Place::Nowhere }
    }

    /// The same value, said to stand at `place`.
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The type of the value with its article, for messages.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Boolean(_) => "a boolean",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::String(_) => "a string",
            Kind::Array(_) => "an array",
            Kind::Table(_) => "a table",
        }
    }

    /// The value that JSON data stands for; `None` for `null`, which is how JSON writes an absent key.
    ///
    /// Keys whose value is `null` are left out, and so are the `null`s of an array: no device writes one
    /// there.
    pub fn from_json(json: serde_json::Value) -> Option<Self> {
        let kind = match json {
            serde_json::Value::Null => return None,
            serde_json::Value::Bool(flag) => Kind::Boolean(flag),
            serde_json::Value::Number(number) => match number.as_i128() {
                Some(integer) => Kind::Integer(integer),
                None => Kind::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Kind::String(text),
            serde_json::Value::Array(items) => {
                Kind::Array(items.into_iter().filter_map(Self::from_json).collect())
            }
            serde_json::Value::Object(members) => {
                let mut table = Table::default();
                for (key, value) in members {
                    if let Some(value) = Self::from_json(value) {
                        table.set(key, value);
                    }
                }
                Kind::Table(table)
            }
        };
        Some(Self::new(kind))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl From<bool> for Kind {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

impl From<i128> for Kind {
    fn from(integer: i128) -> Self {
        Self::Integer(integer)
    }
}

impl From<&str> for Kind {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Kind {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Vec<Value>> for Kind {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<Table> for Kind {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl Table {
    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Gives `key` a value, in its old position if it has one, else at the end.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => {
                entry.key_place = value.place;
                entry.value = value;
            }
            None => self.entries.push(Entry { key, key_place: value.place, value }),
        }
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let position = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(position))
    }

    /// The entries in the order in which they were written.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A table of `entries`, whose keys the caller knows to be unique.
    pub(super) fn from_unique(entries: Vec<Entry>) -> Self {
        Self { entries }
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        let mut mine: Vec<&Entry> = self.entries.iter().collect();
        let mut theirs: Vec<&Entry> = other.entries.iter().collect();
        mine.sort_by_key(|entry| &entry.key);
        theirs.sort_by_key(|entry| &entry.key);
        mine.len() == theirs.len()
            && mine.iter().zip(theirs).all(|(a, b)| a.key == b.key && a.value == b.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_with_the_same_keys_in_another_order_are_equal() {
        let a = Value::from_json(serde_json::json!({"x": 1, "y": [true, "t"]})).unwrap();
        let mut table = Table::default();
        table.set("y", Value::new(vec![Value::new(true), Value::new("t")]));
        table.set("x", Value::new(1));
        assert_eq!(a, Value::new(table.clone()).at(Place::CommandLine));
        table.set("x", Value::new(2));
        assert_ne!(a, Value::new(table));
    }

    #[test]
    fn null_is_an_absent_key() {
        let value = Value::from_json(serde_json::json!({"x": null, "y": u64::MAX})).unwrap();
        let Kind::Table(table) = value.kind else { panic!("no table") };
        assert_eq!(table.len(), 1);
        assert_eq!(table.get("y").map(|e| &e.value.kind), Some(&Kind::Integer(u64::MAX.into())));
    }
}
