//! `tallyfold top`: what the cohorts of a store do, all the time.

mod columns;
mod detail;
mod history;
mod list;
mod live;
mod sample;
mod units;

use std::io::Write;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tallyfold::Store;

use self::columns::Column;
use self::list::Sorted;
use self::sample::{Sample, Sampler};
use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Output, say};
use super::style::Style;
use super::{interrupt, picture, screen};

/// As often as cohorts may be looked at, and as seldom.
const FASTEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A row for each cohort: what is appended to it each second, what the snapshot does not cover yet (TAIL in bytes, BEHIND in \
records), how often the lock had to be waited for and for how long, syncs and how many records each makes durable, who \
is attached, sizes. Narrow terminals show the more important columns. A dash stands for what is not known: cohorts of \
the lock class file have no counters, and a log no tail to fold.

Keys: j and k or the arrows choose a cohort, Enter shows it in full, s and S sort by the next or previous column, r turns \
the order, q leaves.

--once prints one such list as text and ends; --json prints an object a line for each interval, until it is interrupted, \
and with --once one.

Examples:
  tallyfold top --sort tail
  tallyfold top --once
  tallyfold top --json --once | jq -c '.cohorts[] | [.cohort, .records_s, .tail_bytes]'")]
pub(crate) struct Args {
    /// How often to look, such as 1s, 200ms or 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,

    /// Print one list as text, after one interval
    #[arg(long)]
    once: bool,

    /// The column to sort by; without it records
    #[arg(long, value_name = "COLUMN", value_enum)]
    sort: Option<Column>,
}

/// A number and its unit; seconds where there is none.
fn interval(text: &str) -> Result<Duration, String> {
    let refused = || "it must be a time from 50ms to 60m, such as 1s, 200ms or 1m".to_string();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds: f64 = number.trim().parse().map_err(|_| refused())?;
    let seconds = match unit {
        "ms" => seconds / 1000.0,
        "s" | "" => seconds,
        "m" => seconds * 60.0,
        _ => return Err(refused()),
    };
    let interval = Duration::try_from_secs_f64(seconds).map_err(|_| refused())?;
    (FASTEST..=SLOWEST).contains(&interval).then_some(interval).ok_or_else(refused)
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let sorted = live::sorted(args.sort);
    match (options.json, args.once) {
        (true, once) => lines(options.store()?, args.every, once),
        (false, true) => once(options.store()?, args.every, sorted),
        (false, false) if screen::is_there() => live::run(Sampler::new(options.store()?), args.every, sorted),
        (false, false) => {
            let what = "top draws on a terminal, and standard output is none: --once prints one list as text, --json a line \
                        for each interval";
            Err(Failure::new(exit::USAGE, what))
        }
    }
}

/// A line for each interval, or for one.
fn lines(store: Store, every: Duration, once: bool) -> Result<(), Failure> {
    let mut sampler = Sampler::new(store);
    let store = sampler.store();
    let mut out = Output::new();
    sampler.sample();
    loop {
        interrupt::sleep(every)?;
        let sample = sampler.sample();
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        out.json(&sample.line(time, &store))?;
        out.flush()?;
        if once {
            return Ok(());
        }
    }
}

/// One list.
fn once(store: Store, every: Duration, sorted: Sorted) -> Result<(), Failure> {
    let mut sampler = Sampler::new(store);
    sampler.sample();
    interrupt::sleep(every)?;
    let sample = sampler.sample();
    if let Some(failure) = &sample.failure {
        return Err(Failure::new(exit::FAILURE, failure));
    }
    if sample.cohorts.is_empty() {
        say(format!("there is no cohort in the store {}", sampler.store()));
        return Ok(());
    }
    let mut out = Output::new();
    out.write_all(frame(&sample, &sampler.store(), sorted).as_bytes())?;
    out.flush()?;
    for seen in list::order(&sample, sorted) {
        if let Some(told) = seen.state.told() {
            say(format!("cohort {:?}: {told}", seen.name));
        }
    }
    Ok(())
}

/// With all columns, or those that fit the terminal.
fn frame(sample: &Sample, store: &str, sorted: Sorted) -> String {
    let head = list::head(sample, store);
    let full = list::full_width(sample, sorted).min(usize::from(u16::MAX)) as u16;
    let width = screen::size().map_or(full, |(width, _)| width.min(full));
    let rows = sample.cohorts.len().min(usize::from(u16::MAX) / 2) as u16;
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, rows + 1));
    list::render(sample, sorted, 0, None, buffer.area, &mut buffer);
    format!("{}\n{}\n{}", head[0], head[1], picture::text(&buffer, Style::stdout().has_colors()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_and_its_unit_and_nothing_that_makes_no_sense() {
        for (text, ms) in
            [("1s", 1000), ("1", 1000), ("200ms", 200), ("0.5", 500), ("1.5s", 1500), ("2m", 120_000)]
        {
            assert_eq!(interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0", "1ms", "-1s", "61m", "NaN", "1h", "1e300", "inf", "1 x"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
