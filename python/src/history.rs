//! `History`: records of the past, of one key or of all.

use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::OrRaise;
use crate::log::Record;

/// An iterator over records. See `Cohort.history`.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct History {
    history: Mutex<tallyfold::History>,
}

impl History {
    pub(crate) fn of(history: tallyfold::History) -> History {
        History { history: Mutex::new(history) }
    }
}

/// Both included.
pub(crate) fn range(from: Option<u64>, to: Option<u64>) -> (Bound<u64>, Bound<u64>) {
    (from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Included))
}

#[pymethods]
impl History {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        // Let go of Python before waiting for another thread that iterates here.
        let next = || self.history.lock().unwrap_or_else(PoisonError::into_inner).next().transpose();
        Ok(py.detach(next).or_raise(py)?.map(Record::new))
    }
}
