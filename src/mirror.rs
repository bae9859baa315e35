//! The mirror: a cohort's state as the plain file that a pipeline's own readers know.
//!
//! | step | what | a crash after it leaves |
//! |---|---|---|
//! | 1 | go where links lead; remove what dead writers left | the old file |
//! | 2 | write a temporary file beside it, sync it | the old file, and a temporary one |
//! | 3 | rename it. **Commit point: the rename** | the new file |
//! | 4 | sync the directory | the new file |
//!
//! A mirror is written by the holder of `compact.lock`: so none that is older takes the place of a newer one.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::attach::Attachment;
use crate::error::{Error, Kind, Result};
use crate::fold::{EntryRef, Fold};
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::sys::{self, Dir, File, LockFile, Names, Patience};
use crate::value;
use crate::view::{Reader, View};

/// As many links as the system itself would follow.
const MOST_LINKS: usize = 40;
/// How many entries are written between two questions whether to go on.
const ENTRIES_BETWEEN: u64 = 1024;
/// How often a cleaner may take a file that was just made for one of a dead writer.
const TRIES: usize = 8;
const BUFFER: usize = 256 << 10;
/// How much is written between two syncs, so that the last one is short.
const SYNC_EVERY: u64 = 8 << 20;

/// Where a compaction also writes the state as a plain file, for readers that know nothing of tallyfold.
///
/// The file is one JSON object, an entry on each line, sorted by key; or, if the path ends in `.parquet`, a table with a row for
/// each entry (feature `parquet`). A relative path begins at the store's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    path: String,
    key: Option<String>,
}

impl Mirror {
    /// All entries, as `{key: value}`.
    pub fn new(path: impl Into<String>) -> Mirror {
        Mirror { path: path.into(), key: None }
    }

    /// The value of one key, as the whole file.
    pub fn of_key(path: impl Into<String>, key: impl Into<String>) -> Mirror {
        Mirror { path: path.into(), key: Some(key.into()) }
    }

    /// As `cohort.json` spells it: a path, or an object with a path and a key.
    pub(crate) fn from_value(value: &serde_json::Value) -> Result<Mirror> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_string);
        let mirror = match value {
            serde_json::Value::String(path) => Some(Mirror::new(path)),
            serde_json::Value::Object(fields)
                if fields.keys().all(|field| field == "path" || field == "key") =>
            {
                let key = fields.get("key").map(text);
                match (fields.get("path").and_then(text), key) {
                    (Some(path), None) => Some(Mirror::new(path)),
                    (Some(path), Some(Some(key))) => Some(Mirror::of_key(path, key)),
                    _ => None,
                }
            }
            _ => None,
        };
        mirror.ok_or_else(|| {
            Error::invalid(format!("`mirror` is a path, or {{\"path\":…,\"key\":…}} with texts, not {value}"))
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        split(Path::new(&self.path)).map(|_| ())
    }
}

impl Serialize for Mirror {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let Some(key) = &self.key else { return serializer.serialize_str(&self.path) };
        let mut fields = serializer.serialize_struct("Mirror", 2)?;
        fields.serialize_field("path", &self.path)?;
        fields.serialize_field("key", key)?;
        fields.end()
    }
}

/// What a mirror shows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirrored {
    /// The file, behind any links.
    pub path: PathBuf,
    /// The last seq in the state that it shows.
    pub seq: Seq,
    /// How many entries it shows.
    pub entries: u64,
}

/// Whether a mirror that shows the same already is left alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renew {
    Always,
    IfItDiffers,
}

/// After a compaction, by the holder of `compact.lock`. A mirror that cannot be written is told, and stops nothing: the snapshot
/// is there. `between` is called now and then; an error of its own abandons the mirror, which is no failure.
pub(crate) fn renew(
    attachment: &Attachment,
    mirror: Option<&Mirror>,
    through: Seq,
    renew: Renew,
    between: &mut dyn FnMut() -> Result<()>,
) {
    let home = &attachment.home;
    let Some(mirror) = mirror else { return };
    let mut abandoned = false;
    let mut between = || between().inspect_err(|_| abandoned = true);
    let written = Reader::open_at(home, through).and_then(|reader| {
        let view = reader.into_view();
        let state = State { view: &view, key: mirror.key.as_deref() };
        put(&from_store(home)?, Path::new(&mirror.path), &state, renew, &mut between)
    });
    if !abandoned {
        attachment.chores.mirrored(written.err().map(|e| e.to_string()));
    }
}

