//! `tallyfold create`: a cohort with its settings.

use std::io::Write;

use serde::Serialize;
use tallyfold::Fold;

use super::exit::Failure;
use super::options::Options;
use super::output::{Output, say};
use super::settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A cohort that exists is left as it is: with the same settings that is success, with others a conflict. \
The fold and the class of lock are fixed when a cohort is made.

Examples:
  tallyfold create losses --fold log
  tallyfold create results --settings '{\"retain\":\"all\"}' --durable
  tallyfold create playbook --settings \\
    '{\"fold\":{\"kind\":\"top\",\"n\":10,\"rank\":[{\"field\":\"score\",\"order\":\"desc\"}]}}'")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// How records become entries: latest, merge, sum, top, series or log [default: latest]. Those with parameters of their own
    /// take them in --settings
    #[arg(long, value_name = "FOLD", value_parser = fold_name)]
    fold: Option<String>,

    /// The size that a segment of the journal grows to, in bytes
    #[arg(long, value_name = "N")]
    segment_bytes: Option<u64>,

    /// Sync every append before it returns
    #[arg(long)]
    durable: bool,

    /// The settings as cohort.json holds them, or @FILE to read them from a file; the other options override them
    #[arg(long, value_name = "JSON|@FILE")]
    settings: Option<String>,
}

/// A name that names a fold. Whether it lacks parameters is seen with the settings.
pub(super) fn fold_name(name: &str) -> Result<String, tallyfold::Error> {
    match Fold::NAMES.contains(&name) {
        true => Ok(name.into()),
        false => Fold::from_name(name).map(|fold| fold.name().into()),
    }
}

#[derive(Serialize)]
struct Created<'a> {
    cohort: &'a str,
    fold: &'a str,
    path: String,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut settings = settings::from_arguments(args.settings.as_deref(), args.fold.as_deref())?;
    if let Some(bytes) = args.segment_bytes {
        settings = settings.segment_bytes(bytes);
    }
    if args.durable {
        settings = settings.durable(true);
    }
    let cohort = options.make_store()?.create(&args.cohort, settings)?;
    let (fold, path) = (cohort.settings().fold().name(), cohort.path().display().to_string());
    if options.json {
        let mut out = Output::new();
        out.json(&Created { cohort: cohort.name(), fold, path })?;
        out.flush()?;
    } else {
        say(format!("the cohort {:?} is there, with the fold {fold}, in {path}", cohort.name()));
    }
    Ok(())
}
