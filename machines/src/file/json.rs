//! JSON text to a [`Value`] tree.

use std::collections::HashSet;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::place::LineIndex;
use super::{Entry, FileError, Kind, Place, Problem, Table, Value};
use crate::sync::Arc;

/// JSON as the standard says it: none of the parser's extensions.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// How deep values may be nested: what TOML can say too, with room to spare.
const MAX_DEPTH: usize = 64;

/// The tree of a JSON `text`, which `file` names in errors. Keys whose value is `null` are left out.
///
/// # Errors
///
/// If the text is not JSON, nests deeper than 64 values, has a key twice, or has a `null` that is not the
/// value of a key.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Value, FileError> {
    let lines = LineIndex::new(text);
    let error = |(offset, message): Refused| {
        FileError::new(file.clone(), lines.place(offset), "", Problem::Syntax { language: "JSON", message })
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT)
        .map_err(|e| error((e.range().start, lower_first(&e.kind().to_string()))))?;
    let root = parsed.value.ok_or_else(|| error((text.len(), "there is no value".to_owned())))?;
    let place = |offset| lines.place(offset);
    convert(root, MAX_DEPTH, &place).map_err(error)
}

/// The byte offset and the message.
type Refused = (usize, String);

/// Converts `value`, below which `depth` more levels are allowed.
fn convert(value: ast::Value<'_>, depth: usize, place: &impl Fn(usize) -> Place) -> Result<Value, Refused> {
    let start = value.start();
    let Some(below) = depth.checked_sub(1) else {
        return Err((start, format!("values nested more than {MAX_DEPTH} deep")));
    };
    let kind = match value {
        ast::Value::StringLit(text) => Kind::String(text.value.into_owned()),
        ast::Value::BooleanLit(flag) => Kind::Boolean(flag.value),
        ast::Value::NumberLit(number) => number
            .value
            .parse()
            .map(Kind::Integer)
            .or_else(|_| number.value.parse().map(Kind::Float))
            .map_err(|_| (start, format!("{} is not a number", number.value)))?,
        ast::Value::Array(array) => Kind::Array(
            array.elements.into_iter().map(|item| convert(item, below, place)).collect::<Result<_, _>>()?,
        ),
        ast::Value::Object(object) => Kind::Table(convert_object(object, below, place)?),
        ast::Value::NullKeyword(_) => return Err((start, "null can only be the value of a key".to_owned())),
    };
    Ok(Value { kind, place: place(start) })
}

fn convert_object(
    object: ast::Object<'_>,
    depth: usize,
    place: &impl Fn(usize) -> Place,
) -> Result<Table, Refused> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for property in object.properties {
        let start = property.range.start;
        let key = property.name.into_string();
        if !seen.insert(key.clone()) {
            return Err((start, format!("duplicate key `{key}`")));
        }
        if matches!(property.value, ast::Value::NullKeyword(_)) {
            continue;
        }
        entries.push(Entry { key, key_place: place(start), value: convert(property.value, depth, place)? });
    }
    Ok(Table::from_unique(entries))
}

/// The parser's messages are sentences; ours are not.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Value, String> {
        parse(&"m.json".into(), text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_those_of_serde_json_with_places() {
        let text = r#"{"a": [1, -2, 1.5, true, "\u00e9"], "b": {"c": 18446744073709551615}}"#;
        let value = parsed(text).unwrap();
        assert_eq!(Some(&value), Value::from_json(serde_json::from_str(text).unwrap()).as_ref());
        let Kind::Table(table) = value.kind else { panic!() };
        assert_eq!(table.get("b").unwrap().key_place, Place::Line { line: 1, column: 37 });
        assert_eq!(table.get("b").unwrap().value.place, Place::Line { line: 1, column: 42 });
    }

    #[test]
    fn null_is_an_absent_key_and_refused_elsewhere() {
        assert_eq!(parsed(r#"{"a": null}"#).unwrap(), Value::new(Table::default()));
        assert_eq!(
            parsed(r#"{"a": [null]}"#).unwrap_err(),
            "m.json:1:8: not JSON: null can only be the value of a key"
        );
    }

    #[test]
    fn text_that_is_not_json_is_one_error_with_its_place() {
        assert_eq!(
            parsed("{\n \"a\": 1,\n \"a\": 2}").unwrap_err(),
            "m.json:3:2: not JSON: duplicate key `a`"
        );
        assert_eq!(parsed("").unwrap_err(), "m.json:1:1: not JSON: there is no value");
        assert_eq!(parsed("{\"a\": 1").unwrap_err(), "m.json:1:1: not JSON: unterminated object");
        for bad in
            ["{'a': 1}", "{a: 1}", "[1,]", "[1 2]", "0x10", "+1", ".5", "NaN", "// c\n1", "1 2", "tru", "01"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        assert!(parsed(&"[".repeat(100_000)).is_err());
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parsed(&nested(64)).is_ok());
        assert_eq!(
            parsed(&nested(65)).unwrap_err(),
            "m.json:1:65: not JSON: values nested more than 64 deep"
        );
        assert!(parsed(&"{\"a\":".repeat(100_000)).is_err());
    }
}
