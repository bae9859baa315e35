//! Copying: what a backup is made of.

use std::path::Path;
use std::sync::Arc;

use super::{BackedUp, BackedUpFile, BackedUpLink, Copied, Progress};
use crate::attach::Published;
use crate::chain::{Chain, Floor};
use crate::cohort::Cohort;
use crate::cursor::Trail;
use crate::error::{Error, Kind, Result};
use crate::format::Link;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::scan::Place;
use crate::segment::{Access, Found, Segment};
use crate::store::Store;
use crate::sys::{Dir, File, LockFile, Names, Patience};
use crate::verify;

const BUFFER: usize = 1 << 20;
/// How often a cohort is copied anew because a cut, or the commit of a bundle, has taken away what was being copied.
const TRIES: u32 = 8;

/// Copies files, and says how far it has come.
pub(super) struct Copier<'a> {
    progress: &'a mut Progress<'a>,
    incomplete: Option<&'a Path>,
    done: u64,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(progress: &'a mut Progress<'_>, incomplete: Option<&'a Path>) -> Copier<'a> {
        Copier { progress, incomplete, done: 0, buffer: vec![0; BUFFER] }
    }

    /// The length and the CRC of a file.
    pub(super) fn measure(&mut self, file: &File) -> Result<(u64, u32)> {
        self.pass(file, None, |_, _| Ok(()))
    }

    /// Copies the first bytes of a file, or all, into a new one, and syncs that.
    pub(super) fn copy(
        &mut self,
        from: &File,
        to: &Dir,
        name: &str,
        limit: Option<u64>,
    ) -> Result<(u64, u32)> {
        self.copy_into(from, &to.create(name)?, limit)
    }

    pub(super) fn copy_into(&mut self, from: &File, to: &File, limit: Option<u64>) -> Result<(u64, u32)> {
        let measured =
            self.pass(from, limit, |bytes, at| to.write_at(bytes, at).map_err(|short| short.error))?;
        to.sync_all()?;
        Ok(measured)
    }

    fn pass(
        &mut self,
        from: &File,
        limit: Option<u64>,
        mut act: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<(u64, u32)> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = 0;
        loop {
            let left = limit.map_or(BUFFER as u64, |limit| limit - at).min(BUFFER as u64) as usize;
            let read = from.read_at(&mut self.buffer[..left], at)?;
            if read == 0 {
                break;
            }
            crc.update(&self.buffer[..read]);
            act(&self.buffer[..read], at)?;
            at += read as u64;
            self.done += read as u64;
            let copied = Copied { bytes: self.done, incomplete: self.incomplete };
            if (self.progress)(copied).is_break() {
                return Err(Error::new(Kind::Io, "it was stopped before it was complete").at(from.path()));
            }
        }
        match limit {
            Some(limit) if at < limit => {
                Err(Error::corruption(format!("the file ends at {at}, and {limit} bytes were whole"))
                    .at(from.path()))
            }
            _ => Ok((at, crc.finalize())),
        }
    }
}

/// Copies one cohort into a directory of its own.
pub(super) fn backup_cohort(
    store: &Store,
    name: &str,
    backup: &Dir,
    copier: &mut Copier<'_>,
) -> Result<BackedUp> {
    let cohort = store.cohort(name)?;
    let directory = names::cohort_directory(name)?;
    // Nothing is folded, retired or altered meanwhile. Where it cannot be opened for reading, there is no compactor to fear.
    let compact_lock = LockFile::open_read(&cohort.home().dir, names::COMPACT_LOCK);
    let _held = match &compact_lock {
        Ok(lock) => Some(lock.shared(&Patience::of(cohort.timeout()))?),
        Err(_) => None,
    };
    for _ in 0..TRIES {
        backup.make_sub(&directory)?;
        let dir = Arc::new(backup.sub(&directory)?);
        if let Some(backed_up) = try_cohort(store, &cohort, &dir, &directory, copier)? {
            return Ok(backed_up);
        }
        backup.remove_tree(&directory)?;
    }
    Err(Error::new(
        Kind::Conflict,
        format!("the cohort {name:?} was cut, or its bundles retired, again and again"),
    )
    .at(cohort.home().dir.path())
    .advise("back it up when less is committed; or keep more versions of its bundles"))
}

