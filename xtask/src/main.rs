//! `cargo xtask`: the command line of the workspace's chores.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use xtask::{Cli, Workspace};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run(&Workspace::here()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
