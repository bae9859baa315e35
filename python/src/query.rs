//! Looking for entries: keys of parts, and the newest entry before another.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyMapping;
use tallyfold::{Fold, Query};

use crate::decode::decode;
use crate::encode::Encoding;
use crate::error::OrRaise;

/// The key of these parts: joined by `:`, with `:` and `%` in a part escaped, so that no two lists of parts have the same key.
/// No parts: the key of one empty part.
#[pyfunction]
#[pyo3(signature = (*parts))]
pub(crate) fn key(parts: Vec<String>) -> String {
    tallyfold::key(parts)
}

/// The parts of a key: what `key` was given.
#[pyfunction]
pub(crate) fn key_parts(key: &str) -> Vec<String> {
    tallyfold::key_parts(key).into_iter().map(|part| part.into_owned()).collect()
}

/// An entry, on its way to Python.
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) key: String,
    json: String,
    nonfinite: bool,
}

impl Found {
    pub(crate) fn of(key: impl Into<String>, entry: tallyfold::EntryRef<'_>) -> Found {
        let (json, nonfinite) = (entry.json().to_owned(), entry.nonfinite());
        Found { seq: entry.seq(), key: key.into(), json, nonfinite }
    }

    /// A `tallyfold.Entry`.
    pub(crate) fn entry<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static ENTRY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let entry = ENTRY
            .get_or_try_init(py, || PyResult::Ok(py.import("tallyfold.entry")?.getattr("Entry")?.unbind()))?;
        entry.bind(py).call1((self.seq, &self.key, decode(py, &self.json, self.nonfinite)?))
    }
}

/// What `previous` is asked for.
pub(crate) fn query(
    py: Python<'_>,
    before: Option<u64>,
    before_key: Option<String>,
    fields: [Option<Bound<'_, PyMapping>>; 2],
) -> PyResult<Query> {
    let mut query = match (before, before_key) {
        (None, None) => Query::new(),
        (Some(seq), None) => Query::new().before(seq),
        (None, Some(key)) => Query::new().before_key(key),
        (Some(_), Some(_)) => return Err(PyValueError::new_err("give before= or before_key=, not both")),
    };
    for (fields, equal) in fields.into_iter().zip([true, false]) {
        let Some(fields) = fields else { continue };
        for item in fields.items()?.iter() {
            let (path, operand): (String, Bound<'_, PyAny>) = item.extract()?;
            let encoding = Encoding::new(py, None);
            let value = encoding.value(&operand);
            let with = if equal { query.field(&path, &value) } else { query.not(&path, &value) };
            query = with.map_err(|e| encoding.error(&e))?;
        }
    }
    Ok(query)
}

pub(crate) fn in_view(view: &tallyfold::View, query: &Query) -> tallyfold::Result<Option<Found>> {
    Ok(view.previous(query)?.map(|(key, entry)| Found::of(key, entry)))
}

/// Of a log the newest record, of everything else the newest entry.
pub(crate) fn in_cohort(cohort: &tallyfold::Cohort, query: &Query) -> tallyfold::Result<Option<Found>> {
    if *cohort.settings().fold() != Fold::Log {
        return in_view(&cohort.view()?, query);
    }
    let record = cohort.previous(query)?;
    Ok(record.and_then(|record| {
        let (json, nonfinite) = (record.json()?.to_owned(), record.nonfinite());
        Some(Found { seq: record.seq(), key: record.key().to_owned(), json, nonfinite })
    }))
}

/// For `?` where Python is at hand and the answer is an entry or None.
pub(crate) fn entry_or_none<'py>(
    py: Python<'py>,
    found: tallyfold::Result<Option<Found>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    found.or_raise(py)?.map(|found| found.entry(py)).transpose()
}
