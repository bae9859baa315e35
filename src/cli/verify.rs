//! `tallyfold verify`: every byte of a cohort, or of all of them.

use std::fmt::Write as _;
use std::io::Write;

use serde::Serialize;
use tallyfold::{Finding, Report};

use super::cohorts::{Bad, each};
use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Escaped, Output};
use super::progress::Waiting;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is changed. A torn tail, which a crash leaves, is told and no failure: the next append cuts it off.

Example:
  tallyfold verify --json | jq 'select(.damaged)'")]
pub(crate) struct Args {
    /// The cohort's name; without it every cohort
    cohort: Option<String>,
}

#[derive(Serialize)]
struct Verified<'a> {
    cohort: &'a str,
    damaged: bool,
    first_seq: u64,
    last_seq: u64,
    frames: u64,
    segments: u64,
    entries: u64,
    bundles: u64,
    findings: Vec<Found<'a>>,
}

/// A finding, for programs.
#[derive(Serialize)]
pub(super) struct Found<'a> {
    severity: &'a str,
    what: &'a str,
    path: Option<String>,
    segment: Option<u64>,
    offset: Option<u64>,
    seq: Option<u64>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut out = Output::new();
    let mut damaged = Vec::new();
    let verified = each(
        options,
        args.cohort.as_deref(),
        |cohort| {
            let _waiting = Waiting::new("verifying");
            Ok(cohort.verify()?)
        },
        |name, report| {
            match (options.json, &report) {
                (true, Ok(report)) => out.json(&verified(name, report))?,
                (true, Err(failure)) => out.json(&Bad { cohort: name, error: &failure.message })?,
                (false, Ok(report)) => out.write_all(readable(name, report).as_bytes())?,
                (false, Err(failure)) => {
                    writeln!(out, "{}: error: {}", Escaped(name), Escaped(&failure.message))?;
                }
            }
            if report.is_ok_and(|report| report.is_damaged()) {
                damaged.push(format!("{name:?}"));
            }
            Ok(out.flush()?)
        },
    );
    match verified {
        // Our reader went away: that ends it quietly.
        Err(failure) if failure.code == exit::OK => Err(failure),
        _ if !damaged.is_empty() => Err(Failure::new(
            exit::CORRUPTION,
            format!("damaged: {}; see what `tallyfold repair` would keep", damaged.join(", ")),
        )),
        other => other,
    }
}

fn verified<'a>(name: &'a str, report: &'a Report) -> Verified<'a> {
    Verified {
        cohort: name,
        damaged: report.is_damaged(),
        first_seq: report.records.0,
        last_seq: report.records.1,
        frames: report.frames,
        segments: report.segments,
        entries: report.entries,
        bundles: report.bundles,
        findings: report.findings.iter().map(found).collect(),
    }
}

pub(super) fn found(finding: &Finding) -> Found<'_> {
    Found {
        severity: finding.severity.name(),
        what: &finding.what,
        path: finding.path.as_ref().map(|path| path.display().to_string()),
        segment: finding.segment,
        offset: finding.offset,
        seq: finding.seq,
    }
}

/// A line that sums up, and one for each finding.
fn readable(name: &str, report: &Report) -> String {
    let name = Escaped(name);
    let word = if report.is_damaged() { "damaged" } else { "whole" };
    let records = match report.records {
        (0, _) => "no records in the journal".to_string(),
        // Damage ends the check of the journal, so that the last one is not known.
        (first, 0) => format!("records from {first}"),
        (first, last) => format!("records {first} to {last}"),
    };
    let bundles = match report.bundles {
        0 => String::new(),
        n => format!(", {n} bundles"),
    };
    let mut lines = format!(
        "{name}: {word}: {records}, {} frames in {} segments, {} entries in the snapshot{bundles}\n",
        report.frames, report.segments, report.entries
    );
    for finding in &report.findings {
        let mut place = Vec::new();
        place.extend(finding.path.as_ref().map(|path| path.display().to_string()));
        place.extend(finding.segment.map(|n| format!("segment {n}")));
        place.extend(finding.offset.map(|n| format!("offset {n}")));
        place.extend(finding.seq.map(|n| format!("seq {n}")));
        let (severity, what, place) = (finding.severity.name(), Escaped(&finding.what), place.join(", "));
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}: {severity}: {what} [{}]", Escaped(&place));
    }
    lines
}
