//! What a compaction costs: the bytes it writes, and the memory it takes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tallyfold::{Cohort, Compaction, Settings};

use crate::Result;
use crate::bench::Bench;
use crate::markdown::{self, Table, megabytes, ratio, time};
use crate::peers;
use crate::tables::{PADDED_BYTES, put_padded};
use crate::tasks::compact::{self, Done};

/// The states that are compacted, in bytes.
const SMALL: u64 = 10_000_000;
const MIDDLE: u64 = 100_000_000;
const LARGE: u64 = 1_000_000_000;
/// How often a state is written anew.
const REWRITES: u64 = 3;
/// How long to wait for the last compaction, and between two looks.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);
/// What is appended before the second compaction of those whose memory is looked at.
const ROUND_BYTES: u64 = 10_000_000;
const SEED: u64 = 9;

pub fn run(bench: &Bench) -> Result<()> {
    written(bench);
    memory(bench);
    Ok(())
}

/// A state that has been compacted once.
struct State {
    dir: PathBuf,
    cohort: Cohort,
    keys: u64,
    first: Done,
}

impl State {
    fn make(bench: &Bench, bytes: u64) -> Result<State> {
        let dir = bench.fresh_directory("compaction")?;
        let keys = (bytes / PADDED_BYTES).max(1);
        let cohort = peers::tallyfold::create(&dir, Settings::latest().compact_bytes(0))?;
        put_padded(&cohort, 0..keys)?;
        let first = compact::in_a_process(&dir, 0.0)?;
        Ok(State { dir, cohort, keys, first })
    }

    /// Puts random keys anew, and compacts.
    fn round(&self, order: &mut fastrand::Rng, records: u64) -> Result<Done> {
        put_padded(&self.cohort, (0..records).map(|_| order.u64(..self.keys)))?;
        compact::in_a_process(&self.dir, 0.0)
    }
}

fn records_of_a_round(bench: &Bench) -> u64 {
    (bench.scaled(ROUND_BYTES) / PADDED_BYTES).max(1)
}

/// What the compactions write that a process which only appends does by itself.
fn written(bench: &Bench) {
    markdown::heading("What compactions write");
    markdown::paragraph(&format!(
        "A process fills a state, and then puts random keys anew, {REWRITES} times as many bytes as the state has. It compacts \
         by itself, with the default threshold, until nothing is due any more."
    ));
    let mut table = Table::new(["state", "appended", "written by compactions", "written / appended"]);
    for bytes in [SMALL, MIDDLE].map(|bytes| bench.scaled(bytes)) {
        bench.progress(&format!("bytes written by compactions of {}", megabytes(bytes)));
        let keys = (bytes / PADDED_BYTES).max(1);
        let appended = (1 + REWRITES) * keys * PADDED_BYTES;
        let figures = match bench.attempt("bytes written", || by_itself(bench, keys)) {
            Some(written) => [megabytes(written), ratio(written as f64, appended as f64)],
            None => ["FAILED".to_string(), String::new()],
        };
        table.row([megabytes(bytes), megabytes(appended)].into_iter().chain(figures));
    }
    table.print();
}

fn by_itself(bench: &Bench, keys: u64) -> Result<u64> {
    let dir = bench.fresh_directory("compaction")?;
    let cohort = peers::tallyfold::create(&dir, Settings::latest())?;
    let mut order = fastrand::Rng::with_seed(SEED);
    let before = compact::written_bytes()?;
    put_padded(&cohort, 0..keys)?;
    for _ in 0..REWRITES {
        put_padded(&cohort, (0..keys).map(|_| order.u64(..keys)))?;
    }
    let begun = Instant::now();
    // `Busy` while the background is at it, and for a moment after each.
    while cohort.compact_if_due()? != Compaction::Nothing {
        if begun.elapsed() > PATIENCE {
            return Err("compaction is due for ever".into());
        }
        std::thread::sleep(LOOK);
    }
    let written = compact::written_bytes()? - before;
    if cohort.stats()?.watermark == 0 {
        return Err("nothing was compacted".into());
    }
    Ok(written)
}

/// The memory of a process that does nothing but compact once.
fn memory(bench: &Bench) {
    markdown::heading("The memory a compaction takes");
    markdown::paragraph(&format!(
        "The most that a compacting process had resident, and what of it was its own and no page of a mapped file: for the first \
         compaction, with the whole state in the journal, and for the next one, with {} in it. One run.",
        megabytes(records_of_a_round(bench) * PADDED_BYTES)
    ));
    let columns = ["state", "first", "peak", "its own", "next", "peak", "its own"];
    let mut table = Table::new(columns);
    for bytes in [SMALL, LARGE].map(|bytes| bench.scaled(bytes)) {
        bench.progress(&format!("memory of compactions of {}", megabytes(bytes)));
        let compacted = bench.attempt("memory", || {
            let state = State::make(bench, bytes)?;
            let mut order = fastrand::Rng::with_seed(SEED);
            let next = state.round(&mut order, records_of_a_round(bench))?;
            Ok([state.first, next])
        });
        let figures = match compacted {
            Some(both) => both.map(|done| {
                [time(done.duration), megabytes(done.peak_bytes), megabytes(done.peak_own_bytes)]
            }),
            None => {
                [const { String::new() }; 2].map(|_| ["FAILED".to_string(), String::new(), String::new()])
            }
        };
        table.row([megabytes(bytes)].into_iter().chain(figures.into_iter().flatten()));
    }
    table.print();
}
