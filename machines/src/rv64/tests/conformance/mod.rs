//! Every instruction and every rule of the manual that this CPU is under, from tables that were written from the
//! manual's definitions: the unprivileged specification 20191213 and the privileged specification 1.12.
//!
//! Where the manual defines by cases, all cases are gone through and an oracle that follows its words says what has to
//! come out. The modules beside this one have what needs a story: sequences, devices, several harts.

mod arithmetic;
mod atomics;
mod branches;
mod compressed;
mod encodings;
mod interrupts;
mod privileges;
mod protection;
mod registers;
mod translation;
mod traps;

/// Operands at which something overflows, changes its sign, or is shifted out.
const CORNERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0xffff_ffff_7fff_ffff,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];
