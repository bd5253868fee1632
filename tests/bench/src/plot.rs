//! Plots, as SVG.

use crate::figure::{Figure, Role, Row};
use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{KeyPointHint, Ranged};
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

const WIDTH: u32 = 860;

/// Draws a figure: bars, or lines if it has an axis.
pub fn draw(figure: &Figure, path: &Path) -> Result<()> {
    let drawn = if figure.axis.is_some() { lines(figure, path) } else { bars(figure, path) };
    drawn.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn colour(role: Role, index: usize) -> RGBColor {
    match role {
        Role::Ours => [RGBColor(0, 90, 181), RGBColor(90, 160, 230)][index.min(1)],
        Role::Limit => RGBColor(110, 110, 110),
        Role::Peer => {
            const PEERS: [RGBColor; 7] = [
                RGBColor(220, 50, 32),
                RGBColor(230, 130, 0),
                RGBColor(180, 140, 0),
                RGBColor(120, 60, 160),
                RGBColor(0, 140, 90),
                RGBColor(200, 80, 140),
                RGBColor(120, 80, 40),
            ];
            PEERS[index % PEERS.len()]
        }
    }
}

fn bars(figure: &Figure, path: &Path) -> Drawn {
    let (scale, unit) = figure.unit.scale();
    let rows: Vec<&Row> = figure.rows.iter().collect();
    let height = 90 + 26 * rows.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = rows.iter().map(|row| row.stat.median / scale).fold(0.0, f64::max) * 1.12;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{} ({unit})", figure.title), ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(280)
        .build_cartesian_2d(0.0..most.max(1e-9), Names(rows.iter().map(|row| row.name.clone()).collect()))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(rows.len())
        .y_label_formatter(&|index: &i32| {
            usize::try_from(*index)
                .ok()
                .and_then(|index| rows.get(index))
                .map_or(String::new(), |row| row.name.clone())
        })
        .label_style(("sans-serif", 12))
        .draw()?;
    let plotting = chart.plotting_area();
    for (index, row) in rows.iter().enumerate() {
        let value = row.stat.median / scale;
        let (left, centre) = plotting.map_coordinate(&(0.0, index as i32));
        let (right, _) = plotting.map_coordinate(&(value, index as i32));
        let bar = [(left, centre - 8), (right.max(left + 1), centre + 8)];
        area.draw(&Rectangle::new(bar, colour(row.role, 0).filled()))?;
        let text = crate::figure::digits(value);
        area.draw(&Text::new(text, (right + 5, centre - 6), ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}

/// The rows from top to bottom, each in the middle of its strip.
struct Names(Vec<String>);

impl Ranged for Names {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = i32;

    fn map(&self, value: &i32, limit: (i32, i32)) -> i32 {
        let (low, high) = (limit.0.min(limit.1), limit.0.max(limit.1));
        let strip = f64::from(high - low) / self.0.len().max(1) as f64;
        low + ((f64::from(*value) + 0.5) * strip) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<i32> {
        (0..self.0.len() as i32).collect()
    }

    fn range(&self) -> Range<i32> {
        0..self.0.len() as i32
    }
}

impl plotters::coord::ranged1d::ValueFormatter<i32> for Names {
    fn format(value: &i32) -> String {
        value.to_string()
    }
}

fn lines(figure: &Figure, path: &Path) -> Drawn {
    let (scale, unit) = figure.unit.scale();
    let mut places: Vec<f64> = figure.rows.iter().filter_map(|row| row.at).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut names: Vec<(&str, Role)> = Vec::new();
    for row in &figure.rows {
        if !names.iter().any(|(name, _)| *name == row.name) {
            names.push((&row.name, row.role));
        }
    }
    let area = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, legend) = area.split_horizontally(WIDTH - 310);
    let values = || figure.rows.iter().map(|row| (row.stat.median / scale).max(1e-3));
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let last = places.len().saturating_sub(1) as f64;
    let mut chart = ChartBuilder::on(&plot)
        .caption(format!("{unit}, logarithmic"), ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.2..last + 0.2, (low * 0.8..high * 1.3).log_scale())?;
    // a label for each place of the axis, and none between them
    let label = |at: &f64| {
        let near = (at - at.round()).abs() < 0.01 && *at > -0.1;
        let place = near.then(|| places.get(at.round() as usize)).flatten();
        place.map_or(String::new(), |place| place.to_string())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * places.len() + 1)
        .x_label_formatter(&label)
        .x_desc(figure.axis.clone().unwrap_or_default())
        .y_label_formatter(&|value: &f64| crate::figure::digits(*value))
        .label_style(("sans-serif", 12))
        .draw()?;
    let mut counts = [0; 3];
    for (place, (name, role)) in names.iter().enumerate() {
        let count = &mut counts[*role as usize];
        let colour = colour(*role, *count);
        *count += 1;
        let points: Vec<(f64, f64)> = figure
            .rows
            .iter()
            .filter(|row| row.name == *name)
            .filter_map(|row| {
                let index = places.iter().position(|at| Some(*at) == row.at)?;
                Some((index as f64, (row.stat.median / scale).max(1e-3)))
            })
            .collect();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        let y = 40 + 20 * place as i32;
        legend.draw(&Rectangle::new([(6, y - 4), (22, y + 4)], colour.filled()))?;
        legend.draw(&Text::new((*name).to_owned(), (28, y - 6), ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}
