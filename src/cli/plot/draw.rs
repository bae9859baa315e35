//! A plot as a picture of characters: the curves between their scales, and below them what each has come to.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Span;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::axis::{self, Scale, Tick, Unit, number};
use super::curves::Curve;
use super::source::X;
use crate::cli::output::Escaped;

/// Told apart on light and on dark ground.
const COLORS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Red, Color::Blue];
/// A curve's letter, on it and beside its name. They begin again when they run out.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// What an only curve is drawn with where there are no dots.
const ONLY: char = '*';
/// A letter stands on its curve again after so many columns, or as many as there are curves.
const BETWEEN_LETTERS: usize = 16;
/// A number below needs so many columns, with the space around it.
const COLUMNS_PER_TICK: usize = 12;
/// So many rows for a number beside.
const ROWS_PER_TICK: usize = 3;
/// Columns kept free on both sides of a number below.
const BETWEEN_NUMBERS: usize = 2;
/// The least that tells anything.
const SMALLEST: (u16, u16) = (24, 6);
const FEWEST_ROWS: u16 = 4;
/// The longest a curve's name may be in the legend.
const LONGEST_NAME: usize = 40;

/// What a plot shows, beside the curves.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: X,
    pub(crate) log_y: bool,
    pub(crate) ascii: bool,
}

/// As wide and high as may be, and no less than can be read.
pub(crate) fn size(width: u16, height: u16) -> Rect {
    Rect::new(0, 0, width.max(SMALLEST.0), height.max(SMALLEST.1))
}

impl Plot {
    /// Draws it all into a part of a buffer.
    pub(crate) fn render(&self, curves: &[&Curve], area: Rect, buffer: &mut Buffer) {
        let legend = self.legend(curves, area);
        let rows = area.height.saturating_sub(legend.len() as u16 + 3);
        let style = Style::new().add_modifier(Modifier::BOLD);
        buffer.set_stringn(area.x, area.y, &self.title, area.width.into(), style);
        let plot = Rect { y: area.y + 1, height: rows + 2, ..area };
        if self.between_scales(curves, plot, buffer).is_none() {
            let what = match self.log_y {
                true => "no point is positive: nothing can be drawn on a logarithmic scale",
                false => "no point is a finite number: nothing can be drawn",
            };
            buffer.set_stringn(area.x, area.y + 1, what, area.width.into(), Style::new());
        }
        for (line, y) in legend.iter().zip(plot.bottom()..area.bottom()) {
            let mut x = area.x;
            for (text, style) in line {
                let width = usize::from(area.right().saturating_sub(x));
                x = buffer.set_stringn(x, y, text, width, *style).0;
            }
        }
        if self.ascii {
            self.flatten(area, buffer);
        }
    }

    /// Every character as ASCII has it.
    fn flatten(&self, area: Rect, buffer: &mut Buffer) {
        for position in area.positions() {
            let cell = &mut buffer[position];
            let plain = match cell.symbol() {
                "│" => "|",
                "─" => "-",
                "┤" | "┬" | "└" => "+",
                "…" => "~",
                symbol if symbol.is_ascii() => continue,
                _ => "?",
            };
            cell.set_symbol(plain);
        }
    }

    /// `None` if there is nothing to be drawn.
    fn between_scales(&self, curves: &[&Curve], area: Rect, buffer: &mut Buffer) -> Option<()> {
        let ranges = || curves.iter().filter_map(|curve| curve.bins.range());
        let end =
            |i: usize, of: fn(f64, f64) -> f64| ranges().filter_map(|range| range.get(i).copied()).reduce(of);
        let (left, right) = (end(0, f64::min)?, end(1, f64::max)?);
        let (low, high) = (end(2, f64::min)?, end(3, f64::max)?);
        let rows = usize::from(area.height.saturating_sub(2));
        let most = (rows / ROWS_PER_TICK).max(2) + 1;
        let y = match self.log_y {
            true => Scale::logarithmic(low, high),
            false => Scale::round(low, high, most),
        };
        let beside = y.ticks(most);
        let unit = if self.x == X::Time { Unit::Time } else { Unit::Number };
        let x = Scale::exact(left, right, unit);
        let name = self.bottom_name(left, right);
        let gutter = beside.iter().map(|(_, text)| text.len()).chain([name.len()]).max().unwrap_or(0);
        // Never so wide that nothing is left for the curves.
        let gutter = gutter.min(usize::from(area.width) / 2);
        let canvas = Rect {
            x: area.x + gutter as u16 + 2,
            width: area.width.saturating_sub(gutter as u16 + 2),
            height: area.height.saturating_sub(2),
            ..area
        };
        self.curves(curves, &x, &y, canvas, buffer);
        draw_beside(&beside, gutter, area, canvas, buffer);
        draw_below(&x, &name, gutter, area, canvas, buffer);
        Some(())
    }

