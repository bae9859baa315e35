//! What a stress run tells: a table for people, one object for programs, and a sentence.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::histogram::{Latencies, Quantiles};
use super::plan::{Kind, Load};
use super::round::{Round, Terms};
use super::target::Lock;
use crate::cli::exit::Failure;
use crate::cli::output::{Escaped, Output};
use crate::cli::style::Style;

/// How many faults are told in words.
const TOLD: usize = 5;

/// All that is told of runs, for programs.
#[derive(Serialize)]
struct Report<'a> {
    seed: u64,
    directory: PathBuf,
    file_system: &'a str,
    processes: u64,
    appends: u64,
    load: Load,
    durable: bool,
    #[serde(flatten)]
    all: Figures,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    lock: Lock,
    #[serde(flatten)]
    figures: Figures,
    latency_by_kind_us: Vec<ByKind>,
    faults: &'a [String],
}

#[derive(Serialize)]
struct ByKind {
    kind: &'static str,
    count: u64,
    #[serde(flatten)]
    latency: Quantiles,
}

/// The figures of a run, or of all. Records, unless their name says otherwise.
#[derive(Serialize)]
struct Figures {
    appended: u64,
    acknowledged: u64,
    lost: u64,
    duplicated: u64,
    corrupted: u64,
    misplaced: u64,
    unexpected: u64,
    unsaid: u64,
    stale_views: u64,
    views: u64,
    compactions: u64,
    lock_timeouts: u64,
    durability_unknown: u64,
    kills: u64,
    hung: u64,
    acts: u64,
    seconds: f64,
    per_second: f64,
    latency_us: Quantiles,
}

impl Figures {
    fn of(rounds: &[&Round]) -> Figures {
        let sum = |figure: fn(&Round) -> u64| rounds.iter().map(|round| figure(round)).sum();
        let mut latencies = Latencies::new();
        rounds.iter().flat_map(|round| &round.latencies).for_each(|kind| latencies.add(kind));
        let acknowledged: u64 = sum(|round| round.outcome.acknowledged);
        let seconds: f64 = rounds.iter().map(|round| round.seconds).sum();
        Figures {
            appended: sum(|round| round.outcome.appended),
            acknowledged,
            lost: sum(|round| round.outcome.lost),
            duplicated: sum(|round| round.outcome.duplicated),
            corrupted: sum(|round| round.outcome.corrupted),
            misplaced: sum(|round| round.outcome.misplaced),
            unexpected: sum(|round| round.outcome.unexpected),
            unsaid: sum(|round| round.outcome.unsaid),
            stale_views: sum(|round| round.stale),
            views: sum(|round| round.views),
            compactions: sum(|round| round.compactions),
            lock_timeouts: sum(|round| round.lock_timeouts),
            durability_unknown: sum(|round| round.durability_unknown),
            kills: sum(|round| round.kills),
            hung: sum(|round| round.hung),
            acts: sum(|round| round.acts),
            seconds: thousandths(seconds),
            per_second: if seconds > 0.0 { thousandths(acknowledged as f64 / seconds) } else { 0.0 },
            latency_us: latencies.quantiles(),
        }
    }
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

pub(super) fn show(terms: &Terms<'_>, rounds: &[Round], json: bool) -> Result<(), Failure> {
    let mut out = Output::new();
    match json {
        true => out.json(&report(terms, rounds))?,
        false => {
            out.write_all(heading(terms, rounds).as_bytes())?;
            write_table(&mut out, rounds)?;
            writeln!(out)?;
            let style = Style::stdout();
            for round in rounds {
                let sentence = sentence(round);
                match round.is_clean() && round.outcome.lost == 0 {
                    true => writeln!(out, "{}", style.green(sentence))?,
                    false => writeln!(out, "{}", style.red(sentence))?,
                }
            }
        }
    }
    Ok(out.flush()?)
}

fn report<'a>(terms: &Terms<'_>, rounds: &'a [Round]) -> Report<'a> {
    let run = |round: &'a Round| Run {
        lock: round.lock,
        figures: Figures::of(&[round]),
        latency_by_kind_us: by_kind(round),
        faults: &round.outcome.faults,
    };
    Report {
        seed: terms.plan.seed,
        directory: directory(terms),
        file_system: rounds.first().map_or("", |round| &round.file_system),
        processes: terms.plan.lanes,
        appends: terms.plan.acts,
        load: terms.plan.load,
        durable: terms.plan.durable,
        all: Figures::of(&rounds.iter().collect::<Vec<_>>()),
        runs: rounds.iter().map(run).collect(),
    }
}

fn by_kind(round: &Round) -> Vec<ByKind> {
    let kinds = Kind::ALL.into_iter().zip(&round.latencies).filter(|(_, latencies)| latencies.count() > 0);
    kinds
        .map(|(kind, latencies)| ByKind {
            kind: kind.name(),
            count: latencies.count(),
            latency: latencies.quantiles(),
        })
        .collect()
}

