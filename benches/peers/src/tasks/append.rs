//! A process of writers: it attaches, waits for the common start, and appends until the time is over.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::children::answer;
use crate::histogram::{Histogram, Recorder};
use crate::peers::{self, Append, Promise};
use crate::record::{self, Text};

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub peer: String,
    pub dir: PathBuf,
    pub promise: Promise,
    /// The number of the first writer.
    pub first: u32,
    /// Writers in this process, each in a thread of its own.
    pub threads: u32,
    /// Records that are appended, and acknowledged, at once.
    pub batch: usize,
    pub seconds: f64,
}

/// What one writer has done.
#[derive(Serialize, Deserialize)]
pub struct Lane {
    pub worker: u32,
    /// Records that must be there now.
    pub acknowledged: u64,
    /// Those acknowledged between the common start and the common end.
    pub in_time: u64,
    /// How long each append took since the one before.
    pub latencies: Histogram,
}

/// The moment of a clock that all processes share.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Start {
    monotonic: Duration,
}

impl Start {
    /// So much later than now.
    pub fn after(delay: Duration) -> Start {
        Start { monotonic: monotonic() + delay }
    }

    fn instant(self) -> Instant {
        Instant::now() + self.monotonic.saturating_sub(monotonic())
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A writer that has appended its first batch: so it is attached, whatever its store does about that.
struct Attached {
    writer: Box<dyn Append>,
    worker: u32,
    texts: Vec<Text>,
    acknowledged: u64,
}

impl Task {
    /// Says that it is ready, waits for the start, answers with its lanes, and waits for its end.
    pub fn run(&self) -> Result<()> {
        let log = peers::named(&self.peer)?.open(&self.dir, self.promise)?;
        let mut writers = Vec::new();
        for worker in self.first..self.first + self.threads {
            let texts = Text::batch(worker, self.batch);
            let mut attached = Attached { writer: log.writer()?, worker, texts, acknowledged: 0 };
            attached.append()?;
            writers.push(attached);
        }
        answer(&())?;

        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let start: Start = serde_json::from_str(&line)?;
        let (start, duration) = (start.instant(), Duration::from_secs_f64(self.seconds));
        let lanes: Result<Vec<Lane>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                writers.into_iter().map(|writer| scope.spawn(move || writer.run(start, duration))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a writer panicked")?).collect()
        });
        answer(&lanes?)?;
        // With its store open, until it is killed: what is acknowledged must survive that.
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(())
    }
}

impl Attached {
    fn append(&mut self) -> Result<()> {
        record::number(&mut self.texts, self.acknowledged);
        self.writer.append(&self.texts)?;
        self.acknowledged += self.texts.len() as u64;
        Ok(())
    }

    fn run(mut self, start: Instant, duration: Duration) -> Result<Lane> {
        let mut recorder = Recorder::new();
        let mut in_time = 0;
        std::thread::sleep(start.saturating_duration_since(Instant::now()));
        let mut before = Instant::now();
        loop {
            self.append()?;
            let now = Instant::now();
            recorder.add(now - before);
            if now > start + duration {
                break;
            }
            in_time += self.texts.len() as u64;
            before = now;
        }
        Ok(Lane {
            worker: self.worker,
            acknowledged: self.acknowledged,
            in_time,
            latencies: recorder.finish(),
        })
    }
}