    fn bottom_name(&self, left: f64, right: f64) -> String {
        let name = Escaped(&self.x.name()).to_string();
        match self.x {
            // The numbers below do not say the day.
            X::Time if axis::day(left) == axis::day(right) => axis::day(left).unwrap_or(name),
            _ => name,
        }
    }

    fn curves(&self, curves: &[&Curve], x: &Scale, y: &Scale, canvas: Rect, buffer: &mut Buffer) {
        for (i, curve) in curves.iter().enumerate() {
            let marker = match (self.ascii, curves.len()) {
                (true, 1) => Marker::Custom(ONLY),
                (true, _) => Marker::Custom(letter(i)),
                (false, _) => Marker::Braille,
            };
            let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
            let lines: Vec<Vec<_>> =
                curve.bins.lines().iter().map(|line| line.iter().map(place).collect()).collect();
            let dataset = |line| {
                Dataset::default().marker(marker).graph_type(GraphType::Line).style(color(i)).data(line)
            };
            let draw = |buffer: &mut Buffer| {
                // Without labels it is all canvas: the scales are ours, with round numbers where they belong.
                Chart::new(lines.iter().map(|line| dataset(line.as_slice())).collect())
                    .x_axis(Axis::default().bounds([0.0, 1.0]))
                    .y_axis(Axis::default().bounds([0.0, 1.0]))
                    .legend_position(None)
                    .render(canvas, buffer);
            };
            draw(buffer);
            if curves.len() > 1 && !self.ascii {
                let mut alone = Buffer::empty(canvas);
                draw(&mut alone);
                for (column, row) in letter_places(&trace(&alone), i, curves.len()) {
                    buffer[(column, row)]
                        .set_char(letter(i))
                        .set_style(color(i).add_modifier(Modifier::BOLD));
                }
            }
        }
    }

    /// A line for each curve: its letter, its name, and what it has come to. Not more than leave room for the plot.
    fn legend(&self, curves: &[&Curve], area: Rect) -> Vec<Vec<(String, Style)>> {
        let most = usize::from(area.height.saturating_sub(FEWEST_ROWS + 3)).saturating_sub(1);
        let dim = Style::new().add_modifier(Modifier::DIM);
        let mut rows = vec![["", "curve", "last", "min", "max", "points"].map(String::from)];
        for (i, curve) in curves.iter().enumerate().take(most) {
            let letter = if curves.len() > 1 { letter(i) } else { ' ' };
            let [min, max] = [curve.min, curve.max].map(|end| end.map_or("-".into(), number));
            let name = shortened(&curve.name);
            rows.push([letter.to_string(), name, number(curve.last), min, max, curve.count.to_string()]);
        }
        if most == 0 {
            return Vec::new();
        }
        let widths: Vec<usize> = (0..6)
            .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        let pad = |cell: &str, to: usize| " ".repeat(to.saturating_sub(width(cell)));
        let line = |(i, row): (usize, &[String; 6])| {
            let [letter, name, numbers @ ..] = row;
            let [_, name_width, widths @ ..] = widths.as_slice() else { return Vec::new() };
            let mut cells: String = format!(" {name}{}", pad(name, *name_width));
            for (cell, width) in numbers.iter().zip(widths) {
                cells.push_str(&format!("  {}{cell}", pad(cell, *width)));
            }
            match i {
                0 => vec![(format!("  {cells}").replacen("  ", " ", 1), dim)],
                _ => vec![
                    (format!("{letter:1}"), color(i - 1).add_modifier(Modifier::BOLD)),
                    (cells, Style::new()),
                ],
            }
        };
        rows.iter().enumerate().map(line).collect()
    }
}

fn color(curve: usize) -> Style {
    Style::new().fg(COLORS.get(curve % COLORS.len()).copied().unwrap_or(Color::Reset))
}

fn letter(curve: usize) -> char {
    // The letters never end, so there always is one.
    LETTERS.chars().cycle().nth(curve).unwrap_or(ONLY)
}

fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A name with what makes it short and safe to be seen; the empty one is told too.
fn shortened(name: &str) -> String {
    let name = if name.is_empty() { "\"\"".to_string() } else { Escaped(name).to_string() };
    match name.chars().count() {
        ..=LONGEST_NAME => name,
        _ => name.chars().take(LONGEST_NAME - 1).chain(['…']).collect(),
    }
}

