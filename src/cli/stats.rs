//! `tallyfold stats`: sizes and positions, and what the processes of a cohort have done, counted; for people, for programs, and
//! for Prometheus.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use tallyfold::{Cohort, Counters, Histogram, Scope, Stats, Store};

use super::cohorts::{Bad, each};
use super::exit::{self, Failure};
use super::exposition::{self, Found, Numbers};
use super::listen;
use super::options::Options;
use super::output::{Escaped, Output, say};

/// How long a cohort is looked at through the same handle: it may have been moved away, and another one made in its place.
const HANDLE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json one object a line for each cohort, its counters among them.

--prometheus prints what Prometheus reads, for the textfile collector of node_exporter, say. A cohort that cannot be read is \
told, and is tallyfold_up 0 among the numbers; the command ends with 0.

--listen serves the same at /metrics until it is ended. Port 0 takes one that is free; the address is told on standard \
error, with --json as an object. What each number means, and what to be alarmed by, is in docs/operating.md.

Examples:
  tallyfold stats index
  tallyfold stats index --json | jq .counters.records
  tallyfold stats --prometheus | grep tail_bytes")]
pub(crate) struct Args {
    /// The cohort's name; without it every cohort
    cohort: Option<String>,

    /// Print the numbers as Prometheus reads them
    #[arg(long)]
    prometheus: bool,

    /// Serve them by HTTP, at an address such as 127.0.0.1:9469
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

/// A line for programs.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    counters: &'a Option<Counters>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    if let Some(address) = &args.listen {
        let mut source = Source::open(options, args.cohort.as_deref())?;
        return listen::run(address, options.json, move || exposition::text(&source.look()?));
    }
    if args.prometheus {
        return print(options, args);
    }
    let mut out = Output::new();
    each(options, args.cohort.as_deref(), numbers, |name, numbers| {
        match (options.json, numbers) {
            (true, Ok(Numbers { stats, counters })) => {
                out.json(&Object { stats: &stats, counters: &counters })?
            }
            (true, Err(failure)) => out.json(&Bad { cohort: name, error: &failure.message })?,
            (false, Ok(numbers)) => out.write_all(readable(&numbers).as_bytes())?,
            (false, Err(failure)) => {
                writeln!(out, "{}\n  error: {}", Escaped(name), Escaped(&failure.message))?;
            }
        }
        Ok(out.flush()?)
    })
}

fn print(options: &Options, args: &Args) -> Result<(), Failure> {
    if options.json {
        let what = "--prometheus has a format of its own; --json prints the same numbers without it";
        return Err(Failure::new(exit::USAGE, what));
    }
    let mut source = Source::open(options, args.cohort.as_deref())?;
    let text = exposition::text(&source.look()?)?;
    let mut out = Output::new();
    match io::stdout().is_terminal() {
        false => out.write_all(text.as_bytes())?,
        true => text.lines().try_for_each(|line| writeln!(out, "{}", Escaped(line)))?,
    }
    Ok(out.flush()?)
}

/// Counters that cannot be read are told, and no reason to show nothing: all else is on disk.
fn numbers(cohort: &Cohort) -> Result<Numbers, Failure> {
    let stats = cohort.stats()?;
    let counters = cohort.counters().unwrap_or_else(|e| {
        say(format!("cohort {:?}: the counters cannot be read: {e}", cohort.name()));
        None
    });
    Ok(Numbers { stats, counters })
}

/// The cohorts that are looked at again and again, through handles that are kept: they read only what is new.
struct Source {
    options: Options,
    store: Store,
    name: Option<String>,
    kept: BTreeMap<String, (Cohort, Instant)>,
    /// What was said of cohorts that are bad, so that it is said once.
    told: BTreeMap<String, String>,
}

impl Source {
    fn open(options: &Options, name: Option<&str>) -> Result<Source, Failure> {
        let store = options.store()?;
        // One that is asked for by name and does not exist is a mistake; one that is bad is a number.
        if let Some(name) = name
            && let Err(e) = store.cohort(name)
            && (e.is_not_found() || e.is_invalid())
        {
            return Err(e.into());
        }
        let (name, kept, told) = (name.map(String::from), BTreeMap::new(), BTreeMap::new());
        Ok(Source { options: options.clone(), store, name, kept, told })
    }

    /// The numbers as they are now. What is wrong with a cohort is told, and stops no other.
    fn look(&mut self) -> Result<Vec<Found>, Failure> {
        // Anew each time: it may have been moved, and another one put in its place.
        self.store = self.options.store()?;
        let names = match &self.name {
            Some(name) => vec![name.clone()],
            None => self.store.cohorts()?,
        };
        self.kept.retain(|name, (_, opened)| names.contains(name) && opened.elapsed() < HANDLE);
        let found = names.into_iter().map(|name| {
            let numbers = self.look_at(&name);
            self.tell(&name, numbers.as_ref().err());
            (name, numbers.ok())
        });
        Ok(found.collect())
    }

