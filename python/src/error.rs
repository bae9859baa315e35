//! From the library's one error to the exceptions of `tallyfold/errors.py`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use tallyfold::Error;

type Is = fn(&Error) -> bool;

/// The class for an error, by what a caller can react to.
fn class(error: &Error) -> &'static str {
    // Two of these may hold of one error; the first says more.
    let kinds: [(Is, &str); 12] = [
        (Error::is_lock_timeout, "LockTimeout"),
        (Error::is_conflict, "Conflict"),
        (Error::is_compacted, "Compacted"),
        (Error::is_corruption, "Corruption"),
        (Error::is_durability_unknown, "DurabilityUnknown"),
        (Error::is_no_space, "NoSpace"),
        (Error::is_poisoned, "Poisoned"),
        (Error::is_not_found, "NotFound"),
        (Error::is_invalid, "Invalid"),
        (Error::is_unsupported, "Unsupported"),
        (Error::is_unsafe_file_system, "UnsafeFileSystem"),
        (Error::is_unsafe_file, "UnsafeFile"),
    ];
    kinds.iter().find(|(is, _)| is(error)).map_or("StoreError", |(_, name)| name)
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    raise_saying(py, error, error.to_string())
}

/// The exception for an error, with another text: where more is known than in the library.
pub(crate) fn raise_saying(py: Python<'_>, error: &Error, text: String) -> PyErr {
    build(py, error, text).unwrap_or_else(|e| e)
}

fn build(py: Python<'_>, error: &Error, text: String) -> PyResult<PyErr> {
    static RAISE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let of_name = RAISE
        .get_or_try_init(py, || PyResult::Ok(py.import("tallyfold.errors")?.getattr("_of_name")?.unbind()))?;
    let path = error.path().map(|path| path.to_path_buf());
    let exception = of_name.bind(py).call1((class(error), text, path, error.seq(), error.holder()))?;
    Ok(PyErr::from_value(exception))
}

/// A class of `tallyfold.errors`, for what is found here rather than in the library.
pub(crate) fn named(py: Python<'_>, name: &str, message: String) -> PyErr {
    let class = || py.import("tallyfold.errors")?.getattr(name)?.cast_into::<PyType>().map_err(PyErr::from);
    match class() {
        Ok(class) => PyErr::from_type(class, message),
        Err(_) => PyRuntimeError::new_err(message),
    }
}

/// `?` on the library's results where Python is at hand.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for tallyfold::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| raise(py, &e))
    }
}
