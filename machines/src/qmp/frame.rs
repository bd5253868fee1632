//! Cutting what a client sends into JSON values.
//!
//! Values follow each other with or without white space between them. A text may stand in single quotes, too. What no value has in
//! it, or what is too long, is an error at once; something new begins then where QEMU has it begin: at the next `{ } [ ] : ,`,
//! control character but a tab, or byte that no text has.

use super::strict::Strict;
use serde_json::Value;

/// Bytes in one value, at most.
const LONGEST: usize = 1 << 22;
/// Objects and arrays within each other, at most.
const DEEPEST: u32 = 1024;
const TOO_DEEP: &str = "JSON nesting depth limit exceeded";

/// What the next byte is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// Nothing.
    Between,
    /// An object or an array, at this depth.
    Inside(u32),
    /// A text in these quotes, inside of something or, at depth 0, alone.
    Text { quote: u8, depth: u32, escaped: bool },
    /// A number or a keyword, alone.
    Word,
    /// What is skipped up to where something new can begin.
    Lost,
}

/// Cuts bytes into values.
pub(super) struct Frame {
    at: At,
    kept: Vec<u8>,
}

/// Why something is no value.
pub(super) type NoValue = String;

impl Frame {
    pub(super) fn new() -> Self {
        Self { at: At::Between, kept: Vec::new() }
    }

    /// Takes `bytes`, and calls `each` with each value that is whole, or with what is wrong.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Result<Value, NoValue>)) {
        for byte in bytes {
            if self.at == At::Word && !is_of_word(*byte) {
                each(self.finish());
            }
            if let Some(result) = self.byte(*byte) {
                each(result);
            }
        }
    }

    fn byte(&mut self, byte: u8) -> Option<Result<Value, NoValue>> {
        // a client that wants to begin anew, whatever there was before, sends this
        if byte == 0xff && matches!(self.at, At::Between | At::Lost) {
            self.begin_anew();
            return None;
        }
        if self.at == At::Lost && begins_anew(byte) {
            self.begin_anew();
        }
        if self.kept.len() >= LONGEST {
            return Some(self.broken("token size limit exceeded"));
        }
        match self.at {
            At::Lost => None,
            At::Between if byte.is_ascii_whitespace() => None,
            At::Between => self.first(byte),
            At::Text { quote, depth, escaped } => self.in_text(byte, quote, depth, escaped),
            At::Inside(depth) => self.inside(byte, depth),
            At::Word => {
                self.kept.push(byte);
                None
            }
        }
    }

    fn first(&mut self, byte: u8) -> Option<Result<Value, NoValue>> {
        match byte {
            b'{' | b'[' => self.at = At::Inside(1),
            b'"' | b'\'' => self.at = At::Text { quote: byte, depth: 0, escaped: false },
            b'}' | b']' | b',' | b':' => return Some(Err("JSON parse error, expecting value".to_owned())),
            _ if is_of_word(byte) => self.at = At::Word,
            _ => return Some(self.stray(byte)),
        }
        self.kept.push(if byte == b'\'' { b'"' } else { byte });
        None
    }

    fn inside(&mut self, byte: u8, depth: u32) -> Option<Result<Value, NoValue>> {
        let depth = match byte {
            b'{' | b'[' if depth == DEEPEST => {
                self.begin_anew();
                return Some(Err(TOO_DEEP.to_owned()));
            }
            b'{' | b'[' => depth + 1,
            b'}' | b']' => depth - 1,
            b'"' | b'\'' => {
                self.at = At::Text { quote: byte, depth, escaped: false };
                self.kept.push(b'"');
                return None;
            }
            b',' | b':' => depth,
            _ if byte.is_ascii_whitespace() || is_of_word(byte) => depth,
            _ => return Some(self.stray(byte)),
        };
        self.kept.push(byte);
        self.at = At::Inside(depth);
        (depth == 0).then(|| self.finish())
    }

    fn in_text(&mut self, byte: u8, quote: u8, depth: u32, escaped: bool) -> Option<Result<Value, NoValue>> {
        match byte {
            0..0x20 => return Some(self.broken("control character in a string")),
            0xfe.. => return Some(self.stray(byte)),
            b'\'' if escaped => {
                // JSON knows no such escape
                self.kept.pop();
                self.kept.push(byte);
            }
            _ if escaped => self.kept.push(byte),
            b'"' if quote == b'\'' => self.kept.extend_from_slice(b"\\\""),
            _ if byte == quote => {
                self.kept.push(b'"');
                self.at = At::Inside(depth);
                return (depth == 0).then(|| self.finish());
            }
            _ => self.kept.push(byte),
        }
        self.at = At::Text { quote, depth, escaped: byte == b'\\' && !escaped };
        None
    }

    fn begin_anew(&mut self) {
        self.at = At::Between;
        self.kept.clear();
        self.kept.shrink_to(1 << 16);
    }

    fn finish(&mut self) -> Result<Value, NoValue> {
        let parsed = serde_json::from_slice(&self.kept);
        let result = parsed.map(|Strict(value)| value).map_err(|error| match self.at {
            At::Word => format!("JSON parse error, {}", self.shown()),
            // the parser's own limit is lower
            _ if error.to_string().starts_with("recursion limit") => TOO_DEEP.to_owned(),
            _ => format!("JSON parse error, {error}"),
        });
        self.begin_anew();
        result
    }

    /// The word that is no JSON.
    fn shown(&self) -> String {
        let word: String = String::from_utf8_lossy(&self.kept).chars().take(64).collect();
        format!("invalid keyword '{word}'")
    }

    fn stray(&mut self, byte: u8) -> Result<Value, NoValue> {
        match byte {
            b' '..=b'~' => self.broken(&format!("stray '{}'", char::from(byte))),
            _ => self.broken(&format!("stray {byte:#04x}")),
        }
    }

    fn broken(&mut self, what: &str) -> Result<Value, NoValue> {
        self.begin_anew();
        self.at = At::Lost;
        Err(format!("JSON parse error, {what}"))
    }
}

