//! QEMU's lists of options: `value,key=value,key2=a,,b`, where `,,` stands for a comma.

use anyhow::Context;
use serde_json::{Map, Value};

/// The parts of a list, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Keys(Vec<(String, String)>);

impl Keys {
    /// Reads a list. A first part without `=` is the value of `implied`, if there is such a key; any other is a switch: `key` is
    /// `key=on`, and `nokey` is `nokey=on`, too.
    pub(super) fn parse(text: &str, implied: Option<&str>) -> Self {
        let parts = split(text);
        let key_of = |(number, part): (usize, String)| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => match implied.filter(|_| number == 0) {
                Some(key) => (key.to_owned(), part),
                None => (part, "on".to_owned()),
            },
        };
        Self(parts.into_iter().enumerate().map(key_of).filter(|(key, _)| !key.is_empty()).collect())
    }

    /// Reads a list that is a JSON object of texts, numbers and truths, as options may be instead.
    pub(super) fn parse_json(text: &str) -> anyhow::Result<Self> {
        let object: Map<String, Value> = serde_json::from_str(text).context("JSON parse error")?;
        let text_of = |(key, value): (String, Value)| {
            let value = match value {
                Value::String(value) => value,
                Value::Bool(value) => if value { "on" } else { "off" }.to_owned(),
                // the list has slots in hexadecimal
                Value::Number(slot) if key == "addr" => format!("{:x}", slot.as_u64().unwrap_or(u64::MAX)),
                Value::Number(value) => value.to_string(),
                _ => anyhow::bail!("Parameter '{key}' expects a value that is no list"),
            };
            Ok((key, value))
        };
        object.into_iter().map(text_of).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Adds a list behind this one.
    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Takes the last value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let last = self.0.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.clone());
        self.0.retain(|(name, _)| name != key);
        last
    }

    /// Drops keys that mean nothing here.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        self.0.retain(|(name, _)| !keys.contains(&name.as_str()));
    }

    /// Whether `key` is switched on; without it `otherwise`.
    pub(super) fn switch(&mut self, key: &str, otherwise: bool) -> anyhow::Result<bool> {
        match self.take(key).as_deref() {
            None => Ok(otherwise),
            Some("on" | "yes" | "true") => Ok(true),
            Some("off" | "no" | "false") => Ok(false),
            Some(_) => anyhow::bail!("Parameter '{key}' expects 'on' or 'off'"),
        }
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> anyhow::Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => anyhow::bail!("Invalid parameter '{key}'"),
        }
    }

    /// Takes what is left.
    pub(super) fn rest(self) -> Vec<(String, String)> {
        self.0
    }
}

/// Cuts at single commas.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_end = letter == ',' && letters.next_if_eq(&',').is_none();
        if is_end {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str, implied: Option<&str>) -> Vec<(String, String)> {
        Keys::parse(text, implied).rest()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn lists_are_cut_at_commas_that_do_not_stand_for_one() {
        assert_eq!(pairs("a,b=c", Some("x")), owned(&[("x", "a"), ("b", "c")]));
        assert_eq!(pairs("a,b=c", None), owned(&[("a", "on"), ("b", "c")]));
        assert_eq!(pairs("path=a,,b=c,,,d=e", None), owned(&[("path", "a,b=c,"), ("d", "e")]));
        assert_eq!(pairs("", None), []);
        assert_eq!(pairs("a=,b", None), owned(&[("a", ""), ("b", "on")]));
    }

    #[test]
    fn a_list_may_be_a_json_object() {
        let keys =
            Keys::parse_json(r#"{"driver": "VGA", "addr": 16, "vgamem_mb": 8, "multifunction": true}"#);
        let mut keys = keys.unwrap();
        let mut told = |key| keys.take(key).unwrap();
        assert_eq!((told("driver"), told("addr")), ("VGA".to_owned(), "10".to_owned()));
        assert_eq!((told("vgamem_mb"), told("multifunction")), ("8".to_owned(), "on".to_owned()));
        for text in ["{", "[]", r#"{"a": {}}"#, r#"{"a": null}"#] {
            assert!(Keys::parse_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_what_is_left_is_refused() {
        let mut keys = Keys::parse("pc,a=1,a=2,s=off,t", Some("type"));
        assert_eq!((keys.take("type").as_deref(), keys.take("a").as_deref()), (Some("pc"), Some("2")));
        assert!(!keys.switch("s", true).unwrap() && keys.switch("t", false).unwrap());
        assert!(keys.switch("u", true).unwrap());
        assert!(keys.clone().end().is_ok());
        assert!(Keys::parse("s=maybe", None).switch("s", true).is_err());
        let error = Keys::parse("foo=1", None).end().unwrap_err();
        assert_eq!(error.to_string(), "Invalid parameter 'foo'");
    }
}
