//! The tables about appends: written and durable, by processes and by threads, one by one and in batches.

use crate::Result;
use crate::bench::Bench;
use crate::cell::{Cell, Load};
use crate::histogram::COLUMNS;
use crate::markdown::{self, Table, number, ratio};
use crate::peers::{BARE, FLOOR, LMDB, OKAYWAL, PEERS, Peer, Promise, SQLITE, TALLYFOLD};

/// The records of a batch in the table about batches.
const BATCH: usize = 100;
const THREADS: u32 = 8;

pub fn buffered(bench: &Bench) -> Result<()> {
    markdown::heading("Append, written");
    let loads = [1, 2, 4, 16, 64].map(|processes| Load { processes, ..Load::one(Promise::Written) });
    matrix(bench, &PEERS, &loads)
}

pub fn durable(bench: &Bench) -> Result<()> {
    markdown::heading("Append, durable");
    let loads = [1, 4, 16, 64].map(|processes| Load { processes, ..Load::one(Promise::Durable) });
    matrix(bench, &PEERS, &loads)
}

pub fn threads(bench: &Bench) -> Result<()> {
    markdown::heading("Append, written, by the threads of one process");
    matrix(bench, &PEERS, &[Load { threads: THREADS, ..Load::one(Promise::Written) }])?;
    markdown::heading("Append, durable, by the threads of one process");
    let peers = [TALLYFOLD, SQLITE, LMDB, BARE, FLOOR, OKAYWAL];
    matrix(bench, &peers, &[Load { threads: THREADS, ..Load::one(Promise::Durable) }])
}

pub fn batches(bench: &Bench) -> Result<()> {
    markdown::heading("Append, written, a hundred records at once");
    let loads = [1, 4].map(|processes| Load { processes, batch: BATCH, ..Load::one(Promise::Written) });
    matrix(bench, &PEERS, &loads)
}

impl Load {
    fn one(promise: Promise) -> Load {
        Load { promise, processes: 1, threads: 1, batch: 1 }
    }

    fn writers(self) -> u32 {
        self.processes * self.threads
    }
}

/// Every competitor under every load, the competitors of one load directly one after another, in another order each run.
fn matrix(bench: &Bench, peers: &[&'static dyn Peer], loads: &[Load]) -> Result<()> {
    let mut rows: Vec<Vec<Cell>> =
        loads.iter().map(|load| peers.iter().map(|peer| Cell::new(*peer, *load)).collect()).collect();
    for run in 0..bench.runs {
        for cells in &mut rows {
            for turn in 0..peers.len() {
                let cell = &mut cells[(turn + run) % peers.len()];
                bench.progress(&format!(
                    "run {}, {} writers, {}",
                    run + 1,
                    cell.load.writers(),
                    cell.peer.name()
                ));
                cell.run(bench);
            }
        }
    }
    print_throughput(&rows);
    print_details(&rows);
    Ok(())
}

fn print_throughput(rows: &[Vec<Cell>]) {
    markdown::paragraph(
        "Thousands of records per second, all writers together; in brackets how many times that tallyfold writes.",
    );
    let names = rows[0].iter().map(|cell| cell.peer.name());
    let mut table = Table::new(["writers"].into_iter().chain(names));
    for cells in rows {
        let ours = cells[0].per_second();
        let figures = cells.iter().enumerate().map(|(column, cell)| match (cell.per_second(), ours) {
            (None, _) => "FAILED".to_string(),
            (Some(theirs), Some(ours)) if column > 0 => {
                format!("{} ({})", number(theirs / 1e3), ratio(ours, theirs))
            }
            (Some(theirs), _) => number(theirs / 1e3),
        });
        table.row([cells[0].load.writers().to_string()].into_iter().chain(figures));
    }
    table.print();
}

fn print_details(rows: &[Vec<Cell>]) {
    markdown::paragraph(
        "How long an append took, and how much the slowest writer got done of what the fastest did.",
    );
    let columns = ["", "writers", "slowest / fastest"].into_iter().chain(COLUMNS);
    let mut table = Table::new(columns);
    for cell in rows.iter().flatten() {
        let fairness = match cell.slowest_to_fastest() {
            None => "FAILED".to_string(),
            Some(share) => format!("{share:.2}"),
        };
        let row = [cell.peer.name().to_string(), cell.load.writers().to_string(), fairness];
        table.row(row.into_iter().chain(cell.latencies().columns()));
    }
    table.print();
}
