//! Sizes and addresses as people write them: integers, `"0x..."`, and decimal text with a suffix.

use memory_core::Size;

use super::{Kind, Problem, Value};

/// The suffixes and the power of two that each stands for.
const SUFFIXES: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

/// The number that `text` says: decimal digits with an optional suffix K, M, G, T, P or E (powers of 1024,
/// either case), or hexadecimal digits after `0x`. Single underscores may stand between digits. `None` for
/// anything else and above 2^128 - 1.
///
/// ```
/// use machines::file::parse_number;
/// assert_eq!(parse_number("64K"), Some(0x1_0000));
/// assert_eq!(parse_number("0x1_0000_0000"), Some(1 << 32));
/// assert_eq!(parse_number("16E"), Some(1 << 64));
/// assert_eq!(parse_number("12Q"), None);
/// assert_eq!(parse_number("0x10K"), None);
/// ```
pub fn parse_number(text: &str) -> Option<u128> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return parse_digits(digits, 16);
    }
    for (suffix, power) in SUFFIXES {
        let digits = text.strip_suffix(suffix).or_else(|| text.strip_suffix(suffix.to_ascii_lowercase()));
        if let Some(digits) = digits {
            return parse_digits(digits, 10)?.checked_mul(1 << power);
        }
    }
    parse_digits(text, 10)
}

fn parse_digits(text: &str, radix: u32) -> Option<u128> {
    let separated_well = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    // `from_str_radix` would take a sign.
    if separated_well && digits.chars().all(|c| c.is_digit(radix)) {
        u128::from_str_radix(&digits, radix).ok()
    } else {
        None
    }
}

/// `size` as a machine file says it best: with the largest suffix that divides it, else in hexadecimal.
///
/// ```
/// use machines::file::format_size;
/// use memory_core::Size;
/// assert_eq!(format_size(Size::FULL), "16E");
/// assert_eq!(format_size(Size::from(0x1800u64)), "6K");
/// assert_eq!(format_size(Size::from(0x1801u64)), "0x1801");
/// ```
pub fn format_size(size: Size) -> String {
    let bytes = size.bytes();
    for (suffix, power) in SUFFIXES.into_iter().rev() {
        if bytes != 0 && bytes.trailing_zeros() >= power {
            return format!("{}{suffix}", bytes >> power);
        }
    }
    format!("{bytes:#x}")
}

/// `address` as a machine file says it best: in hexadecimal.
pub fn format_address(address: u64) -> String {
    format!("{address:#x}")
}

/// The size that `value` says.
pub(super) fn size(value: &Value) -> Result<Size, Problem> {
    number(value).and_then(Size::new).ok_or_else(|| refuse(value, "a size", Problem::NotASize))
}

/// The address, or the offset, that `value` says.
pub(super) fn address(value: &Value) -> Result<u64, Problem> {
    number(value)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| refuse(value, "an address", Problem::NotAnAddress))
}

fn number(value: &Value) -> Option<u128> {
    match &value.kind {
        Kind::Integer(integer) => u128::try_from(*integer).ok(),
        Kind::String(text) => parse_number(text),
        _ => None,
    }
}

fn refuse(value: &Value, expected: &str, problem: fn(String) -> Problem) -> Problem {
    match &value.kind {
        Kind::Integer(integer) => problem(integer.to_string()),
        Kind::String(text) => problem(format!("{text:?}")),
        _ => Problem::WrongType { expected: expected.to_owned(), found: value.type_name().to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_quite_numbers_are_refused() {
        for text in
            ["", "K", "0x", "-1", "+1", "0x+1", "1_", "_1", "1__0", "1.5G", "1 K", "1KK", "0xg", "12Q"]
        {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_beyond_128_bits_are_refused_and_do_not_wrap() {
        assert_eq!(parse_number("0xffffffffffffffffffffffffffffffff"), Some(u128::MAX));
        assert_eq!(parse_number("0x100000000000000000000000000000000"), None);
        assert_eq!(parse_number("340282366920938463463374607431768211455E"), None);
    }

    #[test]
    fn suffixes_are_powers_of_1024_in_either_case() {
        assert_eq!(parse_number("3k"), Some(3 << 10));
        assert_eq!(parse_number("3M"), Some(3 << 20));
        assert_eq!(parse_number("3g"), Some(3 << 30));
        assert_eq!(parse_number("3T"), Some(3 << 40));
        assert_eq!(parse_number("3P"), Some(3 << 50));
        assert_eq!(parse_number("3E"), Some(3 << 60));
    }

    #[test]
    fn sizes_end_at_2_64_and_addresses_below() {
        assert_eq!(size(&Value::new("16E")).unwrap(), Size::FULL);
        assert!(size(&Value::new("0x10000000000000001")).is_err());
        assert_eq!(address(&Value::new("0xffffffffffffffff")).unwrap(), u64::MAX);
        assert!(address(&Value::new("16E")).is_err());
        assert!(address(&Value::new(-1)).is_err());
    }

    #[test]
    fn formatted_sizes_read_back() {
        for bytes in [0, 1, 1023, 1024, 1025, 3 << 20, (1 << 48) - 1, 1 << 48, 1 << 64] {
            let size = Size::new(bytes).unwrap();
            assert_eq!(parse_number(&format_size(size)), Some(bytes));
        }
    }
}
