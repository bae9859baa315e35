//! Import: what other programs wrote becomes records, in batches, with every row that was not taken told.
//!
//! Rows are text all the way, so that digits, escapes and the order of members stay. Memory is taken for a batch, and for 16
//! bytes of each key, to tell which came more than once; with `seq_from` for the whole input, for it has to be sorted.

mod lines;
mod nonfinite;
mod optuna;
mod split;
#[cfg(feature = "parquet")]
mod table;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufRead;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::cohort::Cohort;
use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::format;
use crate::record::{Batch, Seq};
use crate::settings::Settings;
use crate::value;
use lines::Lines;
use split::{Shape, Split};

/// A batch ends with the row that makes it so long, in rows or in bytes of text.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;
/// Of more rows than this that were not taken only the number is told.
const MOST_TOLD: usize = 100;

/// Where the keys of imported records come from.
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    /// The names of the members of the one object that the input is.
    Members,
    /// The JSON text of the row; an error says why it has no key.
    Of(&'a dyn Fn(&str) -> std::result::Result<String, String>),
}

/// An import into a cohort: how it is done, and then what is read.
///
/// ```
/// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
/// # let index = store.create("index", tallyfold::Settings::latest())?;
/// use tallyfold::Import;
/// let old = r#"{"run-1:TRAINING": {"auc": 0.610}, "run-2:TRAINING": {"auc": NaN}}"#;
/// let imported = Import::into(&index).json(old.as_bytes());
/// assert_eq!((imported.taken, imported.nonfinite, imported.stopped.is_none()), (2, 1, true));
/// assert_eq!(index.view()?.get("run-1:TRAINING")?.unwrap().json(), r#"{"auc":0.610}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Import<'a> {
    cohort: Option<&'a Cohort>,
    settings: &'a Settings,
    keys: Keys<'a>,
    seq_from: Option<&'a str>,
    all_or_nothing: bool,
    dry: bool,
}

/// What an import has done.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// Rows read.
    pub rows: u64,
    /// Rows appended; of a rehearsal those that would be.
    pub taken: u64,
    /// Rows not taken. Each is in `refused` while there is room.
    pub skipped: u64,
    /// Rows taken whose key another one before them had: of those the last counts, unless the fold merges them.
    pub repeated: u64,
    /// Rows taken in which NaN or an infinity stands as a bare word. They are non-finite numbers now.
    pub nonfinite: u64,
    /// With `seq_from`: rows without such a number. They came after all the others.
    pub unnumbered: u64,
    /// The seq of the last record appended; 0: none.
    pub seq: Seq,
    /// Of operations of Optuna: those that were records already, of an earlier import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<u64>,
    /// Of operations of Optuna: a last line that its writer has not ended, and that was left out. A crash leaves that; it is no
    /// failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn: Option<Refused>,
    /// The first hundred rows that were not taken.
    pub refused: Vec<Refused>,
    /// Why it ended before the input did.
    #[serde(skip)]
    pub stopped: Option<Error>,
}

/// A row that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Where it begins in the input: a line, a line and a column, or a row.
    pub place: String,
    /// Why it was not taken.
    pub reason: String,
}

