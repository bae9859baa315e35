//! `tallyfold repair`: what is damaged, what a repair would cost, and with `--yes` the repair.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tallyfold::{KeyRange, RepairPlan, Repaired, SeqRange, Settings, Store, WentBack};

use super::cohorts::Bad;
use super::exit::{self, Failure};
use super::options::Options;
use super::output::{Escaped, Output, say};
use super::verify::{Found, found};
use super::{record, settings};

/// As many keys are named to people; programs are told all.
const MOST_KEYS: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --yes nothing is changed: what is damaged is told, and what a repair would do and lose. Nothing is ever deleted: what \
has to go is cut off where it stands, or goes to the cohort's directory `quarantine`. Nobody may have the cohort open for \
writing meanwhile.

Records behind the damage that can still be read are written to a file as `tallyfold log` prints them, to be appended again: \
`jq -c .value FILE | tallyfold append COHORT`, with --key-from for a cohort with keys.

Exit codes: 0 nothing to repair or repaired without loss, 6 repaired with loss, 5 damaged and not repaired, 4 somebody holds \
the cohort.

Examples:
  tallyfold repair
  tallyfold repair index --yes
  tallyfold repair metrics --yes --rescue lost.jsonl
  tallyfold repair --json | jq -c '{cohort, lost}'")]
pub(crate) struct Args {
    /// The cohort's name; without it every damaged cohort
    cohort: Option<String>,

    /// Repair, whatever is lost
    #[arg(long)]
    yes: bool,

    /// Write the records that can still be read behind the damage to this new file; without it into quarantine
    #[arg(long, value_name = "FILE", requires = "cohort")]
    rescue: Option<PathBuf>,

    /// The settings, as `tallyfold create` takes them, if they cannot be read any more
    #[arg(long, value_name = "JSON|@FILE", requires = "cohort")]
    settings: Option<String>,
}

#[derive(Serialize)]
struct Told<'a> {
    cohort: &'a str,
    damaged: bool,
    repaired: bool,
    loses: bool,
    damage: Vec<Found<'a>>,
    lost: &'a [SeqRange],
    rescued: u64,
    rescued_to: Option<String>,
    went_back: &'a [WentBack],
    lost_keys: &'a [KeyRange],
    history: Option<SeqRange>,
    cut: Option<Cut>,
    new_snapshot: Option<&'a str>,
    settings: Option<String>,
    quarantined: Vec<Quarantined>,
    next_seq: u64,
    epoch: Option<u64>,
}

#[derive(Serialize)]
struct Cut {
    segment: u64,
    behind_segment: u64,
    offset: u64,
}

#[derive(Serialize)]
struct Quarantined {
    file: String,
    bytes: u64,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let store = options.store()?;
    let mut out = Output::new();
    if let Some(name) = &args.cohort {
        let code = one(options, args, &store, name, &mut out)?;
        return end(code, args);
    }
    let names = store.cohorts()?;
    if names.is_empty() {
        say(format!("there is no cohort in the store {}", store.path().display()));
    }
    let mut codes = Vec::new();
    for name in &names {
        match one(options, args, &store, name, &mut out) {
            Ok(code) => codes.push(code),
            Err(failure) if [exit::OK, exit::INTERRUPTED].contains(&failure.code) => return Err(failure),
            Err(failure) => {
                say(format!("cohort {name:?}: {}", failure.message));
                if options.json {
                    out.json(&Bad { cohort: name, error: &failure.message })?;
                    out.flush()?;
                }
                codes.push(failure.code);
            }
        }
    }
    // What is not repaired weighs more than what is.
    let repaired = [exit::OK, exit::REPAIRED_WITH_LOSS];
    let worst = codes.iter().find(|code| !repaired.contains(code)).or(codes.iter().max());
    end(worst.copied().unwrap_or(exit::OK), args)
}

fn end(code: u8, args: &Args) -> Result<(), Failure> {
    match code {
        exit::OK => Ok(()),
        exit::CORRUPTION if !args.yes => {
            Err(Failure::new(code, "nothing was changed; to repair, say so with --yes"))
        }
        code => Err(Failure::new(code, "")),
    }
}

