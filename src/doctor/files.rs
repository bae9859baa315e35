//! What one process can see of a file system: names, links, space, syncs, and whether it gives back what it got.

use std::time::{Duration, Instant};

use super::Examination;
use super::check::Check;
use super::place::LONGEST_NAME;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::sys::{self, Dir, File, Names, Window};

/// File systems take names of 255 bytes, and some that put something of their own around them fewer.
const NAME_LENGTHS: [usize; 5] = [255, LONGEST_NAME, 200, 143, 100];
/// What is written to be read back.
const BYTES: usize = 1 << 20;
/// How often each kind of sync is timed.
const SYNCS: usize = 7;
/// What a sync writes.
const SYNCED: usize = 4096;
/// No disk is so fast: then nobody has waited for one.
const IMPLAUSIBLE: Duration = Duration::from_micros(10);

pub(super) fn names(_: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("names")?;
    room.create("case")?;
    let same_case = room.exists("CASE")?;
    let longest = NAME_LENGTHS.into_iter().find(|length| room.create(&"n".repeat(*length)).is_ok());
    let longest = longest.unwrap_or(0);
    let check = if same_case {
        Check::warning(
            "names",
            "names that differ only in case are one",
            "give cohorts and keys names that differ in more than case, or choose another file system",
        )
    } else if longest < LONGEST_NAME {
        Check::warning(
            "names",
            format!("names may have {longest} bytes, and a store makes some of up to {LONGEST_NAME}"),
            "keep the names of cohorts, and the keys of bundles, short",
        )
    } else {
        Check::ok("names", format!("upper and lower case differ, names may have {longest} bytes"))
    };
    Ok(vec![check.with("case_sensitive", !same_case).with("longest", longest)])
}

pub(super) fn link(_: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("link")?;
    let write = |name: &str, text: &str| {
        room.create(name).and_then(|file| file.write_at(text.as_bytes(), 0).map_err(|short| short.error))
    };
    write("one", "1")?;
    write("two", "2")?;
    let replaced = room.link("one", "two")?;
    let kept = room.open_read("two", Names::Several)?.read_all(16)? == b"2";
    if replaced || !kept {
        return Ok(vec![Check::not_safe(
            "link",
            "a link has replaced a file that was there",
            "do not put a store here: of two that are made at once one would vanish",
        )]);
    }
    let linked = room.link("one", "three")?;
    let said = match linked {
        true => "a link gives a second name, and never replaces",
        false => "there are no links here: renames and copies take their place",
    };
    Ok(vec![Check::ok("link", said).with("links", linked)])
}

pub(super) fn reserve(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let file = scratch.room("reserve")?.create("file")?;
    let reserved = file.allocate(BYTES as u64)?;
    let kept = file.allocated()?;
    let shares_memory = examination.system.shares_memory;
    let check = if reserved && kept >= BYTES as u64 && shares_memory {
        Check::ok("reserve", "what is reserved is kept")
    } else if shares_memory {
        Check::warning(
            "reserve",
            match reserved {
                true => format!("of {BYTES} bytes reserved the file has {kept}"),
                false => "no space can be reserved".to_string(),
            },
            "make cohorts with \"lock\": \"file\": shared memory needs space that is reserved",
        )
    } else {
        Check::ok(
            "reserve",
            "nobody relies on it in the lock class file: a full disk is an error of the append",
        )
    };
    Ok(vec![check.with("reserved", reserved).with("allocated_bytes", kept)])
}

pub(super) fn read_back(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("read-back")?;
    let bytes: Vec<u8> = (0..BYTES / 8).flat_map(|_| sys::random_u64().to_ne_bytes()).collect();
    let file = room.create("written")?;
    file.write_at(&bytes, 0).map_err(|short| short.error)?;
    file.sync_all()?;
    sys::forget_cached(&file);
    drop(file);
    let mut ways = vec![("written", room.open_read("written", Names::One)?)];
    let file = room.create("stored")?;
    if examination.system.shares_memory && file.allocate(BYTES as u64)? {
        let Some(window) = Window::open(&file, BYTES as u64)? else {
            return Err(Error::invalid("a file cannot be mapped").at(file.path()));
        };
        file.store(&window, [&bytes, &[]], 0);
        // Another description: a writer of the class memory and a reader of the journal are two.
        ways.push(("stored through a mapping", room.open_read("stored", Names::One)?));
    }
    drop(file);
    for (way, file) in &ways {
        if file.read_all(BYTES as u64)? != bytes {
            return Ok(vec![Check::not_safe(
                "read-back",
                format!("what was {way} is not what is read"),
                "do not put a store here, and see what is wrong with the medium",
            )]);
        }
    }
    let said = match ways.len() {
        1 => "what is written is read again",
        _ => "what is written is read again, and what is stored through a mapping too",
    };
    Ok(vec![Check::ok("read-back", said).with("bytes", BYTES)])
}

pub(super) fn sync(examination: &Examination, scratch: &Scratch) -> Result<Vec<Check>> {
    let room = scratch.room("sync")?;
    let file = room.create("data")?;
    file.allocate((SYNCS * SYNCED) as u64)?;
    file.sync_all()?;
    let data = median(|i| {
        write(&file, i)?;
        timed(|| file.sync_data())
    })?;
    let whole = median(|i| {
        let file = room.create(&format!("file-{i}"))?;
        write(&file, 0)?;
        timed(|| file.sync_all())
    })?;
    let directory = median(|i| {
        room.create(&format!("name-{i}"))?;
        timed(|| room.sync())
    })?;
    let said = format!(
        "a file's data in {}, a new file in {}, a directory in {} (medians of {SYNCS})",
        shown(data),
        shown(whole),
        shown(directory)
    );
    let memory = matches!(examination.system.name.as_str(), "tmpfs" | "ramfs");
    let check = if data < IMPLAUSIBLE && !memory {
        Check::warning(
            "sync",
            format!("{said}: too fast for a disk that was waited for"),
            "see whether syncs get through: a virtual disk with an unsafe cache, an overlay that is volatile, libeatmydata",
        )
    } else {
        Check::ok("sync", said)
    };
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
    Ok(vec![check.with("data_us", us(data)).with("file_us", us(whole)).with("directory_us", us(directory))])
}

fn write(file: &File, block: usize) -> Result<()> {
    let bytes = sys::random_u64().to_ne_bytes().repeat(SYNCED / 8);
    file.write_at(&bytes, (block * SYNCED) as u64).map_err(|short| short.error)
}

fn timed(act: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}

fn median(mut time: impl FnMut(usize) -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..SYNCS).map(&mut time).collect::<Result<Vec<Duration>>>()?;
    times.sort_unstable();
    Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        0..1000 => format!("{:.1} µs", time.as_nanos() as f64 / 1e3),
        _ => format!("{:.1} ms", time.as_nanos() as f64 / 1e6),
    }
}

/// The whole content of a file that is replaced while this looks.
pub(super) fn whole(dir: &Dir, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    match dir.open_read(name, Names::Several) {
        Ok(file) => file.read_all(limit).map(Some),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}
