//! Why a dump cannot be read.

use memory_core::MemoryError;
use std::fmt;
use thiserror::Error;

/// The first mistake of a dump: which file, which line, what is wrong.
///
/// Printed as `board.mtree:12: ...`, without a line where the whole file is meant.
#[derive(Debug)]
pub struct ImportError {
    file: String,
    line: usize,
    mistake: Box<Mistake>,
}

/// What is wrong with a dump.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The line is none that the monitor prints.
    #[error("not a line of a memory map: {0}")]
    NoLine(&'static str),
    /// The text names no address space.
    #[error("not a memory map: it has no line `address-space: ...`")]
    NoSpace,
    /// A region that no address space or memory region is printed above.
    #[error("a region outside of every `address-space:` and `memory-region:`")]
    Outside,
    /// A second region at the top of one tree.
    #[error("a second root in one tree, which begins at line {0}")]
    SecondRoot(usize),
    /// A range of a flat view that does not lie above the one before.
    #[error("a range that does not begin above the end of the one before it")]
    Unsorted,
    /// A flat view that ends before its ranges.
    #[error("a flat view with neither ranges nor the words that it has none")]
    Incomplete,
    /// An alias with a window of another size than its own.
    #[error("alias `{0}` looks at a range of another size than its own")]
    Window(String),
    /// An alias of what the dump does not have.
    #[error("no region of the dump is the target of alias `{0}`")]
    NoTarget(String),
    /// A region that would be seen through itself.
    #[error("region `{0}` would show itself")]
    Cycle(String),
    /// The region cannot be made.
    #[error(transparent)]
    Refused(MemoryError),
}

impl ImportError {
    pub(super) fn new(file: &str, line: usize, mistake: Mistake) -> Self {
        Self { file: file.to_owned(), line, mistake: Box::new(mistake) }
    }

    /// The file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1 on, or `None` if the whole file is meant.
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }

    /// What is wrong.
    pub fn mistake(&self) -> &Mistake {
        &self.mistake
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.mistake),
            None => write!(f, "{}: {}", self.file, self.mistake),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.mistake.source()
    }
}
