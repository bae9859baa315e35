//! Reading the value of a key, changing it and putting it back, so that nobody comes between.

use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, median};
use crate::histogram::{COLUMNS, Histogram, Recorder};
use crate::markdown::{self, Table, number, ratio};
use crate::peers::{KEEPER, KEEPER_JSON, KEEPER_LMDB, KEEPER_SQLITE, Keeper, Point};
use crate::record::Text;
use crate::tables::key;

const KEYS: usize = 10_000;
/// The same order of keys for everybody.
const SEED: u64 = 7;

/// What the runs of one keeper have shown.
struct Updates {
    keeper: &'static dyn Keeper,
    per_second: Vec<f64>,
    latencies: Histogram,
}

pub fn run(bench: &Bench) -> Result<()> {
    let keepers: [&'static dyn Keeper; 4] = [KEEPER, KEEPER_JSON, KEEPER_SQLITE, KEEPER_LMDB];
    let mut rows =
        keepers.map(|keeper| Updates { keeper, per_second: Vec::new(), latencies: Histogram::default() });
    for _ in 0..bench.runs {
        for row in &mut rows {
            let name = row.keeper.name();
            bench.progress(&format!("update, {name}"));
            if let Some((per_second, latencies)) =
                bench.attempt(&format!("update, {name}"), || measure(bench, row.keeper))
            {
                row.per_second.push(per_second);
                row.latencies.merge(&latencies);
            }
        }
    }
    print(bench, &rows);
    Ok(())
}

fn measure(bench: &Bench, keeper: &dyn Keeper) -> Result<(f64, Histogram)> {
    let dir = bench.fresh_directory("update")?;
    keeper.make(&dir)?;
    let keys: Vec<String> = (0..KEYS as u64).map(key).collect();
    let text = Text::new(0);
    let entries: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), text.as_str())).collect();
    keeper.open(&dir)?.put(&entries)?;
    keeper.compact(&dir)?;

    let mut state = keeper.open(&dir)?;
    let step = |point: &mut Point| point.step += 1;
    // Whatever a keeper does when it is first written to is not what is measured.
    state.update(&keys[0], &step)?;
    let mut order = fastrand::Rng::with_seed(SEED);
    let mut recorder = Recorder::new();
    let mut updates = 0;
    let begun = Instant::now();
    let mut before = begun;
    while begun.elapsed() < Duration::from_secs_f64(bench.seconds) {
        state.update(&keys[order.usize(..KEYS)], &step)?;
        let now = Instant::now();
        recorder.add(now - before);
        before = now;
        updates += 1;
    }
    let per_second = updates as f64 / begun.elapsed().as_secs_f64();
    drop(state);

    let mut steps = 0;
    let mut found = 0;
    keeper.open(&dir)?.each(&mut |_, text| {
        found += 1;
        steps += serde_json::from_str::<Point>(text).map_or(0, |point| point.step);
    })?;
    let first: Point = serde_json::from_str(text.as_str())?;
    let expected = first.step * KEYS as u64 + updates + 1;
    if (found, steps) != (KEYS, expected) {
        return Err(format!("{found} keys whose steps sum up to {steps}, not {KEYS} and {expected}").into());
    }
    fs::remove_dir_all(&dir)?;
    Ok((per_second, recorder.finish()))
}

fn print(bench: &Bench, rows: &[Updates]) {
    markdown::heading("Read, modify, write");
    markdown::paragraph(&format!(
        "One process counts up a number in the values of random keys, of {KEYS}; in the end the sum was checked. Nothing is synced."
    ));
    let rate = |row: &Updates| match row.per_second.len() == bench.runs {
        true => median(row.per_second.iter().copied()),
        false => None,
    };
    let ours = rate(&rows[0]);
    let mut table = Table::new(["", "updates/s", "tallyfold does"].into_iter().chain(COLUMNS));
    for row in rows {
        let (updates, times) = match (rate(row), ours) {
            (Some(theirs), Some(ours)) => (number(theirs), ratio(ours, theirs)),
            (Some(theirs), None) => (number(theirs), "FAILED".to_string()),
            (None, _) => ("FAILED".to_string(), String::new()),
        };
        let name = row.keeper.name().to_string();
        table.row([name, updates, times].into_iter().chain(row.latencies.columns()));
    }
    table.print();
}