/// Looks at a cohort, and repairs it if that is asked for. Returns the exit code for it.
fn one(options: &Options, args: &Args, store: &Store, name: &str, out: &mut Output) -> Result<u8, Failure> {
    let given = args.settings.as_deref().map(settings::text).transpose()?;
    let given = given.map(|text| Settings::from_json(&text)).transpose()?;
    let plan = store.repair_plan(name, given).map_err(not_repaired)?;
    let plan = match options.timeout {
        Some(timeout) => plan.with_timeout(timeout),
        None => plan,
    };
    if !plan.is_needed() && !plan.beyond_repair().is_empty() {
        for finding in plan.beyond_repair() {
            let path = finding.path.as_ref().map_or(String::new(), |path| format!(" [{}]", path.display()));
            say(format!("{name}: cannot be repaired: {}{path}", finding.what));
        }
        let what =
            format!("a bundle of {name:?} is damaged, and is nowhere else: restore it, or commit it anew");
        return Err(Failure::new(exit::CORRUPTION, what));
    }
    if !plan.is_needed() {
        match options.json {
            true => out.json(&told(&plan, None, None)?)?,
            false => writeln!(out, "{}: nothing to repair", Escaped(name))?,
        }
        out.flush()?;
        return Ok(exit::OK);
    }
    if !args.yes {
        match options.json {
            true => out.json(&told(&plan, None, None)?)?,
            false => out.write_all(readable(&plan, args.rescue.as_deref())?.as_bytes())?,
        }
        out.flush()?;
        return Ok(exit::CORRUPTION);
    }
    let loses = plan.loses();
    let text = match options.json {
        true => String::new(),
        false => readable(&plan, args.rescue.as_deref())?,
    };
    // Before anything is changed: what is set aside is not read again.
    let rescued_to = rescue(&plan, args.rescue.as_deref())?;
    let before = told(&plan, None, rescued_to.as_deref())?;
    let mut before = serde_json::to_value(before).map_err(|e| Failure::new(exit::FAILURE, e.to_string()))?;
    let repaired = plan.carry_out().map_err(|e| {
        if let Some(path) = rescued_to.as_deref().filter(|_| e.is_lock_timeout() || e.is_conflict()) {
            // Nothing was changed, so all of it is still there, and the name is free for the next try.
            forget(path);
        }
        not_repaired(e)
    })?;
    let clean = !repaired.report.is_damaged();
    if options.json {
        before["repaired"] = clean.into();
        before["damaged"] = (!clean).into();
        before["epoch"] = repaired.epoch.into();
        out.json(&before)?;
    } else {
        out.write_all(text.as_bytes())?;
        out.write_all(done(name, &repaired, rescued_to.as_deref()).as_bytes())?;
    }
    out.flush()?;
    match (clean, loses) {
        (true, false) => Ok(exit::OK),
        (true, true) => Ok(exit::REPAIRED_WITH_LOSS),
        (false, _) => Err(Failure::new(
            exit::CORRUPTION,
            format!("{name:?} is damaged still: see `tallyfold verify {name}`, and restore it from a backup"),
        )),
    }
}

/// What keeps from repairing is damage that stays.
fn not_repaired(e: tallyfold::Error) -> Failure {
    let unsafe_file = e.is_unsafe_file();
    let mut failure = Failure::from(e);
    if unsafe_file {
        failure.code = exit::CORRUPTION;
    }
    failure
}

/// Writes the records that can still be read. Returns where they are, if there are any.
#[allow(clippy::disallowed_methods, reason = "a file of the user's, or a new one in quarantine")]
fn rescue(plan: &RepairPlan, to: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if plan.rescued() == 0 {
        return Ok(None);
    }
    let path = match to {
        Some(path) => path.to_path_buf(),
        None => plan.rescue_path()?,
    };
    let failed = |e: std::io::Error| {
        let what = format!("cannot write the records that can still be read to {}: {e}", path.display());
        Failure::new(exit::FAILURE, format!("{what}; nothing was changed; name another file with --rescue"))
    };
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create_new(true).open(&path).map_err(failed)?;
    let mut writer = std::io::BufWriter::new(file);
    for lost in plan.rescue() {
        super::interrupt::check()?;
        writer.write_all(record::json_line(&lost?.as_record_ref()).as_bytes()).map_err(failed)?;
    }
    let file = writer.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(Some(path))
}

