//! Doing something to the cohort named, or to all of them: a bad one never stops the others.

use serde::Serialize;
use tallyfold::Cohort;

use super::exit::Failure;
use super::options::Options;
use super::output::say;

/// A cohort that has not answered, for programs.
#[derive(Serialize)]
pub(crate) struct Bad<'a> {
    pub(crate) cohort: &'a str,
    pub(crate) error: &'a str,
}

/// Asks one cohort or each, and tells what it answers. Of several failures all are told as they come, and the first one decides
/// how the command ends; what `tell` cannot print ends it at once.
pub(crate) fn each<T>(
    options: &Options,
    name: Option<&str>,
    ask: impl Fn(&Cohort) -> Result<T, Failure>,
    mut tell: impl FnMut(&str, Result<T, &Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(name) = name {
        return tell(name, Ok(ask(&options.cohort(name)?)?));
    }
    let store = options.store()?;
    let names = store.cohorts()?;
    if names.is_empty() {
        say(format!("there is no cohort in the store {}", store.path().display()));
    }
    let mut first = None;
    for name in &names {
        let cohort = store.cohort(name).map(|cohort| options.patient(cohort)).map_err(Failure::from);
        match cohort.and_then(|cohort| ask(&cohort)) {
            Ok(answer) => tell(name, Ok(answer))?,
            Err(failure) => {
                say(format!("cohort {name:?}: {}", failure.message));
                tell(name, Err(&failure))?;
                first.get_or_insert(failure.code);
            }
        }
    }
    match first {
        Some(code) => Err(Failure::new(code, "")),
        None => Ok(()),
    }
}
