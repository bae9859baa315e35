//! Curves and tables as plain text, to be read in a terminal of 80 columns.
//!
//! A curve is a thin line of Braille dots, eight to a character, so that nearby curves stay apart without colour. Its letter
//! stands on it every so often, each curve's in columns of its own, and once more at its right end: where curves run together,
//! the letters say which.

mod axis;
mod canvas;
mod table;

use axis::Axis;
use canvas::{Canvas, DOTS_ACROSS, DOTS_DOWN};

pub(super) use table::table;

/// The letters, given out in this order and again from the first when they run out.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What the points are, and what they are counted in.
const MEASURED: &str = "loss (log scale)";
const COUNTED: &str = "epoch";

/// A curve's letter stands on it again after so many columns, or as many as there are curves.
const BETWEEN_LETTERS: usize = 16;

/// At most so many letters stand at the right end of a row: more would take the plot's room.
const MOST_ARRIVALS: usize = 8;

/// Columns kept free on both sides of a number below the plot.
const BETWEEN_NUMBERS: usize = 2;

/// Lines of a plot that are not between the axes: the title, the x axis and its numbers.
const LINES_AROUND: usize = 3;

/// The fewest columns and rows between the axes: with less, nothing could be told.
const SMALLEST: (usize, usize) = (16, 2);

/// The letter of the curve of this index.
pub(super) fn letter(curve: usize) -> char {
    // The letters never end, so there always is one.
    LETTERS.chars().cycle().nth(curve).unwrap_or('*')
}

