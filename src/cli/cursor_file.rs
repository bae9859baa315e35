//! Where a reader has stopped, in a file of the user's, so that the next one goes on behind it.
//!
//! The file names the last record that was looked at by its seq, its epoch and a CRC of what is in it. So a reader that comes
//! back is told when that record is not the one any more that it was: a seq alone is given again when a power cut has taken the
//! end of the journal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tallyfold::files::{self, FileLock, LockName, Options as Writing, lock_path};
use tallyfold::{Cohort, Cursor, RecordRef, Seq};

use super::exit::{self, Failure};
use super::options::Options;
use super::output::say;

const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    tallyfold_cursor: u32,
    store: String,
    cohort: String,
    epoch: u64,
    seq: Seq,
    /// Of the record with this seq; none was looked at if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
}

/// How far a reader has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: u64,
    pub(crate) seq: Seq,
    crc32: Option<u32>,
}

impl Mark {
    /// Before the record that a cursor gives next.
    pub(crate) fn before(cursor: &Cursor) -> Mark {
        Mark { epoch: cursor.epoch(), seq: cursor.next_seq() - 1, crc32: None }
    }

    /// Behind a record. The cursor that gave it knows its epoch.
    pub(crate) fn behind(record: &RecordRef<'_>) -> Mark {
        let mut crc32 = crc32fast::Hasher::new();
        crc32.update(&record.time_us().to_le_bytes());
        crc32.update(&[record.kind() as u8, u8::from(record.nonfinite())]);
        crc32.update(&(record.key().len() as u64).to_le_bytes());
        crc32.update(record.key().as_bytes());
        crc32.update(record.bytes());
        Mark { epoch: 0, seq: record.seq(), crc32: Some(crc32.finalize()) }
    }
}

/// The file of one reader, which nobody else reads by at the same time.
#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    store: String,
    cohort: String,
    remembered: Option<Mark>,
    _lock: FileLock,
}

impl CursorFile {
    /// Takes the file for this reader alone, and reads it if it is there.
    pub(crate) fn open(options: &Options, path: &Path, cohort: &Cohort) -> Result<CursorFile, Failure> {
        let lock = FileLock::exclusive(
            lock_path(path, LockName::Appended),
            options.timeout.unwrap_or(Duration::ZERO),
        );
        let lock = lock.map_err(|e| match e.is_lock_timeout() {
            true => Failure::new(
                exit::LOCK_TIMEOUT,
                format!("another reader goes by the cursor file {}: {e}", path.display()),
            ),
            false => Failure::new(exit::FAILURE, format!("the cursor file {}: {e}", path.display())),
        })?;
        let (store, name) = (options.store()?.id(), cohort.name().to_string());
        let document = match files::read_json::<Document>(path) {
            Ok(document) => Some(document),
            Err(e) if e.is_not_found() => None,
            Err(e) if e.is_io() || e.is_unsafe_file() => return Err(e.into()),
            Err(_) => {
                let what =
                    format!("{} is no cursor file: nothing was read, and it was not changed", path.display());
                return Err(Failure::new(exit::FAILURE, what + "; name another file"));
            }
        };
        let remembered = document.map(|document| mark(path, (&store, &name), document)).transpose()?;
        Ok(CursorFile { path: path.to_path_buf(), store, cohort: name, remembered, _lock: lock })
    }

