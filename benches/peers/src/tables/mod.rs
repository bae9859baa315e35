//! The tables, each measured and then printed.

use std::time::{Duration, Instant};

use tallyfold::{Batch, Cohort};

use crate::Result;
use crate::peers::Append;
use crate::record::{self, Text};

pub mod append;
pub mod compaction;
pub mod growth;
pub mod keyed;
pub mod scan;
pub mod stall;
pub mod update;

/// Records or entries that are written at once where only the result counts.
const FILL: usize = 1000;

/// Appends the records from `from` on, before `until`, as quickly as it goes.
fn fill(writer: &mut dyn Append, from: u64, until: u64) -> Result<()> {
    let mut texts = Text::batch(0, FILL);
    let mut at = from;
    while at < until {
        let now = texts.len().min((until - at) as usize);
        record::number(&mut texts[..now], at);
        writer.append(&texts[..now])?;
        at += now as u64;
    }
    Ok(())
}

/// A key as pipelines have them.
fn key(number: u64) -> String {
    format!("run-{number:07}:TRAINING")
}

/// The bytes of a [`padded`] value and its key.
const PADDED_BYTES: u64 = 1024;

/// A large value, told from all others.
fn padded(number: u64) -> String {
    let width = PADDED_BYTES as usize - key(number).len() - r#"{"pad":"","number":12345678}"#.len();
    format!(r#"{{"pad":"{:x<width$}","number":{:08}}}"#, "", number % 100_000_000 + 10_000_000)
}

/// Puts large values under these keys.
fn put_padded(cohort: &Cohort, keys: impl Iterator<Item = u64>) -> Result<()> {
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        let mut batch = Batch::new();
        for number in keys.by_ref().take(FILL) {
            batch.put_json(&key(number), &padded(number))?;
        }
        cohort.append_batch(batch)?;
    }
    Ok(())
}

/// What something returns, and how long that took.
fn timed<T>(what: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    let result = what()?;
    Ok((result, begun.elapsed()))
}
