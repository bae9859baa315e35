//! `tallyfold bundle`: files and a value under a key, as one act.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::value::RawValue;
use tallyfold::{Bundle, BundleFile, Cohort, Seq};

use super::append;
use super::exit::{self, Failure};
use super::options::{self, Options};
use super::output::{Escaped, Output, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With files they are committed, durably, with the value (null without one): a later bundle of the key replaces all of \
it at once, and a crash leaves the old bundle or the new one. Without files nothing is changed. Either way the path \
of the newest version's directory is printed; `latest` beside it leads there.

Examples:
  tallyfold bundle models --key run-1 --value '{\"auc\":0.61}' weights.pt conf=config.yaml
  tallyfold bundle models --key run-1 --verify
  tallyfold bundle models --clean")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The key of the bundle
    #[arg(long, value_name = "K", required_unless_present = "clean")]
    key: Option<String>,

    /// The JSON value that is committed with the files
    #[arg(long, value_name = "JSON", requires = "files")]
    value: Option<String>,

    /// How many older versions are kept, 1 unless said
    #[arg(long, value_name = "N", requires = "files")]
    keep: Option<usize>,

    /// Print the versions that are kept, newest first
    #[arg(long, conflicts_with = "files")]
    list: bool,

    /// Read every byte of the newest version and compare it with what was committed
    #[arg(long, conflicts_with = "files")]
    verify: bool,

    /// Remove versions of keys that have no bundle any more, and what processes left that died
    #[arg(long, conflicts_with_all = ["files", "key", "list", "verify"])]
    clean: bool,

    /// Files to be copied into the bundle, each under its own name or the one before '='
    #[arg(value_name = "[NAME=]FILE")]
    files: Vec<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    seq: Seq,
    version: &'a str,
    path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nonfinite: bool,
    value: &'a RawValue,
    previous: &'a [String],
    files: &'a [BundleFile],
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let (cohort, key) = match (&args.key, args.files.is_empty()) {
        (Some(key), false) => (append::open_or_make(options, &args.cohort, true)?, key),
        (Some(key), true) => (options.cohort(&args.cohort)?, key),
        (None, _) => {
            let cohort = options.cohort(&args.cohort)?;
            cohort.clean_bundles()?;
            return options::detach(&cohort);
        }
    };
    let bundle = match args.files.is_empty() {
        true => cohort.open_bundle(key)?.ok_or_else(|| {
            let what = format!("there is no bundle of the key {key:?} in the cohort {:?}", args.cohort);
            Failure::new(exit::NOT_FOUND, what)
        })?,
        false => commit(options, args, &cohort, key)?,
    };
    if args.verify {
        bundle.verify()?;
    }
    let mut out = Output::new();
    show(&mut out, options.json, args.list, &bundle)?;
    Ok(out.flush()?)
}

fn commit(options: &Options, args: &Args, cohort: &Cohort, key: &str) -> Result<Bundle, Failure> {
    let committed = fill(args, cohort, key);
    match committed {
        Ok(bundle) => {
            if let Some(e) = bundle.unfinished() {
                say(format!(
                    "committed; but older versions could not be seen to, which the next commit does: {e}"
                ));
            }
            if let Err(failure) = options::detach(cohort) {
                say(format!("the bundle was committed before, as seq {}", bundle.seq()));
                return Err(failure);
            }
            Ok(bundle)
        }
        Err(failure) => {
            options.detach_after(cohort, &failure);
            Err(failure)
        }
    }
}

fn fill(args: &Args, cohort: &Cohort, key: &str) -> Result<Bundle, Failure> {
    let value = args.value.as_deref().unwrap_or("null");
    let value: &RawValue = serde_json::from_str(value)
        .map_err(|e| Failure::new(exit::FAILURE, format!("the value is no JSON: {e}")))?;
    let mut new = cohort.bundle(key)?;
    if let Some(versions) = args.keep {
        new.keep(versions);
    }
    for file in &args.files {
        let (name, path) = match file.split_once('=') {
            Some((name, path)) => (name.to_string(), PathBuf::from(path)),
            None => {
                let path = PathBuf::from(file);
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (name.unwrap_or_default(), path)
            }
        };
        new.add_file(&name, path).map_err(|e| {
            // A file of the user that is missing is no store, cohort or key that is missing.
            let missing = e.is_not_found();
            let failure = Failure::from(e);
            if missing { Failure::new(exit::FAILURE, failure.message) } else { failure }
        })?;
    }
    Ok(new.commit(value)?)
}

fn show(out: &mut Output, json: bool, list: bool, bundle: &Bundle) -> Result<(), Failure> {
    let path = bundle.path();
    if json {
        let value: &RawValue = serde_json::from_str(bundle.json())
            .map_err(|e| Failure::new(exit::FAILURE, format!("the value cannot be read: {e}")))?;
        return Ok(out.json(&Shown {
            key: bundle.key(),
            seq: bundle.seq(),
            version: bundle.version(),
            path: path.to_string_lossy().into_owned(),
            nonfinite: bundle.nonfinite(),
            value,
            previous: bundle.previous(),
            files: bundle.files(),
        })?);
    }
    writeln!(out, "{}", Escaped(&path.to_string_lossy()))?;
    if list {
        for version in bundle.previous() {
            writeln!(out, "{}", Escaped(&path.with_file_name(version).to_string_lossy()))?;
        }
    }
    Ok(())
}
