//! `tallyfold stress`: many processes write at once, are killed, and what was acknowledged is looked for.

mod board;
mod check;
mod crew;
mod histogram;
mod plan;
mod plant;
mod reader;
mod report;
mod round;
mod scratch;
mod target;
mod worker;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use clap::ValueEnum;

use super::exit::{self, Failure};
use super::interrupt;
use super::options::{self, Options};
use super::output::say;
use plan::{Load, Plan};
use plant::Plant;
use round::{Round, Terms};
use scratch::Scratch;
use target::Lock;

pub(crate) use worker::{WorkerArgs, work};

/// The most numbers of the board for acknowledgements: a gigabyte.
const MOST_ACTS: u64 = 1 << 27;

/// Try on this machine and directory whether anything is lost when processes write at once, and are killed
///
/// Processes append, append batches and add to counters, while others read and compact; with --kill9 some are killed by SIGKILL
/// and replaced. Each notes what it was acknowledged outside of the store. In the end all is read back: every acknowledged record
/// must be there once, with the seq that was told and the content that was sent, and nothing else; seqs have no gaps, entries are
/// what their records fold into, and `verify` finds nothing. Readers check that each view is a prefix of the order that holds all
/// that was acknowledged before.
///
/// It works in cohorts of its own, in the store that --store names; if that is a directory without a store, or is not given, in a
/// store of its own in that directory or the current one. They are removed in the end, however it ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --lock, --flock and --no-locking both classes of lock are tried, one after the other, as far as the file system has \
them. With more than one of these options each is a column of the table.

A JSON file that is read, changed and written anew without a lock loses records: that is what --no-locking is for, and no \
failure. For all others the exit code is 0 if all that was acknowledged is there, and 5 if not. A lock that was not had in time \
(--timeout) is counted, and tried again.

With --json one object: figures of all runs together, and each run by itself in `runs`. Latencies are in microseconds; records \
per second are those acknowledged.

Examples:
  tallyfold stress --processes 4 --appends 500 --kill9
  tallyfold stress --processes 2 --appends 100 --lock file --flock --no-locking
  tallyfold stress --load appends --appends 5000 --json | jq '.runs[] | {lock, per_second}'
  tallyfold stress --processes 2 --appends 500 --plant lost || echo 'it was found'")]
pub(crate) struct Args {
    /// How many processes write at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    processes: u64,

    /// How many appends each of them makes; a batch counts as one, and so does an update
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=MOST_ACTS))]
    appends: u64,

    /// Kill processes by SIGKILL at random moments, and start others in their place
    #[arg(long)]
    kill9: bool,

    /// Sync each append before it is acknowledged
    #[arg(long)]
    durable: bool,

    /// Only this class of lock
    #[arg(long, value_name = "CLASS", value_enum)]
    lock: Option<Class>,

    /// A JSON file that is read, changed and written anew under flock
    #[arg(long)]
    flock: bool,

    /// A JSON file that is read, changed and written anew without any lock
    #[arg(long)]
    no_locking: bool,

    /// What is appended
    #[arg(long, value_enum, default_value_t = Load::Mixed)]
    load: Load,

    /// How many processes read and check meanwhile
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=64))]
    readers: u64,

    /// Begin no append of a run after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = options::seconds)]
    seconds: Duration,

    /// Decides what is appended, and after how many appends somebody is killed [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Make a fault on purpose before the check, to see it found; the exit code is 5
    #[arg(long, value_name = "FAULT", value_enum)]
    plant: Option<Plant>,
}

/// A class of lock that a cohort can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Class {
    Memory,
    File,
}

impl Args {
    /// What is tried, in this order.
    fn locks(&self) -> Vec<Lock> {
        let both = self.lock.is_none() && !self.flock && !self.no_locking;
        let named = [
            (both || self.lock == Some(Class::Memory), Lock::Memory),
            (both || self.lock == Some(Class::File), Lock::File),
            (self.flock, Lock::Flock),
            (self.no_locking, Lock::None),
        ];
        named.into_iter().filter(|(wanted, _)| *wanted).map(|(_, lock)| lock).collect()
    }
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    if args.processes.saturating_mul(args.appends) > MOST_ACTS {
        let what = format!("--processes times --appends must be at most {MOST_ACTS}");
        return Err(Failure::new(exit::USAGE, what));
    }
    let locks = args.locks();
    if args.plant.is_some() && locks.iter().all(|lock| lock.class().is_none()) {
        return Err(Failure::new(exit::USAGE, "--plant is for cohorts, and not for a JSON file"));
    }
    let plan = Plan {
        seed: args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        lanes: args.processes,
        acts: args.appends,
        load: args.load,
        durable: args.durable,
    };
    let scratch = Scratch::make(options.store.as_deref(), &locks)?;
    let terms = Terms {
        plan,
        readers: args.readers,
        kill: args.kill9,
        timeout: options.timeout,
        time: args.seconds,
        plant: args.plant,
        scratch: &scratch,
    };
    let rounds = rounds(&terms, &locks, args.lock.is_none())?;
    let shown = report::show(&terms, &rounds, options.json);
    drop(scratch);
    shown?;
    if !rounds.iter().all(Round::is_clean) {
        return Err(Failure::new(exit::CORRUPTION, report::faults(&rounds)));
    }
    match rounds.iter().map(|round| round.hung).sum() {
        0 => Ok(()),
        hung => Err(Failure::new(exit::FAILURE, format!("{hung} processes did not end in time"))),
    }
}

/// `any`: a class of lock that the file system does not have is left out, as long as there is another.
fn rounds(terms: &Terms<'_>, locks: &[Lock], any: bool) -> Result<Vec<Round>, Failure> {
    let mut rounds = Vec::new();
    for lock in locks {
        interrupt::check()?;
        match round::run(terms, *lock) {
            Err(failure) if any && failure.code == exit::UNSAFE_FILE_SYSTEM && *lock == Lock::Memory => {
                say(format!("the class memory is left out: {}", failure.message));
            }
            round => rounds.push(round?),
        }
    }
    Ok(rounds)
}
