//! What a compaction costs: the bytes it writes, and the memory it takes.

use std::path::PathBuf;

use tallyfold::{Cohort, Settings};

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
/// How often, with so many bytes appended before each time.
const ROUNDS: u64 = 5;
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
        let cohort = peers::tallyfold::create(&dir, Settings::latest())?;
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

fn written(bench: &Bench) {
    let appended = records_of_a_round(bench) * PADDED_BYTES;
    markdown::heading("What a compaction writes");
    markdown::paragraph(&format!(
        "With {} appended to random keys before each of {ROUNDS} compactions.",
        megabytes(appended)
    ));
    let mut table = Table::new(["state", "appended", "written by compaction", "written / appended"]);
    for bytes in [SMALL, MIDDLE].map(|bytes| bench.scaled(bytes)) {
        bench.progress(&format!("bytes written by compactions of {}", megabytes(bytes)));
        let written = bench.attempt("bytes written", || {
            let state = State::make(bench, bytes)?;
            let mut order = fastrand::Rng::with_seed(SEED);
            (0..ROUNDS).try_fold(0, |sum, _| {
                Ok(sum + state.round(&mut order, records_of_a_round(bench))?.written_bytes)
            })
        });
        let appended = ROUNDS * appended;
        let figures = match written {
            Some(written) => [megabytes(written), ratio(written as f64, appended as f64)],
            None => ["FAILED".to_string(), String::new()],
        };
        table.row([megabytes(bytes), megabytes(appended)].into_iter().chain(figures));
    }
    table.print();
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
