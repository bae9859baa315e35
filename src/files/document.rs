//! One JSON document in a file: read, written, updated under its lock.

use std::convert::Infallible;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AtomicFile, FileLock, Json, Options, json, lock_path};
use crate::error::{Error, Kind, Result};
use crate::{sys, value};

/// Reads a JSON file.
///
/// No lock is needed beside writers that replace the file, as all of this module do. With `serde_json::Value` an integer beyond
/// 64 bits becomes the nearest double; [`Json`] keeps it.
///
/// # Errors
/// `is_not_found`; `is_not_json`, with line and column, and the offset in bytes ([`Error::offset`]); `is_invalid` for JSON that
/// does not fit the type; else `is_io`. Each names the file.
pub fn read_json<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    typed(&checked(sys::read_whole(path)?, path)?, path)
}

/// Replaces a file by a JSON document, or makes it: canonical text, the keys of all objects sorted, with a newline at the
/// end. Two values that are equal have the same bytes.
///
/// Numbers are written as serde_json writes them; integers of 128 bits, those in a [`Json`] and in a `RawValue` keep their digits.
/// Heeds all of the options but `lock`, `timeout` and `create`: no lock is taken. Who reads before, and must not lose what others
/// write meanwhile, takes [`update_json`], or holds a [`FileLock`].
///
/// # Errors
/// `is_invalid` if no JSON can be made of it, as of NaN, with the place; else as [`atomic_write`](super::atomic_write).
pub fn write_json<T: Serialize + ?Sized>(path: impl AsRef<Path>, data: &T, options: &Options) -> Result<()> {
    let path = path.as_ref();
    let text = Json::of_with(data, options.nonfinite).map_err(|e| e.at(path))?.text(options);
    super::atomic_write(path, text, options)
}

/// Reads a JSON file, has `f` make new data of it (`None`: there is no file), and writes that; all under the file's exclusive
/// lock, so that of many who do this none loses what another one wrote. Returns the new data.
///
/// `f` runs once, with the lock held: others wait for it meanwhile. The lock file is that of the path as it is given
/// ([`lock_path`]), so name a file in one way only, and not once by a link. Nothing is written for an unreadable file: it is an
/// error, and the file stays. Heeds all of the options.
///
/// # Errors
/// As [`FileLock::exclusive`], [`read_json`] and [`write_json`]. `is_not_found` for a file that is not to be created;
/// `is_invalid` if the type would change an integer beyond 64 bits on the way (use [`Json`]), or the file is its own lock file;
/// `is_conflict` if somebody removed the lock file meanwhile. In each case the file is as it was, but for `is_durability_unknown`:
/// see [`atomic_write`](super::atomic_write).
pub fn update_json<T: Serialize + DeserializeOwned>(
    path: impl AsRef<Path>,
    options: &Options,
    f: impl FnOnce(Option<T>) -> T,
) -> Result<T> {
    match update(path.as_ref(), options, |old| Ok::<T, Infallible>(f(old))) {
        Ok(new) => Ok(new),
        Err(Failed::Here(error)) => Err(error),
        Err(Failed::InF(never)) => match never {},
    }
}

/// [`update_json`] with a function that may refuse: then the file is as it was, and its error is returned.
///
/// # Errors
/// What `f` returns; else as [`update_json`].
pub fn try_update_json<T, E, F>(path: impl AsRef<Path>, options: &Options, f: F) -> std::result::Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
    F: FnOnce(Option<T>) -> std::result::Result<T, E>,
{
    update(path.as_ref(), options, f).map_err(|failed| match failed {
        Failed::Here(error) => error.into(),
        Failed::InF(error) => error,
    })
}

/// What an update failed in.
enum Failed<E> {
    Here(Error),
    InF(E),
}

impl<E> From<Error> for Failed<E> {
    fn from(error: Error) -> Failed<E> {
        Failed::Here(error)
    }
}

fn update<T: Serialize + DeserializeOwned, E>(
    path: &Path,
    options: &Options,
    f: impl FnOnce(Option<T>) -> std::result::Result<T, E>,
) -> std::result::Result<T, Failed<E>> {
    let lock_file = lock_path(path, options.lock);
    if lock_file == path {
        return Err(Error::invalid("this file would be its own lock file")
            .at(path)
            .advise("name it otherwise, or have the lock file's name appended")
            .into());
    }
    if options.parents && options.create {
        sys::make_parents(path, options.durable)?;
    }
    let lock = FileLock::exclusive(&lock_file, options.timeout)?;
    let old = match sys::read_whole(path) {
        Ok(bytes) => {
            let text = checked(bytes, path)?;
            let data = typed(&text, path)?;
            keeps_integers(&text, &data, options, path)?;
            Some(data)
        }
        Err(e) if e.is_not_found() && options.create => None,
        Err(e) => return Err(e.into()),
    };
    let new = f(old).map_err(Failed::InF)?;
    let text = Json::of_with(&new, options.nonfinite).map_err(|e| e.at(path))?.text(options);
    let mut file = AtomicFile::create(path, options)?;
    file.put(text.as_bytes())?;
    file.commit_under(&lock)?;
    Ok(new)
}

/// The text, which is a JSON value; the error says where not.
fn checked(bytes: Vec<u8>, path: &Path) -> Result<String> {
    let not_json = |what: String, offset: usize| {
        Error::new(Kind::NotJson, what)
            .at(path)
            .at_offset(offset as u64)
            .advise("nothing was changed; mend the file, or restore it from a copy")
    };
    if bytes.is_empty() {
        return Err(not_json("not JSON: the file is empty, at line 1 column 1".to_string(), 0));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..offset];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        not_json(format!("not JSON: not UTF-8 at line {line} column {column}"), offset)
    })?;
    let mut compact = Vec::new();
    let Err(fault) = value::check(&text, &mut compact) else { return Ok(text) };
    // serde_json says the place; it has none for what only we refuse.
    match serde_json::from_str::<Value>(&text) {
        Err(e) => Err(not_json(format!("not JSON: {e}"), offset_of(&text, e.line(), e.column()))),
        Ok(_) => Err(not_json(format!("no JSON to be taken: {fault}"), 0)),
    }
}

/// The offset of a line and column, both from 1.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

fn typed<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    serde_json::from_str(text).map_err(|e| {
        Error::invalid(format!("the JSON does not fit what is asked for: {e}")).at(path).at_offset(offset_of(
            text,
            e.line(),
            e.column(),
        )
            as u64)
    })
}

/// Refuses a type that would silently write another number for an integer beyond 64 bits.
fn keeps_integers<T: Serialize>(text: &str, data: &T, options: &Options, path: &Path) -> Result<()> {
    let mut compact = Vec::new();
    // Checked before; so this only removes the white space.
    if value::check(text, &mut compact).is_err() {
        return Ok(());
    }
    let found = json::parse(&compact);
    if !found.has_long_integer() {
        return Ok(());
    }
    let held = Json::of_with(data, options.nonfinite).map_err(|e| e.at(path))?;
    match found.spoilt_in(&held, "") {
        None => Ok(()),
        Some(place) => {
            Err(Error::invalid(format!("the type would change the integer {place}")).at(path).advise(
                "nothing was written; update the file as tallyfold::files::Json, which keeps all digits",
            ))
        }
    }
}
