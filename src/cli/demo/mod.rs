//! `tallyfold demo`: many processes train and write at once, one is killed, and nothing is lost.

mod check;
mod crew;
mod iris;
mod plot;
mod report;
mod train;
mod worker;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter;
use std::panic;
use std::path::Path;
use std::process;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tallyfold::{Cohort, Compaction, EntryRef, Record, Retain, Settings, Severity, Store};

use super::exit::{self, Failure};
use super::interrupt;
use super::options::Options;
use super::output::Output;
use check::{Known, Outcome};
use crew::{Heard, Worker};
use train::Config;

pub(crate) use worker::{WorkerArgs, work};

/// Where the demo happens unless a store is named.
const STORE: &str = "tallyfold-demo";

/// The cohorts: every step of every run, and how each run stands.
const METRICS: &str = "demo-metrics";
const INDEX: &str = "demo-index";

/// What the runs are doing.
const STAGE: &str = "TRAINING";

/// Small, so that the journals rotate even in so short a time.
const SEGMENT_BYTES: u64 = 64 << 10;

/// How long the compactor rests between two rounds.
const PAUSE: Duration = Duration::from_millis(20);

/// The worker that is killed would have so many times more to do. It cannot get that far before we hear of the middle: the pipe
/// between us is soon full, and then it waits.
const FOR_THE_KILLED: u32 = 100;

/// How many faults are told.
const FAULTS_TOLD: usize = 5;

/// Learning rate, l2 penalty and batch size of the runs; when they run out, they are used again with other seeds.
const CONFIGS: [(f64, f64, usize); 8] = [
    (0.3, 0.0, 8),
    (0.1, 0.0, 8),
    (0.03, 0.0, 8),
    (0.01, 0.0, 8),
    (0.3, 0.01, 16),
    (0.1, 0.01, 16),
    (0.03, 0.001, 16),
    (0.003, 0.0, 8),
];

/// Train small models in many processes at once, kill one of them, and count what is lost
///
/// Each process learns to tell iris flowers apart, with settings of its own, and appends every step to one journal and every
/// epoch to another, while both are being compacted. What is acknowledged is noted outside of the store, and in the end looked
/// for in it. Takes a few seconds, and adds to what earlier runs have left.
#[derive(Debug, clap::Args)]
#[command(after_help = "The store is ./tallyfold-demo, unless --store names another.\n\n\
                        Example:\n  tallyfold demo --workers 16")]
pub(crate) struct Args {
    /// How many processes write at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=64))]
    workers: u8,
    /// How many times each of them sees all flowers
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let story = Story { aside: options.json };
    let store = Store::open(options.store.as_deref().unwrap_or(Path::new(STORE)))?;
    let metrics = store.create(METRICS, Settings::log().segment_bytes(SEGMENT_BYTES))?;
    let index = store.create(INDEX, Settings::latest().retain(Retain::All).segment_bytes(SEGMENT_BYTES))?;

    let mut workers = start(args, store.path(), story)?;
    let heard = follow(&mut workers, [&metrics, &index], story);
    // Ctrl-C ends the workers too, and that is not for them to be blamed.
    interrupt::check()?;
    let heard = heard?;
    let killed = workers.iter().find(|worker| worker.is_doomed()).map_or("", |worker| &worker.run);
    let steps = examine(&metrics, heard.iter().map(|heard| heard.metrics.as_slice()), killed);
    let mut epochs = examine(&index, heard.iter().map(|heard| heard.index.as_slice()), &index_key(killed));
    match entries(&index) {
        Ok(entries) => epochs.faults.extend(check::view(&epochs.written, &entries)),
        Err(e) => epochs.faults.push(e.to_string()),
    }
    if steps.unsaid && epochs.unsaid {
        epochs.faults.push(format!("{killed} wrote two records that were not acknowledged"));
    }
    let faults = [steps.faults, epochs.faults].concat();

    let runs = report::runs(&workers, &steps.written, &epochs.written);
    let (acknowledged, found) = (steps.acknowledged + epochs.acknowledged, steps.found + epochs.found);
    let lost = acknowledged - found;
    if options.json {
        let mut out = Output::new();
        out.json(&Told { acknowledged, found, lost, faults: &faults, runs: &runs })?;
        out.flush()?;
    } else {
        story.tell(&report::table(&runs))?;
        story.tell(&report::plot(&runs))?;
        story.tell(&report::whereabouts(&store, &index, &runs))?;
        story.tell(&format!("{acknowledged} acknowledged, {found} found, {lost} lost\n"))?;
    }
    if faults.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = faults.iter().take(FAULTS_TOLD).map(|fault| format!("\n  {fault}")).collect();
    Err(Failure::new(exit::FAILURE, format!("{} faults, such as:{}", faults.len(), told.concat())))
}

