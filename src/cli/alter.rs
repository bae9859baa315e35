//! `tallyfold alter`: other settings for a cohort that exists.

use serde::Serialize;
use tallyfold::Settings;

use super::exit::Failure;
use super::options::Options;
use super::output::{Output, say};
use super::settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The settings named are changed, the others stay; null gives one its default back. The fold and the class of lock are \
fixed: see `tallyfold refold`. What retain says counts from the next compaction on, in running programs too; every other \
setting counts in a program when it next opens the cohort.

Example:
  tallyfold alter index --settings '{\"retain\":{\"records\":100000}}'")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The settings to change, as cohort.json holds them, or @FILE to read them from a file
    #[arg(long, value_name = "JSON|@FILE")]
    settings: String,
}

#[derive(Serialize)]
struct Altered<'a> {
    cohort: &'a str,
    settings: &'a Settings,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let given = settings::text(&args.settings)?;
    let cohort = options.cohort(&args.cohort)?;
    let new = cohort.alter(|old| old.with_json(&given))?;
    if options.json {
        let mut out = Output::new();
        out.json(&Altered { cohort: cohort.name(), settings: &new })?;
        std::io::Write::flush(&mut out)?;
    } else if new == *cohort.settings() {
        say(format!("the cohort {:?} has these settings already", cohort.name()));
    } else {
        say(format!("the cohort {:?} has other settings now", cohort.name()));
    }
    Ok(())
}
