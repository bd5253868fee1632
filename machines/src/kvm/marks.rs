//! The kernel's marks of a slot: which of its pages guests wrote.

use std::ops::Range;

/// A bit for each page of a slot.
#[derive(Default)]
pub(super) struct Marks {
    words: Vec<u64>,
}

/// Some marks of a slot, in the pieces that the kernel clears.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct MarksPart {
    /// The first page, a multiple of 64.
    pub(super) first: u64,
    /// How many pages, a multiple of 64 unless they go to the slot's end.
    pub(super) pages: u32,
    /// A bit for each of the pages.
    pub(super) marks: Vec<u64>,
}

impl Marks {
    pub(super) fn new(words: Vec<u64>) -> Self {
        Self { words }
    }

    /// The pages that are marked, as runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (index, &word) in (0u64..).zip(&self.words) {
            let mut rest = word;
            while rest != 0 {
                let first = u64::from(rest.trailing_zeros());
                let len = u64::from((rest >> first).trailing_ones());
                let start = index * 64 + first;
                match runs.last_mut().filter(|run| run.end == start) {
                    Some(run) => run.end += len,
                    None => runs.push(start..start + len),
                }
                // in two steps: a shift by 64 is none
                rest &= !(u64::MAX >> (64 - len) << first);
            }
        }
        runs.into_iter()
    }

    /// The marks of `wanted`, pages of a slot that has `pages`, if there are any, for the kernel to clear.
    pub(super) fn part(&self, wanted: Range<u64>, pages: u64) -> Option<MarksPart> {
        let last = wanted.end.min(pages).checked_sub(1).filter(|last| wanted.start <= *last)?;
        let (first_word, last_word) = (wanted.start / 64, last / 64);
        let known = self.words.get(usize::try_from(first_word).ok()?..)?;
        let mut marks: Vec<u64> = known.iter().copied().take((last_word - first_word + 1) as usize).collect();
        // of the words at both ends only what is wanted
        if let Some(word) = marks.first_mut() {
            *word &= u64::MAX << (wanted.start % 64);
        }
        if let Some(word) = marks.get_mut((last_word - first_word) as usize) {
            *word &= u64::MAX >> (63 - last % 64);
        }
        if marks.iter().all(|word| *word == 0) {
            return None;
        }
        let first = first_word * 64;
        let pages = u32::try_from(((last_word + 1) * 64).min(pages) - first).ok()?;
        Some(MarksPart { first, pages, marks })
    }

    /// Forgets the marks that are in `part`.
    pub(super) fn remove(&mut self, part: &MarksPart) {
        let words = self.words.iter_mut().skip((part.first / 64) as usize);
        words.zip(&part.marks).for_each(|(word, gone)| *word &= !gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(words: &[u64]) -> Vec<(u64, u64)> {
        Marks::new(words.to_vec()).runs().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn runs_of_marks_go_on_across_words() {
        assert_eq!(runs(&[0, 0b1011 << 60, 0b11, u64::MAX, 1]), [(124, 126), (127, 130), (192, 257)]);
        assert_eq!(runs(&[u64::MAX, u64::MAX]), [(0, 128)]);
        assert!(runs(&[0, 0]).is_empty());
    }

    #[test]
    fn a_part_of_marks_is_made_of_whole_words_and_has_only_what_is_wanted() {
        let marks = Marks::new(vec![u64::MAX; 2]);
        let part = marks.part(60..70, 100).unwrap();
        assert_eq!(part, MarksPart { first: 0, pages: 100, marks: vec![0xf << 60, 0x3f] });
        let part = marks.part(64..65, 128).unwrap();
        assert_eq!(part, MarksPart { first: 64, pages: 64, marks: vec![1] });
        assert_eq!(marks.part(100..200, 100), None);
        assert_eq!(Marks::new(vec![1]).part(1..64, 64), None);
        assert_eq!(Marks::default().part(0..64, 64), None);
    }

    #[test]
    fn marks_that_were_cleared_are_forgotten_and_others_are_not() {
        let mut marks = Marks::new(vec![0b110, 0b1]);
        let part = marks.part(1..2, 128).unwrap();
        marks.remove(&part);
        assert_eq!(marks.runs().collect::<Vec<_>>(), [2..3, 64..65]);
        assert_eq!(marks.part(1..2, 128), None);
    }
}
