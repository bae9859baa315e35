//! Whether locks do what they are for, in a directory: asked of the system by trying.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::sys::{self, Answer, Dir, Reach, Wanted};

use super::FileLock;

/// What [`verify_lock_support`] has found in a directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockSupport {
    /// The directory.
    pub directory: PathBuf,
    /// Its file system, as "ext4"; "unknown" where the system does not tell.
    pub file_system: String,
    /// Whether other hosts may write there, whose locks were not tried: `None` if nobody knows.
    pub other_hosts: Option<bool>,
    /// What was tried.
    pub checks: Vec<LockCheck>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockCheck {
    /// What should be, as a sentence.
    pub what: &'static str,
    /// Whether it is; `None` if it could not be tried.
    pub passed: Option<bool>,
    /// What was found instead.
    pub found: Option<String>,
}

impl LockSupport {
    /// Whether two processes of this host were seen to exclude each other in each way tried.
    pub fn excludes_processes(&self) -> bool {
        self.checks.iter().all(|check| check.passed == Some(true))
    }
}

impl fmt::Display for LockSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.directory.display(), self.file_system)?;
        for check in &self.checks {
            let verdict = match check.passed {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not tried",
            };
            write!(f, "{verdict}: {}", check.what)?;
            match &check.found {
                Some(found) => writeln!(f, " ({found})")?,
                None => writeln!(f)?,
            }
        }
        match self.other_hosts {
            Some(false) => Ok(()),
            Some(true) => {
                writeln!(f, "other hosts may write there: whether locks exclude them was not tried")
            }
            None => writeln!(f, "whether other hosts may write there is not known"),
        }
    }
}

/// What another process should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Had,
    Refused,
}

/// Tries in a directory whether two processes exclude each other by locks, with a lock file of its own, which it removes; a
/// child is forked for each try, which makes three system calls and ends. It takes a few milliseconds.
///
/// # Errors
/// `is_not_found`, `is_io`: the directory is not there, or nothing can be made or locked in it.
pub fn verify_lock_support(directory: impl AsRef<Path>) -> Result<LockSupport> {
    let directory = directory.as_ref();
    let file_system = sys::file_system(&Dir::open(directory)?)?;
    let path = directory.join(format!(".tallyfold-{:016x}.lock", sys::random_u64()));
    let checks = try_all(&path);
    // Nobody else knows its name, so nobody waits for it.
    let removed = sys::remove_plain(&path);
    let checks = checks?;
    removed?;
    Ok(LockSupport {
        directory: directory.to_path_buf(),
        file_system: file_system.name,
        other_hosts: match file_system.reach {
            Reach::Local => Some(false),
            Reach::Network => Some(true),
            Reach::Unknown => None,
        },
        checks,
    })
}

fn try_all(path: &Path) -> Result<Vec<LockCheck>> {
    use Due::{Had, Refused};
    use Wanted::{Exclusive, Shared};
    let ask = |what, wanted, due| judge(what, due, sys::ask_another_process(path, wanted));
    let mut checks = Vec::new();

    let lock = FileLock::exclusive(path, Duration::from_secs(10))?;
    checks.push(ask("an exclusive lock keeps out who wants it exclusively", Exclusive, Refused));
    checks.push(ask("an exclusive lock keeps out who wants to share", Shared, Refused));
    let keeps_its_name = lock.is_held();
    drop(lock);

    let lock = FileLock::shared(path, Duration::from_secs(10))?;
    checks.push(ask("a shared lock is shared", Shared, Had));
    checks.push(ask("a shared lock keeps out who wants it exclusively", Exclusive, Refused));
    drop(lock);

    checks.push(ask("a lock that was given back can be had by another process", Exclusive, Had));
    let free = match FileLock::try_exclusive(path)? {
        Some(_) => Answer::Had,
        None => Answer::Refused,
    };
    checks.push(judge("the lock of a process that has ended is free", Had, free));
    let named = if keeps_its_name { Answer::Had } else { Answer::Refused };
    checks.push(judge("an open file is known again by its name", Had, named));
    Ok(checks)
}

fn judge(what: &'static str, due: Due, answer: Answer) -> LockCheck {
    let (passed, found) = match (answer, due) {
        (Answer::Had, Due::Had) | (Answer::Refused, Due::Refused) => (Some(true), None),
        (Answer::Had, Due::Refused) => (Some(false), Some("it got the lock".to_string())),
        (Answer::Refused, Due::Had) => (Some(false), Some("it did not get the lock".to_string())),
        (Answer::Failed(errno), _) => {
            (Some(false), Some(std::io::Error::from_raw_os_error(errno).to_string()))
        }
        (Answer::None, _) => (None, Some("there was no second process to try it".to_string())),
    };
    LockCheck { what, passed, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_does_not_exclude_fails_the_check_and_one_not_tried_does_not_pass_it() {
        let support = |check: LockCheck| LockSupport {
            directory: PathBuf::from("d"),
            file_system: "fuse".to_string(),
            other_hosts: Some(true),
            checks: vec![judge("a", Due::Had, Answer::Had), check],
        };
        assert!(support(judge("b", Due::Refused, Answer::Refused)).excludes_processes());
        let bad = support(judge("b", Due::Refused, Answer::Had));
        assert!(!bad.excludes_processes());
        assert!(bad.to_string().contains("NO: b (it got the lock)"), "{bad}");
        assert!(!support(judge("b", Due::Had, Answer::Refused)).excludes_processes());
        assert!(!support(judge("b", Due::Refused, Answer::Failed(38))).excludes_processes());
        let untried = support(judge("b", Due::Refused, Answer::None));
        assert!(!untried.excludes_processes() && untried.to_string().contains("not tried: b"), "{untried}");
    }
}
