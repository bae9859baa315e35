//! From values to Python objects: the reader of Python itself, and the numbers that JSON cannot write.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyList, PyString};

/// The object that JSON text stands for. `nonfinite`: the strings NaN, Infinity and -Infinity in it stand for numbers.
pub(crate) fn decode<'py>(py: Python<'py>, json: &str, nonfinite: bool) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.get_or_try_init(py, || PyResult::Ok(py.import("json")?.getattr("loads")?.unbind()))?;
    let object = loads.bind(py).call1((json,))?;
    if nonfinite { numbers(object) } else { Ok(object) }
}

/// Numbers for the strings that stand for them, and every other string without its extra `~`: see `docs/format.md`.
fn numbers(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        let text = text.to_str()?;
        let number = match text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        };
        if let Some(number) = number {
            return Ok(PyFloat::new(py, number).into_any());
        }
        let genuine = matches!(text.trim_start_matches('~'), "NaN" | "Infinity" | "-Infinity");
        return Ok(if genuine { PyString::new(py, &text[1..]).into_any() } else { object });
    }
    if let Ok(list) = object.cast::<PyList>() {
        for (i, element) in list.iter().enumerate() {
            list.set_item(i, numbers(element)?)?;
        }
    } else if let Ok(dict) = object.cast::<PyDict>() {
        // Values are replaced, keys stay, so the keys may be taken first.
        for key in dict.keys() {
            if let Some(value) = dict.get_item(&key)? {
                dict.set_item(&key, numbers(value)?)?;
            }
        }
    }
    Ok(object)
}
