//! `Cohort.once`: of all who ask for a key one computes it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tallyfold::Entry;

use crate::cohort::Object;
use crate::error::{raise, raise_saying};
use crate::view::value;

/// How long Python is kept from its signals by those who wait.
const ATTENTION: Duration = Duration::from_millis(500);

/// What ends a `once`: the library, or the function of Python.
enum Ended {
    Refused(tallyfold::Error),
    Raised(PyErr),
}

impl From<tallyfold::Error> for Ended {
    fn from(error: tallyfold::Error) -> Ended {
        Ended::Refused(error)
    }
}

pub(crate) fn once<'py>(
    py: Python<'py>,
    cohort: &tallyfold::Cohort,
    key: &str,
    function: &Py<PyAny>,
    default: Option<&Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let raised = Mutex::new(None);
    // What was computed is not computed again because it could not be written at once.
    let computed: Mutex<Option<Py<PyAny>>> = Mutex::new(None);
    let compute = || {
        let mut computed = computed.lock().unwrap_or_else(PoisonError::into_inner);
        let object = Python::attach(|py| match &*computed {
            Some(object) => Ok(object.clone_ref(py)),
            None => function.call0(py).map_err(Ended::Raised),
        })?;
        *computed = Some(Python::attach(|py| object.clone_ref(py)));
        Ok(Object { object, default, raised: &raised })
    };
    let was_computed = || computed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let ask = |patience| -> Result<Entry, Ended> { cohort.clone().with_timeout(patience).once(key, compute) };
    let begun = Instant::now();
    let ended = loop {
        let left = cohort.timeout().saturating_sub(begun.elapsed());
        match py.detach(|| ask(left.min(ATTENTION))) {
            Err(Ended::Refused(e)) if e.is_lock_timeout() && was_computed() => {
                // What is left to do is an append, which has the patience of every other.
                break py.detach(|| ask(cohort.timeout()));
            }
            Err(Ended::Refused(e)) if e.is_lock_timeout() && left > ATTENTION => py.check_signals()?,
            other => break other,
        }
    };
    if let Some(e) = raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    match ended {
        Ok(entry) => value(py, entry.as_entry_ref()),
        Err(Ended::Raised(e)) => Err(e),
        Err(Ended::Refused(e)) if e.is_lock_timeout() && !was_computed() => {
            let holder = e.holder().map_or("another process".into(), |pid| format!("process {pid}"));
            let seconds = cohort.timeout().as_secs_f64();
            let text = format!(
                "no value of the key {key:?} within {seconds} s: {holder} still computes it, or holds a lock; nothing was \
                 written; to wait longer, ask with_timeout()"
            );
            Err(raise_saying(py, &e, text))
        }
        Err(Ended::Refused(e)) => Err(raise(py, &e)),
    }
}
