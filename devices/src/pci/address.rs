//! Where a function is.

use std::fmt;
use std::str::FromStr;

/// Device and function numbers: where a function is on its bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PciAddress {
    devfn: u8,
}

impl PciAddress {
    /// Function `function`, 0 to 7, of device `device`, 0 to 31.
    pub fn new(device: u8, function: u8) -> Option<Self> {
        (device < 32 && function < 8).then_some(Self { devfn: device << 3 | function })
    }

    /// Both numbers as a requester id has them: the device from bit 3 on, the function below.
    pub fn devfn(self) -> u8 {
        self.devfn
    }
}

impl From<u8> for PciAddress {
    fn from(devfn: u8) -> Self {
        Self { devfn }
    }
}

/// As machine files have it: `4.0`, hexadecimal.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.devfn >> 3, self.devfn & 7)
    }
}

/// A text that says no device and function numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a PCI address is a device, 0 to 1f, and perhaps a function, 0 to 7: \"4\" or \"1f.3\"")]
pub struct BadPciAddress;

/// `4`, `1f.3` or `0x1f.3`: hexadecimal, as QEMU has it.
impl FromStr for PciAddress {
    type Err = BadPciAddress;

    fn from_str(text: &str) -> Result<Self, BadPciAddress> {
        let number = |text: &str| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            // a sign is no digit
            let digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits);
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(BadPciAddress)
        };
        let (device, function) = text.split_once('.').unwrap_or((text, "0"));
        Self::new(number(device)?, number(function)?).ok_or(BadPciAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_qemu_has_them_and_written_so() {
        for (text, devfn, written) in [
            ("4", 0x20, "4.0"),
            ("1f.3", 0xfb, "1f.3"),
            ("0x1e.7", 0xf7, "1e.7"),
            ("0", 0, "0.0"),
            ("04.0", 0x20, "4.0"),
        ] {
            let address: PciAddress = text.parse().unwrap();
            assert_eq!((address.devfn(), address.to_string().as_str()), (devfn, written));
        }
        for text in ["", "20", "1.8", "1.", ".1", "1.0.0", "+1", "g", "100", "-1.0", "1.0x"] {
            assert_eq!(text.parse::<PciAddress>(), Err(BadPciAddress), "{text}");
        }
    }
}