/// The directory whose file system it is: that of the store, or the one that the store of our own was made in.
fn directory(terms: &Terms<'_>) -> PathBuf {
    let path = terms.scratch.store.path();
    let path = if terms.scratch.shared { path } else { path.parent().unwrap_or(path) };
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn heading(terms: &Terms<'_>, rounds: &[Round]) -> String {
    let plan = &terms.plan;
    let file_system = rounds.first().map_or("", |round| &round.file_system);
    let directory = directory(terms).display().to_string();
    let place = if terms.scratch.shared { "the store " } else { "" };
    let durable = if plan.durable { ", durable" } else { "" };
    format!(
        "{} processes, {} appends each{durable}, in {place}{} ({file_system}), seed {}\n\n",
        plan.lanes,
        plan.acts,
        Escaped(&directory),
        plan.seed
    )
}

/// A line of the table: its title, its cells, and whether anything but 0 in it is bad.
type Line = (String, Vec<String>, bool);

/// A column for each run. [`Table`](crate::cli::table::Table) has a fixed number of them, so it is not used here.
fn write_table(out: &mut Output, rounds: &[Round]) -> std::io::Result<()> {
    let lines = lines(rounds);
    let titles: Vec<String> = rounds.iter().map(|round| title(round.lock).to_string()).collect();
    let first = lines.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rounds.len())
        .map(|at| {
            let cells = lines.iter().map(|(_, cells, _)| cells[at].len());
            cells.chain([titles[at].len()]).max().unwrap_or_default()
        })
        .collect();
    let style = Style::stdout();
    write!(out, "{:first$}", "")?;
    for (title, width) in titles.iter().zip(&widths) {
        write!(out, "  {}", style.bold(format!("{title:>width$}")))?;
    }
    writeln!(out)?;
    for (name, cells, bad) in &lines {
        write!(out, "{name:first$}")?;
        for (cell, width) in cells.iter().zip(&widths) {
            let cell_text = format!("{cell:>width$}");
            match *bad && cell != "0" {
                true => write!(out, "  {}", style.red(cell_text))?,
                false => write!(out, "  {cell_text}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn title(lock: Lock) -> &'static str {
    match lock {
        Lock::Memory => "lock memory",
        Lock::File => "lock file",
        Lock::Flock => "JSON, flock",
        Lock::None => "JSON, no lock",
    }
}

fn lines(rounds: &[Round]) -> Vec<Line> {
    let figures: Vec<Figures> = rounds.iter().map(|round| Figures::of(&[round])).collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut line = |name: &str, bad: bool, figure: &dyn Fn(&Figures) -> String| {
        lines.push((name.to_string(), figures.iter().map(figure).collect(), bad));
    };
    line("acknowledged", false, &|f| f.acknowledged.to_string());
    line("appended", false, &|f| f.appended.to_string());
    line("lost", true, &|f| f.lost.to_string());
    line("duplicated", true, &|f| f.duplicated.to_string());
    line("corrupted", true, &|f| f.corrupted.to_string());
    line("misplaced", true, &|f| f.misplaced.to_string());
    line("unexpected", true, &|f| f.unexpected.to_string());
    line("stale views", true, &|f| f.stale_views.to_string());
    line("views checked", false, &|f| f.views.to_string());
    line("compactions", false, &|f| f.compactions.to_string());
    line("kills", false, &|f| f.kills.to_string());
    line("written, not said", false, &|f| f.unsaid.to_string());
    line("lock timeouts", false, &|f| f.lock_timeouts.to_string());
    if figures.iter().any(|f| f.durability_unknown > 0) {
        line("durability unknown", false, &|f| f.durability_unknown.to_string());
    }
    if figures.iter().any(|f| f.hung > 0) {
        line("hung", true, &|f| f.hung.to_string());
    }
    line("seconds", false, &|f| format!("{:.2}", f.seconds));
    line("records a second", false, &|f| format!("{:.0}", f.per_second));
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        if rounds.iter().all(|round| round.latencies[at].count() == 0) {
            continue;
        }
        let quantiles: Vec<Quantiles> = rounds.iter().map(|round| round.latencies[at].quantiles()).collect();
        for (name, figure) in
            [("p50", (|q| q.p50) as fn(&Quantiles) -> f64), ("p99", |q| q.p99), ("max", |q| q.max)]
        {
            let cells = quantiles.iter().map(|quantiles| time(figure(quantiles))).collect();
            lines.push((format!("{} {name}", kind.name()), cells, false));
        }
    }
    lines
}

/// Microseconds for people, with three digits.
fn time(us: f64) -> String {
    let (number, unit) = match us {
        us if us < 1.0 => (us * 1e3, "ns"),
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let decimals = match number {
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$} {unit}")
}

/// What a run has come to, in plain words.
fn sentence(round: &Round) -> String {
    let outcome = &round.outcome;
    let acknowledged = outcome.acknowledged;
    let name = title(round.lock);
    if round.lock == Lock::None && outcome.lost > 0 {
        let percent = 100.0 * outcome.lost as f64 / acknowledged.max(1) as f64;
        return format!(
            "{name}: {} of {acknowledged} acknowledged records are lost ({percent:.1} %).",
            outcome.lost
        );
    }
    if !outcome.is_clean() || round.stale > 0 {
        return format!("{name}: not all that was acknowledged is there as it was acknowledged.");
    }
    match round.lock.class() {
        Some(_) => format!(
            "{name}: all {acknowledged} acknowledged records are there once, with the seq that was told and the content \
             that was sent."
        ),
        // A file does not keep records, only what they have come to.
        None => format!("{name}: all {acknowledged} acknowledged records have been put in."),
    }
}

/// Why the command ends with 5.
pub(super) fn faults(rounds: &[Round]) -> String {
    let bad = rounds.iter().filter(|round| !round.is_clean());
    let mut told = bad.flat_map(|round| {
        round.outcome.faults.iter().map(|fault| format!("lock {}: {fault}", round.lock.name()))
    });
    let words: Vec<String> = told.by_ref().take(TOLD).map(|fault| format!("\n  {fault}")).collect();
    format!("what is there is not what was acknowledged:{}", words.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (us, expected) in [
            (0.25, "250 ns"),
            (1.0, "1.00 µs"),
            (12.34, "12.3 µs"),
            (999.0, "999 µs"),
            (36_000.0, "36.0 ms"),
            (2_000_000.0, "2.00 s"),
        ] {
            assert_eq!(time(us), expected);
        }
    }
}
