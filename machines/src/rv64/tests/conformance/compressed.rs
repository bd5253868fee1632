//! The C extension: each of the 49,152 parcels against the chart (unprivileged specification, tables 16.5 to 16.7).

use crate::rv64::decode::{Kind, Op, decode};
use crate::rv64::tests::asm::*;

const SP: u32 = 2;

/// What a parcel's fields say.
struct Fields {
    /// Bits 11:7, and the short registers of bits 9:7 and 4:2, and bits 6:2.
    rd: u32,
    high: u32,
    low: u32,
    rs2: u32,
    /// The immediate of the row's layout, zero-extended, and its number of bits.
    imm: u32,
    width: u32,
}

impl Fields {
    fn signed(&self) -> i32 {
        (self.imm as i32) << (32 - self.width) >> (32 - self.width)
    }

    fn unsigned(&self) -> i32 {
        self.imm as i32
    }
}

/// A row: bits from 15 on, where letters and dots may be either; where the immediate's bits are, as the chart writes it: the
/// immediate's bits of bits 12 on or 10 on, then of bits 6 on; and the instruction that it abbreviates, or `None` where
/// the code point is reserved.
struct Row {
    name: &'static str,
    bits: &'static str,
    /// For each bit of the parcel, from 12 down to 2, the immediate's bit that it is.
    layout: [Option<u32>; 11],
    long: fn(&Fields) -> Option<u32>,
}

/// A layout from the chart's words: `"5:3|.|2|6"` names the immediate's bits from parcel bit 12 down; a dot is a bit
/// that is none of the immediate's.
fn layout(text: &str) -> [Option<u32>; 11] {
    let mut bits = Vec::new();
    for part in text.split_whitespace() {
        if let Some((high, low)) = part.split_once(':') {
            let (high, low) = (high.parse::<u32>().unwrap(), low.parse::<u32>().unwrap());
            bits.extend((low..=high).rev().map(Some));
        } else if part.starts_with('.') {
            bits.extend(part.chars().map(|_| None));
        } else {
            bits.push(Some(part.parse().unwrap()));
        }
    }
    bits.try_into().unwrap_or_else(|bits: Vec<_>| panic!("{text}: {} bits", bits.len()))
}

/// `0` if nothing else: rows with a register that must not be `x0`.
fn some(register: u32, word: u32) -> Option<u32> {
    (register != 0).then_some(word)
}

#[rustfmt::skip]
fn chart() -> Vec<Row> {
    let row = |name, bits, text, long| Row { name, bits, layout: layout(text), long };
    const SIX: &str = "5 ..... 4:0";
    const JUMP: &str = "11 4 9:8 10 6 7 3:1 5";
    const BRANCH: &str = "8 4:3 ... 7:6 2:1 5";
    const NONE: &str = "...........";
    vec![
        // Quadrant 0.
        row("c.addi4spn", "000...........00", "5:4 9:6 2 3 ...", |f| some(f.imm, addi(f.low, SP, f.unsigned()))),
        row("c.fld",      "001...........00", NONE, |_| None),
        row("c.lw",       "010...........00", "5:3 ... 2 6 ...", |f| Some(i(LOAD, 2, f.low, f.high, f.unsigned()))),
        row("c.ld",       "011...........00", "5:3 ... 7:6 ...", |f| Some(ld(f.low, f.high, f.unsigned()))),
        row("reserved",   "100...........00", NONE, |_| None),
        row("c.fsd",      "101...........00", NONE, |_| None),
        row("c.sw",       "110...........00", "5:3 ... 2 6 ...", |f| Some(s(2, f.low, f.high, f.unsigned()))),
        row("c.sd",       "111...........00", "5:3 ... 7:6 ...", |f| Some(sd(f.low, f.high, f.unsigned()))),
        // Quadrant 1.
        row("c.addi",     "000...........01", SIX, |f| Some(addi(f.rd, f.rd, f.signed()))),
        row("c.addiw",    "001...........01", SIX, |f| some(f.rd, i(OP_IMM_32, 0, f.rd, f.rd, f.signed()))),
        row("c.li",       "010...........01", SIX, |f| Some(addi(f.rd, 0, f.signed()))),
        row("c.addi16sp", "011.00010.....01", "9 ..... 4 6 8:7 5", |f| some(f.imm, addi(SP, SP, f.signed()))),
        row("c.lui",      "011...........01", SIX, |f| some(f.imm, (f.signed() << 12) as u32 | f.rd << 7 | 0x37)),
        row("c.srli",     "100.00........01", SIX, |f| Some(i(OP_IMM, 5, f.high, f.high, f.unsigned()))),
        row("c.srai",     "100.01........01", SIX, |f| Some(i(OP_IMM, 5, f.high, f.high, 0x400 | f.unsigned()))),
        row("c.andi",     "100.10........01", SIX, |f| Some(i(OP_IMM, 7, f.high, f.high, f.signed()))),
        row("c.sub",      "100011...00...01", NONE, |f| Some(r(OP, 0x20, 0, f.high, f.high, f.low))),
        row("c.xor",      "100011...01...01", NONE, |f| Some(r(OP, 0, 4, f.high, f.high, f.low))),
        row("c.or",       "100011...10...01", NONE, |f| Some(r(OP, 0, 6, f.high, f.high, f.low))),
        row("c.and",      "100011...11...01", NONE, |f| Some(r(OP, 0, 7, f.high, f.high, f.low))),
        row("c.subw",     "100111...00...01", NONE, |f| Some(r(OP_32, 0x20, 0, f.high, f.high, f.low))),
        row("c.addw",     "100111...01...01", NONE, |f| Some(r(OP_32, 0, 0, f.high, f.high, f.low))),
        row("reserved",   "100111...1....01", NONE, |_| None),
        row("c.j",        "101...........01", JUMP, |f| Some(j(0, f.signed()))),
        row("c.beqz",     "110...........01", BRANCH, |f| Some(b(0, f.high, 0, f.signed()))),
        row("c.bnez",     "111...........01", BRANCH, |f| Some(b(1, f.high, 0, f.signed()))),
        // Quadrant 2.
        row("c.slli",     "000...........10", SIX, |f| Some(i(OP_IMM, 1, f.rd, f.rd, f.unsigned()))),
        row("c.fldsp",    "001...........10", NONE, |_| None),
        row("c.lwsp",     "010...........10", "5 ..... 4:2 7:6", |f| some(f.rd, i(LOAD, 2, f.rd, SP, f.unsigned()))),
        row("c.ldsp",     "011...........10", "5 ..... 4:3 8:6", |f| some(f.rd, ld(f.rd, SP, f.unsigned()))),
        row("c.jr",       "1000.....0000010", NONE, |f| some(f.rd, jalr(0, f.rd))),
        row("c.mv",       "1000..........10", NONE, |f| Some(r(OP, 0, 0, f.rd, 0, f.rs2))),
        row("c.ebreak",   "1001000000000010", NONE, |_| Some(EBREAK)),
        row("c.jalr",     "1001.....0000010", NONE, |f| Some(jalr(RA, f.rd))),
        row("c.add",      "1001..........10", NONE, |f| Some(r(OP, 0, 0, f.rd, f.rd, f.rs2))),
        row("c.fsdsp",    "101...........10", NONE, |_| None),
        row("c.swsp",     "110...........10", "5:2 7:6 .....", |f| Some(s(2, f.rs2, SP, f.unsigned()))),
        row("c.sdsp",     "111...........10", "5:3 8:6 .....", |f| Some(sd(f.rs2, SP, f.unsigned()))),
    ]
}

