//! `Log`: the records of a cohort, in order.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallyfold::{Cursor, Kind};

use crate::decode::decode;
use crate::error::OrRaise;

/// How long Python is kept from its signals.
const ATTENTION: Duration = Duration::from_millis(50);

/// A record of a cohort's journal.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct Record {
    record: tallyfold::Record,
}

impl Record {
    pub(crate) fn new(record: tallyfold::Record) -> Record {
        Record { record }
    }
}

#[pymethods]
impl Record {
    /// Its number in the cohort.
    #[getter]
    fn seq(&self) -> u64 {
        self.record.seq()
    }

    /// Its key; may be empty.
    #[getter]
    fn key(&self) -> &str {
        self.record.key()
    }

    /// `"put"`, `"delete"` or `"raw"`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.record.kind() {
            Kind::Put => "put",
            Kind::Delete => "delete",
            Kind::Raw => "raw",
        }
    }

    /// The value of a put, the bytes of a raw record, None of a delete.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (self.record.kind(), self.record.json()) {
            (_, Some(json)) => decode(py, json, self.record.nonfinite()).map(Some),
            (Kind::Raw, None) => Ok(Some(PyBytes::new(py, self.record.bytes()).into_any())),
            (_, None) => Ok(None),
        }
    }

    /// When it was written, in seconds since 1970 by the writer's clock. Information, never an order.
    #[getter]
    fn time(&self) -> f64 {
        self.record.time_us() as f64 / 1e6
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let value = match self.value(py)? {
            Some(value) => value.repr()?.to_string(),
            None => "None".into(),
        };
        Ok(format!("Record(seq={}, key={:?}, kind={:?}, value={value})", self.seq(), self.key(), self.kind()))
    }
}

/// An iterator over records.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct Log {
    cursor: Mutex<Cursor>,
    follow: bool,
    timeout: Option<Duration>,
}

impl Log {
    pub(crate) fn new(cursor: Cursor, follow: bool, timeout: Option<Duration>) -> Log {
        Log { cursor: Mutex::new(cursor), follow, timeout }
    }
}

#[pymethods]
impl Log {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        let begun = Instant::now();
        loop {
            // Let go of Python before waiting for another thread that iterates here.
            let step = || {
                let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(record) = cursor.next_record()? {
                    return Ok(Some(record));
                }
                if self.follow {
                    cursor.wait(ATTENTION)?;
                    return cursor.next_record();
                }
                Ok(None)
            };
            if let Some(record) = py.detach(step).or_raise(py)? {
                return Ok(Some(Record::new(record)));
            }
            if !self.follow || self.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
                return Ok(None);
            }
            py.check_signals()?;
        }
    }

    /// The seq of the record that comes next.
    #[getter]
    fn next_seq(&self, py: Python<'_>) -> PyResult<u64> {
        let next = || self.cursor.lock().map(|cursor| cursor.next_seq());
        py.detach(|| next().map_err(|_| ()))
            .map_err(|()| PyRuntimeError::new_err("a thread that iterated here has panicked"))
    }
}
