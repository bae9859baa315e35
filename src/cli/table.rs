//! Tables for people: columns with titles, as wide as what is in them.

use std::io::{self, Write};

use super::output::Escaped;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells. Control characters are escaped.
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<Row<N>>,
}

enum Row<const N: usize> {
    Cells([String; N]),
    /// A first cell, and a text that runs across all others.
    Across(String, String),
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Table<N> {
        Table { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(Row::Cells(cells.map(|cell| Escaped(&cell).to_string())));
    }

    /// A row that has something to say instead of its cells, such as an error.
    pub(crate) fn across(&mut self, first: &str, text: &str) {
        self.rows.push(Row::Across(Escaped(first).to_string(), Escaped(text).to_string()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The titles and all rows; nothing if there are none.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let widths = self.widths();
        self.line(out, &widths, self.columns.map(|(title, _)| title))?;
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.line(out, &widths, cells.each_ref().map(String::as_str))?,
                Row::Across(first, text) => {
                    let width = widths.first().copied().unwrap_or_default();
                    writeln!(out, "{first:width$}  {text}")?;
                }
            }
        }
        Ok(())
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.columns.map(|(title, _)| title.len());
        for row in &self.rows {
            let cells = match row {
                Row::Cells(cells) => cells.as_slice(),
                Row::Across(first, _) => std::slice::from_ref(first),
            };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn line(&self, out: &mut impl Write, widths: &[usize; N], cells: [&str; N]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(self.columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new([("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)]);
        table.row(["a\x07".into(), "1234".into(), "x".into()]);
        table.row(["b".into(), "5".into(), String::new()]);
        table.across("c", "error: it is gone");
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
        assert_eq!(
            lines,
            ["NAME        N  WHY", r"a\u0007  1234  x", "b           5", "c        error: it is gone"]
        );
    }

    #[test]
    fn a_table_without_rows_prints_nothing() {
        let mut out = Vec::new();
        Table::new([("NAME", Align::Left)]).write(&mut out).unwrap();
        assert!(out.is_empty());
    }
}
