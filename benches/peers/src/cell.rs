//! One cell of a table about appends: one competitor, one number of writers, one run. And what several runs come to.

use std::fs;
use std::time::Duration;

use crate::bench::{Bench, median};
use crate::children::{Children, Role};
use crate::histogram::Histogram;
use crate::peers::{Peer, Promise};
use crate::record::Tally;
use crate::tasks::append::{Lane, Start, Task};

/// From "all are attached" to the common start: every process must have heard of it by then.
const LEAD: Duration = Duration::from_millis(50);
/// A process that says nothing for so long, beyond the time it has, hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many write, and how.
#[derive(Clone, Copy)]
pub struct Load {
    pub promise: Promise,
    pub processes: u32,
    pub threads: u32,
    pub batch: usize,
}

/// What one run has shown.
struct Run {
    per_second: f64,
    slowest_to_fastest: f64,
    latencies: Histogram,
}

/// What all runs of a cell have shown, or why one of them failed.
pub struct Cell {
    pub peer: &'static dyn Peer,
    pub load: Load,
    runs: Vec<Run>,
    pub failure: Option<String>,
}

impl Cell {
    pub fn new(peer: &'static dyn Peer, load: Load) -> Cell {
        Cell { peer, load, runs: Vec::new(), failure: None }
    }

    /// One more run. What fails is kept, and told in the end.
    pub fn run(&mut self, bench: &Bench) {
        match self.measure(bench) {
            Ok(run) => self.runs.push(run),
            Err(e) => {
                let Load { processes, threads, batch, .. } = self.load;
                let name = self.peer.name();
                bench.fail(&format!("{name}, {processes}×{threads} writers, batches of {batch}: {e}"));
                self.failure = Some(e.to_string());
            }
        }
    }

    fn measure(&self, bench: &Bench) -> crate::Result<Run> {
        let dir = bench.fresh_directory("cell")?;
        self.peer.make(&dir)?;
        let Load { promise, processes, threads, batch } = self.load;
        let tasks = (0..processes).map(|process| {
            Role::Append(Task {
                peer: self.peer.name().to_string(),
                dir: dir.clone(),
                promise,
                first: process * threads,
                threads,
                batch,
                seconds: bench.seconds,
            })
        });
        let mut children = Children::spawn(tasks)?;
        children.answers::<()>(PATIENCE)?;
        children.tell(&Start::after(LEAD))?;
        let lanes: Vec<Vec<Lane>> = children.answers(PATIENCE + Duration::from_secs_f64(bench.seconds))?;
        drop(children);
        let mut lanes: Vec<Lane> = lanes.into_iter().flatten().collect();
        lanes.sort_by_key(|lane| lane.worker);

        let acknowledged: Vec<u64> = lanes.iter().map(|lane| lane.acknowledged).collect();
        let mut tally = Tally::new(&acknowledged);
        self.peer.read(&dir, &mut |record| tally.see(record))?;
        tally.verdict()?;
        fs::remove_dir_all(&dir)?;

        let in_time = || lanes.iter().map(|lane| lane.in_time);
        let (slowest, fastest) = (in_time().min().unwrap_or(0), in_time().max().unwrap_or(0));
        let mut latencies = Histogram::default();
        lanes.iter().for_each(|lane| latencies.merge(&lane.latencies));
        Ok(Run {
            per_second: in_time().sum::<u64>() as f64 / bench.seconds,
            slowest_to_fastest: slowest as f64 / fastest.max(1) as f64,
            latencies,
        })
    }

    /// Records per second, in the median of the runs; `None` if one failed.
    pub fn per_second(&self) -> Option<f64> {
        self.median(|run| run.per_second)
    }

    /// What the slowest writer got done, as a share of what the fastest did.
    pub fn slowest_to_fastest(&self) -> Option<f64> {
        self.median(|run| run.slowest_to_fastest)
    }

    /// Of all appends of all runs.
    pub fn latencies(&self) -> Histogram {
        let mut all = Histogram::default();
        self.runs.iter().for_each(|run| all.merge(&run.latencies));
        all
    }

    fn median(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        match self.failure {
            Some(_) => None,
            None => median(self.runs.iter().map(of)),
        }
    }
}