/// Now, where the settings say. The view is made when `compact.lock` is held.
pub(crate) fn write(home: &Home, timeout: Duration, view: impl FnOnce() -> Result<View>) -> Result<Mirrored> {
    let Some(mirror) = home.settings_now()?.mirror else {
        return Err(Error::invalid(format!(
            "the cohort {:?} has no mirror in its settings",
            home.owner.cohort
        ))
        .advise("name the file to write, or make the cohort with the setting `mirror`"));
    };
    let lock = LockFile::open(&home.dir, names::COMPACT_LOCK)?;
    let _held = lock.exclusive(&Patience::of(timeout))?;
    let view = view()?;
    let state = State { view: &view, key: mirror.key.as_deref() };
    put(&from_store(home)?, Path::new(&mirror.path), &state, Renew::Always, &mut || Ok(()))
}

/// Now, to any path, seen from where the process is.
pub(crate) fn write_to(
    home: &Home,
    path: &Path,
    key: Option<&str>,
    view: impl FnOnce() -> Result<View>,
) -> Result<Mirrored> {
    if home.settings.fold == Fold::Log {
        return Err(Error::invalid("a mirror shows entries, and the fold `log` has none"));
    }
    let view = view()?;
    put(&Dir::open(Path::new("."))?, path, &State { view: &view, key }, Renew::Always, &mut || Ok(()))
}

/// Where relative paths begin. Not by the store's path: the process may have moved since it was opened.
fn from_store(home: &Home) -> Result<Dir> {
    home.dir.reach(Path::new(".."))
}

/// The state to be shown, or one entry of it.
pub(crate) struct State<'a> {
    view: &'a View,
    key: Option<&'a str>,
}

impl State<'_> {
    /// Shows `take` each entry, sorted by key, and returns how many there are.
    pub(crate) fn each(
        &self,
        between: &mut dyn FnMut() -> Result<()>,
        mut take: impl FnMut(&str, EntryRef<'_>) -> Result<()>,
    ) -> Result<u64> {
        if let Some(key) = self.key {
            let entry = self.view.get_ref(key)?.ok_or_else(|| no_entry(key))?;
            return take(key, entry).map(|()| 1);
        }
        let mut entries = 0;
        for item in self.view.iter_once() {
            let (key, entry) = item?;
            if entries % ENTRIES_BETWEEN == 0 {
                between()?;
            }
            take(&key, entry)?;
            entries += 1;
        }
        Ok(entries)
    }
}

fn put(
    from: &Dir,
    path: &Path,
    state: &State<'_>,
    renew: Renew,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Mirrored> {
    let place = Place::find(from, path)?;
    place.check()?;
    let table = path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("parquet"));
    let mut entries = 0;
    let mut fill = |out: &mut Plain| {
        entries = match table {
            true => write_table(state, out, between)?,
            false => write_json(state, out, between)?,
        };
        Ok(())
    };
    if renew == Renew::Always || !place.holds(&mut fill)? {
        replace_atomically(&place, &mut fill)?;
    }
    Ok(Mirrored { path: place.path(), seq: state.view.seq(), entries })
}

