//! What a type of device is, for people who write machine files.

/// One property of a type of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property {
    /// The key in a machine file.
    pub name: &'static str,
    /// What values it takes: `u32`, `size`, `path`, `"stdio" | "none"`.
    pub kind: &'static str,
    /// The value without the key, or `None` if the key is required.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
}

/// A type of device. Each device submits one through `inventory`, beside its `typetag` name:
///
/// ```text
/// inventory::submit! {
///     DeviceInfo { tag: "my-device", about: "...", properties: &[...], example: r#"{ "size": 4096 }"# }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceInfo {
    /// The `type` of a machine file.
    pub tag: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// All properties but `state`.
    pub properties: &'static [Property],
    /// The required properties with values that work, as a JSON object.
    pub example: &'static str,
}

inventory::collect!(DeviceInfo);

/// Every type of device that is linked into this program, by tag.
pub fn device_types() -> Vec<&'static DeviceInfo> {
    let mut types: Vec<_> = inventory::iter::<DeviceInfo>.into_iter().collect();
    types.sort_by_key(|info| info.tag);
    types
}
