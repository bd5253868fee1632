//! The one error of machine files.

use std::fmt;
use std::io;

use thiserror::Error;

use super::Place;
use crate::sync::Arc;

/// The first mistake of a machine file: which file, where in it, at which key, and what is wrong.
///
/// Printed as `pc.toml:12:8: region.vga-window.size: "12Q" is not a size (...)`; what came from the command
/// line starts with `--set` instead of the file, and parts that are not known are left out.
#[derive(Debug)]
pub struct FileError {
    file: Arc<str>,
    place: Place,
    path: String,
    problem: Box<Problem>,
}

/// What is wrong with a machine file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The text is not TOML, or not JSON.
    #[error("not {language}: {message}")]
    Syntax {
        /// `TOML` or `JSON`.
        language: &'static str,
        /// What the parser says.
        message: String,
    },
    /// A key that does not exist; the path is that of its table.
    #[error(
        "unknown key `{}`{} known keys: {}",
        .key.escape_debug(),
        suggestion(.key, .known).unwrap_or(";".to_owned()),
        list(.known)
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("missing key `{0}`")]
    MissingKey(String),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes.
        expected: String,
        /// What was written.
        found: String,
    },
    /// Text that is none of the words that the key takes.
    #[error(
        "unknown {what} `{}`{} known: {}",
        .word.escape_debug(),
        suggestion(.word, .known).unwrap_or(";".to_owned()),
        list(.known)
    )]
    UnknownWord {
        /// What the word stands for, such as `kind`.
        what: String,
        /// What was written.
        word: String,
        /// The words that exist there.
        known: Vec<String>,
    },
    /// A value that is no size.
    #[error(
        "{0} is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    )]
    NotASize(String),
    /// A value that is no address.
    #[error(
        "{0} is not an address (an integer, \"0x...\", or a number with a suffix K, M, G, T, P or E; below 2^64)"
    )]
    NotAnAddress(String),
    /// An integer outside its bounds.
    #[error("{value} is out of range ({min} to {max})")]
    OutOfRange {
        /// What was written.
        value: i128,
        /// The smallest value.
        min: i128,
        /// The largest value.
        max: i128,
    },
    /// A second thing of the same name.
    #[error("a second {what} named `{}`{}", .name.escape_debug(), first_at(.first))]
    Duplicate {
        /// `region`, `space` or `device`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where the first one is.
        first: Place,
    },
    /// A reference to something that the file does not have.
    #[error("there is no {what} `{}`{}", .name.escape_debug(), suggestion(.name, .known).unwrap_or_default())]
    UnknownReference {
        /// `region`, `space` or `device`.
        what: &'static str,
        /// The name that was written.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl FileError {
    /// An error in `file` at `place`, about the key at `path` (dotted; empty for the file as a whole).
    pub fn new(file: impl Into<Arc<str>>, place: Place, path: impl Into<String>, problem: Problem) -> Self {
        Self { file: file.into(), place, path: path.into(), problem: Box::new(problem) }
    }

    /// The file as it was named when it was opened.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the mistake is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The key that is wrong, as a dotted path through tables and names; empty for the file as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line { .. } => write!(f, "{}:{}: ", self.file, self.place)?,
            Place::CommandLine => write!(f, "{}: ", self.place)?,
            Place::Nowhere => write!(f, "{}: ", self.file)?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.escape_debug())?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for FileError {}

/// The names, or that there are none.
fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn first_at(place: &Place) -> String {
    match place {
        Place::Line { .. } => format!(", the first is at {place}"),
        _ => String::new(),
    }
}

/// `, did you mean ...?` if one of `known` is close enough to be what `word` was meant to be.
fn suggestion(word: &str, known: &[String]) -> Option<String> {
    let (_, candidate) = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)?;
    Some(format!(", did you mean `{}`?", candidate.escape_debug()))
}
