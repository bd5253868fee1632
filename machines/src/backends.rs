//! What of the host devices are given by name: QEMU's `-drive`, `-object` and `-chardev`.

use crate::plugging::{DeviceOptions, OptionsError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a name stands for: options of the device that is given it.
type Options = Map<String, Value>;

/// What devices are given by name, whether they are there from the start or are plugged in later.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    /// Disks, for the option `drive`; one without an image is an empty drive.
    pub drives: BTreeMap<String, Options>,
    /// Memory, for `memdev`.
    pub memory: BTreeMap<String, Options>,
    /// What stands behind a serial line, for `chardev`.
    pub chardevs: BTreeMap<String, Options>,
}

impl Backends {
    /// Puts in the place of each name among a device's options what it stands for.
    ///
    /// # Errors
    /// A name that stands for nothing, or for a drive with nothing in it.
    pub fn resolve(&self, device: &mut DeviceOptions) -> Result<(), OptionsError> {
        for (option, known) in
            [("drive", &self.drives), ("memdev", &self.memory), ("chardev", &self.chardevs)]
        {
            let Some(id) = device.options.remove(option) else { continue };
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            let found = known.get(&id).ok_or_else(|| match option {
                "memdev" => OptionsError::NoMemory(id.clone()),
                _ => OptionsError::NoBackend { driver: device.driver.clone(), option, id: id.clone() },
            })?;
            if found.is_empty() {
                return Err(OptionsError::Empty);
            }
            device.options.extend(found.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_becomes_what_it_stands_for_and_one_that_stands_for_nothing_is_refused() {
        let options = |value: Value| value.as_object().unwrap().clone();
        let mut backends = Backends::default();
        backends.drives.insert("d".to_owned(), options(json!({ "image": "disk" })));
        backends.drives.insert("empty".to_owned(), Map::new());
        backends.memory.insert("m".to_owned(), options(json!({ "size": 4096 })));
        let resolved = |said: Value| {
            let driver = "card".to_owned();
            let mut device = DeviceOptions { driver, id: None, options: options(said) };
            let resolved = backends.resolve(&mut device);
            resolved.map(|()| Value::Object(device.options)).map_err(|error| error.to_string())
        };
        let all = resolved(json!({ "drive": "d", "memdev": "m", "addr": 4 }));
        assert_eq!(all, Ok(json!({ "image": "disk", "size": 4096, "addr": 4 })));
        for (said, message) in [
            (json!({ "drive": "x" }), "Property 'card.drive' can't find value 'x'"),
            (json!({ "drive": "empty" }), "Device needs media, but drive is empty"),
            (json!({ "memdev": "d" }), "Device 'd' not found"),
            (json!({ "chardev": 5 }), "Property 'card.chardev' can't find value '5'"),
        ] {
            assert_eq!(resolved(said), Err(message.to_owned()));
        }
    }
}
