//! A sheet of Braille characters to draw lines on.

/// Dots side by side in one character.
pub(super) const DOTS_ACROSS: usize = 2;

/// Dots one below the other in one character.
pub(super) const DOTS_DOWN: usize = 4;

/// The first Braille character, the one without dots; the others follow, one bit for each dot.
const NO_DOTS: u32 = 0x2800;

/// The bit of each dot, by row and column. The lowest row came later to Braille than the others,
/// and so did its bits.
const BITS: [[u8; DOTS_ACROSS]; DOTS_DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A place counted in dots from the top left: across, then down.
type Dot = (usize, usize);

/// One character of the sheet.
#[derive(Clone, Default)]
struct Cell {
    dots: u8,
    mark: Option<char>,
}

/// The sheet.
pub(super) struct Canvas {
    columns: usize,
    rows: Vec<Vec<Cell>>,
}

impl Canvas {
    /// An empty sheet of so many characters.
    pub(super) fn new(columns: usize, rows: usize) -> Canvas {
        Canvas { columns, rows: vec![vec![Cell::default(); columns]; rows] }
    }

    /// Draws a line from each dot to the next, `None` being a gap, and returns for each column the
    /// row where the line leaves it.
    pub(super) fn draw(&mut self, dots: &[Option<Dot>]) -> Vec<Option<usize>> {
        let mut trace = vec![None; self.columns];
        let mut previous = None;
        for dot in dots {
            if let Some(to) = *dot {
                // After a gap the line begins anew, as a single dot.
                for (x, y) in between(previous.unwrap_or(to), to) {
                    self.set(x, y);
                    if let Some(row) = trace.get_mut(x / DOTS_ACROSS) {
                        *row = Some(y / DOTS_DOWN);
                    }
                }
            }
            previous = *dot;
        }
        trace
    }

    /// Puts a letter in place of a character's dots; the first one there stays.
    pub(super) fn mark(&mut self, column: usize, row: usize, letter: char) {
        if let Some(cell) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            cell.mark.get_or_insert(letter);
        }
    }

    /// The sheet as text, a line for each row.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| row.iter().map(Cell::glyph).collect())
    }

    /// Sets one dot; outside the sheet there is none to set.
    fn set(&mut self, x: usize, y: usize) {
        let row = self.rows.get_mut(y / DOTS_DOWN);
        if let Some(cell) = row.and_then(|row| row.get_mut(x / DOTS_ACROSS)) {
            // In range: a remainder is below its divisor, the length of the array.
            cell.dots |= BITS[y % DOTS_DOWN][x % DOTS_ACROSS];
        }
    }
}

impl Cell {
    /// What stands in this place: a letter, else dots, else a space.
    fn glyph(&self) -> char {
        match (self.mark, self.dots) {
            (Some(letter), _) => letter,
            // Some fonts draw the character without dots as eight rings.
            (None, 0) => ' ',
            (None, dots) => char::from_u32(NO_DOTS + u32::from(dots)).unwrap_or('.'),
        }
    }
}

/// The dots of a straight line, both ends included.
fn between(from: Dot, to: Dot) -> impl Iterator<Item = Dot> {
    let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1));
    let along = move |from: usize, to: usize, taken: usize| {
        let part = taken as f64 / steps.max(1) as f64;
        (from as f64 + (to as f64 - from as f64) * part).round() as usize
    };
    (0..=steps).map(move |taken| (along(from.0, to.0, taken), along(from.1, to.1, taken)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(columns: usize, rows: usize, dots: &[Option<Dot>]) -> Vec<String> {
        let mut canvas = Canvas::new(columns, rows);
        canvas.draw(dots);
        canvas.lines().collect()
    }

    #[test]
    fn every_dot_of_a_character_has_its_own_bit() {
        for (dot, glyph) in [
            ((0, 0), "⠁"),
            ((0, 1), "⠂"),
            ((0, 2), "⠄"),
            ((0, 3), "⡀"),
            ((1, 0), "⠈"),
            ((1, 1), "⠐"),
            ((1, 2), "⠠"),
            ((1, 3), "⢀"),
        ] {
            assert_eq!(drawn(1, 1, &[Some(dot)]), [glyph]);
        }
    }

    #[test]
    fn a_line_joins_its_ends_whichever_way_it_runs() {
        let falling = drawn(3, 1, &[Some((0, 0)), Some((5, 3))]);
        assert_eq!(falling, ["⠑⠢⢄"]);
        assert_eq!(falling, drawn(3, 1, &[Some((5, 3)), Some((0, 0))]));
        assert_eq!(drawn(1, 2, &[Some((0, 0)), Some((0, 7))]), ["⡇", "⡇"]);
    }

    #[test]
    fn a_gap_is_not_drawn_over() {
        assert_eq!(drawn(3, 1, &[Some((0, 0)), None, Some((5, 0))]), ["⠁ ⠈"]);
    }

    #[test]
    fn the_trace_tells_the_row_where_the_line_leaves_each_column() {
        let mut canvas = Canvas::new(3, 2);
        assert_eq!(canvas.draw(&[Some((0, 0)), Some((1, 7)), None]), [Some(1), None, None]);
    }

    #[test]
    fn the_first_letter_in_a_place_stays() {
        let mut canvas = Canvas::new(1, 1);
        canvas.mark(0, 0, 'a');
        canvas.mark(0, 0, 'b');
        assert_eq!(canvas.lines().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_lies_outside_the_sheet_is_not_drawn() {
        let mut canvas = Canvas::new(1, 1);
        canvas.draw(&[Some((2, 0)), Some((9, 9))]);
        canvas.mark(5, 5, 'a');
        assert_eq!(canvas.lines().collect::<Vec<_>>(), [" "]);
    }
}