    fn tell(&mut self, name: &str, failure: Option<&Failure>) {
        let Some(Failure { message, .. }) = failure else {
            self.told.remove(name);
            return;
        };
        if self.told.insert(name.to_string(), message.clone()).as_ref() != Some(message) {
            say(format!("cohort {name:?}: {message}"));
        }
    }

    fn look_at(&mut self, name: &str) -> Result<Numbers, Failure> {
        if let Some((cohort, _)) = self.kept.get(name) {
            match numbers(cohort) {
                Ok(numbers) => return Ok(numbers),
                // Perhaps it is another one by now.
                Err(_) => self.kept.remove(name),
            };
        }
        let cohort = self.options.patient(self.store.cohort(name)?);
        let numbers = numbers(&cohort)?;
        self.kept.insert(name.to_string(), (cohort, Instant::now()));
        Ok(numbers)
    }
}

fn readable(Numbers { stats, counters }: &Numbers) -> String {
    let poisoned = if stats.poisoned { "yes: the next append carries its records on" } else { "no" };
    let mut lines = vec![
        ("fold", stats.fold.to_string()),
        ("last seq", stats.seq.to_string()),
        ("durable seq", stats.durable_seq.to_string()),
        ("watermark", stats.watermark.to_string()),
        ("epoch", stats.epoch.to_string()),
        ("entries", format!("{} in the snapshot", stats.entries)),
        ("snapshot", format!("{} bytes", stats.snapshot_bytes)),
        ("segments", format!("{} of {} bytes, reserved space included", stats.segments, stats.segment_bytes)),
        ("tail", format!("{} bytes not folded yet", stats.tail_bytes)),
        ("quarantine", format!("{} files", stats.quarantined)),
        ("failed sync", poisoned.to_string()),
        ("file system", stats.file_system.clone()),
        ("lock", stats.lock.to_string()),
    ];
    match counters {
        Some(counters) => lines.extend(counted(counters)),
        None if stats.lock == "file" => {
            lines.push(("counted", "by each process for itself, in the lock class file".to_string()));
        }
        None => lines.push(("counted", "nothing since the system was started".to_string())),
    }
    let mut text = format!("{}\n", Escaped(&stats.cohort));
    for (name, value) in lines {
        text.push_str(&format!("  {name:<12}  {value}\n"));
    }
    text
}

fn counted(counters: &Counters) -> Vec<(&'static str, String)> {
    let Counters { batches, records, bytes, turns, contended, lock_timeouts, .. } = counters;
    let mut lines = Vec::new();
    if let (Scope::Cohort, Some(attached)) = (counters.scope, counters.attached) {
        lines.push(("attached", format!("{attached} handles")));
    }
    let groups = match counters.synced_records.checked_div(counters.syncs) {
        Some(records) => format!(", {records} records each"),
        None => String::new(),
    };
    lines.extend([
        ("counted", format!("since {}", super::time::rfc3339(counters.since_us))),
        ("appended", format!("{records} records in {batches} batches, {bytes} bytes")),
        ("turns", format!("{turns}, {contended} of them contended, {lock_timeouts} not had in time")),
        ("lock waits", times(&counters.waits)),
        ("lock holds", times(&counters.holds)),
        ("syncs", format!("{}, {} failed{groups}", counters.syncs, counters.failed_syncs)),
        ("sync times", times(&counters.sync_times)),
        ("journal", {
            let Counters { rotations, cuts, torn_tails, carried_records, .. } = counters;
            format!("{rotations} rotations, {cuts} cuts, {torn_tails} torn tails, {carried_records} records carried")
        }),
        ("compactions", {
            let Counters { compactions, failed_compactions, compaction_ns, compacted_bytes, .. } = counters;
            let took = duration(*compaction_ns);
            format!("{compactions} in {took}, {compacted_bytes} bytes; {failed_compactions} failed")
        }),
    ]);
    lines
}

fn times(times: &Histogram) -> String {
    let bound = |q| match times.quantile_ns(q) {
        None => "none".to_string(),
        Some(u64::MAX) => "more than 17 s".to_string(),
        Some(ns) => duration(ns),
    };
    match times.count() {
        0 => "none".to_string(),
        n => format!("{n}; half within {}, 99 % within {}", bound(0.5), bound(0.99)),
    }
}

/// With three digits, for people.
fn duration(ns: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    match units.into_iter().find(|(unit, _)| ns >= *unit) {
        None => format!("{ns} ns"),
        Some((unit, name)) => {
            let value = ns as f64 / unit as f64;
            let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            format!("{value:.digits$} {name}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_the_unit_that_fits_it() {
        let shown = [0, 128, 1_024, 16_384, 131_072, 1 << 24, 17_179_869_184].map(duration);
        assert_eq!(shown, ["0 ns", "128 ns", "1.02 µs", "16.4 µs", "131 µs", "16.8 ms", "17.2 s"]);
    }
}
