//! What only several processes can show: that they exclude each other, that the lock of one that dies is free, that one of two
//! makes a file, and that a reader of a file that is replaced sees the old one or the new one.

use std::time::Duration;

use super::Examination;
use super::check::{Check, without_advice};
use super::crew::Member;
use super::scratch::Scratch;
use super::work::{self, COUNTED, COUNTED_BYTES, REPLACED};
use crate::error::{Error, Result};
use crate::files::verify_lock_support;
use crate::names;
use crate::sys::{self, Dir, LockFile, Patience};

/// How many processes want the lock at once, and how often each.
const MEMBERS: u64 = 3;
const TURNS: u64 = 1000;
/// Files that two processes try to make, both of them.
const FILES: u64 = 300;
/// How often a file is replaced while another process reads it.
const REPLACEMENTS: u64 = 500;
/// How long a lock that somebody has is asked for.
const BRIEFLY: Duration = Duration::from_millis(50);
/// How long the lock of one that was killed is waited for.
const LONG: Duration = Duration::from_secs(30);

const ADVICE: &str = "do not let several processes write here: records would be lost";

pub(super) fn create(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("create")?;
    let mut members = start(examination, "create", &room, 2, FILES)?;
    members.iter_mut().for_each(Member::begin);
    let mut made = 0;
    for member in &members {
        let [won] = member.numbers()?;
        made += won;
    }
    let check = if made == FILES {
        Check::ok("create", format!("of two processes that make a file one does ({FILES} files)"))
    } else {
        let said = format!("two processes made {made} files where there are {FILES} names");
        Check::not_safe("create", said, "do not put a store here: O_EXCL does not exclude")
    };
    Ok(vec![check.with("names", FILES).with("made", made)])
}

pub(super) fn rename(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("rename")?;
    let replace = |version: u64| {
        let file = room.create("next")?;
        file.write_at(&work::version_bytes(version), 0).map_err(|short| short.error)?;
        drop(file);
        room.rename("next", REPLACED)
    };
    replace(0)?;
    let mut reader = Member::start(&examination.worker, "read", &room, 0)?;
    reader.begin();
    for version in 1..=REPLACEMENTS {
        replace(version)?;
    }
    reader.end();
    let [looks, missing, torn, back, last] = reader.numbers()?;
    let check = if missing + torn + back == 0 && last == REPLACEMENTS {
        let said = format!(
            "a reader saw a whole file each time ({looks} looks while it was replaced {REPLACEMENTS} times)"
        );
        Check::ok("rename", said)
    } else {
        let said = format!(
            "of {looks} looks at a file that was replaced {missing} found none, {torn} a part and {back} an older one; the last \
             one found version {last} of {REPLACEMENTS}"
        );
        Check::not_safe("rename", said, "do not put a store here: snapshots are replaced by renames")
    };
    Ok(vec![check.with("looks", looks).with("missing", missing).with("torn", torn).with("back", back)])
}

/// What [`verify_lock_support`] finds: the locks of plain files, which are those of `lock` too.
pub(super) fn file_locks(_: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let support = verify_lock_support(scratch.room("file-locks")?.path())?;
    let wrong: Vec<String> = support
        .checks
        .iter()
        .filter(|check| check.passed != Some(true))
        .map(|check| match &check.found {
            Some(found) => format!("{}: {found}", check.what),
            None => check.what.to_string(),
        })
        .collect();
    let tried = support.checks.len();
    Ok(vec![match wrong.as_slice() {
        [] => Check::ok(
            "file-locks",
            format!("exclusive and shared locks of files do what they should ({tried} tries)"),
        ),
        wrong => Check::not_safe("file-locks", format!("not so: {}", wrong.join("; ")), ADVICE),
    }])
}

pub(super) fn flock(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = lock_room(scratch, "flock")?;
    let counted = count(examination, &room, "flock")?;
    let lock = LockFile::open(&room, names::LOCK)?;
    let death = death(examination, &room, "hold-flock", |patience| lock.exclusive(patience).map(drop))?;
    Ok(vec![counted.check("flock", "flock"), death.check("flock", "an flock")])
}

