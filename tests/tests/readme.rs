//! Every command and machine file that the README shows works. (Its Rust is run as doctests of this crate.)

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tests::readme::{self, Block, Commands, Snippet};
use xtask::{Cli, Workspace, firmware};

/// How long a build for one command may take: from nothing, on a slow machine.
const BUILD: Duration = Duration::from_secs(1200);

fn readme_blocks() -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(Workspace::here().root().join("README.md"))
        .context("cannot read README.md")?;
    readme::blocks(&text)
}

fn needs_firmware(block: &Block) -> bool {
    matches!(&block.snippet, Snippet::Commands(commands) if commands.needs_firmware)
}

fn needs_kvm(block: &Block) -> bool {
    matches!(&block.snippet, Snippet::Commands(commands) if commands.needs_kvm)
}

#[test]
fn readme_shows_how_to_run_and_how_to_test() -> Result<()> {
    let lines: Vec<_> = readme_blocks()?
        .into_iter()
        .filter_map(|block| match block.snippet {
            Snippet::Commands(commands) => Some(commands.lines),
            _ => None,
        })
        .flatten()
        .map(|words| words.join(" "))
        .collect();
    for command in ["cargo run --release", "cargo xtask test"] {
        assert!(lines.iter().any(|line| line == command), "the README does not show `{command}`");
    }
    Ok(())
}

#[test]
fn readme_commands_and_machine_files_work() -> Result<()> {
    for block in readme_blocks()?.iter().filter(|block| !needs_firmware(block) && !needs_kvm(block)) {
        try_block(block)?;
    }
    Ok(())
}

#[test]
fn readme_commands_that_need_firmware_work() -> Result<()> {
    let needs = |block: &Block| needs_firmware(block) && !needs_kvm(block);
    let blocks: Vec<_> = readme_blocks()?.into_iter().filter(needs).collect();
    if blocks.is_empty() {
        return Ok(());
    }
    if let Err(error) = firmware::ensure(&Workspace::here()) {
        tests::skip("readme_commands_that_need_firmware_work", &format!("{error:#}"));
        return Ok(());
    }
    blocks.iter().try_for_each(try_block)
}

#[test]
fn readme_commands_that_need_kvm_work() -> Result<()> {
    const NAME: &str = "readme_commands_that_need_kvm_work";
    let blocks: Vec<_> = readme_blocks()?.into_iter().filter(needs_kvm).collect();
    assert!(!blocks.is_empty(), "the README shows nothing on KVM");
    if let Err(missing) = machines::accel::look_for_kvm() {
        tests::skip(NAME, &missing.to_string());
        return Ok(());
    }
    if let Err(error) = firmware::ensure(&Workspace::here()) {
        tests::skip(NAME, &format!("{error:#}"));
        return Ok(());
    }
    blocks.iter().try_for_each(try_block)
}

fn try_block(block: &Block) -> Result<()> {
    match &block.snippet {
        Snippet::Commands(commands) => {
            commands.lines.iter().try_for_each(|words| try_command(words, commands)).map(drop)
        }
        Snippet::Machine(text) => try_machine(text),
        Snippet::Doctest | Snippet::Picture => Ok(()),
    }
    .with_context(|| format!("README.md:{}", block.line))
}

fn try_command(words: &[String], commands: &Commands) -> Result<()> {
    let (start, rest) = words.split_at(words.len().min(2));
    match start.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // Running the chores here would run these tests in these tests: that they are spelled right is enough.
        // The firmware has been fetched by the same code, if this block needs it.
        ["cargo", "xtask"] => {
            let words = std::iter::once("cargo xtask").chain(rest.iter().map(String::as_str));
            Cli::try_parse_from(words).with_context(|| format!("{rest:?}")).map(drop)
        }
        ["cargo", "run"] => try_flatland(rest, commands.timeout, commands.until.as_deref()),
        ["flatland", ..] => {
            let mut arguments = vec!["--release".to_owned(), "--".to_owned()];
            arguments.extend_from_slice(&words[1..]);
            try_flatland(&arguments, commands.timeout, commands.until.as_deref())
        }
        _ => bail!("no test is known for the command {words:?}"),
    }
}

fn try_machine(text: &str) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let path = folder.path().join("machine.toml");
    std::fs::write(&path, text).context("cannot write the machine file")?;
    let path = path.to_str().context("the folder's name is no text")?;
    try_flatland(&["--release", "--", "check", path].map(str::to_owned), Duration::from_secs(60), None)
}

/// `cargo run` with these arguments. It is built first, so that the time to build is none of the guest's.
fn try_flatland(arguments: &[String], timeout: Duration, until: Option<&str>) -> Result<()> {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    readme::run(cargo("build").args(options), BUILD)?;
    let mut command = cargo("run");
    command.args(arguments);
    match until {
        Some(wanted) => readme::run_until(&mut command, timeout, wanted),
        None => readme::run(&mut command, timeout),
    }
    .map(drop)
}

fn cargo(subcommand: &str) -> Command {
    let mut command = Workspace::here().cargo();
    command.arg(subcommand);
    command
}
