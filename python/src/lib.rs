//! The native half of the Python package: as thin as it can be. What can be said in Python is said in `tallyfold/`.

mod bundle;
mod cohort;
mod decode;
mod encode;
mod error;
mod files;
mod history;
mod log;
mod once;
mod query;
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
    module.add_class::<history::History>()?;
    module.add_class::<bundle::NewBundle>()?;
    module.add_class::<bundle::Bundle>()?;
    module.add_class::<bundle::BundleFile>()?;
    module.add_function(wrap_pyfunction!(query::key, module)?)?;
    module.add_function(wrap_pyfunction!(query::key_parts, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
