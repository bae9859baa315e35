//! From Python objects to values. `README.md` has the table.

use std::cell::RefCell;
use std::collections::HashSet;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMapping, PySequence, PySet, PyString, PyTuple,
    PyType,
};
use pyo3::types::{PyByteArray, PyBytes};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The classes that are looked for by name. None of them costs an import that the interpreter has not done.
struct Classes {
    enumeration: Py<PyType>,
    datetime: Py<PyType>,
    date: Py<PyType>,
    time: Py<PyType>,
    timedelta: Py<PyType>,
    decimal: Py<PyType>,
    path: Py<PyType>,
    uuid: Py<PyType>,
}

impl Classes {
    fn get(py: Python<'_>) -> PyResult<&Classes> {
        static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();
        CLASSES.get_or_try_init(py, || {
            let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
                Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
            };
            Ok(Classes {
                enumeration: class("enum", "Enum")?,
                datetime: class("datetime", "datetime")?,
                date: class("datetime", "date")?,
                time: class("datetime", "time")?,
                timedelta: class("datetime", "timedelta")?,
                decimal: class("decimal", "Decimal")?,
                path: class("pathlib", "PurePath")?,
                uuid: class("uuid", "UUID")?,
            })
        })
    }
}

/// What is shared while one value is encoded.
pub(crate) struct Encoding<'a, 'py> {
    py: Python<'py>,
    /// Asked for what nothing else is known to do with.
    default: Option<&'a Bound<'py, PyAny>>,
    /// Why it failed, and where: the steps from the inside out.
    failed: RefCell<Option<(PyErr, Vec<String>)>>,
}

impl<'a, 'py> Encoding<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, default: Option<&'a Bound<'py, PyAny>>) -> Encoding<'a, 'py> {
        Encoding { py, default, failed: RefCell::new(None) }
    }

    pub(crate) fn value(&'a self, object: &'a Bound<'py, PyAny>) -> Value<'a, 'py> {
        Value { object, encoding: self, depth: 0 }
    }

    /// The exception for what has failed, with the place in the value; or for what the library said.
    pub(crate) fn error(&self, said: &tallyfold::Error) -> PyErr {
        self.failure().unwrap_or_else(|| crate::error::raise(self.py, said))
    }

    /// The exception for what has failed here.
    pub(crate) fn failure(&self) -> Option<PyErr> {
        let (error, steps) = self.failed.take()?;
        let mut place: String = steps.iter().rev().take(SHOWN).map(String::as_str).collect();
        if steps.len() > SHOWN {
            place += "…";
        }
        let is_ours =
            error.is_instance_of::<PyTypeError>(self.py) || error.is_instance_of::<PyValueError>(self.py);
        if !is_ours {
            return Some(error);
        }
        let message = format!("value{place}: {}", error.value(self.py));
        let placed = match error.is_instance_of::<PyTypeError>(self.py) {
            true => PyTypeError::new_err(message),
            false => crate::error::named(self.py, "Invalid", message),
        };
        placed.set_cause(self.py, error.cause(self.py));
        Some(placed)
    }

    fn fail<E: serde::ser::Error>(&self, error: PyErr) -> E {
        let told = E::custom("a value of Python");
        self.failed.replace(Some((error, Vec::new())));
        told
    }

    /// Notes on the way out where it was.
    fn within<T, E>(&self, result: Result<T, E>, step: impl FnOnce() -> String) -> Result<T, E> {
        if result.is_err()
            && let Some((_, steps)) = &mut *self.failed.borrow_mut()
        {
            steps.push(step());
        }
        result
    }
}

/// A Python object, to be serialized.
pub(crate) struct Value<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    encoding: &'a Encoding<'a, 'py>,
    depth: u32,
}

/// So many steps of the way to a fault are told.
const SHOWN: usize = 16;
/// What the JSON reader of the library takes is not deeper; found here before the stack is at stake.
const DEEPEST: u32 = 127;

