//! What a process does that takes part: it is started with a task, says a word on each line, and ends when nobody listens or its
//! input ends.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::files::whole;
use crate::error::{Error, Result};
use crate::names;
use crate::sys::{Control, Dir, File, LockFile, Owned, Patience};

/// What stands in the file that is counted in: the count, and who is inside.
pub(super) const COUNTED: &str = "counted";
pub(super) const COUNTED_BYTES: usize = 16;
/// The file that is replaced, and how long each version of it is: one number, again and again.
pub(super) const REPLACED: &str = "replaced";
pub(super) const REPLACED_BYTES: usize = 4096;

/// Longer than all turns of the others take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every so often one stays inside a little longer, so that the others come meanwhile.
const LINGER_EVERY: u64 = 8;
const LINGER: Duration = Duration::from_micros(50);
/// Between two turns.
const PAUSE: Duration = Duration::from_micros(20);

/// Takes part in the examination of a directory: `task` is a word of [`super::crew`], `turns` how often it is done.
///
/// # Errors
/// What could not be done. The parent hears of it.
#[doc(hidden)]
pub fn work(task: &str, directory: &Path, turns: u64) -> Result<()> {
    let dir = Dir::open(directory)?;
    match task {
        "flock" => {
            let lock = LockFile::open(&dir, names::LOCK)?;
            count(&dir, turns, || match lock.try_exclusive()? {
                Some(locked) => Ok((locked, false)),
                None => lock.exclusive(&Patience::of(PATIENCE)).map(|locked| (locked, true)),
            })
        }
        "memory" => {
            let control = attach(&dir)?;
            count(&dir, turns, || match control.try_lock_append() {
                Some(owned) => Ok((owned, false)),
                None => control.wait_append(&Patience::of(PATIENCE)).map(|(owned, _)| (owned, true)),
            })
        }
        // Excludes nobody: what the others are held against.
        "nothing" => count(&dir, turns, || Ok(((), false))),
        "hold-flock" => {
            let lock = LockFile::open(&dir, names::LOCK)?;
            hold(lock.exclusive(&Patience::of(PATIENCE))?)
        }
        "hold-memory" => {
            let control = attach(&dir)?;
            hold(append_lock(&control, &Patience::of(PATIENCE))?)
        }
        "create" => create(&dir, turns),
        "read" => read(&dir),
        other => Err(Error::invalid(format!("{other:?} is no task"))),
    }
}

/// Attaches to the shared memory that the parent has prepared.
pub(super) fn attach(dir: &Dir) -> Result<Control> {
    let lock = LockFile::open(dir, names::LOCK)?;
    lock.keep_shared(&Patience::of(PATIENCE))?;
    Control::open(dir, lock)?
        .map_err(|_| Error::invalid("the shared memory is not ready for a second process").at(dir.path()))
}

/// Counts up under a lock, in steps that go wrong if somebody else is inside too. Says `ready`, waits for a word, and says how
/// often it had to wait and how often it was not alone.
fn count<L>(dir: &Dir, turns: u64, lock: impl Fn() -> Result<(L, bool)>) -> Result<()> {
    let file = dir.open_write(COUNTED)?;
    begin()?;
    let (me, mut waited, mut met) = (u64::from(std::process::id()), 0u64, 0u64);
    for turn in 0..turns {
        let (locked, had_to_wait) = lock()?;
        waited += u64::from(had_to_wait);
        let [counted, inside] = numbers(&file)?;
        met += u64::from(inside != 0);
        put(&file, 8, me)?;
        if turn % LINGER_EVERY == 0 {
            std::thread::sleep(LINGER);
        }
        put(&file, 0, counted + 1)?;
        let [_, inside] = numbers(&file)?;
        met += u64::from(inside != me);
        put(&file, 8, 0)?;
        drop(locked);
        // Who takes it again at once would have it all to itself.
        std::thread::sleep(PAUSE);
    }
    tell(&format!("{waited} {met}"))
}

pub(super) fn numbers(file: &File) -> Result<[u64; 2]> {
    let mut bytes = [0; COUNTED_BYTES];
    file.read_at(&mut bytes, 0)?;
    let [first, second] = bytes.as_chunks::<8>().0 else { return Ok([0; 2]) };
    Ok([u64::from_ne_bytes(*first), u64::from_ne_bytes(*second)])
}

fn put(file: &File, offset: u64, number: u64) -> Result<()> {
    file.write_at(&number.to_ne_bytes(), offset).map_err(|short| short.error)
}

/// Keeps a lock until it is killed or nobody listens any more.
fn hold<L>(_locked: L) -> Result<()> {
    tell("ready")?;
    let _ = io::stdin().read(&mut [0]);
    Ok(())
}

/// Makes files that another process makes too, and says how many it had for itself.
fn create(dir: &Dir, turns: u64) -> Result<()> {
    begin()?;
    let mut won = 0u64;
    for turn in 0..turns {
        match dir.create(&format!("{turn}")) {
            Ok(_) => won += 1,
            Err(e) if e.is_taken() => {}
            Err(e) => return Err(e),
        }
    }
    tell(&won.to_string())
}

/// Reads a file that is replaced again and again, and says how often it looked, and how often it found none, half of one, or an
/// older one than before.
fn read(dir: &Dir) -> Result<()> {
    let look = || whole(dir, REPLACED, 2 * REPLACED_BYTES as u64);
    begin()?;
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = io::stdin().read(&mut [0]);
        end.store(true, Ordering::Release);
    });
    let (mut looks, mut missing, mut torn, mut back, mut last) = (0u64, 0u64, 0u64, 0u64, 0u64);
    loop {
        let over = ended.load(Ordering::Acquire);
        looks += 1;
        match look()? {
            None => missing += 1,
            Some(bytes) => match version(&bytes) {
                None => torn += 1,
                Some(version) => {
                    back += u64::from(version < last);
                    last = version;
                }
            },
        }
        if over {
            return tell(&format!("{looks} {missing} {torn} {back} {last}"));
        }
    }
}

/// One version of the file that is replaced.
pub(super) fn version_bytes(version: u64) -> Vec<u8> {
    version.to_ne_bytes().repeat(REPLACED_BYTES / 8)
}

/// Which version this is; `None`: it is not whole.
pub(super) fn version(bytes: &[u8]) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let first = words.first()?;
    let whole = bytes.len() == REPLACED_BYTES && rest.is_empty() && words.iter().all(|word| word == first);
    whole.then_some(u64::from_ne_bytes(*first))
}

/// Says that it is ready, and waits until all others are.
fn begin() -> Result<()> {
    tell("ready")?;
    let mut word = String::new();
    match io::stdin().lock().read_line(&mut word) {
        Ok(n) if n > 0 => Ok(()),
        _ => Err(Error::invalid("nobody is interested any more")),
    }
}

fn tell(word: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{word}")
        .and_then(|()| out.flush())
        .map_err(|e| Error::invalid(format!("nobody listens any more: {e}")))
}

/// The append lock, as an append takes it.
pub(super) fn append_lock<'a>(control: &'a Control, patience: &Patience) -> Result<Owned<'a>> {
    match control.try_lock_append() {
        Some(owned) => Ok(owned),
        None => control.wait_append(patience).map(|(owned, _)| owned),
    }
}