impl<'a> Import<'a> {
    /// Into a cohort. Keys are the names of members, unless said otherwise.
    pub fn into(cohort: &'a Cohort) -> Import<'a> {
        Import { cohort: Some(cohort), ..Import::rehearsal(cohort.settings()) }
    }

    /// Everything but the appends, as a cohort of these settings would take it.
    pub fn rehearsal(settings: &'a Settings) -> Import<'a> {
        Import {
            cohort: None,
            settings,
            keys: Keys::Members,
            seq_from: None,
            all_or_nothing: false,
            dry: false,
        }
    }

    /// The same, and nothing is appended.
    pub fn dry(self) -> Import<'a> {
        Import { dry: true, ..self }
    }

    /// The settings of the cohort that it is for.
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// Where keys come from.
    pub fn keys(self, keys: Keys<'a>) -> Import<'a> {
        Import { keys, ..self }
    }

    /// Appends the rows in the order of the number in this field, those without one behind all others, in the order of the input.
    pub fn seq_from(self, field: &'a str) -> Import<'a> {
        Import { seq_from: Some(field), ..self }
    }

    /// Appends all rows in one batch, or none if one is refused or they do not fit.
    pub fn all_or_nothing(self) -> Import<'a> {
        Import { all_or_nothing: true, ..self }
    }

    /// A JSON document: an object of entries, `{key: value}`, or a list of rows.
    pub fn json(self, input: impl BufRead) -> Imported {
        self.load(|loader| {
            let mut split = Split::new(input, loader.longest());
            match (split.begin().map_err(stopped)?, self.keys) {
                (Shape::Object, _) | (Shape::List, Keys::Of(_)) => {}
                (Shape::List, Keys::Members) => {
                    return Err(Error::invalid("the input is a list, whose rows have no names")
                        .advise("say which of their fields make the key"));
                }
                (Shape::Other, _) => {
                    return Err(Error::invalid("the input is no object and no list")
                        .advise("give the whole of it a key, to import it as one value"));
                }
            }
            while let Some(item) = split.next().map_err(stopped)? {
                loader.take(item.place, item.name, item.text)?;
            }
            Ok(())
        })
    }

    /// A JSON document that is one row, whatever it is.
    pub fn json_value(self, input: impl BufRead) -> Imported {
        self.load(|loader| {
            let mut split = Split::new(input, loader.longest());
            let item = split.whole().map_err(stopped)?;
            loader.take(item.place, item.name, item.text)
        })
    }

    /// JSON values, one a line. Lines of white space only are passed over.
    pub fn jsonl(self, input: impl BufRead) -> Imported {
        self.load(|loader| {
            let mut lines = Lines::new(input, loader.longest());
            while let Some((number, text)) =
                lines.next().map_err(|e| stopped(format!("cannot be read: {e}")))?
            {
                loader.take(Place::Line(number), None, text)?;
            }
            Ok(())
        })
    }

    /// The journal file of Optuna (`JournalFileBackend`) as the records of a study that the Python package goes on with: each line is an
    /// operation, and operation n the record with seq n. The cohort must be durable and its fold `log`, and what it holds must be the
    /// beginning of the file: then the rest is appended, so that an import may be done again. Keys and `seq_from` mean nothing here.
    ///
    /// A last line without an end is left out: [`Imported::torn`]. Any other line that is no operation ends the import, for what is
    /// behind it would be of other trials.
    pub fn optuna(self, input: impl BufRead) -> Imported {
        optuna::load(self, input)
    }

    /// A Parquet file: each row becomes an object with its columns as members. Times become texts as ISO 8601 has them, decimals
    /// numbers with all their digits, nulls stay.
    #[cfg(feature = "parquet")]
    pub fn parquet(self, file: std::fs::File) -> Imported {
        self.load(|loader| table::each(file, |row, text| loader.take(Place::Row(row), None, text)))
    }

    /// The same from memory.
    #[cfg(feature = "parquet")]
    pub fn parquet_bytes(self, bytes: Vec<u8>) -> Imported {
        self.load(|loader| table::each_of(bytes, |row, text| loader.take(Place::Row(row), None, text)))
    }

    fn load(self, read: impl FnOnce(&mut Loader<'a>) -> Result<()>) -> Imported {
        let mut loader = Loader {
            how: self,
            imported: Imported::default(),
            pending: Vec::new(),
            bytes: 0,
            waiting: Vec::new(),
            keys: HashSet::new(),
            refused: Vec::new(),
        };
        // What came before the end of a broken input is taken all the same, unless it is all or nothing.
        let read = read(&mut loader);
        let sound = read.is_ok();
        let ended = if sound || !self.all_or_nothing { loader.end() } else { Ok(()) };
        // Some are refused when they are read, others with their batch.
        loader.refused.sort_by_key(|(place, _)| *place);
        let told = |(place, reason): (Place, String)| Refused { place: place.to_string(), reason };
        let refused = loader.refused.into_iter().map(told).collect();
        Imported { refused, stopped: read.err().or(ended.err()), ..loader.imported }
    }
}

fn stopped(what: impl fmt::Display) -> Error {
    Error::invalid(format!("the input {what}"))
}

/// Where in the input something begins. Lines, columns and rows are counted from 1, columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Line(u64),
    Column(u64, u64),
    #[cfg(feature = "parquet")]
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Column(line, column) => write!(f, "line {line} column {column}"),
            #[cfg(feature = "parquet")]
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// A row that has a key.
struct Row {
    place: Place,
    key: String,
    json: String,
    nonfinite: bool,
}

struct Loader<'a> {
    how: Import<'a>,
    imported: Imported,
    /// The next batch, and the bytes of its texts.
    pending: Vec<Row>,
    bytes: usize,
    /// With `seq_from`: all rows, and their numbers.
    waiting: Vec<(Option<Number>, Row)>,
    /// A hash of each key that there was.
    keys: HashSet<u128>,
    refused: Vec<(Place, String)>,
}

impl Loader<'_> {
    fn max_body(&self) -> usize {
        self.how.settings.max_body_bytes as usize
    }

    /// White space between tokens is not kept. A space behind every comma and colon doubles no value.
    fn longest(&self) -> usize {
        self.max_body().saturating_mul(2)
    }

    /// A row as it was read, or why it could not be.
    fn take(
        &mut self,
        place: Place,
        name: Option<Vec<u8>>,
        text: std::result::Result<&[u8], String>,
    ) -> Result<()> {
        self.imported.rows += 1;
        match text.and_then(|text| self.row(place, name, text)) {
            Err(reason) => self.refuse(place, reason),
            Ok(row) => match self.how.seq_from {
                Some(field) => {
                    self.bytes += row.json.len();
                    self.waiting.push((number(&row.json, field), row));
                }
                None => return self.add(row),
            },
        }
        Ok(())
    }

    fn row(&self, place: Place, name: Option<Vec<u8>>, text: &[u8]) -> std::result::Result<Row, String> {
        let text = std::str::from_utf8(text)
            .map_err(|e| format!("it is not UTF-8 at byte {}", e.valid_up_to() + 1))?;
        let (json, numbers) = nonfinite::quoted(text);
        let key = match (self.how.keys, name) {
            (Keys::Of(key), _) => key(&json)?,
            (Keys::Members, Some(name)) => {
                value::key_of(&name).ok_or("its name is no text that JSON can hold")?.into_owned()
            }
            (Keys::Members, None) => return Err("it has no name to be its key".into()),
        };
        let nonfinite = !numbers.is_empty();
        let json =
            if nonfinite { value::escape_except(&json, &numbers).into_owned() } else { json.into_owned() };
        Ok(Row { place, key, json, nonfinite })
    }

    fn refuse(&mut self, place: Place, reason: String) {
        self.imported.skipped += 1;
        if self.refused.len() < MOST_TOLD {
            self.refused.push((place, reason));
        }
    }

    fn add(&mut self, row: Row) -> Result<()> {
        let size = row.key.len() + row.json.len() + format::RECORD_OVERHEAD;
        if self.how.all_or_nothing {
            self.bytes += size;
            if self.bytes > self.longest() {
                return Err(Error::invalid(format!(
                    "the rows do not fit one batch of {} bytes (max_body_bytes): nothing was appended",
                    self.max_body()
                ))
                .advise("import them in several batches"));
            }
            self.pending.push(row);
            return Ok(());
        }
        if !self.pending.is_empty() && self.bytes + size > self.max_body() {
            self.flush()?;
        }
        self.bytes += size;
        self.pending.push(row);
        match self.pending.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.how.seq_from.is_some() {
            self.bytes = 0;
            let mut waiting = std::mem::take(&mut self.waiting);
            in_order(&mut waiting);
            for (number, row) in waiting {
                self.imported.unnumbered += u64::from(number.is_none());
                self.add(row)?;
            }
        }
        self.flush()
    }

    /// Appends what is pending, but for the rows that are refused.
    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let mut batch = Batch::new();
        let mut rows = Vec::with_capacity(self.pending.len());
        for row in std::mem::take(&mut self.pending) {
            match batch.put_flagged(&row.key, &row.json, row.nonfinite) {
                Ok(_) => rows.push(row),
                Err(e) => self.refuse(row.place, e.to_string()),
            }
        }
        if self.how.all_or_nothing && self.imported.skipped > 0 {
            let what = format!("{} rows were refused: nothing was appended", self.imported.skipped);
            return Err(Error::invalid(what));
        }
        if rows.is_empty() {
            return Ok(());
        }
        match self.append(batch) {
            Ok(seq) => self.appended(seq, &rows),
            // One of them is to blame: the others are appended without it.
            Err(e) if e.is_invalid() && !self.how.all_or_nothing => return self.flush_one_by_one(rows),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn flush_one_by_one(&mut self, rows: Vec<Row>) -> Result<()> {
        for row in rows {
            let mut batch = Batch::new();
            batch.put_flagged(&row.key, &row.json, row.nonfinite)?;
            match self.append(batch) {
                Ok(seq) => self.appended(seq, &[row]),
                Err(e) if e.is_invalid() => self.refuse(row.place, e.to_string()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn append(&self, batch: Batch) -> Result<Seq> {
        if let Some(cohort) = self.how.cohort.filter(|_| !self.how.dry) {
            return cohort.append_batch(batch);
        }
        self.how.settings.fold.check(&batch)?;
        match batch.bytes() > self.max_body() {
            true => Err(Error::invalid(format!(
                "it takes {} bytes, {} are allowed (max_body_bytes)",
                batch.bytes(),
                self.max_body()
            ))),
            false => Ok(0),
        }
    }

    fn appended(&mut self, seq: Seq, rows: &[Row]) {
        self.imported.seq = seq;
        self.imported.taken += rows.len() as u64;
        for row in rows {
            self.imported.nonfinite += u64::from(row.nonfinite);
            if self.how.settings.fold != Fold::Log && !self.keys.insert(fingerprint(&row.key)) {
                self.imported.repeated += 1;
            }
        }
    }
}

/// 128 bits of a key: two keys that share them are not to be expected in any file.
fn fingerprint(key: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// A number to order rows by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i128),
    Other(f64),
}

/// The number in a field; `None` if that is missing, or no number.
fn number(json: &str, field: &str) -> Option<Number> {
    let members: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    let text = members.get(field)?.get();
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    match text.parse() {
        Ok(whole) => Some(Number::Whole(whole)),
        Err(_) => text.parse().ok().map(Number::Other),
    }
}

/// Sorts by number, whole ones exactly; those that have none stay in their order, at the end.
fn in_order(rows: &mut [(Option<Number>, Row)]) {
    let exact = rows.iter().all(|(number, _)| !matches!(number, Some(Number::Other(_))));
    if exact {
        rows.sort_by_key(|(number, _)| match number {
            Some(Number::Whole(whole)) => (false, *whole),
            _ => (true, 0),
        });
        return;
    }
    let double = |number: &Option<Number>| match number {
        Some(Number::Whole(whole)) => Some(*whole as f64),
        Some(Number::Other(other)) => Some(*other),
        None => None,
    };
    rows.sort_by(|(one, _), (other, _)| match (double(one), double(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    });
}
