//! `flatland import`.

use super::print;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct ImportArgs {
    /// What `info mtree -D` printed
    dump: PathBuf,
    /// What `info mtree -f` printed, to compare with
    #[arg(long, value_name = "FLAT")]
    check: Option<PathBuf>,
}

pub(crate) fn import(_args: &ImportArgs) -> anyhow::Result<ExitCode> {
    print("")?;
    anyhow::bail!("not yet")
}