/// Whether a byte stands in numbers or keywords.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'E')
}

/// Whether what comes after an error is something new from this byte on.
fn begins_anew(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',' | 0..0x20 | 0xfe..) && byte != b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cut(bytes: &[u8]) -> Vec<Result<Value, String>> {
        let (mut frame, mut values) = (Frame::new(), Vec::new());
        frame.take(bytes, |value| values.push(value));
        values
    }

    #[test]
    fn values_are_cut_wherever_the_bytes_are() {
        let text = br#"{"a":"}\"","b":[1,{}]}{"c":1} [] "x\\" 5
            {'d':'a"b\'c'} "#;
        let values = [
            json!({"a": "}\"", "b": [1, {}]}),
            json!({"c": 1}),
            json!([]),
            json!("x\\"),
            json!(5),
            json!({"d": "a\"b'c"}),
        ];
        assert_eq!(cut(text), values.clone().map(Ok));
        let (mut frame, mut pieces) = (Frame::new(), Vec::new());
        for byte in text {
            frame.take(&[*byte], |value| pieces.push(value));
        }
        assert_eq!(pieces, values.map(Ok));
    }

    #[test]
    fn what_is_no_json_is_told_at_once_and_something_new_begins() {
        let good = json!({"a": 1});
        for (bad, error) in [
            (&b"nonsense\n"[..], "JSON parse error, invalid keyword 'nonsense'"),
            (b"foo", "JSON parse error, invalid keyword 'foo'"),
            (b"}", "JSON parse error, expecting value"),
            (b"{]", "JSON parse error, key must be a string at line 1 column 2"),
            (b"{\"a\":1,\"a\":2}", "JSON parse error, duplicate key at line 1 column 13"),
            (b"{\x01", "JSON parse error, stray 0x01"),
            (b"\x01", "JSON parse error, stray 0x01"),
            (b"%p", "JSON parse error, stray '%'"),
            (b"(", "JSON parse error, stray '('"),
            (b"{\"a\":\"\x01 \t", "JSON parse error, control character in a string"),
            (b"{\"a\":\"\n", "JSON parse error, control character in a string"),
            (b"{\"a\xff", "JSON parse error, stray 0xff"),
            (b"{\xff", "JSON parse error, stray 0xff"),
            (b"\"\xc3(\"", "JSON parse error, invalid unicode code point at line 1 column 2"),
        ] {
            let values = cut(&[bad, b"{\"a\":1}"].concat());
            assert_eq!(values, [Err(error.to_owned()), Ok(good.clone())], "{}", bad.escape_ascii());
            // without what comes next, but for words, which may go on
            let alone = cut(bad);
            assert!(alone.len() == 1 || bad == b"foo", "{}: {alone:?}", bad.escape_ascii());
        }
        assert_eq!(cut(b"\xff\xff{\"a\":1}"), [Ok(good.clone())]);
        assert_eq!(cut(b"% , {\"a\":1}").len(), 3, "what ends what is skipped counts");
        assert_eq!(cut(b"5{\"a\":1}"), [Ok(json!(5)), Ok(good)]);
        assert_eq!(cut(b"{\"a\":"), []);
    }

    #[test]
    fn what_is_too_long_or_too_deep_takes_bounded_memory() {
        let mut frame = Frame::new();
        let mut seen = Vec::new();
        frame.take(b"{\"a\":\"", |value| seen.push(value));
        for _ in 0..3 * (LONGEST >> 16) {
            frame.take(&[b'x'; 1 << 16], |value| seen.push(value));
            assert!(frame.kept.capacity() <= 2 * LONGEST);
        }
        frame.take(b"\"\n5 ", |value| seen.push(value));
        assert_eq!(seen, [Err("JSON parse error, token size limit exceeded".to_owned()), Ok(json!(5))]);
        let too_deep: Result<Value, String> = Err(TOO_DEEP.to_owned());
        let deep = "[".repeat(1024) + &"]".repeat(1024);
        assert_eq!(cut(deep.as_bytes()), std::slice::from_ref(&too_deep), "the parser's limit");
        assert_eq!(cut("{\"a\":".repeat(1025).as_bytes()).first(), Some(&too_deep), "nothing is closed");
    }
}