impl Serialize for Value<'_, '_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (object, encoding) = (self.object, self.encoding);
        let failed = |e: PyErr| encoding.fail::<S::Error>(e);
        if let Ok(float) = object.cast_exact::<PyFloat>() {
            serializer.serialize_f64(float.extract().map_err(failed)?)
        } else if let Ok(text) = object.cast_exact::<PyString>() {
            serializer.serialize_str(text.to_str().map_err(failed)?)
        } else if let Ok(int) = object.cast_exact::<PyInt>() {
            self.int(int.as_any(), serializer)
        } else if let Ok(bool) = object.cast_exact::<PyBool>() {
            serializer.serialize_bool(bool.is_true())
        } else if object.is_none() {
            serializer.serialize_unit()
        } else if let Ok(dict) = object.cast_exact::<PyDict>() {
            self.members(dict, dict.iter().map(Ok), serializer)
        } else if let Ok(list) = object.cast_exact::<PyList>() {
            self.elements(list.iter().map(Ok), serializer)
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            self.elements(tuple.iter().map(Ok), serializer)
        } else {
            self.other(serializer)
        }
    }
}

impl<'a, 'py> Value<'a, 'py> {
    fn inner<'b>(&self, object: &'b Bound<'py, PyAny>) -> Value<'b, 'py>
    where
        'a: 'b,
    {
        Value { object, encoding: self.encoding, depth: self.depth + 1 }
    }

