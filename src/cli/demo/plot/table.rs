//! A table in aligned columns.

/// Between two columns.
const GAP: &str = "  ";

/// Lays out the rows below their header: columns of numbers are aligned to the right, all others to the left.
///
/// A row may be shorter than the header, not longer; what it lacks stays empty.
pub(in crate::cli::demo) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().copied().map(String::from).collect();
    let columns: Vec<Column> = (0..header.len()).map(|index| Column::of(index, &header, rows)).collect();
    let rule: Vec<String> = columns.iter().map(|column| "─".repeat(column.width)).collect();
    [&header, &rule].into_iter().chain(rows).map(|row| line(row, &columns)).collect()
}

/// How the cells of one column are laid out.
struct Column {
    width: usize,
    numeric: bool,
}

impl Column {
    /// What suits the cells at this index.
    fn of(index: usize, header: &[String], rows: &[Vec<String>]) -> Column {
        let cells = || rows.iter().filter_map(|row| row.get(index));
        let width = cells().chain(header.get(index)).map(|cell| cell.chars().count()).max();
        Column { width: width.unwrap_or(0), numeric: cells().all(|cell| is_number(cell)) }
    }
}

/// Whether a cell is to be read as a number, or as the lack of one.
fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.strip_suffix('%').unwrap_or(cell).parse::<f64>().is_ok()
}

/// One line of the table, without blanks at its end.
fn line(row: &[String], columns: &[Column]) -> String {
    let mut cells = Vec::new();
    for (index, Column { width, numeric }) in columns.iter().enumerate() {
        let cell = row.get(index).map_or("", String::as_str);
        cells.push(if *numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
    }
    format!("{}\n", cells.join(GAP).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect()
    }

    #[test]
    fn numbers_are_aligned_right_and_text_left() {
        let rows = rows(&[&["run-1", "0.25", "96.7%"], &["baseline", "12", ""], &["x", "NaN"]]);
        assert_eq!(
            table(&["run", "loss", "accuracy"], &rows),
            "run       loss  accuracy\n\
             ────────  ────  ────────\n\
             run-1     0.25     96.7%\n\
             baseline    12\n\
             x          NaN\n"
        );
    }

    #[test]
    fn one_word_makes_a_column_text() {
        let rows = rows(&[&["1"], &["ten"]]);
        assert_eq!(table(&["n"], &rows), "n\n───\n1\nten\n");
    }

    #[test]
    fn letters_are_counted_and_not_bytes() {
        let rows = rows(&[&["é", "x"], &["ab", "y"]]);
        assert_eq!(table(&["", ""], &rows), "\n──  ─\né   x\nab  y\n");
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(table(&["run", "loss"], &[]), "run  loss\n───  ────\n");
    }
}
