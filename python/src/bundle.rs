//! `NewBundle` and `Bundle`: files and a value, committed together.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::cohort::Object;
use crate::decode::decode;
use crate::error::{OrRaise, named, raise};

/// A bundle that is being put together: a context manager.
///
///     with cohort.bundle("run-1") as new:
///         new.add_file("config.yaml", "run-1/config.yaml")
///         torch.save(weights, new.create("weights.pt"))
///         new.commit({"auc": 0.61})
///
/// Without a commit, or with an exception before it, nothing of it is left when the block ends.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct NewBundle {
    /// None once it is committed or given up.
    bundle: Mutex<Option<tallyfold::NewBundle>>,
}

impl NewBundle {
    pub(crate) fn of(bundle: tallyfold::NewBundle) -> NewBundle {
        NewBundle { bundle: Mutex::new(Some(bundle)) }
    }

    fn take(&self) -> Option<tallyfold::NewBundle> {
        self.bundle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets go of Python, for files are copied and synced, and before waiting for another thread that does.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut tallyfold::NewBundle) -> tallyfold::Result<T> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| {
            let mut bundle = self.bundle.lock().unwrap_or_else(PoisonError::into_inner);
            bundle.as_mut().map(act)
        });
        done.ok_or_else(|| over(py))?.or_raise(py)
    }
}

fn over(py: Python<'_>) -> PyErr {
    let what = "the bundle is committed or given up: begin another one with cohort.bundle()";
    named(py, "Invalid", what.into())
}

#[pymethods]
impl NewBundle {
    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        py.detach(|| drop(self.take()));
    }

    /// The directory that its files stand in until the commit: for functions that save several files into one.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<PathBuf> {
        self.with(py, |new| Ok(new.path().to_path_buf()))
    }

    /// Copies the file at `source` into the bundle, and syncs the copy.
    ///
    /// `Conflict` if it was changed meanwhile, `UnsafeFile` for a link, a pipe or a directory, `Invalid` for a name that is
    /// taken or that no file of a bundle can have, `NoSpace`.
    fn add_file(&self, py: Python<'_>, name: &str, source: PathBuf) -> PyResult<()> {
        self.with(py, |new| new.add_file(name, &source).map(drop))
    }

    /// Adds a file with these bytes, and syncs it. Errors as of `add_file`.
    fn add_bytes(&self, py: Python<'_>, name: &str, data: &[u8]) -> PyResult<()> {
        self.with(py, |new| new.add_bytes(name, data).map(drop))
    }

    /// Makes an empty file and returns its path, for functions that save to one. They may write to it or replace it, and are done
    /// with it before the commit, which syncs it. Errors as of `add_file`.
    fn create(&self, py: Python<'_>, name: &str) -> PyResult<PathBuf> {
        self.with(py, |new| new.create(name))
    }

    /// Commits the files with a value: all of it is the key's bundle from now on, and survives a power cut; or none of it.
    /// Returns it.
    ///
    /// `default` is asked for objects in the value that have no JSON value. `UnsafeFile` or `Invalid` for a link, a directory
    /// or anything else in `path` that is no file of a bundle, `Corruption` for a copied file that was changed since,
    /// `NoSpace`. After any error but `DurabilityUnknown` the key has the bundle that it had; this one is given up.
    #[pyo3(signature = (value = None, *, default = None))]
    fn commit(
        &self,
        py: Python<'_>,
        value: Option<Py<PyAny>>,
        default: Option<Py<PyAny>>,
    ) -> PyResult<Bundle> {
        let raised = Mutex::new(None);
        let object = value.unwrap_or_else(|| py.None());
        let object = Object { object, default: default.as_ref(), raised: &raised };
        let committed = py.detach(|| self.take().map(|new| new.commit(&object))).ok_or_else(|| over(py))?;
        committed.map(Bundle::of).map_err(|e| {
            let raised = raised.lock().unwrap_or_else(PoisonError::into_inner).take();
            raised.unwrap_or_else(|| raise(py, &e))
        })
    }
}

/// A version of a bundle: files and a value that were committed together. Its files stay until more than `keep` versions have
/// followed it.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct Bundle {
    bundle: tallyfold::Bundle,
}

impl Bundle {
    pub(crate) fn of(bundle: tallyfold::Bundle) -> Bundle {
        Bundle { bundle }
    }
}

#[pymethods]
impl Bundle {
    /// The key that it was committed under.
    #[getter]
    fn key(&self) -> &str {
        self.bundle.key()
    }

    /// The seq of the record that names it.
    #[getter]
    fn seq(&self) -> u64 {
        self.bundle.seq()
    }

    /// The name of its directory. Those of a key sort in the order of their commits.
    #[getter]
    fn version(&self) -> &str {
        self.bundle.version()
    }

    /// The names of the older versions that are kept, newest first.
    #[getter]
    fn previous(&self) -> Vec<String> {
        self.bundle.previous().to_vec()
    }

    /// Its directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.bundle.path().to_path_buf()
    }

    /// Its files, sorted by name.
    #[getter]
    fn files(&self) -> Vec<BundleFile> {
        self.bundle.files().iter().cloned().map(|file| BundleFile { file }).collect()
    }

    /// The value that it was committed with.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode(py, self.bundle.json(), self.bundle.nonfinite())
    }

    /// What could not be done after the commit, or None: the link `latest`, or the removal of older versions. The next writer
    /// does it.
    #[getter]
    fn unfinished(&self) -> Option<String> {
        self.bundle.unfinished().map(ToString::to_string)
    }

    /// The path of one of its files; `NotFound` if it has none of that name.
    fn file(&self, py: Python<'_>, name: &str) -> PyResult<PathBuf> {
        self.bundle.file(name).ok_or_else(|| {
            let names: Vec<&str> = self.bundle.files().iter().map(|file| file.name()).collect();
            let key = self.bundle.key();
            named(py, "NotFound", format!("the bundle of {key:?} has no file {name:?}, but {names:?}"))
        })
    }

    /// Reads every byte and compares its CRC. `Corruption` names the first file that is not what was committed; `NotFound`: the
    /// version is gone, for newer ones have followed.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.bundle.verify()).or_raise(py)
    }

    fn __repr__(&self) -> String {
        format!("Bundle(key={:?}, seq={}, path={:?})", self.key(), self.seq(), self.bundle.path())
    }
}

/// A file of a bundle.
#[pyclass(frozen, module = "tallyfold._tallyfold")]
pub(crate) struct BundleFile {
    file: tallyfold::BundleFile,
}

#[pymethods]
impl BundleFile {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.file.name()
    }

    /// Its length in bytes.
    #[getter]
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// The CRC-32 of its bytes, as `zlib.crc32` computes it.
    #[getter]
    fn crc32(&self) -> u32 {
        self.file.crc32()
    }

    fn __repr__(&self) -> String {
        format!("BundleFile(name={:?}, bytes={}, crc32={:#010x})", self.name(), self.bytes(), self.crc32())
    }
}
