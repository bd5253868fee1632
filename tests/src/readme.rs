//! The README's code blocks, and how each one is tested.
//!
//! A block says what it is by the words after its fence. Nothing in the README goes untested by an oversight: a block
//! that fits none of these is an error.
//!
//! | block | test |
//! |---|---|
//! | `rust` | a doctest of this crate, so `ignore` and `compile_fail` are refused |
//! | `sh test` | every line is run: `cargo run ...`, `flatland ...`, or `cargo xtask ...` |
//! | `toml test` | a machine file: `flatland check` accepts it |
//! | `text` | a picture or a sample of output, not run |
//!
//! A `sh` block can carry more words: with `needs:firmware` it wants what `cargo xtask firmware` fetches, with `needs:kvm` KVM, with
//! `timeout:SECONDS` one line may take that long, its build apart (else 60). A comment `# until: TEXT` in the block,
//! which readers see, says that what is run does not end by itself: it is ended as soon as it has printed TEXT.
//! (Rustdoc reads these words too, and complains of signs such as `=`.)

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

mod process;

pub use process::{run, run_until};

/// What tests one block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snippet {
    /// Rustdoc runs it.
    Doctest,
    /// Its lines are run.
    Commands(Commands),
    /// `flatland check` reads it.
    Machine(String),
    /// Nothing: it is no code.
    Picture,
}

/// The lines of a `sh test` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// One command for each line, as words.
    pub lines: Vec<Vec<String>>,
    /// What ends a command that does not end by itself.
    pub until: Option<String>,
    /// How long one command may take.
    pub timeout: Duration,
    /// Whether the block wants the firmware images.
    pub needs_firmware: bool,
    /// Whether the block wants KVM.
    pub needs_kvm: bool,
}

/// A block of code and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence, counted from 1.
    pub line: usize,
    /// How it is tested.
    pub snippet: Snippet,
}

/// All blocks of code of a Markdown text, in order.
///
/// # Errors
///
/// A block does not say how it is tested, or says it wrong.
pub fn blocks(markdown: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let line = markdown[..range.start].matches('\n').count() + 1;
                let CodeBlockKind::Fenced(info) = kind else {
                    bail!(
                        "README.md:{line}: an indented block, which rustdoc would take for Rust; put it between fences"
                    );
                };
                open = Some((line, info.to_string(), String::new()));
            }
            Event::Text(text) => {
                if let Some((_, _, content)) = &mut open {
                    content.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((line, info, content)) = open.take() {
                    let snippet = snippet(&info, &content).with_context(|| format!("README.md:{line}"))?;
                    blocks.push(Block { line, snippet });
                }
            }
            _ => {}
        }
    }
    Ok(blocks)
}

fn snippet(info: &str, content: &str) -> Result<Snippet> {
    let words: Vec<_> = info.split_whitespace().collect();
    match words.as_slice() {
        ["rust", attributes @ ..] => {
            ensure!(
                attributes.is_empty(),
                "a Rust block is compiled and run as it is, without {attributes:?}"
            );
            Ok(Snippet::Doctest)
        }
        [rust, ..] if rust.starts_with("rust,") => {
            bail!("a Rust block is compiled and run as it is, without {rust:?}")
        }
        ["text"] => Ok(Snippet::Picture),
        ["toml", "test"] => Ok(Snippet::Machine(content.to_owned())),
        ["sh", "test", tags @ ..] => commands(tags, content).map(Snippet::Commands),
        _ => bail!("no test is known for a block that is called {info:?}"),
    }
}

fn commands(tags: &[&str], content: &str) -> Result<Commands> {
    let mut commands = Commands {
        lines: Vec::new(),
        until: None,
        timeout: Duration::from_secs(60),
        needs_firmware: false,
        needs_kvm: false,
    };
    for tag in tags {
        match tag.split_once(':') {
            Some(("timeout", seconds)) => {
                commands.timeout =
                    Duration::from_secs(seconds.parse().with_context(|| format!("{tag}: no seconds"))?);
            }
            Some(("needs", "firmware")) => commands.needs_firmware = true,
            Some(("needs", "kvm")) => commands.needs_kvm = true,
            _ => bail!("unknown word {tag:?} after the fence"),
        }
    }
    commands.until = content
        .lines()
        .filter_map(|line| line.trim().strip_prefix("# until:"))
        .map(|text| text.trim().to_owned())
        .find(|text| !text.is_empty());
    for line in content.replace("\\\n", " ").lines() {
        let words = shlex::split(line).with_context(|| format!("{line:?} is no command"))?;
        // `shlex` drops comments.
        if !words.is_empty() {
            commands.lines.push(words);
        }
    }
    ensure!(!commands.lines.is_empty(), "the block has no command");
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_block(markdown: &str) -> Result<Block> {
        let mut blocks = blocks(markdown)?;
        ensure!(blocks.len() == 1, "{blocks:?}");
        blocks.pop().context("no block")
    }

    #[test]
    fn each_kind_of_block_is_known_with_its_line() {
        let text = "# Title\n\n```rust\nf();\n```\n\n```text\nA <- B\n```\n- in a list:\n\n  ```toml test\n  [machine]\n  ```\n";
        let blocks = blocks(text).unwrap();
        let machine = Snippet::Machine("[machine]\n".to_owned());
        let expected = [(3, Snippet::Doctest), (7, Snippet::Picture), (12, machine)];
        assert_eq!(blocks.into_iter().map(|block| (block.line, block.snippet)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn commands_are_split_like_the_shell_does() {
        let text = "```sh test timeout:5 needs:firmware\n# Boot.\n# until: =>\nflatland run 'my board' \\\n  --smp 2\n\ncargo run\n```";
        let Snippet::Commands(commands) = only_block(text).unwrap().snippet else { panic!("no commands") };
        assert_eq!(commands.lines, [vec!["flatland", "run", "my board", "--smp", "2"], vec!["cargo", "run"]]);
        assert_eq!(commands.until.as_deref(), Some("=>"));
        assert_eq!(commands.timeout, Duration::from_secs(5));
        assert!(commands.needs_firmware);
    }

    #[test]
    fn block_that_would_go_untested_is_refused() {
        for text in [
            "```sh\ncargo run\n```",
            "```\ncargo run\n```",
            "    indented\n",
            "```console\n$ cargo run\n```",
            "```rust ignore\nf();\n```",
            "```rust,no_run\nf();\n```",
            "```toml\n[machine]\n```",
            "```sh test utnil:x\ncargo run\n```",
            "```sh test timeout:long\ncargo run\n```",
            "```sh test needs:luck\ncargo run\n```",
            "```sh test\n# Nothing.\n```",
            "```sh test\ncargo run 'open\n```",
        ] {
            let error = blocks(text).expect_err(text);
            assert!(format!("{error:#}").starts_with("README.md:1:"), "{error:#}");
        }
    }
}
