//! What an append costs when many records are there already.

use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, median};
use crate::markdown::{self, Table, number, ratio, time};
use crate::peers::{FLOOR, LMDB, Peer, Promise, SQLITE, TALLYFOLD};
use crate::record::Text;
use crate::tables::{fill, timed};

/// Where the cost of an append is looked at.
const MARKS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// So many windows of so many appends end there.
const WINDOWS: u64 = 5;
const WINDOW: u64 = 1000;

/// The cost of an append at each mark, and of the first append of a writer that has just opened the store.
type Costs = Vec<(Duration, Duration)>;

pub fn run(bench: &Bench) -> Result<()> {
    markdown::heading("Growth");
    let mut marks = MARKS.map(|mark| bench.scaled(mark).max(2 * WINDOWS * WINDOW)).to_vec();
    marks.dedup();
    let peers = [TALLYFOLD, SQLITE, LMDB, FLOOR];
    let costs = peers.map(|peer| {
        bench.progress(&format!("growth, {}", peer.name()));
        bench.attempt(&format!("growth, {}", peer.name()), || costs(bench, peer, &marks))
    });
    markdown::paragraph(&format!(
        "The cost of one append, written, with so many records there (the median of {WINDOWS} windows of {WINDOW}), and behind it \
         that of the first append of a process that opens the store, the opening included."
    ));
    let names = marks.iter().map(|mark| format!("{} records", number(*mark as f64)));
    let columns = [String::new()].into_iter().chain(names).chain(["last / first".to_string()]);
    let mut table = Table::new(columns);
    for (peer, costs) in peers.iter().zip(&costs) {
        let (figures, growth) = match costs {
            Some(costs) => {
                let figures =
                    costs.iter().map(|(append, first)| format!("{}, {}", time(*append), time(*first)));
                let growth = ratio(costs[marks.len() - 1].0.as_secs_f64(), costs[0].0.as_secs_f64());
                (figures.collect(), growth)
            }
            None => (vec!["FAILED".to_string(); marks.len()], String::new()),
        };
        table.row([peer.name().to_string()].into_iter().chain(figures).chain([growth]));
    }
    table.print();
    Ok(())
}

fn costs(bench: &Bench, peer: &dyn Peer, marks: &[u64]) -> Result<Costs> {
    let dir = bench.fresh_directory("growth")?;
    peer.make(&dir)?;
    let mut texts = Text::batch(0, 1);
    let mut costs = Vec::new();
    let mut records = 0;
    for mark in marks {
        let windows = mark - WINDOWS * WINDOW;
        {
            let log = peer.open(&dir, Promise::Written)?;
            let mut writer = log.writer()?;
            fill(&mut *writer, records, windows)?;
            records = windows;
            let mut window = || -> Result<f64> {
                let begun = Instant::now();
                for _ in 0..WINDOW {
                    texts[0].set(records);
                    writer.append(&texts)?;
                    records += 1;
                }
                Ok(begun.elapsed().as_secs_f64() / WINDOW as f64)
            };
            let seconds: Result<Vec<f64>> = (0..WINDOWS).map(|_| window()).collect();
            costs.push((
                Duration::from_secs_f64(median(seconds?.into_iter()).unwrap_or_default()),
                Duration::ZERO,
            ));
        }
        let (_opened, first) = timed(|| {
            texts[0].set(records);
            let log = peer.open(&dir, Promise::Written)?;
            let mut writer = log.writer()?;
            writer.append(&texts)?;
            Ok((log, writer))
        })?;
        records += 1;
        if let Some(cost) = costs.last_mut() {
            cost.1 = first;
        }
    }
    let mut read = 0;
    peer.read(&dir, &mut |_| read += 1)?;
    if read != records {
        return Err(format!("{read} records were read, not {records}").into());
    }
    fs::remove_dir_all(&dir)?;
    Ok(costs)
}