/// `None`: something was taken away meanwhile.
fn try_cohort(
    store: &Store,
    cohort: &Cohort,
    dir: &Arc<Dir>,
    directory: &str,
    copier: &mut Copier<'_>,
) -> Result<Option<BackedUp>> {
    let home = cohort.home();
    let repair_first = |e: Error| match e.is_corruption() {
        true => e.advise(format!(
            "repair it first (tallyfold repair {:?}), or name the other cohorts",
            cohort.name()
        )),
        false => e,
    };
    let mut backed_up = BackedUp {
        cohort: cohort.name().to_string(),
        seq: 0,
        epoch: 0,
        left_out: Vec::new(),
        files: Vec::new(),
        links: Vec::new(),
    };
    let add = |to: &mut BackedUp, name: &str, (bytes, crc32): (u64, u32)| {
        to.files.push(BackedUpFile { path: format!("{directory}/{name}"), bytes, crc32 });
    };
    let settings = home.dir.open_read(names::COHORT, Names::One)?;
    let copied = copier.copy(&settings, dir, names::COHORT, None)?;
    add(&mut backed_up, names::COHORT, copied);
    for name in [names::SNAPSHOT, names::SNAPSHOT_PREV] {
        match home.dir.open_read(name, Names::Several) {
            Ok(file) => {
                let copied = copier.copy(&file, dir, name, None)?;
                add(&mut backed_up, name, copied);
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    let watermark = home.watermark()?;
    let mut trail = Trail::begin(home, Floor::Seq(watermark), watermark, Published::default())?;
    while trail.next().map_err(repair_first)?.is_some() {}
    let end = trail.scan().place();
    let Some(segments) = segments(home, watermark, end)? else { return Ok(None) };
    for (number, link, len) in &segments {
        let name = names::segment(*number);
        let copied = match home.dir.open_read(&name, Names::One) {
            Ok(file) => copier.copy(&file, dir, &name, Some(*len))?,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        };
        add(&mut backed_up, &name, copied);
        backed_up.epoch = backed_up.epoch.max(link.epoch);
    }
    backed_up.seq = end.next_seq - 1;
    dir.sync()?;
    let copy = store.home(Arc::clone(dir), cohort.name(), home.settings_now()?)?;
    check(&copy, backed_up.seq).map_err(repair_first)?;
    let copy = Cohort::new(copy);
    if !bundles(cohort, &copy, dir, &mut backed_up, directory, copier)? {
        return Ok(None);
    }
    if let Some(damaged) = crate::bundle::check::all(&copy)?.1.pop() {
        return Err(damaged.advise("restore the bundle, or commit it anew; or name the other cohorts"));
    }
    if let Ok(quarantine) = home.dir.sub(names::QUARANTINE) {
        backed_up.left_out.push(format!("{}: {} files", names::QUARANTINE, quarantine.all_names()?.len()));
    }
    dir.sync()?;
    Ok(Some(backed_up))
}

/// Every byte of a copy, which has neither locks nor anybody who writes.
pub(super) fn check(copy: &Arc<Home>, seq: Seq) -> Result<()> {
    let report = verify::contents(copy)?;
    let damage = report.findings.iter().find(|finding| finding.severity == verify::Severity::Damage);
    if let Some(damage) = damage {
        let mut e = Error::corruption(format!("the copy is damaged: {}", damage.what));
        e = damage
            .path
            .as_deref()
            .map_or(Error::corruption(e.what()), |path| Error::corruption(e.what()).at(path));
        return Err(e);
    }
    let watermark = copy.watermark()?;
    let mut trail = Trail::begin(copy, Floor::Seq(watermark), watermark, Published::default())?;
    while trail.next()?.is_some() {}
    match trail.next_seq() - 1 {
        found if found == seq => Ok(()),
        found => {
            Err(Error::corruption(format!("the copy ends at seq {found}, and {seq} was to be its last"))
                .at(copy.dir.path()))
        }
    }
}

/// The segments of the journal up to a place, oldest first, each with the length that counts. What is older than the state needs
/// comes along as far as it joins.
fn segments(home: &Home, watermark: Seq, end: Place) -> Result<Option<Vec<(u64, Link, u64)>>> {
    let chain = Chain::resolve(&home.dir, &home.owner, Floor::Seq(watermark), Access::Read)?;
    let mut segments: Vec<(u64, Link, u64)> = Vec::new();
    let mut joints = chain.segments.iter().peekable();
    while let Some(joint) = joints.next() {
        if joint.number == end.segment {
            // It may have been cut before that place meanwhile.
            if joints.peek().is_some_and(|next| next.link.previous_end < end.offset) {
                return Ok(None);
            }
            segments.push((joint.number, joint.link, end.offset));
            break;
        }
        let Some(next) = joints.peek() else { return Ok(None) };
        segments.push((joint.number, joint.link, next.link.previous_end));
    }
    let Some((mut number, mut next, _)) = segments.first().copied() else { return Ok(None) };
    let mut older = Vec::new();
    while next.previous != 0 && next.previous < number {
        let found = Segment::open(&home.dir, next.previous, &home.owner, Access::Read)?;
        let Some(Found::Linked(linked)) = found else { break };
        older.push((next.previous, linked.link, next.previous_end));
        (number, next) = (next.previous, linked.link);
    }
    older.reverse();
    older.extend(segments);
    Ok(Some(older))
}

/// The versions that the copied state names. `false`: one was retired meanwhile.
fn bundles(
    cohort: &Cohort,
    copy: &Cohort,
    dir: &Dir,
    backed_up: &mut BackedUp,
    directory: &str,
    copier: &mut Copier<'_>,
) -> Result<bool> {
    let bundles = match cohort.home().dir.sub(names::BUNDLES) {
        Ok(bundles) => bundles,
        Err(e) if e.is_not_found() => return Ok(true),
        Err(e) => return Err(e),
    };
    for key_name in bundles.names()? {
        let Some(key) = names::parse_key_directory(&key_name) else { continue };
        let versions = copy.bundle_versions(&key)?;
        let (from, Some(newest)) = (bundles.sub(&key_name)?, versions.first()) else { continue };
        dir.make_sub(names::BUNDLES)?;
        let to = dir.sub(names::BUNDLES)?;
        to.make_sub(&key_name)?;
        let key_dir = to.sub(&key_name)?;
        for version in &versions {
            let version_dir = match from.sub(version) {
                Ok(version_dir) => version_dir,
                // One that is named still was removed by somebody else: the check of the copy says so.
                Err(e) if e.is_not_found() && cohort.bundle_versions(&key)?.contains(version) => continue,
                Err(e) if e.is_not_found() => return Ok(false),
                Err(e) => return Err(e),
            };
            key_dir.make_sub(version)?;
            let copied = key_dir.sub(version)?;
            for name in version_dir.names()? {
                let file = match version_dir.open_read(&name, Names::Several) {
                    Ok(file) => file,
                    Err(e) if e.is_not_found() => return Ok(false),
                    Err(e) => return Err(e),
                };
                let like = version_dir.likeness(&name)?;
                let (bytes, crc32) =
                    copier.copy_into(&file, &copied.create_like(&name, like.as_ref())?, None)?;
                let path = format!("{directory}/{}/{key_name}/{version}/{name}", names::BUNDLES);
                backed_up.files.push(BackedUpFile { path, bytes, crc32 });
            }
            copied.sync()?;
            // Gone while it was copied: then a file of it may be missing.
            if !from.exists(version)? {
                return Ok(false);
            }
        }
        let path = format!("{directory}/{}/{key_name}/{}", names::BUNDLES, names::LATEST);
        key_dir.symlink(newest, names::LATEST)?;
        backed_up.links.push(BackedUpLink { path, to: newest.clone() });
        key_dir.sync()?;
        to.sync()?;
    }
    Ok(true)
}
