//! The journal file of Optuna: an operation on each line, in an order that gives trials their numbers.
//!
//! The Python package keeps the same operations as records, the operation of line n as the record with seq n. So a line cannot be
//! left out and another taken: what comes behind would be of other trials than before. And records that are there already must be
//! those of the file's beginning; then the rest of the file is what is missing.

use std::io::BufRead;

use super::lines::Lines;
use super::{BATCH_BYTES, BATCH_ROWS, Import, Imported, Place, Refused, nonfinite};
use crate::cohort::{Cohort, Expect};
use crate::cursor::Cursor;
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::record::{Batch, Seq};
use crate::value::{self, Shape};

/// What Optuna writes into every operation.
const OPERATION: &str = "op_code";
const WORKER: &str = "worker_id";

pub(super) fn load(how: Import<'_>, input: impl BufRead) -> Imported {
    let imported = Imported { there: Some(0), ..Imported::default() };
    let mut loader = Loader { how, imported, batch: Batch::new(), head: 0, marked: 0 };
    let read = loader.read(input);
    // What is before a broken line is a journal of its own.
    let flushed = loader.flush();
    Imported { stopped: read.err().or(flushed.err()), ..loader.imported }
}

struct Loader<'a> {
    how: Import<'a>,
    imported: Imported,
    /// What is to be appended next.
    batch: Batch,
    /// The last seq of the cohort, as far as we know it: ours, or what we found there.
    head: Seq,
    /// How many operations of the batch hold non-finite numbers.
    marked: u64,
}

impl Loader<'_> {
    fn read(&mut self, input: impl BufRead) -> Result<()> {
        self.check_settings()?;
        let mut there = self.how.cohort.map(|cohort| cohort.cursor(1)).transpose()?;
        let max_body = self.how.settings.max_body_bytes as usize;
        let mut lines = Lines::new(input, max_body.saturating_mul(2));
        loop {
            let next = lines.next().map_err(|e| super::stopped(format!("cannot be read: {e}")))?;
            let Some((number, text)) = next else { return Ok(()) };
            let operation = text.and_then(|text| operation(text, max_body));
            if !lines.is_ended() {
                self.imported.torn = Some(torn(number));
                return Ok(());
            }
            self.imported.rows += 1;
            match operation {
                Err(reason) => {
                    self.imported.skipped += 1;
                    self.imported.refused.push(Refused { place: Place::Line(number).to_string(), reason });
                    return Err(broken(number));
                }
                Ok((json, nonfinite)) if !self.is_there(&mut there, number, &json)? => {
                    self.add(&json, nonfinite)?;
                }
                Ok(_) => {}
            }
        }
    }

    /// `tallyfold.optuna` opens no other cohort.
    fn check_settings(&self) -> Result<()> {
        let settings = self.how.settings;
        let wrong = match (&settings.fold, settings.durable) {
            (Fold::Log, true) => return Ok(()),
            (Fold::Log, false) => "is not durable".to_string(),
            (fold, _) => format!("has the fold {}", fold.name()),
        };
        Err(Error::invalid(format!(
            "operations of Optuna belong into a durable cohort whose fold is log, and this one {wrong}"
        ))
        .advise("choose another name: a cohort that is missing is made so"))
    }

    /// Whether the operation is a record already, of an earlier import.
    fn is_there(&mut self, there: &mut Option<Cursor>, line: u64, json: &str) -> Result<bool> {
        let Some(cursor) = there else { return Ok(false) };
        let Some(record) = cursor.next_ref()? else {
            *there = None;
            return Ok(false);
        };
        if record.json() != Some(json) {
            let seq = record.seq();
            return Err(Error::new(
                Kind::Conflict,
                format!("the cohort holds other operations than the file: record {seq} is not line {line}"),
            )
            .at_seq(seq)
            .advise("the study went on without this file, or it is another: import it into a new cohort"));
        }
        self.head = record.seq();
        *self.imported.there.get_or_insert(0) += 1;
        Ok(true)
    }

    fn add(&mut self, json: &str, nonfinite: bool) -> Result<()> {
        let max_body = self.how.settings.max_body_bytes as usize;
        let size = json.len() + crate::format::RECORD_OVERHEAD;
        if !self.batch.is_empty() && self.batch.bytes() + size > max_body {
            self.flush()?;
        }
        self.batch.put_flagged("", json, nonfinite)?;
        self.marked += u64::from(nonfinite);
        match self.batch.len() >= BATCH_ROWS || self.batch.bytes() >= BATCH_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Appends the batch if nobody else has appended anything meanwhile.
    fn flush(&mut self) -> Result<()> {
        let (batch, marked) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.marked));
        let rows = batch.len() as u64;
        if rows == 0 {
            return Ok(());
        }
        if let Some(cohort) = self.appending() {
            let appended = cohort.append_if(Expect::Head(self.head), batch);
            self.head = appended.map_err(|e| match e.is_conflict() {
                true => e.advise("somebody else appends to this cohort: end that, and import again"),
                false => e,
            })?;
            self.imported.seq = self.head;
        }
        self.imported.taken += rows;
        self.imported.nonfinite += marked;
        Ok(())
    }

    fn appending(&self) -> Option<&Cohort> {
        self.how.cohort.filter(|_| !self.how.dry)
    }
}

