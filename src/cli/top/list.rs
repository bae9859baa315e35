//! The list of the cohorts, a row each.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::columns::{self, Column, GAP};
use super::sample::{Sample, Seen, State};
use super::units::{bytes, count};
use crate::cli::output::Escaped;

/// By what the list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) by: Column,
    pub(super) reversed: bool,
}

/// The cohorts in the order in which they are shown.
pub(super) fn order(sample: &Sample, sorted: Sorted) -> Vec<&Seen> {
    let mut cohorts: Vec<&Seen> = sample.cohorts.iter().collect();
    columns::sort(&mut cohorts, sorted.by, sorted.reversed);
    cohorts
}

/// The store and what all its cohorts do together.
pub(super) fn head(sample: &Sample, store: &str) -> [String; 2] {
    let there = sample.cohorts.iter().filter(|seen| seen.state != State::Gone);
    let bad = there.clone().filter(|seen| seen.state != State::Fine).count();
    let sum = |of: fn(&Seen) -> Option<f64>| sample.cohorts.iter().filter_map(of).fold(0.0, |sum, n| sum + n);
    let records = count(sum(|seen| seen.rates.as_ref().map(|rates| rates.records)));
    let rate = bytes(sum(|seen| seen.rates.as_ref()?.bytes));
    let tail = bytes(sum(|seen| seen.tail().map(|(bytes, _)| bytes as f64)));
    let cohorts = match there.count() {
        1 => "1 cohort".to_string(),
        n => format!("{n} cohorts"),
    };
    let look = match bad {
        0 => String::new(),
        1 => ", 1 of them needs a look".to_string(),
        n => format!(", {n} of them need a look"),
    };
    [
        format!("{}: {cohorts}{look}", Escaped(store)),
        format!("all together: {records} records/s, {rate} bytes/s, {tail} bytes in tails"),
    ]
}

/// As many columns of the screen as a list with all its columns takes.
pub(super) fn full_width(sample: &Sample, sorted: Sorted) -> usize {
    let columns = Column::that_fit(usize::MAX / 2, longest_name(sample), sorted.by);
    columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
}

fn longest_name(sample: &Sample) -> usize {
    let names = sample.cohorts.iter().map(|seen| width(&Column::Name.cell(seen)));
    names.max().unwrap_or(0)
}

fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Draws the titles and the rows from `first` on; the chosen one stands out.
pub(super) fn render(
    sample: &Sample,
    sorted: Sorted,
    first: usize,
    chosen: Option<&str>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let columns = Column::that_fit(area.width.into(), longest_name(sample), sorted.by);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    if area.height == 0 {
        return;
    }
    line(&columns, |column| (title(column, sorted), bold), area.y, area, buffer);
    let cohorts = order(sample, sorted);
    for (seen, y) in cohorts.iter().skip(first).zip(area.top() + 1..area.bottom()) {
        line(&columns, |column| (column.cell(seen), style(column, seen)), y, area, buffer);
        if chosen == Some(&seen.name) {
            buffer.set_style(Rect { y, height: 1, ..area }, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// With a mark at the one that is sorted by: where the greatest is, or for text the first.
fn title(column: Column, sorted: Sorted) -> String {
    let mark = match (column == sorted.by, column.is_text() != sorted.reversed) {
        (false, _) => return column.title().to_string(),
        (true, true) => '▴',
        (true, false) => '▾',
    };
    format!("{}{mark}", column.title())
}

fn style(column: Column, seen: &Seen) -> Style {
    match (&seen.state, column) {
        (State::Gone, _) => Style::new().add_modifier(Modifier::DIM),
        (State::Damaged(_) | State::Poisoned | State::Failing(_), Column::State) => {
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
        }
        (State::Quarantine(_), Column::State) => Style::new().fg(Color::Yellow),
        (State::Fine, Column::State) => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

fn line(
    columns: &[(Column, usize)],
    cell: impl Fn(Column) -> (String, Style),
    y: u16,
    area: Rect,
    buffer: &mut Buffer,
) {
    let mut x = usize::from(area.x);
    for (column, room) in columns {
        let (text, style) = cell(*column);
        let text = shortened(&text, *room);
        let indent = if column.is_text() { 0 } else { room.saturating_sub(width(&text)) };
        let left = usize::from(area.right()).saturating_sub(x + indent).min(*room);
        if left > 0 {
            buffer.set_stringn((x + indent) as u16, y, &text, left, style);
        }
        x += room + GAP;
    }
}

/// With a mark at its end if something is missing.
fn shortened(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_string();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if width(&short) + 1 > room {
            short.pop();
            break;
        }
    }
    short.push('~');
    short
}

#[cfg(test)]
mod tests {
    use super::super::sample::Counted;
    use super::super::sample::tests::seen;
    use super::*;
    use crate::cli::picture;

    const BY_RECORDS: Sorted = Sorted { by: Column::Records, reversed: false };

    fn sample() -> Sample {
        let counted = Counted {
            appends: 120.0,
            syncs: 4.0,
            records_per_sync: Some(30.25),
            contended: Some(0.125),
            wait_p99: Some(65_536),
            hold_p99: Some(1024),
        };
        let mut bad = seen("broken", 0.0, None);
        (bad.look, bad.rates) = (None, None);
        bad.state = State::Damaged("it is".into());
        let cohorts = vec![seen("metrics", 1234.5, Some(counted)), bad, seen("old", 7.0, None)];
        Sample { interval: None, cohorts, failure: None }
    }

    fn text(sample: &Sample, width: u16, chosen: Option<&str>) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 4));
        render(sample, BY_RECORDS, 0, chosen, buffer.area, &mut buffer);
        picture::text(&buffer, false)
    }

    #[test]
    fn each_cohort_has_a_row_and_a_narrow_terminal_fewer_columns() {
        let sample = sample();
        let wide = full_width(&sample, BY_RECORDS) as u16;
        let expected = [
            "COHORT   STATE       RECORDS/S▾   APPENDS/S   BYTES/S    TAIL   BEHIND   CONTENDED   WAIT P99   SYNCS/S   PER SYNC   ATTACHED   SNAPSHOT     AGE   JOURNAL         SEQ",
            "metrics  fine              1.2k         120      121K     20K      200         12%       66us         4         30          3       4.9K     75s      1.0M        1200",
            "old      fine                 7           -       700     20K      200           -          -         -          -          -       4.9K     75s      1.0M        1200",
            "broken   damaged              -           -         -       -        -           -          -         -          -          -          -       -         -           -",
        ];
        assert_eq!(text(&sample, wide, None).lines().collect::<Vec<_>>(), expected);
        let narrow = text(&sample, 40, None);
        assert!(narrow.starts_with("COHORT   STATE       RECORDS/S▾    TAIL\n"), "{narrow}");
        for width in 1..200 {
            assert!(
                text(&sample, width, Some("old")).lines().all(|line| line.chars().count() <= width.into())
            );
        }
    }

    #[test]
    fn the_chosen_row_stands_out() {
        let sample = sample();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 4));
        render(&sample, BY_RECORDS, 1, Some("old"), buffer.area, &mut buffer);
        let reversed = |y| buffer[(0, y)].modifier.contains(Modifier::REVERSED);
        assert_eq!([1, 2].map(reversed), [true, false]);
    }

    #[test]
    fn the_head_tells_how_many_need_a_look() {
        let [first, second] = head(&sample(), "./store");
        assert_eq!(first, "./store: 3 cohorts, 1 of them needs a look");
        assert_eq!(second, "all together: 1.2k records/s, 121K bytes/s, 40K bytes in tails");
        let empty = Sample { interval: None, cohorts: Vec::new(), failure: None };
        assert_eq!(head(&empty, "./store")[0], "./store: 0 cohorts");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_where_it_may_be() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde~");
        assert_eq!(shortened("界界界", 4), "界~");
    }
}
