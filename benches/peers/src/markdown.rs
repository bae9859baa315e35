//! Tables as Markdown wants them, aligned so that a terminal can be read too; and numbers as people want them.

use std::time::Duration;

/// A table under construction.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Table {
        Table { rows: vec![columns.into_iter().map(Into::into).collect()] }
    }

    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let row: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(row.len(), self.rows[0].len(), "a row has as many cells as there are columns");
        self.rows.push(row);
    }

    /// Prints it: the first column to the left, numbers to the right.
    pub fn print(&self) {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            print_row(row, &widths);
            if number == 0 {
                let rules: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(column, width)| match column {
                        0 => "-".repeat(*width),
                        _ => "-".repeat(width - 1) + ":",
                    })
                    .collect();
                print_row(&rules, &widths);
            }
        }
        println!();
    }
}

fn print_row(cells: &[String], widths: &[usize]) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        match column {
            0 => print!("| {cell:<width$} |"),
            _ => print!(" {cell:>width$} |"),
        }
    }
    println!();
}

pub fn heading(text: &str) {
    println!("## {text}\n");
}

pub fn paragraph(text: &str) {
    println!("{text}\n");
}

/// Three digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        middle if middle >= 0.0995 => format!("{value:.2}"),
        0.0 => "0".to_string(),
        _ => format!("{value:.3}"),
    }
}

/// How many times `ours` is of `theirs`.
pub fn ratio(ours: f64, theirs: f64) -> String {
    if theirs == 0.0 { "–".to_string() } else { format!("{}×", number(ours / theirs)) }
}

pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        long if long >= 1.0 => format!("{} s", number(seconds)),
        long if long >= 1e-3 => format!("{} ms", number(seconds * 1e3)),
        long if long >= 1e-6 => format!("{} µs", number(seconds * 1e6)),
        _ => format!("{} ns", number(seconds * 1e9)),
    }
}

pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", number(bytes as f64 / 1e6))
}
