//! One line of a dump: a range with a priority, a kind and a name.
//!
//! Names are any text, and what follows a name has no mark of its own. So a line is read from both ends, and where the
//! end of a name is in doubt, the other side, tree or flat view, tells whether there is such a name.

use super::error::Mistake;

/// A kind of region as dumps print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    Ram,
    Rom,
    Romd,
    Ramd,
    Io,
}

impl Kind {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "ram" => Self::Ram,
            "rom" => Self::Rom,
            "romd" => Self::Romd,
            "ramd" => Self::Ramd,
            "i/o" => Self::Io,
            _ => return None,
        })
    }
}

/// A line with a range, as far as it can be read without knowing names.
#[derive(Clone, Copy, Debug)]
pub(super) struct RangeLine<'a> {
    /// How deep it is, from 1 on.
    pub level: usize,
    pub start: u64,
    /// Below the start where the range goes beyond 2^64, which the monitor remarks.
    pub last: u64,
    pub priority: i32,
    pub kind: Kind,
    pub nonvolatile: bool,
    /// All that is behind the kind.
    pub rest: &'a str,
}

const OVERFLOW: &str = "[DETECTED OVERFLOW!] ";

impl<'a> RangeLine<'a> {
    pub(super) fn read(line: &'a str) -> Result<Self, Mistake> {
        let wrong = Mistake::NoLine;
        let (before, line) = unmarked(line);
        let text = line.trim_start_matches(' ');
        let (after, text) = unmarked(text);
        let indent = line.len() - text.len() - if after { OVERFLOW.len() } else { 0 };
        let level = indent / 2;
        if indent % 2 != 0 || level == 0 {
            return Err(wrong("a region is indented by two spaces for each level"));
        }
        let (start, last, text) = range(text).ok_or(wrong("it does not begin with a range of addresses"))?;
        if last < start && !before && !after {
            return Err(wrong("the range ends before it begins"));
        }
        let text = text.strip_prefix(" (prio ").ok_or(wrong("no priority follows the range"))?;
        let (priority, text) = text.split_once(", ").ok_or(wrong("no kind follows the priority"))?;
        let priority = priority.parse().map_err(|_| wrong("the priority is no 32-bit number"))?;
        let (kind, rest) = text.split_once("):").ok_or(wrong("no name follows the kind"))?;
        let (nonvolatile, kind) = match kind.strip_prefix("nv-") {
            Some(kind) => (true, kind),
            None => (false, kind),
        };
        let kind = Kind::read(kind).ok_or(wrong("the kind is none of ram, rom, romd, ramd and i/o"))?;
        // editors take spaces from the end of lines, and so that of an empty name
        let rest = rest.strip_prefix(' ').or(rest.is_empty().then_some(""));
        let rest = rest.ok_or(wrong("no name follows the kind"))?;
        Ok(Self { level, start, last, priority, kind, nonvolatile, rest })
    }
}

fn unmarked(text: &str) -> (bool, &str) {
    match text.strip_prefix(OVERFLOW) {
        Some(text) => (true, text),
        None => (false, text),
    }
}

/// 16 hexadecimal digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

/// `start-last` at the start of a text, and what follows it.
fn range(text: &str) -> Option<(u64, u64, &str)> {
    let (start, rest) = text.split_at_checked(16)?;
    let (last, rest) = rest.strip_prefix('-')?.split_at_checked(16)?;
    Some((number(start)?, number(last)?, rest))
}

/// What is left of a line without the owner that the monitor prints on request, or `None` if it has none.
pub(super) fn without_owner(rest: &str) -> Option<&str> {
    if let Some(rest) = rest.strip_suffix(" orphan") {
        return Some(rest);
    }
    let in_braces = |rest: &str| rest.ends_with('}');
    let before = |rest: &'_ str, mark| rest.rfind(mark).filter(|_| in_braces(rest));
    let parent = before(rest, " parent:{").and_then(|at| rest.get(..at));
    let rest = parent.unwrap_or(rest);
    before(rest, " owner:{").and_then(|at| rest.get(..at)).or(parent)
}