#[allow(clippy::disallowed_methods, reason = "the file that was just made")]
fn forget(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn told<'a>(
    plan: &'a RepairPlan,
    repaired: Option<&Repaired>,
    rescued_to: Option<&Path>,
) -> Result<Told<'a>, Failure> {
    let quarantined = plan.quarantined()?.into_iter().map(|(file, bytes)| Quarantined { file, bytes });
    let damage = plan.findings().iter().map(found);
    Ok(Told {
        cohort: plan.cohort(),
        damaged: plan.is_needed(),
        repaired: repaired.is_some(),
        loses: plan.is_needed() && plan.loses(),
        damage: damage.collect(),
        lost: plan.lost(),
        rescued: plan.rescued(),
        rescued_to: rescued_to.map(|path| path.display().to_string()),
        went_back: plan.went_back(),
        lost_keys: plan.lost_keys(),
        history: plan.history(),
        cut: plan.cut().map(|(segment, behind_segment, offset)| Cut { segment, behind_segment, offset }),
        new_snapshot: plan.new_snapshot(),
        settings: plan.settings()?.map(|text| text.trim_end().to_string()),
        quarantined: quarantined.collect(),
        next_seq: plan.next_seq(),
        epoch: repaired.map(|repaired| repaired.epoch),
    })
}

/// The plan, for people.
fn readable(plan: &RepairPlan, rescue: Option<&Path>) -> Result<String, Failure> {
    let mut text = format!("{}: damaged\n", Escaped(plan.cohort()));
    let mut line = |what: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", Escaped(&what));
    };
    for finding in plan.findings() {
        let path = finding.path.as_ref().map_or(String::new(), |path| format!(" [{}]", path.display()));
        line(format!("damage: {}{path}", finding.what));
    }
    if let Some(settings) = plan.settings()? {
        line(format!("settings: written anew as {}", settings.trim_end()));
    }
    for SeqRange { first, last } in plan.lost() {
        line(format!("lost: records {first} to {last}"));
    }
    if !plan.lost().is_empty() {
        let to = rescue.map_or("a file in quarantine".to_string(), |path| path.display().to_string());
        line(match plan.rescued() {
            0 => "rescued: none of them can be read".to_string(),
            n => format!("rescued: {n} of them can still be read, and are written to {to}"),
        });
    }
    for WentBack { key, seq, back_to } in plan.went_back().iter().take(MOST_KEYS) {
        line(match back_to {
            Some(back_to) => format!("entry: {key:?} goes back from seq {seq} to seq {back_to}"),
            None => format!("entry: {key:?}, last changed by seq {seq}, is no more"),
        });
    }
    if plan.went_back().len() > MOST_KEYS {
        line(format!("entry: and {} more, which --json names", plan.went_back().len() - MOST_KEYS));
    }
    for KeyRange { from, until } in plan.lost_keys() {
        line(match until {
            Some(until) => format!("lost: the entries from {from:?} up to, not including, {until:?}"),
            None => format!("lost: the entries from {from:?} to the last one"),
        });
    }
    if let Some(SeqRange { first, last }) = plan.history() {
        line(format!("history: records {first} to {last} leave the journal; what they have come to stays"));
    }
    match plan.cut() {
        Some((segment, 0, _)) => line(format!("journal: goes on in segment {segment}, a new epoch")),
        Some((segment, behind, offset)) => line(format!(
            "journal: cut in segment {behind} at offset {offset}; it goes on in segment {segment}, a new epoch"
        )),
        None => {}
    }
    if let Some(whence) = plan.new_snapshot() {
        line(format!("snapshot.json: made anew of {whence}"));
    }
    for (file, bytes) in plan.quarantined()? {
        line(format!("quarantine: {file}, {bytes} bytes"));
    }
    line(format!("next: the next record gets seq {}", plan.next_seq()));
    Ok(text)
}

fn done(name: &str, repaired: &Repaired, rescued_to: Option<&Path>) -> String {
    let word = if repaired.report.is_damaged() { "damaged still" } else { "repaired" };
    let mut text = format!(
        "{}: {word}: epoch {}, the next record gets seq {}\n",
        Escaped(name),
        repaired.epoch,
        repaired.next_seq
    );
    if let Some(path) = rescued_to {
        let _ =
            writeln!(text, "{}: rescued records: {}", Escaped(name), Escaped(&path.display().to_string()));
    }
    text
}