/// Draws the curves, each given as its points, over one another.
///
/// The plot is `width` columns wide and `height` lines high, axes and their numbers included. Too small a size is enlarged to
/// the smallest that can be read. A point that is not positive, infinite or not a number leaves a gap. Curves may differ in
/// length: all begin at 1.
pub(super) fn curves(curves: &[Vec<f64>], width: usize, height: usize) -> String {
    let Some(axis) = Axis::over(curves.iter().flatten().copied()) else {
        return "no points yet\n".to_string();
    };
    let rows = Rows { axis, count: height.saturating_sub(LINES_AROUND).max(SMALLEST.1) };
    let longest = curves.iter().map(Vec::len).max().unwrap_or(0);
    let labels = rows.labels();
    let arrivals = rows.arrivals(curves, longest);

    let gutter = widest(&labels).max(COUNTED.len());
    // A space and the axis follow the gutter; another space goes before the letters, if any.
    let letters = widest(&arrivals) + usize::from(widest(&arrivals) > 0);
    let columns = Columns { longest, count: width.saturating_sub(gutter + 2 + letters).max(SMALLEST.0) };
    let canvas = draw(curves, &rows, &columns);
    let (ruler, numbers) = columns.below();

    let mut lines = vec![format!("{:gutter$}  {MEASURED}", "")];
    for ((label, row), letters) in labels.iter().zip(canvas.lines()).zip(&arrivals) {
        let edge = if label.is_empty() { '│' } else { '┤' };
        lines.push(format!("{label:>gutter$} {edge}{row} {letters}"));
    }
    lines.push(format!("{:gutter$} └{ruler}", ""));
    lines.push(format!("{COUNTED:>gutter$}  {numbers}"));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// How many characters the longest text has.
fn widest(texts: &[String]) -> usize {
    texts.iter().map(|text| text.chars().count()).max().unwrap_or(0)
}

/// The lines of all curves, with letters on them.
fn draw(curves: &[Vec<f64>], rows: &Rows, columns: &Columns) -> Canvas {
    let mut canvas = Canvas::new(columns.count, rows.count);
    for (curve, points) in curves.iter().enumerate() {
        let place = |(index, point): (usize, &f64)| Some((columns.dot(index), rows.dot(*point)?));
        let dots: Vec<_> = points.iter().enumerate().map(place).collect();
        let trace = canvas.draw(&dots);
        for (column, row) in letter_places(&trace, curve, curves.len()) {
            canvas.mark(column, row, letter(curve));
        }
    }
    canvas
}

/// The rows between the axes, and the scale that decides in which of them a point lies.
struct Rows {
    axis: Axis,
    count: usize,
}

impl Rows {
    /// How many dots from the top a point lies; `None` if it leaves a gap.
    fn dot(&self, point: f64) -> Option<usize> {
        self.axis.place(point).map(|place| self.down(place))
    }

    /// How many dots from the top a place on the axis lies.
    fn down(&self, place: f64) -> usize {
        let last = (self.count * DOTS_DOWN - 1) as f64;
        ((1.0 - place) * last).round() as usize
    }

    /// What stands left of each row, from the top: a number of the y axis, or nothing.
    fn labels(&self) -> Vec<String> {
        let mut labels = vec![String::new(); self.count];
        for (place, number) in self.axis.ticks(self.count / 2 + 1) {
            if let Some(label) = labels.get_mut(self.down(place) / DOTS_DOWN) {
                *label = number;
            }
        }
        labels
    }

    /// What stands right of each row: the letters of the curves that reach the right edge in it, an ellipsis for too many.
    fn arrivals(&self, curves: &[Vec<f64>], longest: usize) -> Vec<String> {
        let mut arrivals = vec![String::new(); self.count];
        for (curve, points) in curves.iter().enumerate() {
            // A single point lies at the left edge, even if it is the last of the longest curve.
            let reaches = points.len() == longest && longest > 1;
            let last = points.last().filter(|_| reaches);
            let dot = last.and_then(|point| self.dot(*point));
            if let Some(row) = dot.and_then(|dot| arrivals.get_mut(dot / DOTS_DOWN)) {
                match row.chars().count() {
                    MOST_ARRIVALS.. => {}
                    count => row.push(if count + 1 == MOST_ARRIVALS { '…' } else { letter(curve) }),
                }
            }
        }
        arrivals
    }
}

/// The columns between the axes, and how many points lie side by side in them.
struct Columns {
    longest: usize,
    count: usize,
}

impl Columns {
    /// How many dots from the left the point of this index lies.
    fn dot(&self, index: usize) -> usize {
        let last = (self.count * DOTS_ACROSS - 1) as f64;
        let share = index as f64 / (self.longest.max(2) - 1) as f64;
        (share * last).round() as usize
    }

    /// The ruled line below the plot, and the numbers under it.
    fn below(&self) -> (String, String) {
        let mut ruler = vec!['─'; self.count];
        let mut numbers = vec![' '; self.count];
        // What would touch a number already there is left out. The first and the last point come first in the list, so it is
        // never the ends that are missing.
        for point in axis::counts(self.longest, self.count) {
            let number = point.to_string();
            let column = self.dot(point - 1) / DOTS_ACROSS;
            let rightmost = self.count.saturating_sub(number.len());
            let start = column.saturating_sub(number.len() / 2).min(rightmost);
            let mut around = numbers
                .iter()
                .skip(start.saturating_sub(BETWEEN_NUMBERS))
                .take(number.len() + 2 * BETWEEN_NUMBERS);
            if around.any(|place| *place != ' ') {
                continue;
            }
            for (place, digit) in numbers.iter_mut().skip(start).zip(number.chars()) {
                *place = digit;
            }
            if let Some(tick) = ruler.get_mut(column) {
                *tick = '┬';
            }
        }
        (ruler.into_iter().collect(), numbers.into_iter().collect())
    }
}

/// Where a curve's letter stands on its line, which leaves column `i` in row `trace[i]`.
fn letter_places(trace: &[Option<usize>], curve: usize, curves: usize) -> Vec<(usize, usize)> {
    let period = BETWEEN_LETTERS.max(curves);
    // Spread evenly: the letters of two curves stand midway between each other's.
    let first = (2 * curve + 1) * period / (2 * curves);
    // Just before the right edge, the letters beyond it say the same.
    let end = trace.len().saturating_sub(period / 4);
    let crossed = |column: usize| Some((column, (*trace.get(column)?)?));
    let mut places: Vec<_> = (first..end).step_by(period).filter_map(crossed).collect();
    if places.is_empty() {
        // Too short for a column of its own: the letter goes to its end.
        places.extend((0..trace.len()).rev().find_map(crossed));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of lines and of columns the text takes.
    fn size(text: &str) -> (usize, usize) {
        let columns = text.lines().map(|line| line.chars().count()).max();
        (text.lines().count(), columns.unwrap_or(0))
    }

    #[test]
    fn falling_curves_look_like_it() {
        let text = curves(&[vec![8.0, 6.0, 4.0, 2.0], vec![8.0, 2.0, 1.0, 1.0]], 34, 9);
        let drawn = [
            "       loss (log scale)",
            "   10 ┤⢤⢄⣀⣀",
            "    5 ┤ ⠑⠤⡀a⠉⠉⠒⠒⠢⠤⢄⣀⡀",
            "      │   ⠈⠢⡀       ⠈⠉⠑⠒⠢⢄⡀",
            "      │     ⠈⠒⢄           ⠈a⠒⠤⣀",
            "    2 ┤        ⠉⠒⠤⢄⡀           ⠉ a",
            "    1 ┤            b⠑⠒⠤⣀⣀⣀⣀⣀⣀⣀⣀⣀ b",
            "      └┬───────┬───────────────┬",
            "epoch  1       2               4",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), drawn, "{text}");
    }

    #[test]
    fn the_plot_fills_its_size() {
        let falling: Vec<f64> = (1..=60).map(|epoch| 1.0 / f64::from(epoch)).collect();
        let text = curves(&vec![falling; 8], 76, 14);
        assert_eq!(size(&text), (14, 76), "{text}");
    }

    #[test]
    fn without_points_there_is_no_plot() {
        for nothing in [vec![], vec![vec![]], vec![vec![f64::NAN, f64::INFINITY, 0.0]]] {
            assert_eq!(curves(&nothing, 76, 14), "no points yet\n");
        }
    }

    #[test]
    fn every_curve_has_its_letter_in_the_plot_however_short_it_is() {
        let long: Vec<f64> = (1..=60).map(f64::from).collect();
        let text = curves(&[long, vec![30.0], vec![f64::NAN, 50.0, 51.0]], 76, 14);
        let plot: String = text.lines().skip(1).take(11).collect();
        assert!("abc".chars().all(|letter| plot.contains(letter)), "{text}");
    }

    #[test]
    fn the_letters_at_the_right_stand_in_the_order_of_the_last_points() {
        let text = curves(&[vec![5.0, 1.0], vec![5.0, 9.0]], 40, 10);
        let ends: String = text.lines().filter_map(|line| line.chars().nth(39)).collect();
        assert_eq!(ends, "ba", "{text}");
    }

    #[test]
    fn too_many_letters_at_the_right_end_in_an_ellipsis() {
        let text = curves(&vec![vec![5.0, 1.0]; 20], 40, 10);
        assert!(text.contains(" abcdefg…\n"), "{text}");
    }

    #[test]
    fn letters_begin_again_when_they_run_out() {
        assert_eq!([0, 25, 26, 51, 52].map(letter), ['a', 'z', 'A', 'Z', 'a']);
    }

    #[test]
    fn a_gap_stays_empty() {
        let with_gap = [[1.0; 20], [f64::NAN; 20], [1.0; 20]].concat();
        let text = curves(&[with_gap], 76, 8);
        let line = text.lines().find(|line| line.ends_with('a')).unwrap();
        assert!(line.contains(&" ".repeat(20)), "{text}");
    }

    #[test]
    fn odd_points_and_sizes_are_drawn_all_the_same() {
        let odd = [f64::NAN, 0.0, -1e308, f64::MAX, 5e-324, f64::NEG_INFINITY, 1e300, 7.0];
        for (width, height) in [(0, 0), (1, 100), (20, 5), (76, 14), (300, 1)] {
            for end in 1..=odd.len() {
                let text = curves(&[odd[..end].to_vec(), vec![], vec![0.5; 3000]], width, height);
                let (lines, columns) = size(&text);
                assert!(lines >= height && columns <= width.max(40), "{width} {height} {end}");
            }
            assert!(curves(&vec![odd.to_vec(); 70], width, height).contains("epoch"));
        }
    }
}
