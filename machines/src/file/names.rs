//! The names of a file, collected before its references are read, so that these may point forward.

use std::collections::BTreeMap;

use super::section::name_of;
use super::{FileError, Place, Problem, RegionRef, Value, WireEnd, WireTarget};
use crate::sync::Arc;

/// The names of one kind of thing.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Place>);

impl Names {
    /// The names of `items`, which are called `what` in messages. Items without a proper name are passed
    /// over: reading them says what is wrong.
    pub(super) fn collect(
        file: &Arc<str>,
        what: &'static str,
        items: &[(String, Value)],
    ) -> Result<Self, FileError> {
        let mut names = BTreeMap::new();
        for (_, value) in items {
            let Some((name, place)) = name_of(value) else { continue };
            if let Some(first) = names.insert(name.to_owned(), place) {
                let problem = Problem::Duplicate { what, name: name.to_owned(), first };
                return Err(FileError::new(file.clone(), place, format!("{what}.{name}.name"), problem));
            }
        }
        Ok(Self(names))
    }

    /// The names of things that were read before.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        Self(names.map(|name| (name.clone(), Place::Nowhere)).collect())
    }

    /// Whether there is a thing of that name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The problem that no `what` has that name.
    pub(super) fn unknown(&self, what: &'static str, name: &str) -> Problem {
        Problem::UnknownReference { what, name: name.to_owned(), known: self.0.keys().cloned().collect() }
    }
}

/// All the names that references can use.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The declared regions.
    pub(super) regions: Names,
    /// The address spaces.
    pub(super) spaces: Names,
    /// The devices.
    pub(super) devices: Names,
    /// Whether there is a `[cpu]`.
    pub(super) cpu: bool,
}

impl Scope {
    /// The region that `text` names: a declared one, else `DEVICE.REGION`.
    pub(super) fn region(&self, text: &str) -> Result<RegionRef, Problem> {
        if self.regions.contains(text) {
            return Ok(RegionRef::Declared(text.to_owned()));
        }
        match text.split_once('.') {
            Some((device, region)) if self.devices.contains(device) => {
                Ok(RegionRef::Exported { device: device.to_owned(), region: region.to_owned() })
            }
            Some((device, _)) if self.regions.unknown_is_far(text) => {
                Err(self.devices.unknown("device", device))
            }
            _ => Err(self.regions.unknown("region", text)),
        }
    }

    /// The input that `text` names: `TARGET[:GROUP][:INDEX]`.
    pub(super) fn wire_target(&self, text: &str) -> Result<WireTarget, Problem> {
        let malformed = || {
            Problem::Other(format!(
                "{text:?} is not a wire's end (\"TARGET[:GROUP][:INDEX]\", such as \"plic:10\")"
            ))
        };
        let index = |text: &str| -> Result<Option<u32>, Problem> {
            if text.is_empty() {
                Err(malformed())
            } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
                text.parse().map(Some).map_err(|_| malformed())
            } else {
                Ok(None)
            }
        };
        let mut parts = text.split(':');
        let (target, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let (group, index) = match (second, third, parts.next()) {
            (None, _, _) => (None, 0),
            (Some(second), None, _) => match index(second)? {
                Some(number) => (None, number),
                None => (Some(second), 0),
            },
            (Some(group), Some(third), None) if index(group)?.is_none() => {
                (Some(group), index(third)?.ok_or_else(malformed)?)
            }
            _ => return Err(malformed()),
        };
        let end = match target {
            "" => return Err(malformed()),
            "cpu" if self.cpu => WireEnd::Cpu,
            "cpu" => return Err(Problem::Other("the machine has no [cpu]".to_owned())),
            device if self.devices.contains(device) => WireEnd::Device(device.to_owned()),
            device => return Err(self.devices.unknown("device", device)),
        };
        Ok(WireTarget { end, group: group.map(str::to_owned), index })
    }
}

impl Names {
    /// Whether no name is so near to `text` that it may have been meant.
    fn unknown_is_far(&self, text: &str) -> bool {
        self.0.keys().all(|name| strsim::damerau_levenshtein(name, text) > 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let names = |names: &[&str]| Names(names.iter().map(|&n| (n.to_owned(), Place::Nowhere)).collect());
        Scope {
            regions: names(&["ram", "pc.ram"]),
            spaces: names(&[]),
            devices: names(&["vga", "plic", "pc"]),
            cpu: true,
        }
    }

    #[test]
    fn a_declared_name_with_a_dot_comes_before_a_device() {
        let scope = scope();
        assert_eq!(scope.region("pc.ram").unwrap(), RegionRef::Declared("pc.ram".into()));
        let vram = RegionRef::Exported { device: "vga".into(), region: "vram.low".into() };
        assert_eq!(scope.region("vga.vram.low").unwrap(), vram);
        assert_eq!(vram.to_string(), "vga.vram.low");
        assert_eq!(
            scope.region("rma").unwrap_err().to_string(),
            "there is no region `rma`, did you mean `ram`?"
        );
        assert_eq!(
            scope.region("vgs.vram").unwrap_err().to_string(),
            "there is no device `vgs`, did you mean `vga`?"
        );
    }

    #[test]
    fn wire_targets_read_back_as_they_print() {
        let scope = scope();
        for (text, group, index) in [
            ("plic", None, 0),
            ("plic:10", None, 10),
            ("plic:in", Some("in"), 0),
            ("plic:in:4294967295", Some("in"), u32::MAX),
        ] {
            let target = scope.wire_target(text).unwrap();
            assert_eq!((target.group.as_deref(), target.index), (group, index), "{text}");
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(scope.wire_target("cpu:mei:3").unwrap().end, WireEnd::Cpu);
    }

    #[test]
    fn malformed_wire_targets_are_refused() {
        let scope = scope();
        for text in
            ["", ":1", "plic:", "plic:1:2", "plic:in:", "plic:in:x", "plic:in:1:2", "plic:4294967296", "plc"]
        {
            assert!(scope.wire_target(text).is_err(), "{text}");
        }
        let alone = Scope { cpu: false, ..scope };
        assert_eq!(alone.wire_target("cpu:mei").unwrap_err().to_string(), "the machine has no [cpu]");
    }
}
