//! TOML text to a [`Value`] tree.
//!
//! Through `DeTable` rather than `toml::Table`: that one has no places and refuses integers above 2^63 - 1.

use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::place::LineIndex;
use super::{Entry, FileError, Kind, Place, Problem, Table, Value};
use crate::sync::Arc;

/// The tree of a TOML `text`, which `file` names in errors.
///
/// # Errors
///
/// If the text is not TOML, has an integer that no `u64` or `i64` comes near, or has a date.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Value, FileError> {
    let lines = LineIndex::new(text);
    let root = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(Place::Nowhere, |span| lines.place(span.start));
        syntax(file, place, error.message().replace('\n', ", "))
    })?;
    let place = |span: Range<usize>| lines.place(span.start);
    let at = place(root.span());
    convert_table(root.into_inner(), &place)
        .map(|table| Value { kind: Kind::Table(table), place: at })
        .map_err(|(place, message)| syntax(file, place, message))
}

/// The value that `text` is as the right side of a TOML assignment, if it is one.
pub(super) fn parse_value(text: &str) -> Option<Kind> {
    let value = DeValue::parse(text).ok()?;
    convert(value, &|_| Place::CommandLine).ok().map(|value| value.kind)
}

fn syntax(file: &Arc<str>, place: Place, message: String) -> FileError {
    FileError::new(file.clone(), place, "", Problem::Syntax { language: "TOML", message })
}

type Refused = (Place, String);

fn convert(value: Spanned<DeValue<'_>>, place: &impl Fn(Range<usize>) -> Place) -> Result<Value, Refused> {
    let at = place(value.span());
    let kind = match value.into_inner() {
        DeValue::String(text) => Kind::String(text.into_owned()),
        DeValue::Boolean(flag) => Kind::Boolean(flag),
        DeValue::Integer(integer) => Kind::Integer(
            i128::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| (at, format!("the integer {integer} is too large")))?,
        ),
        DeValue::Float(float) => Kind::Float(
            float.as_str().parse().map_err(|_| (at, format!("the float {float} cannot be represented")))?,
        ),
        DeValue::Datetime(date) => {
            return Err((
                at,
                format!("{date} is a date, which nothing here takes; quote it to make it text"),
            ));
        }
        DeValue::Array(items) => {
            Kind::Array(items.into_iter().map(|item| convert(item, place)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Kind::Table(convert_table(table, place)?),
    };
    Ok(Value { kind, place: at })
}

fn convert_table(table: DeTable<'_>, place: &impl Fn(Range<usize>) -> Place) -> Result<Table, Refused> {
    // The map is sorted by key; people want their own order back.
    let mut keys: Vec<_> = table.into_iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let entries = keys
        .into_iter()
        .map(|(key, value)| {
            let key_place = place(key.span());
            Ok(Entry { key: key.into_inner().into_owned(), key_place, value: convert(value, place)? })
        })
        .collect::<Result<_, Refused>>()?;
    Ok(Table::from_unique(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Table, String> {
        match parse(&"m.toml".into(), text) {
            Ok(Value { kind: Kind::Table(table), .. }) => Ok(table),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn integers_of_64_bits_without_sign_are_kept() {
        let table = parsed("a = 0xffff_ffff_ffff_ffff\nb = 18446744073709551615\nc = -1\n").unwrap();
        assert_eq!(table.get("a").unwrap().value.kind, Kind::Integer(u64::MAX.into()));
        assert_eq!(table.get("b").unwrap().value.kind, Kind::Integer(u64::MAX.into()));
        assert_eq!(table.get("c").unwrap().value.kind, Kind::Integer(-1));
    }

    #[test]
    fn entries_keep_their_order_and_places() {
        let table = parsed("z = 1\n a = [2,\n 3]\n").unwrap();
        let keys: Vec<_> = table.iter().map(|e| (e.key.as_str(), e.key_place, e.value.place)).collect();
        let line = |line, column| Place::Line { line, column };
        assert_eq!(keys, [("z", line(1, 1), line(1, 5)), ("a", line(2, 2), line(2, 6))]);
        let Kind::Array(items) = &table.get("a").unwrap().value.kind else { panic!() };
        assert_eq!(items[1].place, line(3, 2));
    }

    #[test]
    fn text_that_is_not_toml_is_one_error_with_its_place() {
        assert_eq!(parsed("a = 1\na = 2\n").unwrap_err(), "m.toml:2:1: not TOML: duplicate key");
        assert_eq!(
            parsed("a = 1979-05-27\n").unwrap_err(),
            "m.toml:1:5: not TOML: 1979-05-27 is a date, which nothing here takes; quote it to make it text"
        );
        assert_eq!(
            parsed(&format!("a = {}", "9".repeat(40))).unwrap_err(),
            format!("m.toml:1:5: not TOML: the integer {} is too large", "9".repeat(40))
        );
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{ a = ".repeat(100_000)),
            format!("{}a = 1", "a.".repeat(100_000)),
            format!("[{}a]", "a.".repeat(100_000)),
            format!("[[{}a]]", "a.".repeat(100_000)),
        ] {
            assert!(parsed(&text).is_err(), "{}", &text[..9]);
        }
    }
}
