//! The bundles of a cohort that is made of the records of another one: see [`Store::refold`](crate::Store::refold).

use super::check;
use super::manifest::copy;
use crate::cohort::Cohort;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::record::Seq;
use crate::sys::{Dir, Names};

/// Copies what may be named by the records of a cohort up to `last`, and makes sure that the new cohort, which nobody sees yet,
/// has all files that its own state names.
///
/// # Errors
/// `is_conflict` if a version was retired meanwhile.
pub(crate) fn into(old: &Cohort, new: &Cohort, last: Seq) -> Result<()> {
    let from = match old.home().dir.sub(names::BUNDLES) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    let to = made(&new.home().dir, names::BUNDLES)?;
    for name in from.names()?.iter().filter(|name| names::parse_key_directory(name).is_some()) {
        let (from, to) = (from.sub(name)?, made(&to, name)?);
        // Placed when the journal ended there, and named by a later record.
        let named = |version: &&String| names::parse_version(version).is_some_and(|after| after < last);
        for version in from.names()?.iter().filter(named) {
            match from.sub(version).and_then(|from| version_into(&from, &to, version)) {
                // Retired while it was read, or before.
                Err(e) if e.is_not_found() => drop(to.remove_tree(version)?),
                other => other?,
            }
        }
        to.sync()?;
    }
    to.sync()?;
    new.home().dir.sync()?;
    match check::all(new)?.1.into_iter().next() {
        None => Ok(()),
        Some(missing) => Err(Error::new(
            Kind::Conflict,
            format!("nothing was refolded: a bundle is damaged, or was replaced meanwhile: {missing}"),
        )
        .at(old.home().dir.path())
        .advise("verify the old cohort, and try again when nobody commits bundles")),
    }
}

fn version_into(from: &Dir, to: &Dir, version: &str) -> Result<()> {
    let to = made(to, version)?;
    for name in from.names()? {
        let file = to.create(&name)?;
        copy(&from.open_read(&name, Names::Several)?, &file)?;
        file.sync_all()?;
    }
    to.sync()
}

fn made(dir: &Dir, name: &str) -> Result<Dir> {
    dir.make_sub(name)?;
    dir.sub(name)
}