pub(super) fn shared_memory(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    if !examination.system.shares_memory {
        let said = format!("not used on {}", examination.system.name);
        return Ok(vec![Check::skipped("shared-memory", said)]);
    }
    let room = lock_room(scratch, "memory")?;
    let lock = LockFile::open(&room, names::LOCK)?;
    let prepared = match lock.try_exclusive()? {
        Some(_alone) => sys::prepare_control(&room, &lock, || Ok(())),
        None => Err(Error::invalid("somebody else has locked a file that was just made").at(room.path())),
    };
    match prepared {
        // The step about reserved space says what to do.
        Err(e) if e.is_unsafe_file_system() => {
            return Ok(vec![Check::skipped("shared-memory", without_advice(&e))]);
        }
        other => other?,
    }
    let counted = count(examination, &room, "memory")?;
    let control = work::attach(&room)?;
    let death =
        death(examination, &room, "hold-memory", |patience| work::append_lock(&control, patience).map(drop))?;
    Ok(vec![counted.check("shared-memory", "a futex word"), death.check("shared-memory", "a futex word")])
}

fn lock_room(scratch: &Scratch, name: &str) -> Result<Dir> {
    let room = scratch.room(name)?;
    room.create(names::LOCK)?;
    Ok(room)
}

/// Starts several that wait for each other.
fn start(examination: &Examination, task: &str, room: &Dir, members: u64, turns: u64) -> Result<Vec<Member>> {
    (0..members).map(|_| Member::start(&examination.worker, task, room, turns)).collect()
}

/// How processes fared that counted up under a lock.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) turns: u64,
    pub(super) counted: u64,
    pub(super) met: u64,
    pub(super) waited: u64,
}

pub(super) fn count(examination: &Examination, room: &Dir, task: &str) -> Result<Counted> {
    let file = room.create(COUNTED)?;
    file.write_at(&[0; COUNTED_BYTES], 0).map_err(|short| short.error)?;
    let mut members = start(examination, task, room, MEMBERS, TURNS)?;
    members.iter_mut().for_each(Member::begin);
    let (mut waited, mut met) = (0, 0);
    for member in &members {
        let [had_to_wait, was_not_alone] = member.numbers()?;
        waited += had_to_wait;
        met += was_not_alone;
    }
    let [counted, _] = work::numbers(&file)?;
    Ok(Counted { turns: MEMBERS * TURNS, counted, met, waited })
}

impl Counted {
    pub(super) fn check(&self, check: &'static str, lock: &str) -> Check {
        let Counted { turns, counted, met, waited } = *self;
        let answer = if met > 0 || counted != turns {
            let said = format!(
                "{lock} does not exclude: in {turns} turns of {MEMBERS} processes {met} times somebody was not alone, and {} of \
                 what they counted is lost",
                turns.saturating_sub(counted)
            );
            Check::not_safe(check, said, ADVICE)
        } else if waited == 0 {
            let said = format!("in {turns} turns of {MEMBERS} processes they never met: nothing is shown");
            Check::warning(check, said, "ask again when the machine is less busy")
        } else {
            let said = format!(
                "{lock} excludes: {turns} turns of {MEMBERS} processes, {waited} of them after waiting, each alone"
            );
            Check::ok(check, said)
        };
        answer.with("turns", turns).with("counted", counted).with("not_alone", met).with("waited", waited)
    }
}

/// What became of the lock of a process that was killed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// Somebody else had the lock while its holder lived.
    had_meanwhile: bool,
    /// The holder was named.
    named: bool,
    /// Somebody else had it after that.
    had_after: bool,
}

fn death(
    examination: &Examination,
    room: &Dir,
    task: &str,
    take: impl Fn(&Patience) -> Result<()>,
) -> Result<Death> {
    let had = |time: Duration| match take(&Patience::of(time)) {
        Ok(()) => Ok((true, None)),
        Err(e) if e.is_lock_timeout() => Ok((false, e.holder())),
        Err(e) => Err(e),
    };
    let mut holder = Member::start(&examination.worker, task, room, 0)?;
    let (had_meanwhile, named) = had(BRIEFLY)?;
    let named = named == Some(holder.id());
    holder.kill();
    let (had_after, _) = had(LONG)?;
    Ok(Death { had_meanwhile, named, had_after })
}

impl Death {
    pub(super) fn check(&self, check: &'static str, lock: &str) -> Check {
        let answer = match self {
            Death { had_meanwhile: true, .. } => {
                Check::not_safe(check, format!("{lock} that a process held was had by another"), ADVICE)
            }
            Death { had_after: false, .. } => Check::not_safe(
                check,
                format!("{lock} of a process that was killed did not become free in {} s", LONG.as_secs()),
                "do not put a store here: one writer that dies would stop all others",
            ),
            Death { named: true, .. } => Check::ok(
                check,
                format!("{lock} that a process holds names it, and is free when it is killed"),
            ),
            Death { named: false, .. } => Check::ok(
                check,
                format!("{lock} is free when its holder is killed; the system does not tell who holds it"),
            ),
        };
        answer.with("holder_named", self.named)
    }
}