/// What may follow a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks {
    pub disabled: bool,
    pub read_only: bool,
    pub unmergeable: bool,
    pub reads: bool,
    pub writes: bool,
    /// The offset in the region, in flat views.
    pub offset: u64,
}

/// How often a name is read anew: more often than a name of sense can be meant in different ways, and not as often
/// as a line of megabytes would have it.
const READINGS: usize = 16;

/// A name with the marks behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub marks: Marks,
}

impl<'a> Named<'a> {
    /// Reads a name in a tree. A name that ends like a mark of disabled regions is told from one by `in_flat_view`,
    /// since no flat view has a disabled region.
    pub(super) fn in_tree(rest: &'a str, in_flat_view: impl Fn(&str) -> bool) -> Self {
        let mut reading = Self { name: rest, marks: Marks::default() };
        while let Some(shorter) = reading.shorter(false) {
            if shorter.marks.disabled && !reading.marks.disabled && in_flat_view(reading.name) {
                break;
            }
            reading = shorter;
        }
        reading
    }

    /// Reads a name in a flat view: the longest of which `in_tree` tells that there is such a region.
    pub(super) fn in_flat_view(rest: &'a str, in_tree: impl Fn(&str) -> bool) -> Self {
        let whole = Self { name: rest, marks: Marks::default() };
        let known = Self::readings(rest, true).find(|reading| in_tree(reading.name));
        known.or_else(|| Self::readings(rest, true).last()).unwrap_or(whole)
    }

    /// All names that the text can be meant to say, the longest first.
    pub(super) fn readings(rest: &'a str, flat: bool) -> impl Iterator<Item = Self> {
        let whole = Self { name: rest, marks: Marks::default() };
        std::iter::successors(Some(whole), move |reading| reading.shorter(flat)).take(READINGS)
    }

    fn shorter(self, flat: bool) -> Option<Self> {
        let Self { name, mut marks } = self;
        if let Some((shorter, offset)) = name.rsplit_once(" @").filter(|_| flat)
            && let Some(offset) = number(offset)
        {
            marks.offset = offset;
            return Some(Self { name: shorter, marks });
        }
        if let Some(shorter) = name.strip_suffix(" KVM").filter(|_| flat) {
            return Some(Self { name: shorter, marks });
        }
        let (shorter, mark) = name.strip_suffix(']')?.rsplit_once(" [")?;
        match mark {
            "disabled" => marks.disabled = true,
            "read-only" => marks.read_only = true,
            "unmergeable" => marks.unmergeable = true,
            "reads" => marks.reads = true,
            "writes" => marks.writes = true,
            _ if mark.starts_with("re-entry: ") => {}
            _ => return None,
        }
        Some(Self { name: shorter, marks })
    }
}

/// `alias NAME @TARGET start-last`: the names, not told apart yet, and the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AliasName<'a> {
    /// `NAME @TARGET`.
    names: &'a str,
    pub start: u64,
    pub last: u64,
}

impl<'a> AliasName<'a> {
    /// Reads what is left of an alias's line without its marks; `None` if it is not that of an alias.
    pub(super) fn read(name: &'a str) -> Option<Self> {
        let (names, window) = name.strip_prefix("alias ")?.rsplit_once(' ')?;
        let (start, last, rest) = range(window)?;
        (rest.is_empty() && names.contains(" @")).then_some(Self { names, start, last })
    }

    /// The name and target. Both may hold ` @`: the first split for which `known` knows the target is taken.
    pub(super) fn split(self, known: impl Fn(&str) -> bool) -> (&'a str, &'a str) {
        let splits = || {
            self.names.match_indices(" @").map(|(at, mark)| {
                let (name, target) = self.names.split_at_checked(at).unwrap_or((self.names, ""));
                (name, target.strip_prefix(mark).unwrap_or(target))
            })
        };
        let found = splits().take(READINGS).find(|(_, target)| known(target));
        found.or_else(|| self.names.rsplit_once(" @")).unwrap_or((self.names, ""))
    }
}
