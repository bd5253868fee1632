//! Tables, for the terminal and for the page.

use crate::figure::{Figure, Row, digits};

/// A figure's table: a line of titles, then the rows.
pub fn table(figure: &Figure) -> Vec<Vec<String>> {
    let (_, unit) = figure.unit.scale();
    let mut titles = vec!["what".to_owned()];
    titles.extend(figure.axis.clone());
    titles.push(format!("median, {unit}"));
    titles.push("10 % to 90 %".to_owned());
    titles.push("x limit".to_owned());
    titles.push("flatland / it".to_owned());
    if figure.unit.is_calibrated() {
        titles.push("additions".to_owned());
    }
    let mut lines = vec![titles];
    lines.extend(figure.rows.iter().map(|row| line(figure, row)));
    lines
}

fn line(figure: &Figure, row: &Row) -> Vec<String> {
    let (scale, _) = figure.unit.scale();
    let number = |value: f64| digits(value / scale);
    let ratio = |a: f64, b: f64| if b > 0.0 { digits(a / b) } else { "-".to_owned() };
    let mut cells = vec![row.name.clone()];
    if figure.axis.is_some() {
        cells.push(row.at.map_or("-".to_owned(), |at| format!("{at}")));
    }
    cells.push(number(row.stat.median));
    cells.push(format!("{} to {}", number(row.stat.low), number(row.stat.high)));
    let limit = figure.limit_of(row).map(|limit| ratio(row.stat.median, limit.stat.median));
    cells.push(limit.unwrap_or("-".to_owned()));
    let ours = figure.ours_of(row).map(|ours| ratio(ours.stat.median, row.stat.median));
    cells.push(ours.unwrap_or("-".to_owned()));
    if figure.unit.is_calibrated() {
        cells.push(row.addition.map_or("-".to_owned(), |addition| count(row.stat.median / addition)));
    }
    cells
}

/// A number of additions, short.
fn count(value: f64) -> String {
    match value {
        small if small < 1e4 => format!("{small:.0}"),
        middling if middling < 1e7 => format!("{:.0} k", middling / 1e3),
        large => format!("{:.0} M", large / 1e6),
    }
}

/// The summary: what was asked for, what was reached.
pub fn summary(figures: &[Figure]) -> Vec<Vec<String>> {
    let titles = ["figure", "met", "reached", "reach"].map(str::to_owned).to_vec();
    let line = |verdict: &crate::figure::Verdict| {
        let met = if verdict.met { "yes" } else { "NO" };
        vec![verdict.what.clone(), met.to_owned(), verdict.reached.clone(), verdict.reach.clone()]
    };
    let absent = |(what, why): &(String, String)| {
        vec![what.clone(), "-".to_owned(), format!("skipped: {why}"), String::new()]
    };
    let mut lines = vec![titles];
    for figure in figures {
        lines.extend(figure.verdicts.iter().map(line));
        lines.extend(figure.absent.iter().map(absent));
    }
    lines
}

/// A table in columns, the first one to the left.
pub fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cell = |(column, width): (usize, &usize)| {
            let cell = line.get(column).map_or("", String::as_str);
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let cells: Vec<String> = widths.iter().enumerate().map(cell).collect();
        text.push_str("  ");
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A table in Markdown.
pub fn markdown(lines: &[Vec<String>]) -> String {
    let row = |line: &Vec<String>| {
        let cells: Vec<String> =
            line.iter().map(|cell| cell.replace('|', "\\|").replace('<', "&lt;")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut lines = lines.iter();
    let Some(titles) = lines.next() else { return String::new() };
    let rule = titles.iter().enumerate().map(|(column, _)| if column == 0 { "---|" } else { "---:|" });
    let mut text = row(titles);
    text.push('|');
    text.extend(rule);
    text.push('\n');
    lines.for_each(|line| text.push_str(&row(line)));
    text
}

/// A figure for the terminal.
pub fn print(figure: &Figure) {
    println!("\n== {}: {}", figure.id, figure.title);
    println!("   {}", figure.about);
    print!("{}", columns(&table(figure)));
    for verdict in &figure.verdicts {
        let met = if verdict.met { "met" } else { "NOT MET" };
        println!("  {met}: {}: {} (to reach: {})", verdict.what, verdict.reached, verdict.reach);
    }
    for (what, why) in &figure.absent {
        println!("  skipped: {what}: {why}");
    }
}
