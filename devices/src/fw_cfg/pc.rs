//! What a PC tells its firmware: numbers with keys of their own, and files that firmware knows by name.

use super::items::Items;
use super::registers::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What kind of memory a range of the map is, as ACPI's `INT 15h, E820h` numbers it.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum E820Kind {
    /// Memory that the system may use.
    Ram,
    /// Nothing that the system may use.
    #[default]
    Reserved,
    /// Tables that the system may use once it has read them.
    Acpi,
    /// Memory that firmware keeps over sleep.
    Nvs,
    /// Memory with errors.
    Unusable,
}

impl E820Kind {
    fn number(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::Acpi => 3,
            Self::Nvs => 4,
            Self::Unusable => 5,
        }
    }
}

/// A range of the file `etc/e820`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct E820Entry {
    /// Its first address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What it is.
    #[serde(default)]
    pub kind: E820Kind,
}

impl E820Entry {
    fn bytes(self) -> impl Iterator<Item = u8> {
        let ends = [self.start, self.size].into_iter().flat_map(u64::to_le_bytes);
        ends.chain(self.kind.number().to_le_bytes())
    }
}

/// A node of the machine's memory and CPUs.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NumaNode {
    /// Numbers of its CPUs.
    pub cpus: Vec<u16>,
    /// Bytes of its memory.
    pub memory: u64,
}

/// A UUID (RFC 4122), written in its usual form of 32 hexadecimal digits and four hyphens.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(try_from = "String", into = "String")]
pub struct Uuid(u128);

impl Uuid {
    /// Its bytes, in the order in which they are written.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits: String = text.split('-').collect();
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let value = u128::from_str_radix(&digits, 16).ok();
        let value = value.filter(|_| hexadecimal && groups == [8, 4, 4, 4, 12]);
        value.map(Self).ok_or_else(|| format!("`{text}` is no UUID"))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let group = |range| digits.get(range).unwrap_or_default();
        let (a, b, c, d, e) = (group(0..8), group(8..12), group(12..16), group(16..20), group(20..32));
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) uuid: Uuid,
    /// Bytes of RAM.
    pub(super) ram_size: u64,
    /// Bytes of it that are below 4 GiB; the others begin there.
    pub(super) below_4g: u64,
    /// CPUs that there are, and that there may be.
    pub(super) cpus: u16,
    pub(super) max_cpus: u16,
    pub(super) nographic: bool,
    pub(super) boot_menu: bool,
    /// Milliseconds that a menu waits.
    pub(super) splash_time: Option<u16>,
    /// Milliseconds until firmware that found nothing to boot resets the machine; below 0 it does not.
    pub(super) reboot_timeout: i32,
    pub(super) boot_order: &'a [String],
    pub(super) numa: &'a [NumaNode],
    /// What the map has but RAM.
    pub(super) e820: &'a [E820Entry],
}

/// Where RAM goes on that has no room below.
const FOUR_GIB: u64 = 1 << 32;

impl Facts<'_> {
    /// Adds the numbers.
    pub(super) fn add_to(&self, items: &mut Items) {
        items.add(KEY_UUID, &self.uuid.bytes());
        items.add(KEY_RAM_SIZE, &self.ram_size.to_le_bytes());
        items.add(KEY_NOGRAPHIC, &u16::from(self.nographic).to_le_bytes());
        items.add(KEY_NB_CPUS, &self.cpus.to_le_bytes());
        items.add(KEY_MAX_CPUS, &self.max_cpus.to_le_bytes());
        items.add(KEY_BOOT_MENU, &u16::from(self.boot_menu).to_le_bytes());
        items.add(KEY_NUMA, &self.numa());
        items.add(KEY_IRQ0_OVERRIDE, &1_u32.to_le_bytes());
    }

    /// The number of nodes, the node of each CPU, the memory of each node.
    fn numa(&self) -> Vec<u8> {
        let node = |cpu: u16| self.numa.iter().position(|node| node.cpus.contains(&cpu)).unwrap_or_default();
        let nodes = (0..self.max_cpus).map(|cpu| node(cpu) as u64);
        let memory = self.numa.iter().map(|node| node.memory);
        let numbers = [self.numa.len() as u64].into_iter().chain(nodes).chain(memory);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    fn map(&self) -> Vec<u8> {
        let low = self.below_4g.min(self.ram_size);
        let high = self.ram_size - low;
        let ram = [(0, low), (FOUR_GIB, high)].into_iter().filter(|(_, size)| *size > 0);
        let ram = ram.map(|(start, size)| E820Entry { start, size, kind: E820Kind::Ram });
        self.e820.iter().copied().chain(ram).flat_map(E820Entry::bytes).collect()
    }

    /// The files by name, in which order the directory has them, too.
    pub(super) fn files(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut order: Vec<u8> = self.boot_order.join("\n").into_bytes();
        if !order.is_empty() {
            order.push(0);
        }
        let mut files = BTreeMap::from([
            ("bios-geometry", Vec::new()),
            ("bootorder", order),
            ("etc/boot-fail-wait", self.reboot_timeout.to_le_bytes().to_vec()),
            ("etc/e820", self.map()),
        ]);
        if let Some(time) = self.splash_time {
            files.insert("etc/boot-menu-wait", time.to_le_bytes().to_vec());
        }
        files
    }
}