/// In which row the curve crosses each column, from what was drawn of it alone.
fn trace(alone: &Buffer) -> Vec<Option<(u16, u16)>> {
    let area = alone.area;
    let drawn = |x: u16| (area.top()..area.bottom()).filter(move |y| alone[(x, *y)].symbol() != " ");
    (area.left()..area.right())
        .map(|x| {
            let rows: Vec<u16> = drawn(x).collect();
            rows.get(rows.len() / 2).map(|y| (x, *y))
        })
        .collect()
}

/// Where a curve's letter stands on its line. Each curve's letters have columns of their own.
fn letter_places(trace: &[Option<(u16, u16)>], curve: usize, curves: usize) -> Vec<(u16, u16)> {
    let period = BETWEEN_LETTERS.max(2 * curves);
    // Spread evenly: the letters of two curves stand midway between each other's.
    let first = (2 * curve + 1) * period / (2 * curves);
    let mut places: Vec<_> = trace.iter().skip(first).step_by(period).filter_map(|place| *place).collect();
    if places.is_empty() {
        // Too short for a column of its own: the letter goes to its end.
        places.extend(trace.iter().rev().find_map(|place| *place));
    }
    places
}

fn draw_beside(ticks: &[Tick], gutter: usize, area: Rect, canvas: Rect, buffer: &mut Buffer) {
    let dim = Style::new().add_modifier(Modifier::DIM);
    for y in canvas.top()..canvas.bottom() {
        buffer.set_string(canvas.x - 1, y, "│", dim);
    }
    buffer.set_string(canvas.x - 1, canvas.bottom(), "└", dim);
    let last = f64::from(canvas.height.saturating_sub(1));
    for (place, text) in ticks {
        let y = canvas.y + ((1.0 - place) * last).round() as u16;
        buffer.set_string(canvas.x - 1, y, "┤", dim);
        buffer.set_stringn(area.x, y, format!("{text:>gutter$}"), gutter, dim);
    }
}

fn draw_below(x: &Scale, name: &str, gutter: usize, area: Rect, canvas: Rect, buffer: &mut Buffer) {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let columns = usize::from(canvas.width);
    let (ruler_row, number_row) = (canvas.bottom(), canvas.bottom() + 1);
    for column in canvas.left()..canvas.right() {
        buffer.set_string(column, ruler_row, "─", dim);
    }
    buffer.set_stringn(area.x, number_row, format!("{name:>gutter$}"), gutter, dim);
    let mut taken = vec![false; columns];
    for (place, text) in x.ticks_and_ends((columns / COLUMNS_PER_TICK).max(2)) {
        let column = (place * (columns.saturating_sub(1)) as f64).round() as usize;
        let start = column.saturating_sub(text.len() / 2).min(columns.saturating_sub(text.len()));
        let room = start.saturating_sub(BETWEEN_NUMBERS)..(start + text.len() + BETWEEN_NUMBERS).min(columns);
        // What would touch a number already there is left out.
        if taken.get(room.clone()).is_none_or(|room| room.contains(&true)) || text.len() > columns {
            continue;
        }
        taken.iter_mut().skip(start).take(text.len()).for_each(|place| *place = true);
        buffer.set_string(canvas.x + column as u16, ruler_row, "┬", dim);
        buffer.set_string(canvas.x + start as u16, number_row, text, dim);
    }
}

#[cfg(test)]
mod tests {
    use super::super::curves::{Curves, How, Point};
    use super::*;
    use crate::cli::picture;

    fn curves(of: &[(&str, &[f64])], log_y: bool) -> Curves {
        let mut curves = Curves::new(How { log_y, smooth: None }, 52);
        for (curve, values) in of {
            for (i, y) in values.iter().enumerate() {
                curves.add(&Point { curve, seq: i as u64 + 1, x: i as f64, y: *y });
            }
        }
        curves
    }

    fn drawn(curves: &Curves, plot: &Plot, width: u16, height: u16) -> String {
        let area = size(width, height);
        let mut buffer = Buffer::empty(area);
        plot.render(&curves.drawn(), area, &mut buffer);
        picture::text(&buffer, false)
    }

    fn plot(ascii: bool, log_y: bool) -> Plot {
        Plot { title: "loss of c".into(), x: X::Seq, log_y, ascii }
    }