impl Row {
    fn matches(&self, parcel: u16) -> bool {
        assert_eq!(self.bits.len(), 16, "{}", self.name);
        self.bits
            .bytes()
            .enumerate()
            .all(|(at, bit)| bit == b'.' || u16::from(bit - b'0') == parcel >> (15 - at) & 1)
    }

    fn fields(&self, parcel: u16) -> Fields {
        let parcel = u32::from(parcel);
        let mut imm = 0;
        for (bit, place) in (2..13).rev().zip(self.layout) {
            imm |= place.map_or(0, |place| (parcel >> bit & 1) << place);
        }
        Fields {
            rd: parcel >> 7 & 31,
            high: 8 + (parcel >> 7 & 7),
            low: 8 + (parcel >> 2 & 7),
            rs2: parcel >> 2 & 31,
            imm,
            width: self.layout.iter().flatten().max().map_or(1, |bit| bit + 1),
        }
    }
}

/// An operation without the fields that its format does not have: those hold bits of the immediate.
fn view(op: Op, long: u32) -> (Kind, u8, u8, u8, i32) {
    let format = long & 0x7f;
    let field = |value: u8, there: bool| if there { value } else { 0 };
    (
        op.kind,
        field(op.rd, ![STORE, BRANCH].contains(&format)),
        field(op.rs1, ![0x37, 0x6f].contains(&format)),
        field(op.rs2, [OP, OP_32, STORE, BRANCH].contains(&format)),
        if [OP, OP_32].contains(&format) || long == EBREAK { 0 } else { op.imm },
    )
}

#[test]
fn every_parcel_is_what_the_chart_says() {
    let chart = chart();
    for parcel in (0..=u16::MAX).filter(|parcel| parcel & 3 != 3) {
        // Of two rows that fit, the special one comes first, as in the chart.
        let row = chart.iter().find(|row| row.matches(parcel)).unwrap();
        let op = decode(parcel.into());
        assert_eq!((op.len, op.raw), (2, parcel.into()), "{parcel:#06x}");
        match (row.long)(&row.fields(parcel)) {
            None => assert_eq!(op.kind, Kind::Illegal, "{} {parcel:#06x}", row.name),
            Some(long) => {
                assert_eq!(
                    view(op, long),
                    view(decode(long), long),
                    "{} {parcel:#06x} {long:#010x}",
                    row.name
                );
            }
        }
    }
}
