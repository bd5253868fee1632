//! Cutting what a client sends into JSON values.
//!
//! Values follow each other with or without white space between them. A text may stand in single quotes, too. After what is
//! no JSON, or too long, the next line is the beginning of something new; a byte 0xff is so at once.

use serde_json::Value;

/// Bytes in one value, at most.
const LONGEST: usize = 1 << 22;

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
    /// What is skipped up to the end of the line.
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
            if let Some(result) = self.byte(*byte) {
                each(result);
            }
        }
    }

    fn byte(&mut self, byte: u8) -> Option<Result<Value, NoValue>> {
        if byte == 0xff {
            let was_idle = matches!(self.at, At::Between | At::Lost);
            self.begin_anew();
            return (!was_idle).then(|| self.broken("stray 0xff", At::Between));
        }
        match self.at {
            At::Lost => {
                if byte == b'\n' {
                    self.begin_anew();
                }
                None
            }
            At::Between if byte.is_ascii_whitespace() => None,
            At::Between => self.first(byte),
            At::Word if byte.is_ascii_whitespace() => Some(self.finish()),
            At::Word if matches!(byte, b'{' | b'[' | b'}' | b']' | b',' | b':') => {
                Some(self.broken(&self.shown(), At::Lost))
            }
            At::Text { .. } | At::Inside(_) | At::Word => {
                if self.kept.len() >= LONGEST {
                    return Some(self.broken("token size limit exceeded", At::Lost));
                }
                match self.at {
                    At::Text { quote, depth, escaped } => self.in_text(byte, quote, depth, escaped),
                    At::Inside(depth) => self.inside(byte, depth),
                    _ => {
                        self.kept.push(byte);
                        None
                    }
                }
            }
        }
    }

    fn first(&mut self, byte: u8) -> Option<Result<Value, NoValue>> {
        match byte {
            b'{' | b'[' => self.at = At::Inside(1),
            b'"' | b'\'' => self.at = At::Text { quote: byte, depth: 0, escaped: false },
            b'}' | b']' | b',' | b':' => return Some(self.broken("expecting value", At::Lost)),
            _ => self.at = At::Word,
        }
        self.kept.push(if byte == b'\'' { b'"' } else { byte });
        None
    }

    fn inside(&mut self, byte: u8, depth: u32) -> Option<Result<Value, NoValue>> {
        let depth = match byte {
            b'{' | b'[' => depth + 1,
            b'}' | b']' => depth - 1,
            b'"' | b'\'' => {
                self.at = At::Text { quote: byte, depth, escaped: false };
                self.kept.push(b'"');
                return None;
            }
            _ => depth,
        };
        self.kept.push(byte);
        self.at = At::Inside(depth);
        (depth == 0).then(|| self.finish())
    }

    fn in_text(&mut self, byte: u8, quote: u8, depth: u32, escaped: bool) -> Option<Result<Value, NoValue>> {
        match byte {
            0..0x20 => {
                // a line that ends here is not lost with the text
                let next = if byte == b'\n' { At::Between } else { At::Lost };
                return Some(self.broken("control character in a string", next));
            }
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
        let result = serde_json::from_slice(&self.kept).map_err(|error| match self.at {
            At::Word => format!("JSON parse error, {}", self.shown()),
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

    fn broken(&mut self, what: &str, next: At) -> Result<Value, NoValue> {
        let error = format!("JSON parse error, {what}");
        self.begin_anew();
        self.at = next;
        Err(error)
    }
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
    fn what_is_no_json_is_told_and_the_next_line_is_read() {
        let good = json!({"a": 1});
        for (bad, error) in [
            (&b"nonsense\n"[..], "JSON parse error, invalid keyword 'nonsense'"),
            (b"foo{\n", "JSON parse error, invalid keyword 'foo'"),
            (b"}\n", "JSON parse error, expecting value"),
            (b"{]\n", "JSON parse error, key must be a string at line 1 column 2"),
            (b"{\"a\":\"\x01\"}\n", "JSON parse error, control character in a string"),
            (b"{\"a\":\"\n", "JSON parse error, control character in a string"),
            (b"{\"a\xff", "JSON parse error, stray 0xff"),
            (b"\"\xc3(\"", "JSON parse error, invalid unicode code point at line 1 column 2"),
        ] {
            let values = cut(&[bad, b"{\"a\":1}"].concat());
            assert_eq!(values, [Err(error.to_owned()), Ok(good.clone())], "{}", bad.escape_ascii());
        }
        assert_eq!(cut(b"\xff\xff{\"a\":1}"), [Ok(good)]);
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
        frame.take(b"\"}\n5 ", |value| seen.push(value));
        assert_eq!(seen, [Err("JSON parse error, token size limit exceeded".to_owned()), Ok(json!(5))]);
        let deep = "[".repeat(2000) + &"]".repeat(2000);
        let values = cut(deep.as_bytes());
        assert!(matches!(values.as_slice(), [Err(error)] if error.contains("recursion limit")), "{values:?}");
    }
}
