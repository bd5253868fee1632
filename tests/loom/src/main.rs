//! Models of Flatland's concurrency: loom runs each of them through every order of steps within its bounds, against the
//! real `memory-core`, `memory-flatview` and `memory-dispatch`. `cargo xtask loom` builds and runs this; see
//! `docs/verification.md`.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a model is a test: what it does not expect has to fail"
)]

#[cfg(flatland_loom)]
mod machine;
#[cfg(flatland_loom)]
mod model;
#[cfg(flatland_loom)]
mod models;

use std::process::ExitCode;

/// `list` names the models; `run NAME` checks one.
#[cfg(flatland_loom)]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => models::ALL.iter().for_each(|model| println!("{}\t{}", model.name, model.proves)),
        ["run", name] => {
            let Some(model) = models::ALL.iter().find(|model| model.name == name) else {
                eprintln!("there is no model `{name}`");
                return ExitCode::from(2);
            };
            println!("{}", model.check());
        }
        _ => {
            eprintln!("usage: loom-models list | run NAME");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Without the cfg there is nothing to check.
#[cfg(not(flatland_loom))]
fn main() -> ExitCode {
    eprintln!("the models are built and run by `cargo xtask loom`");
    ExitCode::from(2)
}
