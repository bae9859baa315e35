//! Whether a writer feels a compaction: appends while nothing else runs, while a large state is compacted, and, to tell the
//! compaction from the machine, while somebody merely writes as many bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tallyfold::{Cohort, Settings};

use crate::Result;
use crate::bench::Bench;
use crate::children::{Children, Role};
use crate::histogram::{COLUMNS, Histogram, Recorder};
use crate::markdown::{self, Table, megabytes, number};
use crate::peers::{self, State};
use crate::record::{self, Text};
use crate::tables::{PADDED_BYTES, key, padded, put_padded};
use crate::tasks::{compact, copy};

/// The state, in keys of a kilobyte.
const COLD_KEYS: u64 = 500_000;
/// What is written to meanwhile.
const HOT_KEYS: u64 = 10_000;
/// How long a phase is, in cells: a compaction must have the time to end.
const CELLS: f64 = 3.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// What goes on beside the writer.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Copy,
    Compaction,
}

impl Beside {
    const ALL: [Beside; 3] = [Beside::Nothing, Beside::Copy, Beside::Compaction];

    fn name(self) -> &'static str {
        match self {
            Beside::Nothing => "alone",
            Beside::Copy => "another process writes as much and syncs it",
            Beside::Compaction => "another process compacts",
        }
    }
}

/// What the phases of one kind have shown.
#[derive(Default)]
struct Phase {
    latencies: Histogram,
    appends: u64,
    seconds: f64,
    times: u32,
}

/// The writer, and what it has written.
struct Writer {
    cohort: Cohort,
    keys: Vec<String>,
    last: Vec<Option<u64>>,
    order: Rng,
    text: Text,
    next: u64,
}

impl Writer {
    fn append_until(&mut self, stop: &AtomicBool) -> Result<Histogram> {
        let mut recorder = Recorder::new();
        let mut before = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let at = self.order.usize(..self.keys.len());
            self.text.set(self.next);
            self.cohort.put(&[(&self.keys[at], self.text.as_str())])?;
            self.last[at] = Some(self.next);
            self.next += 1;
            let now = Instant::now();
            recorder.add(now - before);
            before = now;
        }
        Ok(recorder.finish())
    }
}

pub fn run(bench: &Bench) -> Result<()> {
    markdown::heading("Appends beside a compaction");
    match bench.attempt("stall", || measure(bench)) {
        Some((state, phases)) => print(state, &phases),
        None => markdown::paragraph("FAILED"),
    }
    Ok(())
}

fn measure(bench: &Bench) -> Result<(u64, [Phase; 3])> {
    let cold = bench.scaled(COLD_KEYS);
    let dir = bench.fresh_directory("stall")?;
    bench.progress("stall, making the state");
    // Compaction is what the other process does, all the time.
    let cohort = peers::tallyfold::create(&dir, Settings::latest().compact_bytes(0))?;
    put_padded(&cohort, (0..cold).map(cold_key))?;
    let state = compact::in_a_process(&dir, 0.0)?.snapshot_bytes;
    let mut writer = Writer {
        cohort,
        keys: (0..HOT_KEYS).map(key).collect(),
        last: vec![None; HOT_KEYS as usize],
        order: Rng::with_seed(8),
        text: Text::new(0),
        next: 0,
    };
    let mut phases = [(); 3].map(|()| Phase::default());
    for _ in 0..bench.runs {
        for (beside, phase) in Beside::ALL.into_iter().zip(&mut phases) {
            bench.progress(&format!("stall, {}", beside.name()));
            phase.run(bench, &mut writer, beside, &dir, state)?;
        }
    }
    check(&writer, cold)?;
    fs::remove_dir_all(&dir)?;
    Ok((state, phases))
}

/// The cold keys are behind the hot ones.
fn cold_key(number: u64) -> u64 {
    HOT_KEYS + number
}

fn copy(path: PathBuf, bytes: u64, seconds: f64) -> Result<copy::Done> {
    Children::result_of(Role::Copy(copy::Task { path, bytes, seconds }), PATIENCE)
}

impl Phase {
    fn run(
        &mut self,
        bench: &Bench,
        writer: &mut Writer,
        beside: Beside,
        dir: &Path,
        state: u64,
    ) -> Result<()> {
        let seconds = bench.seconds * CELLS;
        let stop = AtomicBool::new(false);
        let (begun, first) = (Instant::now(), writer.next);
        let latencies = std::thread::scope(|scope| {
            let appending = scope.spawn(|| writer.append_until(&stop));
            let times = match beside {
                Beside::Nothing => {
                    std::thread::sleep(Duration::from_secs_f64(seconds));
                    Ok(0)
                }
                Beside::Copy => copy(bench.directory().join("copy"), state, seconds).map(|done| done.times),
                Beside::Compaction => compact::in_a_process(dir, seconds).map(|done| done.times),
            };
            stop.store(true, Ordering::Relaxed);
            let latencies = appending.join().map_err(|_| "the writer panicked")?;
            self.times += times?;
            latencies
        })?;
        self.latencies.merge(&latencies);
        self.appends += writer.next - first;
        self.seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }
}

/// Every key must have its last value.
fn check(writer: &Writer, cold: u64) -> Result<()> {
    let (mut hot, mut old, mut wrong) = (0, 0, 0);
    let written = writer.last.iter().filter(|last| last.is_some()).count();
    let mut hot_keys = writer.keys.iter().zip(&writer.last).filter(|(_, last)| last.is_some());
    for entry in writer.cohort.view()?.iter() {
        let (found, entry) = entry?;
        let right = if hot < written {
            hot += 1;
            hot_keys.next().is_some_and(|(key, last)| {
                *key == found && record::recognise(entry.json().as_bytes()) == last.map(|last| (0, last))
            })
        } else {
            let number = cold_key(old);
            old += 1;
            key(number) == found && padded(number) == entry.json()
        };
        wrong += u64::from(!right);
    }
    match (hot, old, wrong) == (written, cold, 0) {
        true => Ok(()),
        false => {
            Err(format!("{hot} of {written} hot and {old} of {cold} cold entries, {wrong} of them wrong")
                .into())
        }
    }
}

fn print(state: u64, phases: &[Phase; 3]) {
    markdown::paragraph(&format!(
        "One process appends as fast as it can to {HOT_KEYS} keys of a state of {} (values of about {PADDED_BYTES} bytes); what \
         runs beside it runs again and again. In the end every entry was checked.",
        megabytes(state)
    ));
    let columns = ["beside the writer", "times", "thousands of appends/s"].into_iter().chain(COLUMNS);
    let mut table = Table::new(columns);
    for (beside, phase) in Beside::ALL.into_iter().zip(phases) {
        let rate = number(phase.appends as f64 / phase.seconds / 1e3);
        let row = [beside.name().to_string(), phase.times.to_string(), rate];
        table.row(row.into_iter().chain(phase.latencies.columns()));
    }
    table.print();
}
