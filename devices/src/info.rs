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

/// A port, or a range of ports, that a device takes when it is plugged in without being told where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortPlace {
    /// The region that the device exports.
    pub region: &'static str,
    /// Its first port.
    pub at: u16,
    /// The option that says another one, if there is one.
    pub option: Option<&'static str>,
}

/// How a type of device is plugged in by people who know QEMU's `-device`: by its name there, with the options that it has
/// there, and without a word about where it goes. A device that differs in this from its [`DeviceInfo`] submits one:
///
/// ```text
/// inventory::submit! {
///     PlugInfo {
///         name: "ib700", tag: "ib700", preset: "", ports: &[...], memory: &[], options: &[], wires: &[],
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PlugInfo {
    /// QEMU's name for the type.
    pub name: &'static str,
    /// The `type` of a machine file.
    pub tag: &'static str,
    /// Properties that the name says already, as a JSON object, or nothing.
    pub preset: &'static str,
    /// What goes into the machine's port space.
    pub ports: &'static [PortPlace],
    /// What goes into the CPU's memory: regions that the device exports, and where.
    pub memory: &'static [(&'static str, u64)],
    /// Options with other names than the properties: the option's, and the property's, behind a dot if it is one of a table.
    pub options: &'static [(&'static str, &'static str)],
    /// Interrupt lines: an output, or a group of them, and where it leads in a machine that has such a device.
    pub wires: &'static [(&'static str, WireEnd)],
}

/// The end of a wire of [`PlugInfo`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireEnd {
    /// The type of a device in the machine.
    pub tag: &'static str,
    /// A group of its inputs.
    pub group: &'static str,
    /// The first of them.
    pub first: u32,
}

inventory::collect!(PlugInfo);

/// How the type that QEMU calls `name` is plugged in: a type's own name will do, too.
pub fn plug_info(name: &str) -> Option<PlugInfo> {
    let said = inventory::iter::<PlugInfo>.into_iter().find(|info| info.name == name);
    said.copied().or_else(|| {
        let info = inventory::iter::<DeviceInfo>.into_iter().find(|info| info.tag == name)?;
        Some(PlugInfo {
            name: info.tag,
            tag: info.tag,
            preset: "",
            ports: &[],
            memory: &[],
            options: &[],
            wires: &[],
        })
    })
}

/// Every name that [`plug_info`] knows, sorted.
pub fn plug_names() -> Vec<&'static str> {
    let mut names: Vec<_> = inventory::iter::<PlugInfo>.into_iter().map(|info| info.name).collect();
    names.extend(inventory::iter::<DeviceInfo>.into_iter().map(|info| info.tag));
    names.sort_unstable();
    names.dedup();
    names
}
