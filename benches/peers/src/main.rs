//! tallyfold beside other ways to let many processes write one file, measured fairly: `make bench`.
//!
//! Writers are processes of their own that start at one moment and write for a fixed time; each append is acknowledged before
//! the next one. Everything acknowledged is read back and counted, and a competitor that has lost, repeated or changed a record
//! has failed. All competitors of a cell run directly one after another, so that the noise of the machine hits all alike.
#![allow(
    clippy::disallowed_methods,
    reason = "the rules about files are tallyfold's; its competitors have their own"
)]

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod cell;
mod children;
mod histogram;
mod machine;
mod markdown;
mod peers;
mod record;
mod tables;
mod tasks;

use bench::{Bench, Name, Options};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Measures tallyfold beside its competitors, and prints the tables as Markdown
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// What this process does for the one that started it
    #[arg(long, hide = true)]
    role: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.role {
        Some(role) => children::Role::play(role).map(|()| true),
        None => run(cli.options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("tallyfold-peers: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is asked for. `false`: something has failed.
fn run(options: Options) -> Result<bool> {
    type Run = fn(&Bench) -> Result<()>;
    let tables: [(Name, Run); 10] = [
        (Name::Buffered, tables::append::buffered),
        (Name::Durable, tables::append::durable),
        (Name::Threads, tables::append::threads),
        (Name::Batches, tables::append::batches),
        (Name::Scan, tables::scan::run),
        (Name::Keyed, tables::keyed::run),
        (Name::Update, tables::update::run),
        (Name::Stall, tables::stall::run),
        (Name::Growth, tables::growth::run),
        (Name::Compaction, tables::compaction::run),
    ];
    let bench = Bench::new(options)?;
    introduce(&bench);
    for (name, table) in tables {
        if bench.wants(name) {
            bench.attempt(&format!("{name:?}"), || table(&bench));
        }
    }
    let failures = bench.failures();
    if !failures.is_empty() {
        markdown::heading("Failures");
        failures.iter().for_each(|failure| println!("- {failure}"));
    }
    Ok(failures.is_empty())
}

fn introduce(bench: &Bench) {
    println!("# tallyfold beside others\n");
    markdown::paragraph(&machine::describe(bench.directory()));
    markdown::paragraph(&format!(
        "Medians of {} runs, {} s of writing for each cell; latencies are of all runs together, to 3 %. \
         Records are JSON of {} bytes. Every acknowledged record was read back and counted. tallyfold checks that a record is \
         JSON, and keeps a CRC and a time with it; `raw bytes` leaves out the first. The others do not check JSON; LMDB and \
         the files keep no checksums.",
        bench.runs,
        bench.seconds,
        record::BYTES
    ));
}
