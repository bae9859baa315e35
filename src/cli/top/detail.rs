//! One cohort in full: what it is, what it did in the last minutes, and how long its lock was waited for and held.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Bar, BarChart, Sparkline, Widget};
use tallyfold::Histogram;

use super::columns::Column;
use super::history::{Line, Lines};
use super::sample::{Seen, State};
use super::units::{age, bytes, count, nanoseconds};
use crate::cli::output::Escaped;

/// Columns for the words beside a curve, and for the bound beside a bar.
const BESIDE: u16 = 22;
const BOUND: u16 = 8;
/// The highest a curve is drawn.
const HIGHEST: u16 = 6;
/// What the histograms need at least: a title and some bars.
const BARS: u16 = 5;

pub(super) fn render(seen: &Seen, lines: Option<&Lines>, every: Duration, area: Rect, buffer: &mut Buffer) {
    let facts = facts(seen);
    let [top, _, curves, _, bars] = Layout::vertical([
        Constraint::Length(1 + facts.len() as u16),
        Constraint::Length(u16::from(area.height > 24)),
        Constraint::Fill(3),
        Constraint::Length(u16::from(area.height > 24)),
        Constraint::Fill(2),
    ])
    .areas(area);
    let title = format!("{}  {}", Escaped(&seen.name), seen.state.word());
    let style = match seen.state {
        State::Fine => Style::new().add_modifier(Modifier::BOLD),
        _ => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    };
    for (i, (line, y)) in [&title].into_iter().chain(&facts).zip(top.top()..top.bottom()).enumerate() {
        buffer.set_stringn(top.x, y, line, top.width.into(), if i == 0 { style } else { Style::new() });
    }
    if let Some(lines) = lines {
        draw_curves(lines, every, curves, buffer);
    }
    if bars.height >= BARS {
        draw_bars(seen, bars, buffer);
    }
}

/// In lines of words and numbers.
fn facts(seen: &Seen) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(look) = &seen.look {
        let stats = &look.stats;
        let lag = match seen.tail() {
            Some((tail, records)) => {
                format!("tail {} bytes, {} records", bytes(tail as f64), count(records as f64))
            }
            None => "no state to fold into".to_string(),
        };
        let snapshot = match look.snapshot_age {
            Some(old) => {
                let size = bytes(stats.snapshot_bytes as f64);
                format!("snapshot {} entries, {size} bytes, {} old", stats.entries, age(old.as_secs_f64()))
            }
            None => "no snapshot yet".to_string(),
        };
        facts.push(format!(
            "fold {}, lock {}, {}, epoch {}",
            stats.fold, stats.lock, stats.file_system, stats.epoch
        ));
        facts.push(format!(
            "seq {}, durable {}, watermark {}; {lag}",
            stats.seq, stats.durable_seq, stats.watermark
        ));
        let journal = bytes(stats.segment_bytes as f64);
        let segments =
            if stats.segments == 1 { "1 segment".into() } else { format!("{} segments", stats.segments) };
        facts.push(format!("{snapshot}; journal {segments}, {journal} bytes"));
        facts.push(counted(seen));
    }
    if let Some(told) = seen.state.told() {
        facts.push(Escaped(&told.replace('\n', "; ")).to_string());
    }
    facts
}

fn counted(seen: &Seen) -> String {
    let counters = seen.look.as_ref().and_then(|look| look.counters.as_ref());
    let Some(counters) = counters else {
        return "nothing is counted here: rates are of seqs and sizes only".to_string();
    };
    let [contended, group, hold] = [
        Column::Contended.cell(seen),
        Column::Group.cell(seen),
        seen.counters().and_then(|counted| counted.hold_p99).map_or("-".into(), nanoseconds),
    ];
    let mut line = format!("contended {contended}, hold p99 {hold}, {group} records a sync");
    if let Some(attached) = counters.attached {
        line.push_str(&format!(", {attached} attached"));
    }
    for (n, what) in [
        (counters.lock_timeouts, "lock timeouts"),
        (counters.failed_syncs, "failed syncs"),
        (counters.cuts, "cuts"),
        (counters.failed_compactions, "failed compactions"),
    ] {
        if n > 0 {
            line.push_str(&format!(", {n} {what}"));
        }
    }
    line
}

fn draw_curves(lines: &Lines, every: Duration, area: Rect, buffer: &mut Buffer) {
    let heights = (area.height / Line::ALL.len() as u16).clamp(1, HIGHEST);
    let looks = lines.len() as f64;
    for (i, line) in Line::ALL.into_iter().enumerate() {
        let y = area.y + i as u16 * heights;
        if y + heights > area.bottom() {
            return;
        }
        let right = Rect {
            x: area.x + BESIDE.min(area.width),
            y,
            width: area.width.saturating_sub(BESIDE),
            height: heights,
        };
        let values = lines.columns(line, right.width.into());
        let text = |value: f64| match line {
            Line::Wait => nanoseconds(value as u64),
            Line::Bytes | Line::Tail => bytes(value),
            Line::Records | Line::Syncs => count(value),
        };
        let now = values.last().copied().flatten().map_or("-".to_string(), text);
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        buffer.set_stringn(area.x, y, format!("{:<12}{now:>7}", line.title()), BESIDE.into(), Style::new());
        if heights > 1 {
            let dim = Style::new().add_modifier(Modifier::DIM);
            let known = values.iter().any(Option::is_some);
            let beside = match (known, i) {
                (false, _) => "not counted here".to_string(),
                (true, 0) => format!("most {}, in {}", text(most), age(looks * every.as_secs_f64())),
                (true, _) => format!("most {}", text(most)),
            };
            buffer.set_stringn(area.x, y + 1, beside, usize::from(BESIDE) - 1, dim);
        }
        // Whole numbers are wanted: parts of the highest.
        let part = |value: f64| if most > 0.0 { (value / most * 1e6) as u64 } else { 0 };
        let data: Vec<Option<u64>> = values.iter().map(|value| value.map(part)).collect();
        // The newest stands at the right end.
        let indent = usize::from(right.width).saturating_sub(data.len()) as u16;
        let right = Rect { x: right.x + indent, width: right.width - indent, ..right };
        Sparkline::default()
            .data(data)
            .max(1_000_000)
            .style(Style::new().fg(Color::Cyan))
            .render(right, buffer);
    }
}

