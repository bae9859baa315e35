//! `Store`: a directory of cohorts.

use std::path::PathBuf;

use pyo3::prelude::*;
use tallyfold::Settings;

use crate::cohort::Cohort;
use crate::error::OrRaise;

/// A directory of cohorts.
#[pyclass(subclass, frozen, module = "tallyfold._tallyfold")]
pub(crate) struct Store {
    store: tallyfold::Store,
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (path, create = true))]
    fn new(py: Python<'_>, path: PathBuf, create: bool) -> PyResult<Store> {
        let open = || match create {
            true => tallyfold::Store::open(&path),
            false => tallyfold::Store::open_existing(&path),
        };
        Ok(Store { store: py.detach(open).or_raise(py)? })
    }

    /// Where it is.
    #[getter]
    fn path(&self) -> PathBuf {
        self.store.path().to_path_buf()
    }

    /// The names of its cohorts, sorted.
    fn cohorts(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        py.detach(|| self.store.cohorts()).or_raise(py)
    }

    /// A cohort that is there.
    fn _open(&self, py: Python<'_>, name: &str) -> PyResult<Cohort> {
        let cohort = py.detach(|| self.store.cohort(name)).or_raise(py)?;
        Ok(Cohort::new(cohort))
    }

    /// A cohort with these settings (JSON), made unless it is there.
    fn _create(&self, py: Python<'_>, name: &str, settings: &str) -> PyResult<Cohort> {
        let create = || self.store.create(name, Settings::from_json(settings)?);
        Ok(Cohort::new(py.detach(create).or_raise(py)?))
    }

    /// A new cohort with these settings (JSON), of all records of another one.
    fn _refold(&self, py: Python<'_>, name: &str, new_name: &str, settings: &str) -> PyResult<u64> {
        py.detach(|| self.store.refold(name, new_name, Settings::from_json(settings)?)).or_raise(py)
    }

    /// The settings as `cohort.json` would hold them, with every default: JSON.
    #[staticmethod]
    fn _completed(py: Python<'_>, settings: &str) -> PyResult<String> {
        let settings = Settings::from_json(settings).or_raise(py)?;
        crate::cohort::settings_json(&settings)
    }
}
