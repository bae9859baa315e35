//! Plain files: the lock beside one, its replacing, and the JSON text of any value. `tallyfold/filelock.py` and
//! `tallyfold/compat/` are made of these.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tallyfold::files::{self, Options};

use crate::encode::{Encoding, Nonfinite};
use crate::error::{OrRaise, named};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FileLock>()?;
    module.add_class::<AtomicFile>()?;
    module.add_function(wrap_pyfunction!(_json_text, module)?)?;
    module.add_function(wrap_pyfunction!(_cleanup_lock_files, module)?)?;
    module.add_function(wrap_pyfunction!(_verify_lock_support, module)?)
}

/// How long Python is kept from its signals while a lock is waited for. Who looks up does not lose its turn: all who wait have
/// the same chance each time.
const ATTENTION: Duration = Duration::from_millis(500);

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock on a lock file, held from when this is made until it is released.
#[pyclass(frozen, weakref, module = "tallyfold._tallyfold")]
pub(crate) struct FileLock {
    lock: Mutex<Option<files::FileLock>>,
}

#[pymethods]
impl FileLock {
    /// Waits at most `timeout` seconds; for ever if there is none.
    #[new]
    #[pyo3(signature = (path, shared=false, timeout=None))]
    fn new(py: Python<'_>, path: PathBuf, shared: bool, timeout: Option<f64>) -> PyResult<FileLock> {
        let until = deadline(timeout)?;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait = left.map_or(ATTENTION, |left| left.min(ATTENTION));
            let take = || match shared {
                true => files::FileLock::shared(&path, wait),
                false => files::FileLock::exclusive(&path, wait),
            };
            match py.detach(take) {
                Err(e) if e.is_lock_timeout() && left != Some(wait) => py.check_signals()?,
                taken => return Ok(FileLock { lock: Mutex::new(Some(taken.or_raise(py)?)) }),
            }
        }
    }

    /// Whether it still excludes others: not released, of this process, and its file is still there.
    fn is_held(&self, py: Python<'_>) -> bool {
        py.detach(|| guard(&self.lock).as_ref().is_some_and(files::FileLock::is_held))
    }

    /// Gives it back; does nothing if that was done, and in a forked child.
    fn release(&self, py: Python<'_>) {
        py.detach(|| drop(guard(&self.lock).take()));
    }
}

/// Until when; `None` for ever.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else { return Ok(None) };
    if seconds.is_nan() {
        return Err(PyValueError::new_err("a timeout is a number of seconds"));
    }
    // More than the clock can tell is for ever.
    let timeout = Duration::try_from_secs_f64(seconds.max(0.0));
    Ok(timeout.ok().and_then(|timeout| Instant::now().checked_add(timeout)))
}

/// A file that will replace another one when it is committed.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct AtomicFile {
    file: Mutex<Option<files::AtomicFile>>,
    path: PathBuf,
}

impl AtomicFile {
    /// Takes it for its last act.
    fn last(&self) -> Option<files::AtomicFile> {
        guard(&self.file).take()
    }
}

#[pymethods]
impl AtomicFile {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<AtomicFile> {
        let file = py.detach(|| files::AtomicFile::create(path, &Options::new())).or_raise(py)?;
        Ok(AtomicFile { path: file.path().to_path_buf(), file: Mutex::new(Some(file)) })
    }

    /// Where it stands until it is committed.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Syncs it, puts it in its place if the lock is still held, and syncs the directory.
    fn commit(&self, py: Python<'_>, lock: &Bound<'_, FileLock>) -> PyResult<()> {
        let lock = lock.get();
        let commit = || {
            let file = self.last().ok_or("this file was committed or discarded already")?;
            let lock = guard(&lock.lock);
            let lock = lock.as_ref().ok_or("the lock was released already; nothing was written")?;
            Ok(file.commit_under(lock))
        };
        py.detach(commit).map_err(|what: &str| PyRuntimeError::new_err(what))?.or_raise(py)
    }

    /// Removes it; does nothing once it is committed.
    fn discard(&self, py: Python<'_>) {
        py.detach(|| drop(self.last()));
    }
}

/// The JSON text of a value, in one line, members in their order.
#[pyfunction]
#[pyo3(signature = (value, default=None, nonfinite_is_null=true))]
fn _json_text(
    value: &Bound<'_, PyAny>,
    default: Option<&Bound<'_, PyAny>>,
    nonfinite_is_null: bool,
) -> PyResult<String> {
    let py = value.py();
    let nonfinite = if nonfinite_is_null { Nonfinite::Null } else { Nonfinite::Refused };
    let encoding = Encoding::new(py, default).nonfinite(nonfinite);
    serde_json::to_string(&encoding.value(value))
        .map_err(|e| encoding.failure().unwrap_or_else(|| named(py, "Invalid", e.to_string())))
}

/// Removes the lock files in a directory that nobody has, and counts them.
#[pyfunction]
fn _cleanup_lock_files(py: Python<'_>, directory: PathBuf) -> PyResult<usize> {
    py.detach(|| files::cleanup_lock_files(directory)).or_raise(py)
}

/// What was tried in a directory, and found.
#[pyfunction]
fn _verify_lock_support(py: Python<'_>, directory: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let support = py.detach(|| files::verify_lock_support(directory)).or_raise(py)?;
    let checks = PyDict::new(py);
    for check in &support.checks {
        checks.set_item(check.what, check.passed)?;
    }
    let found = PyDict::new(py);
    found.set_item("supported", support.excludes_processes())?;
    found.set_item("directory", &support.directory)?;
    found.set_item("file_system", &support.file_system)?;
    found.set_item("other_hosts", support.other_hosts)?;
    found.set_item("checks", checks)?;
    found.set_item("report", support.to_string())?;
    Ok(found)
}
