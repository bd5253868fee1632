//! `x` and `xp`: memory as the CPU has it.

use crate::machine::Machine;
use memory_core::TxAttrs;
use std::fmt::Write as _;

/// Items in one dump, at most.
const MOST: u64 = 1 << 16;

/// How items are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Format {
    count: u64,
    letter: u8,
    /// Bytes of an item.
    size: usize,
}

pub(super) fn dump(machine: &Machine, name: &str, format: &str, words: &[&str]) -> String {
    let (format, words) = match words {
        [first, rest @ ..] if format.is_empty() && first.starts_with('/') => {
            (first.strip_prefix('/').unwrap_or(""), rest)
        }
        _ => (format, words),
    };
    let shown = parse(format).and_then(|format| {
        let address = match words {
            [] => Err("unexpected end of expression".to_owned()),
            [address] => number(address).ok_or_else(|| format!("invalid expression '{address}'")),
            [_, more, ..] => Err(format!("unexpected `{more}`")),
        }?;
        let space = machine.cpu_space().ok_or("the machine has no memory")?;
        // `x` looks as a debugger does, and disturbs no device
        let attrs = if name == "x" { TxAttrs::DEBUG } else { TxAttrs::default() };
        let read = |address, bytes: &mut [u8]| {
            // what is not there is shown as 0
            let _ = space.read(address, bytes, attrs);
        };
        Ok(lines(read, address, format))
    });
    shown.unwrap_or_else(|error| format!("{error}\nTry \"help {name}\" for more information\n"))
}

fn number(word: &str) -> Option<u64> {
    crate::file::parse_number(word).and_then(|number| u64::try_from(number).ok())
}

/// `[COUNT][LETTERS]`: of letters `x d u o c` the form, of `b h w g` the size.
fn parse(format: &str) -> Result<Format, String> {
    let digits: String = format.chars().take_while(char::is_ascii_digit).collect();
    let count = if digits.is_empty() { 1 } else { digits.parse().unwrap_or(u64::MAX) };
    let mut parsed = Format { count, letter: b'x', size: 4 };
    let mut sized = None;
    for letter in format.get(digits.len()..).unwrap_or("").chars() {
        match letter {
            'x' | 'd' | 'u' | 'o' | 'c' => parsed.letter = u8::try_from(letter).unwrap_or(b'x'),
            'b' => sized = Some(1),
            'h' => sized = Some(2),
            'w' => sized = Some(4),
            'g' => sized = Some(8),
            _ => return Err(format!("invalid char in format: '{letter}'")),
        }
    }
    if count > MOST {
        return Err(format!("{count} items are more than {MOST}"));
    }
    parsed.size = if parsed.letter == b'c' { 1 } else { sized.unwrap_or(4) };
    Ok(parsed)
}

fn lines(mut read: impl FnMut(u64, &mut [u8]), address: u64, format: Format) -> String {
    let per_line = if format.size == 1 { 8 } else { 16 / format.size as u64 };
    let mut text = String::new();
    for number in 0..format.count {
        let at = address.wrapping_add(number * format.size as u64);
        if number % per_line == 0 {
            let end = if number == 0 { "" } else { "\n" };
            let _ = write!(text, "{end}{at:016x}:");
        }
        let mut bytes = [0; 8];
        if let Some(bytes) = bytes.get_mut(..format.size) {
            read(at, bytes);
        }
        item(&mut text, u64::from_le_bytes(bytes), format);
    }
    text.push('\n');
    text
}

fn item(text: &mut String, value: u64, format: Format) {
    let bits = 8 * format.size;
    let decimal = (bits * 10).div_ceil(33);
    let _ = match format.letter {
        b'o' => {
            let width = bits.div_ceil(3);
            let number = if value == 0 { "0".to_owned() } else { format!("0{value:o}") };
            write!(text, " {number:>width$}")
        }
        b'u' => write!(text, " {value:decimal$}"),
        b'd' => {
            let signed = (value << (64 - bits)).cast_signed() >> (64 - bits);
            write!(text, " {signed:decimal$}")
        }
        b'c' => {
            let byte = value.to_le_bytes();
            write!(text, " '{}'", character(byte.first().copied().unwrap_or(0)))
        }
        _ => write!(text, " 0x{value:0width$x}", width = 2 * format.size),
    };
}

fn character(byte: u8) -> String {
    match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a PC's reset vector, as QEMU's monitor shows it.
    const BYTES: [u8; 16] =
        [0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x30, 0x36, 0x2f, 0x32, 0x33, 0x2f, 0x39, 0x39, 0x00, 0xfc, 0x00];

    fn shown(format: &str) -> String {
        let read = |at: u64, bytes: &mut [u8]| {
            let at = usize::try_from(at - 0xffff0).unwrap();
            bytes.copy_from_slice(&BYTES[at..at + bytes.len()]);
        };
        lines(read, 0xffff0, parse(format).unwrap())
    }

    #[test]
    fn items_are_shown_as_qemu_shows_them() {
        for (format, line) in [
            ("4xb", "0xea 0x5b 0xe0 0x00"),
            ("2xw", "0x00e05bea 0x2f3630f0"),
            ("3dh", "23530   224 12528"),
            ("2og", "0274661417000070055752   03740003447113631462"),
            ("2uw", "  14703594  792080624"),
            ("2c", "'\\xea' '['"),
            ("", "0x00e05bea"),
        ] {
            assert_eq!(shown(format), format!("00000000000ffff0: {line}\n"), "{format}");
        }
        let text = shown("10xb");
        assert!(text.contains("0x2f\n00000000000ffff8: 0x32 0x33\n"), "{text}");
        assert_eq!(parse("zz").unwrap_err(), "invalid char in format: 'z'");
        assert!(parse("99999999999999999999x").is_err());
        assert_eq!(shown("1db"), "00000000000ffff0: -22\n");
    }
}
