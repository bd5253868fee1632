//! The words of a command line, and the numbers that they mean.

/// Why a command is refused, in words for its reply.
pub(super) type Refusal = String;

/// The words of a command after its name.
pub(super) struct Words<'a> {
    command: &'a str,
    rest: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    /// The command's name, and its words.
    pub(super) fn split(line: &'a str) -> (&'a str, Self) {
        let mut rest = line.split_ascii_whitespace();
        let command = rest.next().unwrap_or("");
        (command, Self { command, rest })
    }

    /// The next word, if there is one.
    pub(super) fn optional(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    /// The next word, which is called `what`.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, Refusal> {
        self.rest.next().ok_or_else(|| format!("{}: no {what}", self.command))
    }

    /// The next word as a number of 64 bits.
    pub(super) fn number(&mut self, what: &str) -> Result<u64, Refusal> {
        let word = self.word(what)?;
        parse_u64(word).ok_or_else(|| format!("{}: `{}` is no {what}", self.command, shown(word)))
    }

    /// Refuses what is left.
    pub(super) fn end(mut self) -> Result<(), Refusal> {
        match self.rest.next() {
            None => Ok(()),
            Some(word) => Err(format!("{}: `{}` is too much", self.command, shown(word))),
        }
    }
}

/// A word as a message shows it.
pub(super) fn shown(word: &str) -> String {
    const MOST: usize = 64;
    let mut short: String = word.chars().take(MOST).collect();
    if short.len() < word.len() {
        short.push_str("...");
    }
    short
}

/// A number as C's `strtoull` takes it: `0x` for hexadecimal, a leading `0` for octal, and a sign, with which it wraps.
pub(super) fn parse_u64(word: &str) -> Option<u64> {
    let (negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, word.get(1..)?),
        b'+' => (false, word.get(1..)?),
        _ => (false, word),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (word, number) in [
            ("0", 0),
            ("10", 10),
            ("010", 8),
            ("0x10", 16),
            ("0XfF", 255),
            ("+7", 7),
            ("-1", u64::MAX),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(parse_u64(word), Some(number), "{word}");
        }
        for word in ["", "-", "0x", "x", "0xg", "09", "1 ", "--1", "0x-1", "0x10000000000000000", "1k"] {
            assert_eq!(parse_u64(word), None, "{word}");
        }
    }

    #[test]
    fn long_words_are_shown_in_part() {
        assert_eq!(shown("abc"), "abc");
        assert_eq!(shown(&"ä".repeat(100)).chars().count(), 67);
    }
}