    #[test]
    fn falling_curves_look_like_it() {
        let curves = curves(&[("run-1", &[8.0, 6.0, 4.0, 2.0]), ("run-2", &[8.0, 2.0, 1.0, 1.0])], false);
        let expected = [
            "loss of c",
            " 10 ┤",
            "    │⠢⢄⠤⣀a",
            "    │  ⠑⠢⡀⠉⠉⠒⠒⠤⠤⣀⣀",
            "  5 ┤    ⠈⠑⢄⡀     ⠉⠉⠒⠒⠢⠤⠤a⣀",
            "    │       ⠈⠢⢄            ⠉⠉⠒⠒⠤⠤⣀⣀",
            "    │          ⠑⠢b⠤⢄⣀⣀⣀⣀⣀⡀         ⠉⠉⠒⠒⠤",
            "  0 ┤                    ⠈⠉⠉⠉⠉⠉⠉⠉b⠉⠉⠉⠉⠉⠉",
            "    └┬─────────────────────────────────┬",
            "seq  0                                 3",
            "  curve  last  min  max  points",
            "a run-1     2    2    8       4",
            "b run-2     1    1    8       4",
        ];
        let text = drawn(&curves, &plot(false, false), 40, 13);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn in_ascii_each_curve_is_drawn_with_its_letter_and_an_only_one_with_a_star() {
        let two = curves(&[("é", &[1.0, 100.0]), ("b", &[100.0, 1.0])], true);
        let text = drawn(&two, &plot(true, true), 30, 12);
        assert!(text.is_ascii() && text.contains("aa") && text.contains("bb"), "{text}");
        let one = curves(&[("k", &[1.0, 2.0, 1.0])], false);
        let text = drawn(&one, &plot(true, false), 30, 12);
        assert!(text.contains("**") && !text.contains("a "), "{text}");
    }

    #[test]
    fn one_point_and_equal_points_are_seen_in_the_middle() {
        for values in [&[7.0][..], &[7.0; 5], &[0.0], &[-1e300, -1e300]] {
            let text = drawn(&curves(&[("k", values)], false), &plot(false, false), 40, 12);
            let rows: Vec<&str> = text.lines().filter(|line| line.contains(['│', '┤'])).collect();
            let seen = |row: &&str| row.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
            let middle = rows.iter().position(seen).unwrap();
            assert!(rows.iter().filter(|row| seen(row)).count() == 1, "{text}");
            assert!((rows.len() / 2).abs_diff(middle) <= 1, "{text}");
        }
    }

    #[test]
    fn a_gap_stays_empty() {
        let values = [[1.0; 20], [f64::NAN; 20], [1.0; 20]].concat();
        let text = drawn(&curves(&[("k", &values)], false), &plot(false, false), 76, 12);
        let line =
            text.lines().find(|line| line.contains('⠤') || line.contains('⠒') || line.contains('⠉')).unwrap();
        assert!(line.trim_end().contains(&" ".repeat(20)), "{text}");
    }

    #[test]
    fn where_no_point_can_be_drawn_that_is_said() {
        let text = drawn(&curves(&[("k", &[f64::NAN])], false), &plot(false, false), 60, 12);
        assert!(
            text.contains("no point is a finite number") && text.contains("NaN    -    -       1"),
            "{text}"
        );
        let text = drawn(&curves(&[("k", &[-1.0])], true), &plot(false, true), 60, 12);
        assert!(text.contains("no point is positive"), "{text}");
    }

    #[test]
    fn any_size_and_any_number_of_curves_fit_into_the_lines_and_columns_asked_for() {
        let odd = [f64::NAN, 0.0, -1e308, f64::MAX, 5e-324, f64::NEG_INFINITY, 1e300, 7.0];
        let names: Vec<String> = (0..52).map(|i| format!("a long name of a run \u{1b}[31m界 {i}")).collect();
        let many: Vec<(&str, &[f64])> = names.iter().map(|name| (name.as_str(), &odd[..])).collect();
        for (width, height) in [(1, 1), (24, 6), (20, 100), (80, 24), (300, 60)] {
            for count in [1, 2, 52] {
                for log_y in [false, true] {
                    let curves = curves(&many[..count], log_y);
                    for ascii in [false, true] {
                        let text = drawn(&curves, &plot(ascii, log_y), width, height);
                        assert_eq!(text.lines().count(), usize::from(height.max(6)));
                        let widest = text.lines().map(|line| Span::raw(line).width()).max();
                        assert!(widest <= Some(width.max(24).into()), "{text}");
                        assert!(!text.contains('\u{1b}'));
                    }
                }
            }
        }
    }
}
