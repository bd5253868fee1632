//! Machine files: a board written as TOML, or as JSON with the same schema.
//!
//! A file ends in plain data, a [`MachineSpec`]: nothing is built here, so a bad file leaves nothing half
//! built. The text is parsed to a tree that remembers the place of every key ([`Value`]), the tree is read
//! into the specification, and the first mistake comes back as one [`FileError`] with file, line, column and
//! key path. What belongs to a device itself stays in the tree until the device's own type asks for it
//! ([`DeviceSpec::deserialize_properties`]).
//!
//! ```
//! use machines::file::MachineSpec;
//!
//! let board = MachineSpec::from_toml("tiny.toml", r#"
//!     [machine]
//!     name = "tiny"
//!     memory = "16M"
//!
//!     [[region]]
//!     name = "system"
//!     kind = "container"
//!     size = "16E"
//!
//!     [[region]]
//!     name = "ram"
//!     kind = "ram"
//!     size = "memory"
//!     into = "system"
//!     at = "0x80000000"
//!
//!     [[space]]
//!     name = "memory"
//!     root = "system"
//!
//!     [[device]]
//!     type = "uart16550"
//!     name = "uart0"
//!     at = "0x10000000"
//! "#)?;
//! assert_eq!(board.regions[1].placement.as_ref().map(|p| p.at), Some(0x8000_0000));
//! assert_eq!(MachineSpec::from_toml("again.toml", &board.to_toml())?, board);
//!
//! let error = MachineSpec::from_toml("tiny.toml", "[machine]\nnmae = \"tiny\"\n").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "tiny.toml:2:1: machine: unknown key `nmae`, did you mean `name`? known keys: name, description, memory"
//! );
//! # Ok::<(), machines::file::FileError>(())
//! ```
//!
//! # Schema
//!
//! Sizes and addresses are integers, `"0x..."`, or decimal text with one of the suffixes K, M, G, T, P, E
//! (powers of 1024). A size goes up to `"16E"`, which is 2^64 bytes.
//!
//! | table | keys |
//! |---|---|
//! | `[machine]` | `name`; `description`, `memory` (the size that `"memory"` stands for in a region's `size`) |
//! | `[[region]]` | `name`, `kind` (`container`, `ram`, `rom`, `alias`, `reservation`), `size`; for an alias `target`, `offset`; for RAM and ROM `file`; the placement; `enabled`, `read-only`, `nonvolatile`, `unmergeable` |
//! | `[[space]]` | `name`, `root`; `unassigned` (`decode-error`, `all-ones`), `endian` (`little`, `big`). The first is the CPU's |
//! | `[[device]]` | `type`, `name`; `map` (tables of an optional `region` and a placement) or `at` (all of the device's one region, in the first space's root); `dma` (the space that its DMA goes to, if not the first) and `requester` (the id that it carries); `bus` (by name, the first one without this), `addr` (`"4.0"`, hexadecimal; the first free slot without this), `multifunction`, `romfile` for PCI devices; `wire`; every other key is a property of the device |
//! | `[cpu]` | `type` (`rv64`, `x86-64`); `harts`, `space`; of `rv64` `reset-pc`, `timebase` (Hz), `boot` (`firmware-at`, `kernel-at`, `dtb-at`); of `x86-64` `ports` (the space that port instructions reach), `boot` (`firmware-end`) |
//!
//! A placement is `into`, `at`, `priority`, `overlap`, `shows` (`both`, `reads`, `writes`). Where a region is
//! asked for, `NAME` is one that the file declares and `DEVICE.REGION` one that a device exports. A wire is
//! `output = "TARGET[:GROUP][:INDEX]"`, or an array of these for consecutive outputs; the target is a device
//! or `cpu`, with one of `msip`, `mtip`, `ssip`, `meip`, `seip` of `rv64`'s harts, or `intr` of `x86-64`, which an interrupt controller
//! leads to. A `null` in JSON is an absent key.

mod check;
mod error;
mod json;
mod load;
mod names;
mod number;
mod origin;
mod place;
mod properties;
mod read;
mod schema;
mod section;
mod set;
mod toml;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use error::{FileError, Problem};
pub use number::{format_address, format_size, parse_number};
pub use origin::Origin;
pub use place::Place;
pub use schema::{
    BootSpec, CpuSpec, CpuType, DeviceSpec, Endian, Extent, MachineSpec, MapSpec, Placement, RegionKind,
    RegionRef, RegionSpec, Shows, SpaceSpec, Unassigned, WireEnd, WireSpec, WireTarget,
};
pub use value::{Entry, Kind, Table, Value};
