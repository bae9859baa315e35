//! `Cohort`: append, read, compact.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping};
use serde::{Serialize, Serializer};
use tallyfold::{Batch, Compaction, Entry, Expect, Settings};

use crate::bundle::{Bundle, NewBundle};
use crate::encode::Encoding;
use crate::error::OrRaise;
use crate::history::{self, History};
use crate::log::Log;
use crate::once;
use crate::query::{self, Found};
use crate::view::{View, value};

/// What a compaction has done: a word, the seq, records, entries and bytes.
type Done = (&'static str, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

/// One journal with its snapshot.
#[pyclass(subclass, frozen, module = "tallyfold._tallyfold")]
pub(crate) struct Cohort {
    cohort: tallyfold::Cohort,
}

impl Cohort {
    pub(crate) fn new(cohort: tallyfold::Cohort) -> Cohort {
        Cohort { cohort }
    }

    fn write(
        &self,
        py: Python<'_>,
        batch: Batch,
        durable: bool,
        expect: Option<Expect<'_>>,
    ) -> PyResult<u64> {
        let cohort = &self.cohort;
        let append = || match (expect, durable) {
            (None, false) => cohort.append_batch(batch),
            (None, true) => cohort.append_batch_durable(batch),
            (Some(expect), durable) => {
                let seq = cohort.append_if(expect, batch)?;
                if durable {
                    cohort.sync()?;
                }
                Ok(seq)
            }
        };
        py.detach(append).or_raise(py)
    }
}

pub(crate) fn settings_json(settings: &Settings) -> PyResult<String> {
    serde_json::to_string(settings).map_err(|e| PyValueError::new_err(e.to_string()))
}

fn put(
    batch: &mut Batch,
    key: &str,
    object: &Bound<'_, PyAny>,
    default: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let encoding = Encoding::new(object.py(), default);
    batch.put(key, &encoding.value(object)).map(|_| ()).map_err(|e| encoding.error(&e))
}

#[pymethods]
impl Cohort {
    /// Another handle on the same cohort: what a class in Python is made of.
    #[new]
    fn of(other: &Bound<'_, Cohort>) -> Cohort {
        Cohort { cohort: other.get().cohort.clone() }
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.cohort.name()
    }

    /// Where it is.
    #[getter]
    fn path(&self) -> PathBuf {
        self.cohort.path()
    }

    /// The settings as `cohort.json` holds them: JSON.
    fn _settings(&self) -> PyResult<String> {
        settings_json(self.cohort.settings())
    }

    /// The same cohort with another patience for locks, in seconds.
    fn _with_timeout(&self, seconds: f64) -> PyResult<Cohort> {
        let timeout = Duration::try_from_secs_f64(seconds).map_err(|_| {
            PyValueError::new_err(format!("the timeout is {seconds} s: it must be 0 or more"))
        })?;
        Ok(Cohort { cohort: self.cohort.clone().with_timeout(timeout) })
    }

    /// Appends a value under a key and returns its seq: from then on it survives the death of any process; `durable`: also a
    /// power cut.
    ///
    /// `expected_seq`: only if the cohort's last seq is this (0: it is empty), else `Conflict`. `expected_key_seq`: only if
    /// the entry of this key has this seq (0: there is none). `default` is asked for objects that have no JSON value.
    #[pyo3(signature = (value, key = None, durable = false, *, expected_seq = None, expected_key_seq = None, default = None))]
    fn append(
        &self,
        value: &Bound<'_, PyAny>,
        key: Option<&str>,
        durable: bool,
        expected_seq: Option<u64>,
        expected_key_seq: Option<u64>,
        default: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let key = key.unwrap_or_default();
        let expect = match (expected_seq, expected_key_seq) {
            (None, None) => None,
            (Some(seq), None) => Some(Expect::Head(seq)),
            (None, Some(seq)) => Some(Expect::Key(key, seq)),
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err("give expected_seq= or expected_key_seq=, not both"));
            }
        };
        let mut batch = Batch::new();
        put(&mut batch, key, value, default)?;
        self.write(value.py(), batch, durable, expect)
    }

    #[pyo3(signature = (items, *, durable = false, expected_seq = None, default = None))]
    fn _append_batch(
        &self,
        items: &Bound<'_, PyAny>,
        durable: bool,
        expected_seq: Option<u64>,
        default: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let mut batch = Batch::new();
        for item in items.try_iter()? {
            let (key, value): (String, Bound<'_, PyAny>) = item?.extract()?;
            put(&mut batch, &key, &value, default)?;
        }
        self.write(items.py(), batch, durable, expected_seq.map(Expect::Head))
    }

    /// Appends bytes; only to cohorts whose fold is log.
    #[pyo3(signature = (data, key = None, durable = false))]
    fn append_raw(&self, py: Python<'_>, data: &[u8], key: Option<&str>, durable: bool) -> PyResult<u64> {
        let mut batch = Batch::new();
        batch.put_raw(key.unwrap_or_default(), data).or_raise(py)?;
        self.write(py, batch, durable, None)
    }

    /// Appends a delete of a key, which need not be there. Returns its seq.
    #[pyo3(signature = (key, *, durable = false))]
    fn delete(&self, py: Python<'_>, key: &str, durable: bool) -> PyResult<u64> {
        let mut batch = Batch::new();
        batch.delete(key).or_raise(py)?;
        self.write(py, batch, durable, None)
    }

    /// Calls `function` with the value of a key (None: there is none), and appends what it returns if nobody has changed the
    /// entry meanwhile; else begins again. No lock is held while it runs. Returns the seq, or None if the function returned
    /// None.
    #[pyo3(signature = (key, function, *, default = None))]
    fn update(
        &self,
        py: Python<'_>,
        key: &str,
        function: Py<PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Option<u64>> {
        let raised = Mutex::new(None);
        let default = default.as_ref();
        let call = |entry: Option<&Entry>| {
            Python::attach(|py| {
                let old = entry.map(|entry| value(py, entry.as_entry_ref())).transpose();
                old.and_then(|old| function.bind(py).call1((old,)))
                    .map(|new| {
                        (!new.is_none()).then(|| Object { object: new.unbind(), default, raised: &raised })
                    })
                    .unwrap_or_else(|e| {
                        keep(&raised, e);
                        // Nothing is written. What was raised counts, and not what the library makes of it.
                        None
                    })
            })
        };
        let updated = py.detach(|| self.cohort.update(key, |entry| Ok(call(entry))));
        match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => updated.or_raise(py),
        }
    }

    /// The value of a key now, or `default`. For more than one key take a `view()`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let entry = py.detach(|| self.cohort.view()?.get(key)).or_raise(py)?;
        match entry {
            Some(entry) => value(py, entry.as_entry_ref()).map(Some),
            None => Ok(default),
        }
    }

    /// The entry of a key now: `Entry(seq, key, value)`, or None. For more than one key take a `view()`.
    fn entry<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = py.detach(|| Ok(self.cohort.view()?.get_ref(key)?.map(|entry| Found::of(key, entry))));
        query::entry_or_none(py, found)
    }

    /// The newest entry now, as of `View.previous`. Of a cohort whose fold is `log`, the newest put that is still in the journal;
    /// `before_key` is the last record with that key then, and none of its records is looked at.
    #[pyo3(signature = (*, before = None, before_key = None, r#where = None, not_ = None))]
    fn previous<'py>(
        &self,
        py: Python<'py>,
        before: Option<u64>,
        before_key: Option<String>,
        r#where: Option<Bound<'py, PyMapping>>,
        not_: Option<Bound<'py, PyMapping>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let query = query::query(py, before, before_key, [r#where, not_])?;
        query::entry_or_none(py, py.detach(|| query::in_cohort(&self.cohort, &query)))
    }

    /// The value of a key; if it has no entry, `function()` computes it, once: of all processes and threads that ask for the
    /// key at the same time one calls its function, and the others wait for the value. If that one dies or raises, another
    /// one takes over.
    ///
    /// They wait as long as the patience of this handle (`with_timeout`), else `LockTimeout`. What the function raises passes
    /// through, and nothing is written. None is a value too. The value is returned as it is read back: a tuple is a list. The
    /// function runs with no lock of the cohort held; it may use the cohort and ask for other keys. A cohort whose fold is
    /// `log` is `Invalid`.
    #[pyo3(signature = (key, function, *, default = None))]
    fn once<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        function: Py<PyAny>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        once::once(py, &self.cohort, key, &function, default.as_ref())
    }

    /// Begins a bundle: files and a value that become the key's newest version together, durably, or not at all. A context
    /// manager; see `NewBundle`. `keep` older versions stay beside the new one.
    ///
    /// Cohorts whose fold is `latest`, `merge` or `log` take bundles; others are `Invalid`, and so is a key too long for a
    /// directory.
    #[pyo3(signature = (key, *, keep = 1))]
    fn bundle(&self, py: Python<'_>, key: &str, keep: usize) -> PyResult<NewBundle> {
        let mut new = py.detach(|| self.cohort.bundle(key)).or_raise(py)?;
        new.keep(keep);
        Ok(NewBundle::of(new))
    }

    /// The newest bundle of a key; None if it has none. All its files are there, with the lengths that were committed, else
    /// `Corruption`.
    fn open_bundle(&self, py: Python<'_>, key: &str) -> PyResult<Option<Bundle>> {
        Ok(py.detach(|| self.cohort.open_bundle(key)).or_raise(py)?.map(Bundle::of))
    }

    /// An iterator over the records from seq `from_seq` to `to_seq`, both included, of one key or of all, that are there now
    /// or come until it ends. `from_seq` None: from the first one that is still there; else `Compacted` if that is folded
    /// away.
    #[pyo3(signature = (key = None, from_seq = None, to_seq = None))]
    fn history(
        &self,
        py: Python<'_>,
        key: Option<&str>,
        from_seq: Option<u64>,
        to_seq: Option<u64>,
    ) -> PyResult<History> {
        let range = history::range(from_seq, to_seq);
        Ok(History::of(py.detach(|| self.cohort.history(key, range)).or_raise(py)?))
    }

    /// The state now: it holds everything that was acknowledged on this host before the call, and never changes.
    fn view(&self, py: Python<'_>) -> PyResult<View> {
        py.detach(|| self.cohort.view()).or_raise(py).map(View::new)
    }

    /// An iterator over the records from a seq on, in order. `follow`: it waits for more at the end, at most `timeout` seconds
    /// for each. It holds no lock, and Ctrl-C ends it.
    #[pyo3(signature = (from_seq = 1, follow = false, timeout = None))]
    fn log(&self, py: Python<'_>, from_seq: u64, follow: bool, timeout: Option<f64>) -> PyResult<Log> {
        let timeout = timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout.map_err(|_| PyValueError::new_err("the timeout must be 0 or more seconds"))?;
        let cursor = py.detach(|| self.cohort.cursor(from_seq)).or_raise(py)?;
        Ok(Log::new(cursor, follow, timeout))
    }

    /// The last seq handed out; 0: none.
    #[getter]
    fn last_seq(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.cohort.last_seq()).or_raise(py)
    }

    /// Makes everything written so far in this cohort durable.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.cohort.sync()).or_raise(py)
    }

    /// Syncs what this process wrote, and lets go of the cohort. It may be used again.
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.cohort.detach()).or_raise(py)
    }

    fn _compact(&self, py: Python<'_>) -> PyResult<Done> {
        Ok(match py.detach(|| self.cohort.compact()).or_raise(py)? {
            Compaction::Busy => ("busy", None, None, None, None),
            Compaction::Nothing => ("nothing", None, None, None, None),
            Compaction::Sealed { seq } => ("sealed", Some(seq), None, None, None),
            Compaction::Folded { seq, records, entries, bytes } => {
                ("folded", Some(seq), Some(records), Some(entries), Some(bytes))
            }
            _ => ("done", None, None, None, None),
        })
    }

    /// Alters settings (JSON). Returns all of them.
    fn _alter(&self, py: Python<'_>, settings: &str) -> PyResult<String> {
        settings_json(&py.detach(|| self.cohort.alter(|old| old.with_json(settings))).or_raise(py)?)
    }

    #[pyo3(signature = (path, key))]
    fn _mirror(
        &self,
        py: Python<'_>,
        path: Option<PathBuf>,
        key: Option<&str>,
    ) -> PyResult<(PathBuf, u64, u64)> {
        let mirror = || match path {
            Some(path) => self.cohort.mirror_to(path, key),
            None => self.cohort.mirror(),
        };
        let shown = py.detach(mirror).or_raise(py)?;
        Ok((shown.path, shown.seq, shown.entries))
    }

    fn _stats(&self, py: Python<'_>) -> PyResult<String> {
        let stats = py.detach(|| self.cohort.stats()).or_raise(py)?;
        serde_json::to_string(&stats).map_err(|e| PyValueError::new_err(e.to_string()))
    }

    fn _counters(&self, py: Python<'_>) -> PyResult<String> {
        let counters = py.detach(|| self.cohort.counters()).or_raise(py)?;
        serde_json::to_string(&counters).map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// Checks every byte, and changes nothing: `{"damaged": False, …, "findings": […]}`.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.cohort.verify()).or_raise(py)?;
        let found = PyDict::new(py);
        found.set_item("damaged", report.is_damaged())?;
        found.set_item("records", report.records)?;
        found.set_item("frames", report.frames)?;
        found.set_item("segments", report.segments)?;
        found.set_item("entries", report.entries)?;
        found.set_item("bundles", report.bundles)?;
        let findings = PyList::empty(py);
        for finding in report.findings {
            let each = PyDict::new(py);
            each.set_item("severity", finding.severity.name())?;
            each.set_item("what", finding.what)?;
            each.set_item("path", finding.path)?;
            each.set_item("segment", finding.segment)?;
            each.set_item("offset", finding.offset)?;
            each.set_item("seq", finding.seq)?;
            findings.append(each)?;
        }
        found.set_item("findings", findings)?;
        Ok(found)
    }
}

/// An object that is serialized by the library, where Python has been let go of.
pub(crate) struct Object<'a> {
    pub(crate) object: Py<PyAny>,
    pub(crate) default: Option<&'a Py<PyAny>>,
    pub(crate) raised: &'a Mutex<Option<PyErr>>,
}

fn keep(raised: &Mutex<Option<PyErr>>, error: PyErr) {
    *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Python::attach(|py| {
            let encoding = Encoding::new(py, self.default.map(|default| default.bind(py)));
            let written = encoding.value(self.object.bind(py)).serialize(serializer);
            if let Some(e) = encoding.failure() {
                keep(self.raised, e);
            }
            written
        })
    }
}
