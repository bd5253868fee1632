//! Where something was written.

use std::fmt;

/// Where a key or a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the machine file. Both count from 1; columns count characters, not bytes.
    Line {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// On the command line, as an override ([`set`](super::MachineSpec::set)).
    CommandLine,
    /// Nowhere: the program made it, or it is the file as a whole.
    #[default]
    Nowhere,
}

/// `12:8`, `--set`, or nothing.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, column } => write!(f, "{line}:{column}"),
            Self::CommandLine => f.write_str("--set"),
            Self::Nowhere => Ok(()),
        }
    }
}

/// The line starts of a text, so that a byte offset becomes a [`Place`] without reading the text again.
pub(super) struct LineIndex<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    /// An index of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The place of the byte at `offset`; the end of the text for an offset beyond it.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place::Line { line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_counts_lines_and_characters_from_one() {
        let index = LineIndex::new("a = 1\nü = \"é\"\n\nz");
        assert_eq!(index.place(0), Place::Line { line: 1, column: 1 });
        assert_eq!(index.place(5), Place::Line { line: 1, column: 6 });
        assert_eq!(index.place(6), Place::Line { line: 2, column: 1 });
        assert_eq!(index.place(9), Place::Line { line: 2, column: 3 });
        assert_eq!(index.place(17), Place::Line { line: 4, column: 1 });
        assert_eq!(index.place(999), Place::Line { line: 4, column: 2 });
    }
}