/// An entry on each line, or the value of the one key. Non-finite numbers stay the strings that stand for them; the `~` of
/// strings that would read so goes.
fn write_json(state: &State<'_>, out: &mut Plain, between: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
    if state.key.is_some() {
        let entries =
            state.each(between, |_, entry| out.put(plain(entry.json, entry.nonfinite).as_bytes()))?;
        return out.put(b"\n").map(|()| entries);
    }
    let mut before: &[u8] = b"{\n";
    let mut text = Vec::new();
    let entries = state.each(between, |key, entry| {
        text.clear();
        text.extend_from_slice(before);
        value::key_text(key, &mut text);
        text.push(b':');
        before = b",\n";
        out.put(&text)?;
        out.put(plain(entry.json, entry.nonfinite).as_bytes())
    })?;
    out.put(if entries == 0 { b"{}\n" } else { b"\n}\n" })?;
    Ok(entries)
}

/// The text of a value for readers who know nothing of the flag.
pub(crate) fn plain(json: &str, nonfinite: bool) -> std::borrow::Cow<'_, str> {
    if nonfinite { value::unescape(json) } else { json.into() }
}

fn no_entry(key: &str) -> Error {
    Error::new(Kind::NotFound, format!("the mirror is to show the key {key:?}, which has no entry"))
}

#[cfg(feature = "parquet")]
use crate::table::write as write_table;

#[cfg(not(feature = "parquet"))]
fn write_table(_: &State<'_>, _: &mut Plain, _: &mut dyn FnMut() -> Result<()>) -> Result<u64> {
    Err(Error::new(Kind::Unsupported, "a mirror that ends in .parquet needs the feature `parquet`")
        .advise("build with it, or choose another name"))
}

/// A file of the user's: its directory, and its name in there.
struct Place {
    dir: Dir,
    name: String,
}

impl Place {
    /// Where a path leads, behind all links: the file there is replaced, and the links stay.
    fn find(from: &Dir, path: &Path) -> Result<Place> {
        let (parent, name) = split(path)?;
        let mut place = Place { dir: from.reach(parent)?, name };
        for _ in 0..MOST_LINKS {
            let Some(target) = place.dir.link_target(&place.name)? else { return Ok(place) };
            let (parent, name) = split(&target)?;
            place = Place { dir: place.dir.reach(parent)?, name };
        }
        Err(Error::invalid("too many links lead from one to the next").at(&place.path()))
    }

