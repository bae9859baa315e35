//! A state: many upserts on few keys, compaction, and opening it again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::bench::{Bench, median};
use crate::markdown::{self, Table, megabytes, number, ratio, time};
use crate::peers::{KEEPER, KEEPER_LMDB, Keeper};
use crate::record::{self, Text};
use crate::tables::{key, timed};

const UPSERTS: u64 = 1_000_000;
const KEYS: usize = 10_000;
/// How often one entry is looked up, each time in a store opened anew.
const LOOKS: usize = 11;
/// The same order of keys for everybody.
const SEED: u64 = 6;
/// What a compacted cohort may take beyond twice its state: space reserved ahead, small files.
const ALLOWANCE: u64 = 4 << 20;

/// What one run of one keeper has shown.
struct Run {
    per_second: f64,
    /// With what is allocated after it; the first one has everything to fold, the second one record.
    compactions: Vec<(Duration, u64)>,
    allocated: u64,
    read_all: Duration,
    get_one: Duration,
}

pub fn run(bench: &Bench) -> Result<()> {
    let keepers: [&dyn Keeper; 2] = [KEEPER, KEEPER_LMDB];
    let mut runs = keepers.map(|_| Vec::new());
    for _ in 0..bench.runs {
        for (keeper, runs) in keepers.iter().zip(&mut runs) {
            bench.progress(&format!("keyed, {}", keeper.name()));
            runs.extend(bench.attempt(&format!("keyed, {}", keeper.name()), || measure(bench, *keeper)));
        }
    }
    markdown::heading("State");
    let [ours, theirs] = &runs;
    match ours.len().min(theirs.len()) == bench.runs {
        true => print(bench, ours, theirs),
        false => markdown::paragraph("FAILED"),
    }
    Ok(())
}

fn measure(bench: &Bench, keeper: &dyn Keeper) -> Result<Run> {
    let upserts = bench.scaled(UPSERTS);
    let dir = bench.fresh_directory("keyed")?;
    keeper.make(&dir)?;
    let keys: Vec<String> = (0..KEYS as u64).map(key).collect();
    let mut order = fastrand::Rng::with_seed(SEED);
    let mut last = vec![None; KEYS];
    let mut text = Text::new(0);

    let mut state = keeper.open(&dir)?;
    let ((), duration) = timed(|| {
        for counter in 0..upserts {
            let at = order.usize(..KEYS);
            text.set(counter);
            state.put(&[(&keys[at], text.as_str())])?;
            last[at] = Some(counter);
        }
        Ok(())
    })?;
    drop(state);

    let mut compactions = Vec::new();
    for more in 0..2 {
        let (compacted, duration) = timed(|| keeper.compact(&dir))?;
        if !compacted {
            break;
        }
        compactions.push((duration, allocated(&dir)?));
        if more == 0 {
            text.set(upserts);
            keeper.open(&dir)?.put(&[(&keys[0], text.as_str())])?;
            last[0] = Some(upserts);
        }
    }
    let ((state, found), read_all) = timed(|| {
        let mut found = Vec::with_capacity(KEYS);
        let mut state = keeper.open(&dir)?;
        state.each(&mut |key, text| found.push((key.to_string(), text.to_string())))?;
        Ok((state, found))
    })?;
    drop(state);
    check(&keys, &last, &found)?;
    let mut looks = Vec::new();
    for key in keys.iter().step_by(KEYS / LOOKS) {
        let (_opened, duration) = timed(|| {
            let mut state = keeper.open(&dir)?;
            let entry = state.get(key)?;
            Ok((state, entry))
        })?;
        looks.push(duration.as_secs_f64());
    }
    let run = Run {
        per_second: upserts as f64 / duration.as_secs_f64(),
        compactions,
        allocated: allocated(&dir)?,
        read_all,
        get_one: Duration::from_secs_f64(median(looks.into_iter()).unwrap_or_default()),
    };
    fs::remove_dir_all(&dir)?;
    Ok(run)
}

/// Every key must have the last value that was put.
fn check(keys: &[String], last: &[Option<u64>], found: &[(String, String)]) -> Result<()> {
    let expected: Vec<(&String, u64)> =
        keys.iter().zip(last).filter_map(|(key, last)| Some((key, (*last)?))).collect();
    let wrong = expected
        .iter()
        .zip(found)
        .filter(|((key, counter), (found, text))| {
            *key != found || record::recognise(text.as_bytes()) != Some((0, *counter))
        })
        .count();
    match wrong == 0 && expected.len() == found.len() {
        true => Ok(()),
        false => {
            Err(format!("{} entries instead of {}, {wrong} of them wrong", found.len(), expected.len())
                .into())
        }
    }
}

/// What the files of a directory take on the medium.
fn allocated(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => allocated(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}

fn print(bench: &Bench, ours: &[Run], theirs: &[Run]) {
    let state = (KEYS * (key(0).len() + record::BYTES)) as u64;
    let limit = 2 * state + ALLOWANCE;
    markdown::paragraph(&format!(
        "{} upserts on {KEYS} keys by one writer, each acknowledged; then compaction, a record more and another compaction; then the \
         store is opened anew. Keys and values take {}; tallyfold's limit, twice that and {} more, is {}.",
        bench.scaled(UPSERTS),
        megabytes(state),
        megabytes(ALLOWANCE),
        megabytes(limit)
    ));
    let both =
        |of: &dyn Fn(&Run) -> f64| [ours, theirs].map(|runs| median(runs.iter().map(of)).unwrap_or_default());
    let mut table = Table::new(["", KEEPER.name(), KEEPER_LMDB.name(), "tallyfold / LMDB"]);
    let mut row = |what: &str, of: &dyn Fn(&Run) -> f64, show: &dyn Fn(f64) -> String| {
        let [ours, theirs] = both(of);
        table.row([what.to_string(), show(ours), show(theirs), ratio(ours, theirs)]);
    };
    let seconds = |seconds: f64| time(Duration::from_secs_f64(seconds));
    let bytes = |bytes: f64| megabytes(bytes as u64);
    row("upserts, thousands/s", &|run| run.per_second / 1e3, &number);
    row("open, read all", &|run| run.read_all.as_secs_f64(), &seconds);
    row("open, get one", &|run| run.get_one.as_secs_f64(), &seconds);
    row("allocated in the end", &|run| run.allocated as f64, &bytes);
    for (at, which) in ["first", "second"].into_iter().enumerate() {
        let of = |pick: &dyn Fn(&(Duration, u64)) -> f64| {
            median(ours.iter().map(|run| pick(&run.compactions[at])))
        };
        let duration = of(&|compaction| compaction.0.as_secs_f64()).unwrap_or_default();
        let allocated = of(&|compaction| compaction.1 as f64).unwrap_or_default();
        let dash = || "–".to_string();
        table.row([format!("the {which} compaction"), seconds(duration), dash(), dash()]);
        table.row([format!("allocated after the {which}"), bytes(allocated), dash(), dash()]);
    }
    table.print();
    let within = ours.iter().all(|run| run.compactions.iter().all(|(_, allocated)| *allocated <= limit));
    markdown::paragraph(match within {
        true => "After either compaction tallyfold was within its limit.",
        false => "**After a compaction tallyfold took more than its limit.**",
    });
}
