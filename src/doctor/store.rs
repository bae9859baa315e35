//! The store that is in the directory, and its cohorts: whether they fit the place, and what the past has left.

use std::time::Duration;

use super::Examination;
use super::check::{Check, Outcome};
use crate::cohort::Cohort;
use crate::error::Result;
use crate::names;
use crate::settings::LockClass;
use crate::store::Store;
use crate::sys::{self, LockFile, Patience};

/// A lock that is held for longer than this is worth a word.
const BRIEFLY: Duration = Duration::from_secs(1);

/// How many cohorts of the store here trust the locks of a network file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    None,
    Some,
    All,
}

pub(super) fn trust(examination: &Examination) -> Trust {
    let Some(Ok(store)) = &examination.store else { return Trust::None };
    let trusts = |name: &String| {
        store.cohort(name).is_ok_and(|cohort| {
            cohort.settings().trust_network_locks && cohort.settings().lock != LockClass::Memory
        })
    };
    let Ok(names) = store.cohorts() else { return Trust::None };
    match names.iter().filter(|name| trusts(name)).count() {
        0 => Trust::None,
        n if n == names.len() => Trust::All,
        _ => Trust::Some,
    }
}

pub(super) fn store(examination: &Examination) -> Result<Vec<Check>> {
    let store = match &examination.store {
        None => return Ok(vec![Check::ok("store", "there is none here")]),
        Some(Err(e)) => {
            return Ok(vec![Check::warning("store", e.to_string(), "restore its document from a copy")]);
        }
        Some(Ok(store)) => store,
    };
    let names = store.cohorts()?;
    let abandoned = examination.dir.names()?.iter().filter(|name| names::is_new_cohort(name)).count();
    let mut said = match names.len() {
        1 => "1 cohort".to_string(),
        n => format!("{n} cohorts"),
    };
    if abandoned > 0 {
        said += &format!(
            ", and {abandoned} that are being made or were given up; the next one made removes those"
        );
    }
    let mut checks =
        vec![Check::ok("store", said).with("cohorts", names.len()).with("unfinished", abandoned)];
    checks.extend(names.iter().map(|name| cohort(store, name, examination.scratch.is_ok())));
    Ok(checks)
}

fn cohort(store: &Store, name: &str, writable: bool) -> Check {
    match store.cohort(name).and_then(|cohort| examine(&cohort, writable)) {
        Ok(check) => check.of(name),
        Err(e) if e.is_unsafe_file_system() => Check::failed("cohort", &e).of(name),
        Err(e) => Check::warning("cohort", e.to_string(), "see what `tallyfold verify` says of it").of(name),
    }
}

/// What there is to say of a cohort. Nothing in it is changed.
pub(super) fn examine(cohort: &Cohort, writable: bool) -> Result<Check> {
    let home = cohort.home();
    home.check_file_system()?;
    let stats = cohort.stats()?;
    let files = home.dir.names()?;
    let temporary = files.iter().filter(|name| names::parse_temporary(name).is_some()).count();
    let marks = files.iter().filter(|name| names::parse_poison(name).is_some()).count();
    let attached = sys::attached(&home.dir).filter(|_| home.settings.lock == LockClass::Memory);
    let mut said = vec![format!("lock class {}", stats.lock)];
    said.extend(attached.map(|n| format!("{n} attached")));
    let mut advice = Vec::new();
    if stats.poisoned {
        said.push("a sync has failed, and its records are not carried to a new segment yet".to_string());
        advice.push("see what the kernel says of the disk; the next append carries them".to_string());
    } else if marks > 0 {
        said.push(format!("marks of {marks} syncs that failed"));
    }
    if stats.quarantined > 0 {
        said.push(format!("{} files in quarantine", stats.quarantined));
        advice.push("look at what is in its directory quarantine; nothing needs it any more".to_string());
    }
    if temporary > 0 {
        said.push(format!("{temporary} temporary files, which the next compaction removes"));
    }
    let lock = if writable { attachable(cohort)? } else { None };
    if let Some(why) = &lock {
        said.push(why.clone());
        advice.push("see what that process does, and whether it is stopped".to_string());
    }
    let outcome = if advice.is_empty() { Outcome::Ok } else { Outcome::Warning };
    let mut check = Check::ok("cohort", said.join(", "))
        .with("lock", stats.lock)
        .with("attached", attached)
        .with("poisoned", stats.poisoned)
        .with("quarantined", stats.quarantined)
        .with("temporary", temporary)
        .with("attachable", writable && lock.is_none());
    check.outcome = outcome;
    check.advice = (!advice.is_empty()).then(|| advice.join("; "));
    Ok(check)
}

/// Why the cohort's lock cannot be had. Who attaches takes it, shared in the class memory; so nobody is kept out by this, and who
/// writes by it waits for a moment.
fn attachable(cohort: &Cohort) -> Result<Option<String>> {
    let lock = LockFile::open(&cohort.home().dir, names::LOCK)?;
    let had = lock.shared(&Patience::of(BRIEFLY)).map(drop);
    match had {
        Ok(()) => Ok(None),
        Err(e) if e.is_lock_timeout() => Ok(Some(match e.holder() {
            Some(pid) => format!("process {pid} has had its lock for a second"),
            None => "somebody has had its lock for a second".to_string(),
        })),
        Err(e) => Err(e),
    }
}