    /// A cursor behind the last record of which it is remembered that it was looked at; `None` if nothing is.
    pub(crate) fn resume(&self, cohort: &Cohort) -> Result<Option<Cursor>, Failure> {
        let Some(mark) = &self.remembered else { return Ok(None) };
        let Some(known) = mark.crc32 else {
            return Ok(Some(cohort.cursor(mark.seq + 1).map_err(|e| self.gone(mark, e))?));
        };
        match cohort.cursor(mark.seq) {
            Ok(mut cursor) => match cursor.next_ref()?.map(|record| Mark::behind(&record).crc32) {
                Some(found) if found == Some(known) => Ok(Some(cursor)),
                Some(_) => Err(self.cut(mark, "another record has that seq now")),
                None => Err(self.cut(mark, "the journal ends before it")),
            },
            Err(e) if e.is_compacted() => {
                let cursor = cohort.cursor(mark.seq + 1).map_err(|e| self.gone(mark, e))?;
                if cursor.epoch() != mark.epoch {
                    say(format!(
                        "warning: since record {} was read the epoch went from {} to {}, and the record is folded away: whether \
                         it was cut and another one took its seq cannot be told any more",
                        mark.seq,
                        mark.epoch,
                        cursor.epoch()
                    ));
                }
                Ok(Some(cursor))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Puts a mark into the file, which holds the old one or the new one whatever happens.
    pub(crate) fn remember(&mut self, mark: &Mark) -> Result<(), Failure> {
        if self.remembered.as_ref() == Some(mark) {
            return Ok(());
        }
        let document = Document {
            tallyfold_cursor: VERSION,
            store: self.store.clone(),
            cohort: self.cohort.clone(),
            epoch: mark.epoch,
            seq: mark.seq,
            crc32: mark.crc32.map(|crc32| format!("{crc32:08x}")),
        };
        let line = serde_json::to_string(&document).map_err(std::io::Error::from)? + "\n";
        files::atomic_write(&self.path, line, &Writing::new().parents(false)).map_err(|e| {
            let again = "the next reader gets the last records again";
            Failure::new(exit::FAILURE, format!("cannot remember where this reader stopped, so {again}: {e}"))
        })?;
        self.remembered = Some(mark.clone());
        Ok(())
    }

    /// What the records are that nobody can read any more, if that is what an error says.
    fn gone(&self, mark: &Mark, e: tallyfold::Error) -> Failure {
        match e.seq() {
            Some(first) if e.is_compacted() => Failure::new(
                exit::FAILURE,
                format!(
                    "{} are folded away: the cursor file {} stands before them; to go on without them, remove it and begin with \
                     --from {first} (the setting retain keeps records longer)",
                    records(mark.seq + 1, first - 1),
                    self.path.display()
                ),
            ),
            _ => e.into(),
        }
    }

    fn cut(&self, mark: &Mark, what: &str) -> Failure {
        Failure::new(
            exit::CONFLICT,
            format!(
                "record {} of epoch {}, behind which the cursor file {} stands, was cut: {what}; what was read up to there may \
                 hold records that are no part of the cohort; to read it anew, remove the file (and give --from SEQ)",
                mark.seq,
                mark.epoch,
                self.path.display()
            ),
        )
    }
}

/// As a part of a sentence.
pub(crate) fn records(from: Seq, to: Seq) -> String {
    if from >= to { format!("record {from}") } else { format!("records {from} to {to}") }
}

/// What a document says, if it is of this store and cohort.
fn mark(path: &Path, (store, cohort): (&str, &str), document: Document) -> Result<Mark, Failure> {
    let refused = |code, what: String| {
        let path = path.display();
        Failure::new(code, format!("the cursor file {path} is {what}: nothing was read; name another file"))
    };
    let Document { tallyfold_cursor, store: its_store, cohort: its_cohort, epoch, seq, crc32 } = document;
    if tallyfold_cursor != VERSION {
        return Err(refused(
            exit::FAILURE,
            format!("of version {tallyfold_cursor}, and {VERSION} is known here"),
        ));
    }
    if its_store != store {
        return Err(refused(exit::CONFLICT, format!("of another store, the one with the id {its_store}")));
    }
    if its_cohort != cohort {
        return Err(refused(exit::CONFLICT, format!("of another cohort, {its_cohort:?}")));
    }
    let crc32 = crc32.map(|text| u32::from_str_radix(&text, 16)).transpose();
    let crc32 = crc32.map_err(|_| refused(exit::FAILURE, "damaged, its CRC is no number".into()))?;
    if seq == Seq::MAX {
        return Err(refused(exit::FAILURE, "damaged, it stands behind the last of all seqs".into()));
    }
    Ok(Mark { epoch, seq, crc32 })
}
