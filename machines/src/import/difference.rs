//! Where the rendering of a dump and its flat views disagree.

use super::line::Kind;
use crate::sync::Arc;
use memory_core::{Backing, Target};
use memory_flatview::{RangeFlags, View};
use std::collections::HashMap;
use std::fmt;

/// Neighbouring ranges of one region with contiguous offsets, as one: a dump does not tell where a region is
/// read-only, so a comparison does not either.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The first address.
    pub start: u64,
    /// The last address.
    pub last: u64,
    /// The name of the region that answers reads.
    pub region: String,
    /// The offset in it of the first address.
    pub offset: u64,
    kinds: Kinds,
    /// The line of the flat view where it begins, or 0.
    line: usize,
}

/// The kinds that the ranges of a run have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Kinds(u8);

impl Kinds {
    fn of(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a region of these kinds may be printed with the kinds `seen`: `rom` is anything that is seen through
    /// something read-only.
    fn show_as(self, seen: Self) -> bool {
        seen.0 & !self.0 & !Self::of(Kind::Rom).0 == 0
    }
}

impl Run {
    pub(super) fn new(range: (u64, u64), region: &str, offset: u64, kind: Kind, line: usize) -> Self {
        let (start, last) = range;
        Self { start, last, region: region.to_owned(), offset, kinds: Kinds::of(kind), line }
    }

    /// Takes in what goes on where this run ends.
    fn join(&mut self, next: &Self) -> bool {
        let goes_on = self.last.checked_add(1) == Some(next.start)
            && self.region == next.region
            && self.offset.checked_add(next.start - self.start) == Some(next.offset);
        if goes_on {
            self.last = next.last;
            self.kinds = self.kinds.and(next.kinds);
        }
        goes_on
    }

    /// Whether this run of a rendering is what a flat view has.
    fn agrees(&self, printed: &Self) -> bool {
        (self.start, self.last, &self.region, self.offset)
            == (printed.start, printed.last, &printed.region, printed.offset)
            && self.kinds.show_as(printed.kinds)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x} `{}` @{:#x}", self.start, self.last, self.region, self.offset)
    }
}

/// Joins ranges, which ascend, to runs.
pub(super) fn runs(ranges: impl Iterator<Item = Run>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for range in ranges {
        if !runs.last_mut().is_some_and(|last| last.join(&range)) {
            runs.push(range);
        }
    }
    runs
}

/// The runs of what a view shows to reads.
pub(super) fn runs_of(view: &View) -> Vec<Run> {
    runs(view.ranges().filter_map(|range| {
        let part = range.read()?;
        let kind = kind(part.target(), range.flags());
        let bounds = (range.range().start(), range.range().last());
        Some(Run::new(bounds, part.target().name(), part.offset(), kind, 0))
    }))
}

fn kind(target: &Target, flags: RangeFlags) -> Kind {
    match target.backing() {
        Backing::Ram(_) => Kind::Ram,
        Backing::RamDevice(_) => Kind::Ramd,
        Backing::Rom(_) => Kind::Rom,
        Backing::RomDevice(..) if flags.contains(RangeFlags::ROMD) => Kind::Romd,
        _ => Kind::Io,
    }
}

/// An address space with what it shows.
pub(super) struct Shown {
    pub name: String,
    /// The line of the flat file that names it, or 0.
    pub line: usize,
    pub runs: Arc<[Run]>,
}

/// One thing in which a rendering and the flat views disagree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The flat views name no address space, so that nothing could be compared.
    NoSpace {
        /// The file of the flat views.
        file: String,
    },
    /// An address space that only the trees have.
    OnlyInTrees {
        /// Its name.
        space: String,
    },
    /// An address space that only the flat views have.
    OnlyInFlatViews {
        /// Its name.
        space: String,
        /// File and line that name it.
        place: String,
    },
    /// Addresses where the two show something else.
    Range {
        /// The name of the address space.
        space: String,
        /// What the regions of the trees show, if they show something.
        rendered: Option<Run>,
        /// What the flat view has, if it has something, with file and line.
        printed: Option<(Run, String)>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace { file } => write!(f, "{file}: no flat view of any address space"),
            Self::OnlyInTrees { space } => write!(f, "address space `{space}`: no flat view shows it"),
            Self::OnlyInFlatViews { space, place } => {
                write!(f, "address space `{space}`: only the flat views have it ({place})")
            }
            Self::Range { space, rendered, printed } => {
                write!(f, "address space `{space}`: ")?;
                match rendered {
                    Some(run) => write!(f, "the map has {run}, ")?,
                    None => f.write_str("the map has nothing, ")?,
                }
                match (rendered, printed) {
                    (Some(run), Some((printed, place))) if same_text(run, printed) => {
                        write!(f, "the flat view has it with another kind ({place})")
                    }
                    (_, Some((run, place))) => write!(f, "the flat view has {run} ({place})"),
                    (_, None) => f.write_str("the flat view has nothing"),
                }
            }
        }
    }
}