    fn int<S: Serializer>(&self, int: &Bound<'py, PyAny>, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(int) = int.extract::<i64>() {
            return serializer.serialize_i64(int);
        }
        // However long it is: as its digits.
        let digits = int.call_method0("__index__").and_then(|int| int.str()?.extract::<String>());
        self.number(digits, serializer)
    }

    /// A number by its text.
    fn number<S: Serializer>(&self, text: PyResult<String>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = text.map_err(|e| self.encoding.fail::<S::Error>(e))?;
        let raw = RawValue::from_string(text).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }

    fn enter<E: serde::ser::Error>(&self) -> Result<(), E> {
        if self.depth >= DEEPEST {
            let what = format!("it is nested deeper than {DEEPEST} levels (or holds itself)");
            return Err(self.encoding.fail(PyValueError::new_err(what)));
        }
        Ok(())
    }

    fn elements<S: Serializer>(
        &self,
        elements: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        self.enter()?;
        let mut list = serializer.serialize_seq(None)?;
        for (i, element) in elements.enumerate() {
            let element = element.map_err(|e| self.encoding.fail::<S::Error>(e))?;
            let written = list.serialize_element(&self.inner(&element));
            self.encoding.within(written, || format!("[{i}]"))?;
        }
        list.end()
    }

    fn members<S: Serializer>(
        &self,
        mapping: &Bound<'py, PyAny>,
        members: impl Iterator<Item = PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        self.enter()?;
        let failed = |e: PyErr| self.encoding.fail::<S::Error>(e);
        let mut map = serializer.serialize_map(None)?;
        // Keys that are no strings may become one that is there already: from the first of them on, all are remembered.
        let mut seen: Option<HashSet<String>> = None;
        for (i, member) in members.enumerate() {
            let (key, value) = member.map_err(failed)?;
            let step = || format!("[{}]", key.repr().map_or_else(|_| "?".into(), |repr| repr.to_string()));
            let written = match key.cast_exact::<PyString>() {
                Ok(text) => {
                    let text = text.to_str().map_err(failed)?;
                    if let Some(seen) = &mut seen {
                        self.encoding.within(self.once(seen, text, &key), step)?;
                    }
                    map.serialize_entry(text, &self.inner(&value))
                }
                Err(_) => {
                    let text = self.encoding.within(self.key(&key).map_err(failed), step)?;
                    let before = match seen.take() {
                        Some(seen) => seen,
                        None => strings(mapping, i).map_err(failed)?,
                    };
                    let seen = seen.insert(before);
                    self.encoding.within(self.once(seen, &text, &key), step)?;
                    map.serialize_entry(&text, &self.inner(&value))
                }
            };
            self.encoding.within(written, step)?;
        }
        map.end()
    }

    fn once<E: serde::ser::Error>(
        &self,
        seen: &mut HashSet<String>,
        text: &str,
        key: &Bound<'py, PyAny>,
    ) -> Result<(), E> {
        if seen.insert(text.to_owned()) {
            return Ok(());
        }
        let what = format!("two keys become {text:?}, one of them {}", type_name(key));
        Err(self.encoding.fail(PyTypeError::new_err(what)))
    }

    /// What a key that is no plain string becomes: what it would as a value, as text.
    fn key(&self, key: &Bound<'py, PyAny>) -> PyResult<String> {
        let py = self.encoding.py;
        let classes = Classes::get(py)?;
        if key.is_instance(classes.enumeration.bind(py))? {
            return self.key(&key.getattr("value")?);
        }
        if let Ok(text) = key.cast::<PyString>() {
            return Ok(text.to_str()?.to_owned());
        }
        if let Ok(bool) = key.cast::<PyBool>() {
            return Ok(if bool.is_true() { "true" } else { "false" }.into());
        }
        if key.is_none() {
            return Ok("null".into());
        }
        if key.is_instance_of::<PyInt>() {
            return Ok(key.call_method0("__index__")?.str()?.to_string());
        }
        if let Ok(float) = key.cast::<PyFloat>() {
            let float: f64 = float.extract()?;
            return Ok(match float {
                float if float.is_nan() => "NaN".into(),
                float if float.is_infinite() => if float > 0.0 { "Infinity" } else { "-Infinity" }.into(),
                float => serde_json::to_string(&float).unwrap_or_default(),
            });
        }
        for class in [&classes.datetime, &classes.date, &classes.time] {
            if key.is_instance(class.bind(py))? {
                return key.call_method0("isoformat")?.extract();
            }
        }
        for class in [&classes.path, &classes.decimal, &classes.uuid] {
            if key.is_instance(class.bind(py))? {
                return Ok(key.str()?.to_string());
            }
        }
        if let Ok(item) = key.call_method0("item")
            && !item.get_type().is(key.get_type())
        {
            return self.key(&item);
        }
        Err(PyTypeError::new_err(format!("a key cannot be {}", type_name(key))))
    }

    /// What is none of the types that JSON has.
    fn other<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let failed = |e: PyErr| self.encoding.fail::<S::Error>(e);
        match self.replaced().map_err(failed)? {
            Replaced::By(object) => {
                self.enter()?;
                self.inner(&object).serialize(serializer)
            }
            Replaced::Text(text) => serializer.serialize_str(&text),
            Replaced::Number(text) => self.number(Ok(text), serializer),
            Replaced::Float(float) => serializer.serialize_f64(float),
            Replaced::Null => serializer.serialize_unit(),
            Replaced::Elements(iterable) => {
                let elements = iterable.try_iter().map_err(failed)?;
                self.elements(elements, serializer)
            }
            Replaced::Members(mapping) => {
                let items =
                    mapping.call_method0("items").and_then(|items| items.try_iter()).map_err(failed)?;
                self.members(&mapping, items.map(|item| item?.extract()), serializer)
            }
        }
    }

    fn replaced(&self) -> PyResult<Replaced<'py>> {
        let (py, object) = (self.encoding.py, self.object);
        let classes = Classes::get(py)?;
        let is = |class: &Py<PyType>| object.is_instance(class.bind(py));
        if is(&classes.enumeration)? {
            return Ok(Replaced::By(object.getattr("value")?));
        }
        // Subclasses of what JSON has, such as numpy's float64.
        if let Ok(float) = object.cast::<PyFloat>() {
            return Ok(Replaced::Float(float.extract()?));
        }
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Replaced::Text(text.to_str()?.to_owned()));
        }
        if object.is_instance_of::<PyInt>() {
            return Ok(Replaced::By(object.call_method0("__index__")?));
        }
        if is(&classes.datetime)? || is(&classes.date)? || is(&classes.time)? {
            let text: String = object.call_method0("isoformat")?.extract()?;
            // What pandas says of a time that is not there.
            return Ok(if text == "NaT" { Replaced::Null } else { Replaced::Text(text) });
        }
        if is(&classes.timedelta)? {
            return Ok(Replaced::Float(object.call_method0("total_seconds")?.extract()?));
        }
        if is(&classes.decimal)? {
            let text = object.str()?.to_string();
            return match object.call_method0("is_finite")?.is_truthy()? {
                true => Ok(Replaced::Number(text)),
                false => Ok(Replaced::Float(object.call_method0("__float__")?.extract()?)),
            };
        }
        if is(&classes.path)? || is(&classes.uuid)? {
            return Ok(Replaced::Text(object.str()?.to_string()));
        }
        if object.is_instance_of::<PySet>() || object.is_instance_of::<PyFrozenSet>() {
            return Ok(Replaced::Elements(self.sorted()?));
        }
        if object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>() {
            return self.by_default();
        }
        if !object.is_instance_of::<PyType>()
            && let Ok(fields) = object.getattr("__dataclass_fields__")
        {
            let members = PyDict::new(py);
            for name in fields.try_iter()? {
                let name = name?;
                let value = object.getattr(name.cast::<PyString>()?)?;
                members.set_item(name, value)?;
            }
            return Ok(Replaced::Members(members.into_any()));
        }
        if object.cast::<PyMapping>().is_ok() {
            return Ok(Replaced::Members(object.clone()));
        }
        if let Some(replaced) = self.of_array()? {
            return Ok(replaced);
        }
        if object.cast::<PySequence>().is_ok() {
            return Ok(Replaced::Elements(object.clone()));
        }
        self.by_default()
    }

    /// Arrays, tensors, columns and their scalars: whatever can make a list of itself.
    fn of_array(&self) -> PyResult<Option<Replaced<'py>>> {
        let object = self.object;
        if object.is_instance_of::<PyType>() || !object.hasattr("tolist")? {
            // pandas.NA
            let missing = type_name(object).ends_with("NAType");
            return Ok(missing.then_some(Replaced::Null));
        }
        if let Ok(dtype) = object.getattr("dtype")
            && let Ok(kind) = dtype.getattr("kind").and_then(|kind| kind.extract::<String>())
        {
            // Times as text: as a list they would be integers of nanoseconds.
            if kind == "M" {
                let texts = match object.hasattr("astype")? {
                    true => object.call_method1("astype", ("str",))?.call_method0("tolist")?,
                    false => object.str()?.into_any(),
                };
                if let Ok(text) = texts.cast::<PyString>() {
                    let text = text.to_str()?;
                    return Ok(Some(if text == "NaT" {
                        Replaced::Null
                    } else {
                        Replaced::Text(text.into())
                    }));
                }
                return Ok(Some(Replaced::By(texts)));
            }
        }
        let list = object.call_method0("tolist")?;
        if list.get_type().is(object.get_type()) {
            // A scalar that has no exact type in Python, such as numpy's longdouble.
            return Ok(Some(Replaced::Float(object.call_method0("__float__")?.extract()?)));
        }
        Ok(Some(Replaced::By(list)))
    }

    /// The elements of a set, sorted; if they cannot be compared, by their JSON text.
    fn sorted(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.encoding.py;
        let list = PyList::new(py, self.object.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        if list.sort().is_ok() {
            return Ok(list.into_any());
        }
        let mut elements = Vec::new();
        for element in list.iter() {
            let encoding = Encoding::new(py, self.encoding.default);
            let text = serde_json::to_string(&encoding.value(&element));
            let text = text.map_err(|e| match encoding.failed.take() {
                Some((error, _)) => error,
                None => PyValueError::new_err(e.to_string()),
            })?;
            elements.push((text, element));
        }
        elements.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(PyList::new(py, elements.into_iter().map(|(_, element)| element))?.into_any())
    }

    fn by_default(&self) -> PyResult<Replaced<'py>> {
        match self.encoding.default {
            Some(default) => Ok(Replaced::By(default.call1((self.object,))?)),
            None => Err(PyTypeError::new_err(format!(
                "{} has no JSON value; convert it, or give default= a function that does",
                type_name(self.object)
            ))),
        }
    }
}

/// What stands for an object.
enum Replaced<'py> {
    By(Bound<'py, PyAny>),
    Text(String),
    Number(String),
    Float(f64),
    Null,
    Elements(Bound<'py, PyAny>),
    Members(Bound<'py, PyAny>),
}

/// The first `n` keys of a mapping, which are strings.
fn strings(mapping: &Bound<'_, PyAny>, n: usize) -> PyResult<HashSet<String>> {
    mapping.try_iter()?.take(n).map(|key| key?.extract()).collect()
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    let class = object.get_type();
    let name = class.qualname().map_or_else(|_| "?".into(), |name| name.to_string());
    match class.module() {
        Ok(module) if module != "builtins" => format!("{module}.{name}"),
        _ => name,
    }
}
