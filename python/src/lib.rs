//! The native half of the Python package: as thin as it can be. What can be said in Python is said in `tallyfold/`.

mod cohort;
mod decode;
mod encode;
mod error;
mod files;
mod log;
mod store;
mod view;

use pyo3::prelude::*;

#[pymodule]
fn _tallyfold(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<store::Store>()?;
    module.add_class::<cohort::Cohort>()?;
    module.add_class::<view::View>()?;
    module.add_class::<view::Items>()?;
    module.add_class::<log::Log>()?;
    module.add_class::<log::Record>()?;
    files::register(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