fn draw_bars(seen: &Seen, area: Rect, buffer: &mut Buffer) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
    let since = seen.counted.as_ref();
    for (title, times, area) in [
        ("waits since opened", since.map(|counted| &counted.waits), left),
        ("holds since opened (1/64)", since.map(|counted| &counted.holds), right),
    ] {
        let total = times.map_or(0, Histogram::count);
        let line = match times {
            None => format!("{title}: not counted"),
            Some(_) if total == 0 => format!("{title}: none"),
            Some(_) => format!("{title}: {}", count(total as f64)),
        };
        buffer.set_stringn(area.x, area.y, line, area.width.into(), Style::new());
        let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
        if let Some(times) = times.filter(|_| total > 0) {
            let bars = buckets(times, below.height.into());
            let bars: Vec<Bar<'_>> = bars
                .iter()
                .map(|(bound, n)| {
                    let label = format!("{:>width$}", nanoseconds(*bound), width = usize::from(BOUND) - 1);
                    // A text that stands in its bar would be cut where the bar is short.
                    Bar::default().label(label).value(*n).text_value(String::new())
                })
                .collect();
            BarChart::horizontal(bars)
                .bar_width(1)
                .bar_gap(0)
                .bar_style(Style::new().fg(Color::Cyan))
                .render(below, buffer);
        }
    }
}

/// What the bars show: from the first that holds something to the last, each with its bound; neighbours as one where there are
/// fewer rows.
fn buckets(times: &Histogram, rows: usize) -> Vec<(u64, u64)> {
    let all: Vec<(u64, u64)> = Histogram::bounds().chain([u64::MAX]).zip(times.buckets).collect();
    let first = all.iter().position(|(_, n)| *n > 0).unwrap_or(0);
    let last = all.iter().rposition(|(_, n)| *n > 0).unwrap_or(0);
    let some = all.get(first..=last).unwrap_or_default();
    let in_one = some.len().div_ceil(rows.max(1)).max(1);
    some.chunks(in_one)
        .filter_map(|chunk| Some((chunk.last()?.0, chunk.iter().map(|(_, n)| n).sum())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::super::sample::tests::seen;
    use super::super::sample::{Counted, Sample};
    use super::*;
    use crate::cli::picture;

    const SECOND: Duration = Duration::from_secs(1);

    fn text(seen: &Seen, width: u16, height: u16) -> String {
        let mut history = History::default();
        for records in [0.0, 5.0, 10.0, 2.5] {
            let mut seen = seen.clone();
            if let Some(rates) = &mut seen.rates {
                rates.records = records;
            }
            history.add(&Sample { interval: None, cohorts: vec![seen], failure: None });
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        render(seen, history.of(&seen.name), SECOND, buffer.area, &mut buffer);
        picture::text(&buffer, false)
    }

    #[test]
    fn all_there_is_to_know_is_on_a_small_terminal() {
        let text = text(&seen("metrics", 1.0, Some(Counted::default())), 80, 24);
        for words in [
            "metrics  fine",
            "fold latest, lock memory, ext4, epoch 1",
            "seq 1200, durable 1200, watermark 1000; tail 20K bytes, 200 records",
            "snapshot 40 entries, 4.9K bytes, 75s old; journal 2 segments, 1.0M bytes",
            "3 attached",
            "records/s       2.5",
            "most 10, in 4s",
            "waits since opened: 97",
            "2.0us",
            "66us",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
        // The highest of the four looks, and those beside it.
        assert!(text.contains('█') && text.contains('▄'), "{text}");
    }

    #[test]
    fn what_is_not_counted_is_said_and_no_size_is_too_small() {
        let file = seen("old", 1.0, None);
        let text_of_file = text(&file, 80, 24);
        for words in [
            "nothing is counted here",
            "waits since opened: not counted",
            "holds since opened (1/64): not counted",
        ] {
            assert!(text_of_file.contains(words), "{text_of_file}");
        }
        let mut gone = seen("gone", 0.0, None);
        (gone.look, gone.rates) = (None, None);
        gone.state = State::Damaged("segment 1 is\nbroken".into());
        assert!(text(&gone, 80, 24).contains("segment 1 is; broken"));
        for width in [1, 10, 23, 40, 200] {
            for height in [1, 2, 7, 12, 60] {
                for seen in [&file, &gone] {
                    assert_eq!(text(seen, width, height).lines().count(), usize::from(height));
                }
            }
        }
    }

    #[test]
    fn neighbours_are_one_bar_where_there_are_fewer_rows() {
        let mut times = Histogram::default();
        for i in 2..8 {
            times.buckets[i] = 1;
        }
        assert_eq!(buckets(&times, 10).len(), 6);
        assert_eq!(buckets(&times, 3), [(1024, 2), (4096, 2), (16384, 2)]);
        assert_eq!(buckets(&Histogram::default(), 3), [(128, 0)]);
    }
}