fn same_text(a: &Run, b: &Run) -> bool {
    (a.start, a.last, &a.region, a.offset) == (b.start, b.last, &b.region, b.offset)
}

/// Compares the spaces that were rendered with those that were printed in `file`. Of several spaces of one name those
/// belong together that agree.
pub(super) fn compare(rendered: &[Shown], printed: &[Shown], file: &str) -> Vec<Difference> {
    if printed.is_empty() {
        return vec![Difference::NoSpace { file: file.to_owned() }];
    }
    let mut partners: HashMap<&str, Vec<&Shown>> = HashMap::new();
    for space in rendered {
        partners.entry(&space.name).or_default().push(space);
    }
    let mut alone = Vec::new();
    for space in printed {
        let partners = partners.get_mut(&*space.name);
        let agrees = |partner: &&Shown| agree(&partner.runs, &space.runs);
        match partners.and_then(|list| list.iter().position(agrees).map(|at| list.remove(at))) {
            Some(_) => {}
            None => alone.push(space),
        }
    }
    let mut differences = Vec::new();
    for space in alone {
        let place = format!("{file}:{}", space.line);
        match partners.get_mut(&*space.name).filter(|list| !list.is_empty()).map(|list| list.remove(0)) {
            Some(partner) => differences.extend(compare_runs(partner, space, file)),
            None => differences.push(Difference::OnlyInFlatViews { space: space.name.clone(), place }),
        }
    }
    let left = |space: &&Shown| {
        let list = partners.get(&*space.name).map(Vec::as_slice).unwrap_or_default();
        list.iter().any(|left| std::ptr::eq(*left, *space))
    };
    let only = rendered.iter().filter(left).map(|space| space.name.clone());
    differences.extend(only.map(|space| Difference::OnlyInTrees { space }));
    differences
}

fn agree(rendered: &[Run], printed: &[Run]) -> bool {
    rendered.len() == printed.len() && rendered.iter().zip(printed).all(|(a, b)| a.agrees(b))
}

fn compare_runs(rendered: &Shown, printed: &Shown, file: &str) -> Vec<Difference> {
    let (mut ours, mut theirs) = (rendered.runs.iter().peekable(), printed.runs.iter().peekable());
    let mut differences = Vec::new();
    let space = &printed.name;
    let mut differ = |rendered: Option<&Run>, printed: Option<&Run>| {
        differences.push(Difference::Range {
            space: space.clone(),
            rendered: rendered.cloned(),
            printed: printed.map(|run| (run.clone(), format!("{file}:{}", run.line))),
        });
    };
    loop {
        match (ours.peek().copied(), theirs.peek().copied()) {
            (None, None) => return differences,
            (Some(run), Some(other)) if run.agrees(other) => {
                ours.next();
                theirs.next();
            }
            (Some(run), other) if other.is_none_or(|other| run.last < other.start) => {
                differ(Some(run), None);
                ours.next();
            }
            (run, Some(other)) if run.is_none_or(|run| other.last < run.start) => {
                differ(None, Some(other));
                theirs.next();
            }
            (run, other) => {
                differ(run, other);
                // what reaches further is looked at again, against what comes next on the other side
                let (last, other_last) = (run.map(|run| run.last), other.map(|other| other.last));
                ours.next_if(|_| last <= other_last);
                theirs.next_if(|_| other_last <= last);
            }
        }
    }
}
