//! What a measurement gives: a figure with its rows, and whether it reaches what was asked for.

use crate::harness::{Results, Stat};
use serde::Serialize;

/// What a row is to the figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Flatland.
    Ours,
    /// What the hardware lets nobody beat.
    Limit,
    /// Somebody else's.
    Peer,
}

/// How numbers of a figure are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Of one operation.
    Nanoseconds,
    /// Of one operation; kept in nanoseconds.
    Microseconds,
    /// Of one operation; kept in nanoseconds.
    Milliseconds,
    /// Memory.
    Bytes,
    /// Million instructions a second.
    Mips,
}

impl Unit {
    /// What a number is divided by before it is written, and what is written after it.
    pub fn scale(self) -> (f64, &'static str) {
        match self {
            Self::Nanoseconds => (1.0, "ns"),
            Self::Microseconds => (1e3, "us"),
            Self::Milliseconds => (1e6, "ms"),
            Self::Bytes => (1.0, "bytes"),
            Self::Mips => (1.0, "MIPS"),
        }
    }

    /// Whether rows are also told in additions of the calibration.
    pub fn is_calibrated(self) -> bool {
        matches!(self, Self::Microseconds | Self::Milliseconds)
    }

    /// A number in this unit, with it.
    pub fn show(self, value: f64) -> String {
        let (scale, name) = self.scale();
        format!("{} {name}", digits(value / scale))
    }
}

/// Three significant digits, and no fraction from 100 on.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size < 0.0995 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

/// One line of a figure's table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// What it is to the figure.
    pub role: Role,
    /// Where it stands on the axis of a figure that has one.
    pub at: Option<f64>,
    /// The numbers, in the figure's unit; times in nanoseconds.
    pub stat: Stat,
    /// Nanoseconds of one addition of the calibration of the same rounds, if there was one.
    pub addition: Option<f64>,
}

/// Whether what was asked for is reached.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What is asked.
    pub what: String,
    /// What it is, with its unit.
    pub reached: String,
    /// What it is to be, and what that comes to in this run.
    pub reach: String,
    /// Whether it is.
    pub met: bool,
}

/// A measurement that is done.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// A short name; the filter looks at it, and the plot is called so.
    pub id: String,
    /// One line.
    pub title: String,
    /// What was done, for people who want to judge it.
    pub about: String,
    /// Of all rows.
    pub unit: Unit,
    /// What the axis is, of a figure whose rows stand on one.
    pub axis: Option<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What was asked for.
    pub verdicts: Vec<Verdict>,
    /// What could not be measured, and why.
    pub absent: Vec<(String, String)>,
}

impl Figure {
    /// A figure with no rows.
    pub fn new(id: &str, title: &str, unit: Unit, about: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            about: about.to_owned(),
            unit,
            axis: None,
            rows: Vec::new(),
            verdicts: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// The same with an axis that rows stand on.
    #[must_use]
    pub fn on(mut self, axis: &str) -> Self {
        self.axis = Some(axis.to_owned());
        self
    }

    /// Adds a row; its role follows from its name.
    pub fn row(&mut self, name: impl Into<String>, at: Option<f64>, stat: Stat, addition: Option<f64>) {
        let name = name.into();
        let role = if name.starts_with("flatland") {
            Role::Ours
        } else if name.starts_with("limit") {
            Role::Limit
        } else {
            Role::Peer
        };
        self.rows.push(Row { name, role, at, stat, addition });
    }

    /// Adds a row for each contestant but `loop_itself`, less the time of that.
    pub fn rows_of(&mut self, results: &Results, at: Option<f64>, loop_itself: Option<&str>) {
        let less = loop_itself.map_or(0.0, |name| results.of(name).median);
        for measured in results.all() {
            if Some(measured.name.as_str()) != loop_itself {
                self.row(&measured.name, at, measured.stat().less(less), Some(results.addition));
            }
        }
    }

    /// The median of a row, in the unit that it is kept in.
    pub fn median(&self, name: &str, at: Option<f64>) -> f64 {
        let found = self.rows.iter().find(|row| row.name == name && row.at == at);
        found.unwrap_or_else(|| panic!("{}: no row `{name}`", self.id)).stat.median
    }

    /// Asks that `reached` be at most `bound`, both in the figure's unit; `rule` says where the bound comes from.
    pub fn at_most(&mut self, what: &str, reached: f64, bound: f64, rule: &str) {
        let met = reached <= bound;
        let unit = self.unit;
        self.verdict(what, unit.show(reached), format!("<= {rule} = {}", unit.show(bound)), met);
    }

    /// Asks for anything else.
    pub fn verdict(&mut self, what: &str, reached: String, reach: String, met: bool) {
        self.verdicts.push(Verdict { what: what.to_owned(), reached, reach, met });
    }

    /// Asks that a ratio be at most `bound`.
    pub fn ratio_at_most(&mut self, what: &str, ratio: f64, bound: f64, of: &str) {
        let reach = format!("<= {bound} x {of}");
        self.verdict(what, format!("{ratio:.2} x"), reach, ratio <= bound);
    }

    /// The row that others are compared with: the limit at the same place of the axis.
    pub fn limit_of(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.role == Role::Limit && other.at == row.at)
    }

    /// Our first row at the same place of the axis.
    pub fn ours_of(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.role == Role::Ours && other.at == row.at)
    }
}
