//! `flatland devices`.

use super::print;
use clap::Args;
use devices::{DeviceInfo, device_types};
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct DevicesArgs {
    /// A type of device, whose properties are listed
    name: Option<String>,
}

pub(crate) fn devices(args: &DevicesArgs) -> anyhow::Result<ExitCode> {
    let types = device_types();
    let Some(name) = &args.name else {
        let width = types.iter().map(|info| info.tag.len()).max().unwrap_or(0);
        let lines: String =
            types.iter().map(|info| format!("{:width$}  {}\n", info.tag, info.about)).collect();
        print(lines)?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(info) = types.iter().find(|info| info.tag == name) else {
        let known: Vec<_> = types.iter().map(|info| info.tag).collect();
        anyhow::bail!("there is no type of device `{name}`; types: {}", known.join(", "));
    };
    print(properties(info))?;
    Ok(ExitCode::SUCCESS)
}

fn properties(info: &DeviceInfo) -> String {
    let mut text = format!("{}: {}\n", info.tag, info.about);
    for property in info.properties {
        let default = property.default.map_or("required".to_owned(), |value| format!("default {value}"));
        let _ =
            writeln!(text, "  {} ({}, {default})\n      {}", property.name, property.kind, property.about);
    }
    text
}
