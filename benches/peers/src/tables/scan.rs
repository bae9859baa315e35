//! Reading all records, every byte of them.

use std::hint::black_box;
use std::path::PathBuf;

use crate::Result;
use crate::bench::{Bench, median};
use crate::markdown::{self, Table, number, ratio};
use crate::peers::{FLOOR, LMDB, Peer, Promise, SQLITE, TALLYFOLD};
use crate::record::Text;
use crate::tables::{fill, timed};

const RECORDS: u64 = 2_000_000;

/// What a reader has seen: it must touch each byte to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Touch {
    records: u64,
    bytes: u64,
    xor: u8,
}

impl Touch {
    fn see(&mut self, bytes: &[u8]) {
        self.records += 1;
        self.bytes += bytes.len() as u64;
        self.xor ^= bytes.iter().fold(0, |xor, byte| xor ^ byte);
    }

    /// What there is to see in that many records.
    fn expected(records: u64) -> Touch {
        let mut touch = Touch::default();
        let mut text = Text::new(0);
        for counter in 0..records {
            text.set(counter);
            touch.see(text.as_str().as_bytes());
        }
        touch
    }
}

struct Scanned {
    peer: &'static dyn Peer,
    dir: PathBuf,
    seconds: Vec<f64>,
}

pub fn run(bench: &Bench) -> Result<()> {
    let records = bench.scaled(RECORDS);
    let expected = Touch::expected(records);
    let mut scanned = Vec::new();
    for (number, peer) in [TALLYFOLD, SQLITE, LMDB, FLOOR].into_iter().enumerate() {
        bench.progress(&format!("scan, filling {}", peer.name()));
        let dir = bench.fresh_directory(&format!("scan-{number}"))?;
        peer.make(&dir)?;
        fill(&mut *peer.open(&dir, Promise::Written)?.writer()?, 0, records)?;
        scanned.push(Scanned { peer, dir, seconds: Vec::new() });
    }
    for _ in 0..bench.runs {
        for Scanned { peer, dir, seconds } in &mut scanned {
            bench.progress(&format!("scan, {}", peer.name()));
            let read = bench.attempt(&format!("scan, {}", peer.name()), || {
                let mut touch = Touch::default();
                let ((), duration) = timed(|| peer.read(dir, &mut |record| touch.see(record)))?;
                if black_box(touch) != expected {
                    return Err(format!("{touch:?} was read, not {expected:?}").into());
                }
                Ok(duration.as_secs_f64())
            });
            seconds.extend(read);
        }
    }
    print(bench, records, &scanned);
    for Scanned { dir, .. } in scanned {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

fn print(bench: &Bench, records: u64, scanned: &[Scanned]) {
    markdown::heading("Scan");
    markdown::paragraph(&format!(
        "Opening a store and reading all of its {records} records from the page cache, each byte looked at. tallyfold checks every \
         CRC; LMDB and the file have none, and SQLite none outside its WAL."
    ));
    let rate = |peer: &Scanned| match peer.seconds.len() == bench.runs {
        true => median(peer.seconds.iter().map(|seconds| records as f64 / seconds)),
        false => None,
    };
    let ours = rate(&scanned[0]);
    let mut table = Table::new(["", "millions of records/s", "tallyfold does"]);
    for peer in scanned {
        let row = match (rate(peer), ours) {
            (Some(theirs), Some(ours)) => [number(theirs / 1e6), ratio(ours, theirs)],
            (Some(theirs), None) => [number(theirs / 1e6), "FAILED".to_string()],
            (None, _) => ["FAILED".to_string(), String::new()],
        };
        table.row([peer.peer.name().to_string()].into_iter().chain(row));
    }
    table.print();
}