/// Starts the workers. The one in the middle is to be killed.
fn start(args: &Args, store: &Path, story: Story) -> Result<Vec<Worker>, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let id = format!("demo-{now:x}-{}", process::id());
    let mut workers = Vec::new();
    for (number, (learning_rate, l2, batch)) in (0..args.workers).zip(CONFIGS.into_iter().cycle()) {
        let config = Config { learning_rate, l2, batch, seed: number.into() };
        let run = format!("{id}-{number:02}");
        let (epochs, kill_after) = match number == args.workers / 2 {
            true => (args.epochs * FOR_THE_KILLED, Some(args.epochs.div_ceil(2))),
            false => (args.epochs, None),
        };
        workers.push(Worker::start(store, run, &config, epochs, kill_after, story)?);
    }
    let processes: Vec<String> = workers.iter().map(|worker| worker.id().to_string()).collect();
    story.tell(&format!("{} processes: {}\n", workers.len(), processes.join(" ")))?;
    Ok(workers)
}

/// Lets the workers work, listens to all of them, and compacts meanwhile.
fn follow(workers: &mut [Worker], cohorts: [&Cohort; 2], story: Story) -> Result<Vec<Heard>, Failure> {
    thread::scope(|scope| {
        let (working, done) = mpsc::channel();
        let compactor = scope.spawn(move || compact(cohorts, &done));
        workers.iter_mut().for_each(Worker::begin);
        let listeners: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| worker.listen())).collect();
        let heard: Vec<_> = listeners.into_iter().map(join).collect();
        drop(working);
        let compacted = join(compactor)?;
        let heard = heard.into_iter().collect::<Result<_, _>>()?;
        story.tell(&compacted)?;
        Ok(heard)
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Compacts until the workers have ended, and once more. Says how often.
fn compact(cohorts: [&Cohort; 2], done: &Receiver<()>) -> Result<String, Failure> {
    let (mut seals, mut snapshots) = (0, 0);
    loop {
        // Asked before the round: so the last one comes after the last record.
        let last = done.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected);
        for cohort in cohorts {
            match cohort.compact() {
                Ok(Compaction::Sealed { .. }) => seals += 1,
                Ok(Compaction::Folded { .. }) => snapshots += 1,
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if last {
            return Ok(format!(
                "compacted meanwhile: {seals} × {METRICS} (seals), {snapshots} × {INDEX} (snapshots)\n\n"
            ));
        }
    }
}

/// Looks for what was acknowledged in a cohort, and for damage.
fn examine<'a>(cohort: &Cohort, said: impl Iterator<Item = &'a [Known]>, killed: &str) -> Outcome {
    let records: Box<dyn Iterator<Item = tallyfold::Result<Record>>> = match cohort.cursor(1) {
        Ok(cursor) => Box::new(cursor),
        Err(e) => Box::new(iter::once(Err(e))),
    };
    let journal = records.map(|record| record.map(|record| Known::from_journal(cohort.name(), &record)));
    let mut outcome = check::journal(said, journal, killed);
    match cohort.verify() {
        Ok(report) => {
            let damage = report.findings.into_iter().filter(|finding| finding.severity == Severity::Damage);
            outcome.faults.extend(damage.map(|finding| finding.what));
        }
        Err(e) => outcome.faults.push(e.to_string()),
    }
    for fault in &mut outcome.faults {
        *fault = format!("{}: {fault}", cohort.name());
    }
    outcome
}

/// The entries of the index.
fn entries(index: &Cohort) -> tallyfold::Result<BTreeMap<String, Known>> {
    let known = |(key, entry): (Cow<'_, str>, EntryRef<'_>)| {
        let (key, seq, json) = (key.into_owned(), entry.seq(), entry.json().to_string());
        (key.clone(), Known { cohort: index.name().to_string(), seq, key, json })
    };
    index.view()?.iter().map(|entry| entry.map(known)).collect()
}

fn index_key(run: &str) -> String {
    format!("{run}:{STAGE}")
}

/// What the demo tells while it runs.
#[derive(Clone, Copy, Debug)]
struct Story {
    /// On standard error, because standard output is for a program.
    aside: bool,
}

impl Story {
    /// Shows it as soon as it is known.
    fn tell(self, text: &str) -> Result<(), Failure> {
        if self.aside {
            // Where nobody listens there is nothing to be done.
            let _ = io::stderr().write_all(text.as_bytes());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// What has become of it all, for programs.
#[derive(Serialize)]
struct Told<'a> {
    acknowledged: usize,
    found: usize,
    lost: usize,
    faults: &'a [String],
    runs: &'a [report::Run],
}
