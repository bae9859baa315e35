//! `View`: a state at one seq.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyTuple};
use tallyfold::EntryRef;

use crate::decode::decode;
use crate::error::OrRaise;
use crate::query::{self, Found};

/// A cohort's state at one seq. It never changes.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct View {
    view: Arc<tallyfold::View>,
}

impl View {
    pub(crate) fn new(view: tallyfold::View) -> View {
        View { view: Arc::new(view) }
    }
}

pub(crate) fn value<'py>(py: Python<'py>, entry: EntryRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    decode(py, entry.json(), entry.nonfinite())
}

#[pymethods]
impl View {
    /// The seq of the last record in it.
    #[getter]
    fn seq(&self) -> u64 {
        self.view.seq()
    }

    /// The value of a key, or `default`.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.view.get_ref(key).or_raise(py)? {
            Some(entry) => value(py, entry).map(Some),
            None => Ok(default),
        }
    }

    /// The seq of the last record folded into the entry of a key; 0 if there is none.
    fn seq_of(&self, py: Python<'_>, key: &str) -> PyResult<u64> {
        Ok(self.view.get_ref(key).or_raise(py)?.map_or(0, |entry| entry.seq()))
    }

    /// The entry of a key; None if there is none.
    fn entry<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.view.get_ref(key).map(|entry| entry.map(|entry| Found::of(key, entry)));
        query::entry_or_none(py, found)
    }

    /// The newest entry, by seq, that is what is asked for; None if there is none.
    ///
    /// `before`: with a lower seq than this. `before_key`: with a lower seq than the entry of this key has; `NotFound` if it
    /// has none. `where`: each of these fields equals its value; `not_`: each differs, or is not there. A field is named by
    /// the members that lead to it, joined by dots (`"outputs.auc"`; a dot in a name is `\.`). Values are None, booleans,
    /// numbers and strings.
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
        query::entry_or_none(py, py.detach(|| query::in_view(&self.view, &query)))
    }

    /// An iterator over (key, value), sorted by key, of the keys that have these first parts: `prefix("run-1")` finds `run-1` and
    /// `run-1:TRAINING`, and not `run-10`. See `tallyfold.key`. No parts: all entries.
    #[pyo3(signature = (*parts))]
    fn prefix(&self, py: Python<'_>, mut parts: Vec<String>) -> PyResult<Items> {
        let mut items = self.items(None);
        if !parts.is_empty() {
            let alone = tallyfold::key(&parts);
            if let Some(entry) = self.view.get_ref(&alone).or_raise(py)? {
                items.ready.push((alone, entry.to_entry()));
            }
            // What the longer keys begin with.
            parts.push(String::new());
            items.prefix = tallyfold::key(&parts);
        }
        Ok(items)
    }

    /// All entries, as a dict from key to value.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = PyDict::new(py);
        for item in self.view.iter() {
            let (key, entry) = item.or_raise(py)?;
            state.set_item(key, value(py, entry)?)?;
        }
        Ok(state)
    }

    /// An iterator over (key, value), sorted by key; of the keys that begin with `prefix`.
    #[pyo3(signature = (prefix = None))]
    fn items(&self, prefix: Option<String>) -> Items {
        let prefix = prefix.unwrap_or_default();
        Items {
            view: Arc::clone(&self.view),
            prefix,
            seqs: false,
            after: None,
            ended: false,
            ready: Vec::new(),
        }
    }

    /// An iterator over (key, seq, value), sorted by key.
    fn entries(&self) -> Items {
        let (view, prefix) = (Arc::clone(&self.view), String::new());
        Items { view, prefix, seqs: true, after: None, ended: false, ready: Vec::new() }
    }

    fn __contains__(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        Ok(self.view.get_ref(key).or_raise(py)?.is_some())
    }
}

/// How many entries are taken from the view at a time.
const AT_A_TIME: usize = 256;

/// See `View.items`.
#[pyclass(module = "tallyfold._tallyfold")]
pub(crate) struct Items {
    view: Arc<tallyfold::View>,
    prefix: String,
    /// Whether the seq of each entry is wanted too.
    seqs: bool,
    after: Option<String>,
    ended: bool,
    /// Taken and not handed out yet, the next one last.
    ready: Vec<(String, tallyfold::Entry)>,
}

impl Items {
    fn fill(&mut self) -> tallyfold::Result<()> {
        // The least key behind another is that and a zero.
        let from = self.after.as_ref().map_or_else(|| self.prefix.clone(), |key| format!("{key}\0"));
        let mut taken = Vec::with_capacity(AT_A_TIME);
        for item in self.view.iter_from(&from).take(AT_A_TIME) {
            let (key, entry) = item?;
            if !key.starts_with(&self.prefix) {
                self.ended = true;
                break;
            }
            taken.push((key.into_owned(), entry.to_entry()));
        }
        self.ended |= taken.len() < AT_A_TIME;
        if let Some((key, _)) = taken.last() {
            self.after = Some(key.clone());
        }
        taken.reverse();
        self.ready = taken;
        Ok(())
    }
}

#[pymethods]
impl Items {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if self.ready.is_empty() && !self.ended {
            self.fill().or_raise(py)?;
        }
        let Some((key, entry)) = self.ready.pop() else { return Ok(None) };
        let value = value(py, entry.as_entry_ref())?;
        match self.seqs {
            true => (key, entry.seq(), value).into_pyobject(py).map(Some),
            false => (key, value).into_pyobject(py).map(Some),
        }
    }
}
