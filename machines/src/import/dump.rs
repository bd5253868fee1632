//! A dump as sections of lines.

use super::Source;
use super::error::{ImportError, Mistake};
use super::line::{RangeLine, without_owner};

/// What one or several `info mtree` printed.
#[derive(Debug, Default)]
pub(super) struct Dump<'a> {
    /// Trees of address spaces and of targets of aliases, as printed.
    pub trees: Vec<TreeSection<'a>>,
    /// Flat views, if the text has any.
    pub views: Option<Vec<ViewSection<'a>>>,
}

/// A tree: of address spaces that share it, or of a target of aliases.
#[derive(Debug)]
pub(super) struct TreeSection<'a> {
    pub line: usize,
    /// Names of address spaces, if it is theirs.
    pub spaces: Vec<&'a str>,
    /// The name of the region, if it is that of a target of aliases.
    pub target: Option<&'a str>,
    pub regions: Vec<(usize, RangeLine<'a>)>,
}

/// A flat view.
#[derive(Debug)]
pub(super) struct ViewSection<'a> {
    pub line: usize,
    /// `NAME", root: ROOT` for each address space that shows it, with its line.
    pub spaces: Vec<(usize, &'a str)>,
    pub ranges: Vec<(usize, RangeLine<'a>)>,
    /// It says that it has no ranges.
    pub empty: bool,
}

/// Where the next line belongs.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    Tree,
    View,
    /// The look-up table of a flat view, up to the next empty line.
    Dispatch,
}

impl<'a> Dump<'a> {
    /// Takes a text apart.
    pub(super) fn parse(source: Source<'a>) -> Result<Self, ImportError> {
        let mut dump = Self::default();
        let mut place = Place::Nowhere;
        for (index, line) in source.text.lines().enumerate() {
            let number = index + 1;
            dump.take(number, line, &mut place)
                .map_err(|mistake| ImportError::new(source.file, number, mistake))?;
        }
        let incomplete = |view: &&ViewSection<'_>| view.ranges.is_empty() != view.empty;
        if let Some(view) = dump.views.iter().flatten().find(incomplete) {
            return Err(ImportError::new(source.file, view.line, Mistake::Incomplete));
        }
        take_owners(dump.trees.iter_mut().flat_map(|tree| &mut tree.regions).collect());
        take_owners(dump.views.iter_mut().flatten().flat_map(|view| &mut view.ranges).collect());
        Ok(dump)
    }

    pub(super) fn has_no_space(&self) -> bool {
        self.trees.iter().all(|tree| tree.spaces.is_empty())
    }

    fn take(&mut self, number: usize, line: &'a str, place: &mut Place) -> Result<(), Mistake> {
        if line.is_empty() {
            *place = Place::Nowhere;
        } else if line.starts_with("(qemu)") {
            // what was typed into the monitor
        } else if let Some(name) = line.strip_prefix("address-space: ") {
            // spaces with the same root are printed above one tree
            let sharing = self.trees.last_mut().filter(|tree| {
                matches!(place, Place::Tree) && tree.regions.is_empty() && !tree.spaces.is_empty()
            });
            match sharing {
                Some(tree) => tree.spaces.push(name),
                None => self.trees.push(TreeSection {
                    line: number,
                    spaces: vec![name],
                    target: None,
                    regions: Vec::new(),
                }),
            }
            *place = Place::Tree;
        } else if let Some(name) = line.strip_prefix("memory-region: ") {
            let (spaces, regions) = (Vec::new(), Vec::new());
            self.trees.push(TreeSection { line: number, spaces, target: Some(name), regions });
            *place = Place::Tree;
        } else if line.starts_with("FlatView #") {
            let (spaces, ranges) = (Vec::new(), Vec::new());
            let view = ViewSection { line: number, spaces, ranges, empty: false };
            self.views.get_or_insert_default().push(view);
            *place = Place::View;
        } else {
            return self.take_inner(number, line, place);
        }
        Ok(())
    }

    /// Takes a line that belongs to the section above it.
    fn take_inner(&mut self, number: usize, line: &'a str, place: &mut Place) -> Result<(), Mistake> {
        match place {
            Place::Dispatch => Ok(()),
            Place::Nowhere => {
                RangeLine::read(line)?;
                Err(Mistake::Outside)
            }
            Place::Tree => {
                let region = RangeLine::read(line)?;
                let tree = self.trees.last_mut().ok_or(Mistake::Outside)?;
                if region.level == 1 && !tree.regions.is_empty() {
                    return Err(Mistake::SecondRoot(tree.line));
                }
                tree.regions.push((number, region));
                Ok(())
            }
            Place::View => {
                let views = self.views.get_or_insert_default();
                let view = views.last_mut().ok_or(Mistake::Outside)?;
                if let Some(space) = line.strip_prefix(" AS \"") {
                    view.spaces.push((number, space));
                    return Ok(());
                }
                match line {
                    "  No rendered FlatView" => {
                        view.empty = true;
                        return Ok(());
                    }
                    "  Dispatch" => {
                        *place = Place::Dispatch;
                        return Ok(());
                    }
                    _ if line.starts_with(" Root memory region: ") => return Ok(()),
                    _ => {}
                }
                let range = RangeLine::read(line)?;
                if range.level != 1 {
                    return Err(Mistake::NoLine("a flat view has no levels"));
                }
                if range.last < range.start {
                    return Err(Mistake::NoLine("the range ends before it begins"));
                }
                view.ranges.push((number, range));
                Ok(())
            }
        }
    }
}

/// Takes owners off the lines, if all have one: the monitor prints them everywhere or nowhere.
fn take_owners(lines: Vec<&mut (usize, RangeLine<'_>)>) {
    if lines.iter().all(|(_, line)| without_owner(line.rest).is_some()) {
        for (_, line) in lines {
            line.rest = without_owner(line.rest).unwrap_or(line.rest);
        }
    }
}