    /// A mirror that took the place of one of a store's own files would end the store.
    fn check(&self) -> Result<()> {
        let in_cohort = self.dir.exists(names::COHORT)? && self.dir.exists(names::LOCK)?;
        let in_store = self.dir.exists(names::STORE)?;
        if in_cohort || in_store && self.name == names::STORE {
            return Err(Error::invalid("the mirror would stand among the store's own files")
                .at(&self.path())
                .advise("name a file elsewhere"));
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// A hidden name of its own for each writer, with the file's suffix: some libraries tell the format by that.
    fn temporary(&self, random: u64) -> String {
        format!("{}{random:016x}{}", self.temporary_prefix(), self.temporary_suffix())
    }

    fn temporary_prefix(&self) -> String {
        // File systems take 255 bytes; a longer name is told from its neighbours by its beginning.
        let mut end = self.name.len().min(160);
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        format!(".{}.", &self.name[..end])
    }

    fn temporary_suffix(&self) -> String {
        let suffix = Path::new(&self.name).extension().and_then(|suffix| suffix.to_str());
        suffix.filter(|suffix| suffix.len() <= 32).map_or(".tmp".into(), |suffix| format!(".tmp.{suffix}"))
    }

    /// Whether `name` is one that [`temporary`](Place::temporary) makes here.
    fn is_temporary(&self, name: &str) -> bool {
        let random = name
            .strip_prefix(&self.temporary_prefix())
            .and_then(|it| it.strip_suffix(&self.temporary_suffix()));
        random.is_some_and(|it| {
            it.len() == 16 && it.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }

    /// Removes what writers left that died over it. One that is at work has its file locked.
    fn remove_left_over(&self) -> Result<()> {
        for name in self.dir.names()?.iter().filter(|name| self.is_temporary(name)) {
            let Ok(lock) = LockFile::open(&self.dir, name) else { continue };
            if let Ok(Some(_held)) = lock.try_exclusive() {
                self.dir.remove(name)?;
            }
        }
        Ok(())
    }

    /// Whether the file holds what `fill` writes, to the byte.
    fn holds(&self, fill: &mut dyn FnMut(&mut Plain) -> Result<()>) -> Result<bool> {
        if self.dir.likeness(&self.name)?.is_none() {
            return Ok(false);
        }
        // Who may not read it may still replace it.
        let Ok(file) = self.dir.open_read(&self.name, Names::Several) else { return Ok(false) };
        let mut out = Plain::begin(file, Purpose::Compare);
        let filled = fill(&mut out).and_then(|()| out.end());
        if out.differs { Ok(false) } else { filled.map(|()| true) }
    }
}

/// A path as a directory and a name in it.
fn split(path: &Path) -> Result<(&Path, String)> {
    let refused = || Error::invalid(format!("the path {:?} names no file", path.display().to_string()));
    match path.components().next_back() {
        Some(Component::Normal(name)) => {
            let name = name.to_str().filter(|name| !name.contains('\0')).ok_or_else(refused)?;
            // A path that ends in a slash names a directory.
            let ends_so = path.to_str().is_some_and(|path| path.ends_with(std::path::is_separator));
            if ends_so {
                Err(refused())
            } else {
                Ok((path.parent().unwrap_or(Path::new("")), name.to_string()))
            }
        }
        _ => Err(refused()),
    }
}

/// Replaces the file by what `fill` writes: whoever reads it sees the old one or the new one, whole, whatever happens.
fn replace_atomically(place: &Place, fill: &mut dyn FnMut(&mut Plain) -> Result<()>) -> Result<()> {
    let dir = &place.dir;
    place.remove_left_over()?;
    let like = dir.likeness(&place.name)?;
    for _ in 0..TRIES {
        let temporary = place.temporary(sys::random_u64());
        let file = dir.create_like(&temporary, like.as_ref())?;
        // Where files cannot be locked nobody can tell that a writer is dead, and nothing is removed.
        let lock = LockFile::open(dir, &temporary);
        let held = lock.as_ref().ok().map(LockFile::try_exclusive);
        if matches!(held, Some(Ok(None))) || !dir.exists(&temporary)? {
            continue;
        }
        let mut out = Plain::begin(file, Purpose::Write);
        let written =
            fill(&mut out).and_then(|()| out.end()).and_then(|()| dir.rename(&temporary, &place.name));
        if written.is_err() {
            let _ = dir.remove(&temporary);
        }
        written?;
        return dir.sync();
    }
    Err(Error::new(Kind::Conflict, "others keep removing what is being written").at(&place.path()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Write,
    Compare,
}

/// A plain file that is written from its beginning to its end, or held against what would be written.
pub(crate) struct Plain {
    file: File,
    purpose: Purpose,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    at: u64,
    synced: u64,
    differs: bool,
}

impl Plain {
    fn begin(file: File, purpose: Purpose) -> Plain {
        Plain { file, purpose, buffer: Vec::with_capacity(BUFFER), at: 0, synced: 0, differs: false }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.pass()?;
        }
        if bytes.len() > BUFFER {
            return self.pass_on(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let passed = self.pass_on(&buffer);
        buffer.clear();
        self.buffer = buffer;
        passed
    }

    fn pass_on(&mut self, bytes: &[u8]) -> Result<()> {
        match self.purpose {
            Purpose::Write => self.file.write_at(bytes, self.at).map_err(|short| short.error)?,
            Purpose::Compare => {
                let mut found = vec![0; bytes.len()];
                let read = self.file.read_at(&mut found, self.at)?;
                if found[..read] != *bytes {
                    self.differs = true;
                    return Err(Error::new(Kind::Conflict, "the file holds something else"));
                }
            }
        }
        self.at += bytes.len() as u64;
        if self.purpose == Purpose::Write && self.at - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.pass()?;
        match self.purpose {
            Purpose::Write => self.file.sync_all(),
            Purpose::Compare => {
                self.differs = self.file.len()? != self.at;
                Ok(())
            }
        }
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)?;
        Ok(bytes.len())
    }

    /// What was written is passed on at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
