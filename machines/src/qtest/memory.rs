//! Commands that read and write memory and ports.

use super::output::Output;
use super::words::{Refusal, Words};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use memory_core::TxAttrs;
use memory_dispatch::AddressSpace;

/// Bytes that one command moves at most.
const MOST: usize = 1 << 28;

/// Bytes that are moved in one piece.
const PIECE: usize = 1 << 14;

/// Reads `N` bytes as a little-endian number, as a transfer does. What is not there reads as the space has it.
pub(super) fn read<const N: usize>(space: &AddressSpace, address: u64) -> u64 {
    let mut bytes = [0; N];
    // the guest's bus reports errors to CPUs, and here is none
    let _ = space.read(address, &mut bytes, TxAttrs::default());
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Writes the lowest `N` bytes of `value`.
pub(super) fn write<const N: usize>(space: &AddressSpace, address: u64, value: u64) {
    let bytes = value.to_le_bytes();
    let _ = space.write(address, bytes.get(..N).unwrap_or(&bytes), TxAttrs::default());
}

/// An address and the number of bytes there.
fn range(words: &mut Words<'_>) -> Result<(u64, usize), Refusal> {
    let address = words.number("address")?;
    let len = words.number("length")?;
    match usize::try_from(len) {
        Ok(len) if len <= MOST => Ok((address, len)),
        _ => Err(format!("{len} bytes are more than the {MOST} that one command moves")),
    }
}

/// The bytes of a range, piece by piece.
fn pieces(space: &AddressSpace, (address, len): (u64, usize), mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; PIECE];
    let mut done = 0;
    while done < len {
        let count = PIECE.min(len - done);
        let Some(piece) = buffer.get_mut(..count) else { return };
        piece.fill(0);
        let _ = space.read(address.wrapping_add(done as u64), piece, TxAttrs::default());
        each(piece);
        done += count;
    }
}

/// `read ADDRESS LENGTH`.
pub(super) fn read_hex(space: &AddressSpace, mut words: Words<'_>, out: &Output) -> Result<(), Refusal> {
    let range = nonempty(range(&mut words)?)?;
    words.end()?;
    let mut text = Vec::with_capacity(2 * PIECE);
    out.long_line("OK 0x", |say| {
        pieces(space, range, |bytes| {
            text.clear();
            text.extend(bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]));
            say(&text);
        });
    });
    Ok(())
}

/// `b64read ADDRESS LENGTH`.
pub(super) fn read_base64(space: &AddressSpace, mut words: Words<'_>, out: &Output) -> Result<(), Refusal> {
    let range = nonempty(range(&mut words)?)?;
    words.end()?;
    // three bytes at a time are four characters, whatever pieces they come in
    let mut left = Vec::with_capacity(PIECE + 3);
    out.long_line("OK ", |say| {
        pieces(space, range, |bytes| {
            left.extend_from_slice(bytes);
            let whole = left.len() - left.len() % 3;
            say(BASE64.encode(left.get(..whole).unwrap_or(&[])).as_bytes());
            left.drain(..whole);
        });
        say(BASE64.encode(&left).as_bytes());
    });
    Ok(())
}

fn nonempty((address, len): (u64, usize)) -> Result<(u64, usize), Refusal> {
    if len == 0 { Err("no bytes to read".to_owned()) } else { Ok((address, len)) }
}

/// `write ADDRESS LENGTH 0xHEX`: digits that are missing are zeros, digits beyond the length are ignored.
pub(super) fn write_hex(space: &AddressSpace, mut words: Words<'_>) -> Result<(), Refusal> {
    let (address, len) = range(&mut words)?;
    let digits = words.word("data")?;
    words.end()?;
    let digits = digits.strip_prefix("0x").filter(|digits| !digits.is_empty());
    let digits = digits.ok_or("the data are not of the form 0xHEX")?.as_bytes();
    let mut buffer = Vec::with_capacity(PIECE);
    let wanted = digits.chunks(2).take(len);
    if wanted.clone().flatten().any(|digit| !digit.is_ascii_hexdigit()) {
        return Err("the data are not of the form 0xHEX".to_owned());
    }
    let given = wanted.map(|pair| match pair {
        [high, low] => hex_value(*high) << 4 | hex_value(*low),
        // half a byte is none
        _ => 0,
    });
    let mut bytes = given.chain(std::iter::repeat(0)).take(len);
    let mut at = address;
    loop {
        buffer.clear();
        buffer.extend(bytes.by_ref().take(PIECE));
        if buffer.is_empty() {
            return Ok(());
        }
        let _ = space.write(at, &buffer, TxAttrs::default());
        at = at.wrapping_add(buffer.len() as u64);
    }
}

/// `b64write ADDRESS LENGTH DATA`: of data of another length, what both have.
pub(super) fn write_base64(space: &AddressSpace, mut words: Words<'_>) -> Result<(), Refusal> {
    let (address, len) = range(&mut words)?;
    let data = words.word("data")?;
    words.end()?;
    let bytes = BASE64.decode(data).map_err(|error| format!("the data are not base64: {error}"))?;
    let _ = space.write(address, bytes.get(..len).unwrap_or(&bytes), TxAttrs::default());
    Ok(())
}

/// `memset ADDRESS LENGTH BYTE`.
pub(super) fn fill(space: &AddressSpace, mut words: Words<'_>) -> Result<(), Refusal> {
    let (address, len) = range(&mut words)?;
    let byte = words.number("byte")?;
    words.end()?;
    let [byte, ..] = byte.to_le_bytes();
    let _ = space.fill(address, len, byte, TxAttrs::default());
    Ok(())
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}