/// The operation on a line, as its record will hold it.
fn operation(line: &[u8], max_body: usize) -> std::result::Result<(String, bool), String> {
    let text =
        std::str::from_utf8(line).map_err(|e| format!("it is not UTF-8 at byte {}", e.valid_up_to() + 1))?;
    let (quoted, numbers) = nonfinite::quoted(text);
    let nonfinite = !numbers.is_empty();
    let mut bytes = Vec::with_capacity(quoted.len());
    let json = if nonfinite { value::escape_except(&quoted, &numbers) } else { quoted };
    value::check(&json, &mut bytes).map_err(|fault| format!("it is no JSON: {fault}"))?;
    let json = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    let (mut code, mut worker) = (false, false);
    if json.starts_with('{') {
        for (name, value) in value::members(&json).map_err(|fault| fault.to_string())? {
            match &*name {
                OPERATION => {
                    code = matches!(Shape::of(value, nonfinite), Shape::Number(code) if is_whole(code))
                }
                WORKER => worker = matches!(Shape::of(value, nonfinite), Shape::Text(_)),
                _ => {}
            }
        }
    }
    if !code || !worker {
        return Err(format!(
            "it is no operation of Optuna, which is an object with {OPERATION} and {WORKER}"
        ));
    }
    let size = json.len() + crate::format::RECORD_OVERHEAD;
    if size > max_body {
        return Err(format!("it takes {size} bytes, {max_body} are allowed (max_body_bytes)"));
    }
    Ok((json, nonfinite))
}

fn is_whole(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit())
}

fn torn(line: u64) -> Refused {
    let reason = "it has no end: whoever wrote it died, or is still at it; Optuna does not count it either";
    Refused { place: Place::Line(line).to_string(), reason: reason.into() }
}

fn broken(line: u64) -> Error {
    Error::invalid(format!(
        "line {line} is broken, and what is behind it was not taken, for trials are numbered by the order of the lines"
    ))
    .advise(
        "Optuna stops there too. Mend the line, or remove it if nothing behind it needs it, and import again: what is there \
         already is not appended twice",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_optuna_writes_is_an_operation_and_nothing_else_is() {
        let shown = |line: &str| operation(line.as_bytes(), 200);
        assert_eq!(
            shown("{\"op_code\": 6, \"worker_id\":\"w\",\"values\":[NaN, 1.50], \"s\":\"NaN\"}\r"),
            Ok((r#"{"op_code":6,"worker_id":"w","values":["NaN",1.50],"s":"~NaN"}"#.into(), true))
        );
        for (line, words) in [
            ("[6]", "no operation of Optuna"),
            ("{\"op_code\":6}", "no operation of Optuna"),
            ("{\"op_code\":\"6\",\"worker_id\":\"w\"}", "no operation of Optuna"),
            ("{\"op_code\":-1,\"worker_id\":\"w\"}", "no operation of Optuna"),
            ("{\"op_code\":6,\"worker_id\":\"w\"", "no JSON"),
            ("{\"op_code\":6,\"worker_id\":\"w\"}{}", "no JSON"),
        ] {
            let refusal = shown(line).unwrap_err();
            assert!(refusal.contains(words), "{line}: {refusal}");
        }
        let long = format!("{{\"op_code\":6,\"worker_id\":\"{}\"}}", "w".repeat(200));
        assert!(shown(&long).unwrap_err().contains("max_body_bytes"));
        assert!(operation(b"\xff", 200).unwrap_err().contains("not UTF-8 at byte 1"));
    }
}
