//! Whether the files of all bundles are what was committed, for [`Cohort::verify`].

use memchr::memmem;

use super::manifest::{Manifest, measure, read_manifest};
use super::{Bundle, Record};
use crate::cohort::Cohort;
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::names;
use crate::sys::Names;

/// How often a bundle is opened again whose version was retired while it was read.
const TRIES: u32 = 16;

/// What an entry that names a bundle has in its text.
const MEMBER: &[u8] = br#""bundle""#;

/// Checks the bundle of each key, and returns how many there are and what is damaged.
pub(crate) fn all(cohort: &Cohort) -> Result<(u64, Vec<Error>)> {
    let (mut bundles, mut damaged) = (0, Vec::new());
    for key in keys(cohort)? {
        match of_key(cohort, &key) {
            Ok(there) => bundles += u64::from(there),
            Err(e) if e.is_corruption() => {
                bundles += 1;
                damaged.push(e);
            }
            Err(e) => return Err(e),
        }
    }
    Ok((bundles, damaged))
}

/// The keys whose entries name bundles. A log has no entries: there it is those that have a directory.
fn keys(cohort: &Cohort) -> Result<Vec<String>> {
    if *cohort.settings().fold() == Fold::Log {
        return match cohort.home().dir.sub(names::BUNDLES) {
            Ok(dir) => Ok(dir.names()?.iter().filter_map(|name| names::parse_key_directory(name)).collect()),
            Err(e) if e.is_not_found() => Ok(Vec::new()),
            Err(e) => Err(e),
        };
    }
    // Damage to the journal has been found by others.
    let (view, _) = match cohort.view_until_damage() {
        Err(e) if e.is_corruption() => return Ok(Vec::new()),
        other => other?,
    };
    let member = memmem::Finder::new(MEMBER);
    let mut keys = Vec::new();
    for item in view.iter() {
        let (key, entry) = match item {
            Err(e) if e.is_corruption() => break,
            other => other?,
        };
        let json = entry.json();
        if member.find(json.as_bytes()).is_some()
            && Record::parse(entry.seq(), entry.nonfinite(), json).is_some()
        {
            keys.push(key.into_owned());
        }
    }
    Ok(keys)
}

/// Checks the newest version and those that are kept beside it. `false`: there is none any more.
fn of_key(cohort: &Cohort, key: &str) -> Result<bool> {
    for _ in 0..TRIES {
        let Some(bundle) = cohort.open_bundle(key)? else { return Ok(false) };
        match bundle.verify().and_then(|()| of_previous(cohort, &bundle)) {
            // Retired meanwhile: there is a newer one.
            Err(e) if e.is_not_found() => {}
            other => return other.map(|()| true),
        }
    }
    let what = "the bundle was replaced again and again while it was read";
    Err(Error::new(Kind::Conflict, what).at(&cohort.path()).advise("verify when its writer pauses"))
}

/// The manifest of an older version is what says what is in it; nothing else knows any more.
fn of_previous(cohort: &Cohort, bundle: &Bundle) -> Result<()> {
    for version in bundle.previous() {
        let dir = match bundle.key_dir.sub(version) {
            Err(e) if e.is_not_found() => return Err(missing(cohort, bundle, version, e)?),
            other => other?,
        };
        let damaged = |what: String| {
            Error::corruption(format!("the manifest of an older version is damaged: {what}"))
                .at(&dir.path().join(names::MANIFEST))
        };
        let text = match read_manifest(&dir) {
            Err(e) if e.is_not_found() => return Err(missing(cohort, bundle, version, e)?),
            other => other?,
        };
        let text = String::from_utf8(text).map_err(|_| damaged("it is not UTF-8".into()))?;
        for file in Manifest::parse(&text).map_err(damaged)?.files {
            match dir.open_read(&file.name, Names::Several).and_then(|found| measure(&found)) {
                Ok(found) if found == (file.bytes, file.crc32) => {}
                Ok(_) => {
                    let what = "the file of an older version is not what was committed";
                    return Err(Error::corruption(what).at(&dir.path().join(&file.name)));
                }
                Err(e) if e.is_not_found() => return Err(missing(cohort, bundle, version, e)?),
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Something of an older version is not there: damage, unless a newer bundle has retired it.
fn missing(cohort: &Cohort, bundle: &Bundle, version: &str, e: Error) -> Result<Error> {
    let newest = cohort.open_bundle(bundle.key())?;
    let retired = newest.is_none_or(|newest| !newest.committed.names(version));
    Ok(match retired {
        true => e.become_kind(Kind::NotFound, "the version was retired while it was read"),
        false => e.become_kind(Kind::Corruption, "something of an older version that is kept is missing"),
    })
}
