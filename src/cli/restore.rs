//! `tallyfold restore`: a store, or a cohort, made of a backup.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use tallyfold::Backup;

use super::backup::{Watcher, ended};
use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Escaped, Output};
use super::progress::Progress;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --cohort a store is made at --store, where there must be nothing. With it the cohort is made in the store there is.

Every file is held against its length and CRC before anything can be seen. A restored cohort goes on behind its last record, in \
an epoch that the original does not come to: so what reads by (epoch, seq) can tell the two apart. It writes no mirror before \
`tallyfold alter` tells it to, for the original may still write its own.

Examples:
  tallyfold backup backup-store && tallyfold restore backup-store --store restored
  tallyfold backup backup-one index && tallyfold restore backup-one --cohort index --as index-again")]
pub(crate) struct Args {
    /// The backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Restore this cohort alone, into a store that exists
    #[arg(long, value_name = "COHORT")]
    cohort: Option<String>,

    /// The name of the restored cohort, which must be free; without it the old one
    #[arg(long = "as", value_name = "NAME", requires = "cohort")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Told<'a> {
    cohort: &'a str,
    seq: u64,
    epoch: u64,
    changed: Vec<String>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let backup = Backup::open(&args.dir)?;
    let mut out = Output::new();
    let mut watcher = Watcher::new(Progress::bytes("restoring", backup.bytes()));
    let restored = match &args.cohort {
        None => {
            let restored = backup.restore(options.path(), &mut |copied| watcher.told(copied));
            let restored = ended(watcher, restored).map_err(|failure| match failure.code {
                exit::CONFLICT => Failure::new(
                    failure.code,
                    format!("{}; or restore one cohort with --cohort", failure.message),
                ),
                _ => failure,
            })?;
            restored.1
        }
        Some(cohort) => {
            let store = options.store()?;
            let name = args.name.as_deref().unwrap_or(cohort);
            let restored = backup.restore_cohort(cohort, &store, name, &mut |copied| watcher.told(copied));
            vec![ended(watcher, restored)?]
        }
    };
    for cohort in &restored {
        if options.json {
            out.json(&Told {
                cohort: &cohort.cohort,
                seq: cohort.seq,
                epoch: cohort.epoch,
                changed: cohort.changed.clone(),
            })?;
            continue;
        }
        let (name, seq, epoch) = (Escaped(&cohort.cohort), cohort.seq, cohort.epoch);
        writeln!(out, "{name}: restored up to seq {seq}; it goes on in epoch {epoch}")?;
        for changed in &cohort.changed {
            writeln!(out, "{name}: {}", Escaped(changed))?;
        }
    }
    Ok(out.flush()?)
}
