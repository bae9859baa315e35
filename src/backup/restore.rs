//! Restoring: what a backup is made into again.

use std::path::Path;
use std::sync::Arc;

use super::copy::{Copier, check};
use super::{BackedUp, Backup, Fresh, Progress};
use crate::attach::Published;
use crate::chain::{Chain, Floor};
use crate::cursor::Trail;
use crate::error::{Error, Kind, Result};
use crate::format::{BLOCK, Identity, Link};
use crate::home::Home;
use crate::names::{self, Purpose};
use crate::ready::FIRST_RESERVE;
use crate::record::Seq;
use crate::segment::{Access, Owner, Segment};
use crate::settings::{LockClass, Settings};
use crate::snapshot::{self, Head, Snapshot};
use crate::store::Store;
use crate::sys::{self, Dir, Names, Reach};

/// The epochs of restored cohorts begin here: no journal has so many segments. And they end where programs that read JSON begin
/// to round.
const FIRST_EPOCH: u64 = 1 << 40;
/// So many numbers are drawn from: two restores of one backup meet only if one of them has cut as often as their draws lie apart.
const DRAWN_BITS: u32 = 48;

/// What was changed in a cohort's settings when it was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredCohort {
    /// The cohort's name.
    pub cohort: String,
    /// The last seq in it.
    pub seq: Seq,
    /// The epoch that it goes on in.
    pub epoch: u64,
    /// What its settings were changed in, in sentences.
    pub changed: Vec<String>,
}

impl Backup {
    /// Makes a store of the backup, at a path where there is nothing or an empty directory. It has the id of the store that was
    /// backed up, and each cohort goes on in an epoch of its own behind its last record.
    ///
    /// # Errors
    /// `is_conflict` if something is there, `is_corruption` if a file of the backup is not as it was written. There is no store
    /// then.
    pub fn restore(
        &self,
        to: impl AsRef<Path>,
        progress: &mut Progress<'_>,
    ) -> Result<(Store, Vec<RestoredCohort>)> {
        let fresh = Fresh::make(to.as_ref())?;
        let incomplete = fresh.dir.path().to_path_buf();
        let mut copier = Copier::new(progress, Some(&incomplete));
        match self.fill_store(&fresh.dir, &mut copier) {
            Ok(restored) => {
                fresh.name()?;
                Ok((Store::open_existing(to)?, restored))
            }
            Err(e) => {
                fresh.remove();
                Err(e)
            }
        }
    }

    fn fill_store(&self, dir: &Dir, copier: &mut Copier<'_>) -> Result<Vec<RestoredCohort>> {
        let file = self.dir.open_read(names::STORE, Names::Several)?;
        let found = copier.copy(&file, dir, names::STORE, None)?;
        self.differs(&self.document.store_file, found)?;
        let store = Store::open_existing(dir.path())?;
        let make = |cohort: &BackedUp| self.make_cohort(cohort, &store, &cohort.cohort, copier);
        let restored = self.cohorts().iter().map(make).collect::<Result<Vec<_>>>()?;
        dir.sync()?;
        Ok(restored)
    }

    /// Makes a cohort of one in the backup, in any store, under any name that is free there.
    ///
    /// # Errors
    /// `is_not_found` if there is none of that name in the backup, `is_conflict` if the new name is taken, `is_corruption` if a
    /// file of the backup is not as it was written. Nothing is made then.
    pub fn restore_cohort(
        &self,
        cohort: &str,
        store: &Store,
        name: &str,
        progress: &mut Progress<'_>,
    ) -> Result<RestoredCohort> {
        let found = self.cohorts().iter().find(|backed_up| backed_up.cohort == cohort);
        let backed_up = found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no cohort {cohort:?} in this backup"))
                .at(self.path())
                .advise("`tallyfold backup --verify` names those that are")
        })?;
        self.make_cohort(backed_up, store, name, &mut Copier::new(progress, None))
    }

    fn make_cohort(
        &self,
        backed_up: &BackedUp,
        store: &Store,
        name: &str,
        copier: &mut Copier<'_>,
    ) -> Result<RestoredCohort> {
        store.make_new(name, |dir| self.fill(backed_up, store, dir, name, copier))
    }

    fn fill(
        &self,
        backed_up: &BackedUp,
        store: &Store,
        dir: &Arc<Dir>,
        name: &str,
        copier: &mut Copier<'_>,
    ) -> Result<RestoredCohort> {
        for file in &backed_up.files {
            let (to, last) = reach(dir, &file.path)?;
            let (from_dir, name) = self.place(&file.path)?;
            let from = from_dir.open_read(&name, Names::Several)?;
            // Files that others have saved into a bundle keep their modes.
            let made = match file.path.split('/').nth(1) {
                Some(names::BUNDLES) => to.create_like(&last, from_dir.likeness(&name)?.as_ref())?,
                _ => to.create(&last)?,
            };
            let found = copier.copy_into(&from, &made, None)?;
            self.differs(file, found)?;
        }
        for link in &backed_up.links {
            let (to, last) = reach(dir, &link.path)?;
            to.symlink(&link.to, &last)?;
        }
        sync_all(dir)?;
        let old = Owner { store: self.original_id()?, cohort: backed_up.cohort.clone() };
        let (settings, changed) = settings(store, dir)?;
        let home = store.home(Arc::clone(dir), name, settings)?;
        adopt(&home, &old)?;
        dir.create(names::COMPACT_LOCK)?.sync_all()?;
        let epoch = begin_epoch(&home, backed_up)?;
        dir.sync()?;
        check(&home, backed_up.seq)?;
        Ok(RestoredCohort { cohort: name.to_string(), seq: backed_up.seq, epoch, changed })
    }

    fn original_id(&self) -> Result<[u8; 16]> {
        crate::store::parse_uuid(self.store_id())
            .ok_or_else(|| Error::corruption("the store's id in the backup is no UUID").at(self.path()))
    }
}

/// The directory below a cohort's that a path of the backup leads to, made if it is not there, and the last name.
fn reach(cohort: &Arc<Dir>, path: &str) -> Result<(Arc<Dir>, String)> {
    // The first name is the cohort's own.
    let mut names: Vec<&str> = path.split('/').skip(1).collect();
    let last = names.pop().unwrap_or_default().to_string();
    let mut dir = Arc::clone(cohort);
    for name in names {
        dir.make_sub(name)?;
        dir = Arc::new(dir.sub(name)?);
    }
    Ok((dir, last))
}

/// Every directory below, deepest first.
fn sync_all(dir: &Dir) -> Result<()> {
    for name in dir.names()? {
        if let Ok(sub) = dir.sub(&name) {
            sync_all(&sub)?;
        }
    }
    dir.sync()
}

/// The settings as they can be here. Two cohorts must not write one mirror.
fn settings(store: &Store, dir: &Arc<Dir>) -> Result<(Settings, Vec<String>)> {
    let old = crate::store::settings(dir)?;
    let mut new = old.clone();
    let mut changed = Vec::new();
    if let Some(mirror) = new.mirror.take() {
        changed.push(format!("it writes no mirror any more; it was {mirror:?}"));
    }
    if new.lock == LockClass::Memory && store.fitted(new.clone()).is_err() {
        new.lock = LockClass::File;
        changed.push("its class of lock is file, for memory cannot be shared here".to_string());
    }
    if new != old {
        let temporary = names::temporary(Purpose::Json, sys::random_u64());
        let file = dir.create(&temporary)?;
        file.write_at(new.document()?.as_bytes(), 0).map_err(|short| short.error)?;
        file.sync_all()?;
        dir.rename(&temporary, names::COHORT)?;
    }
    Ok((new, changed))
}

/// Makes the segments and snapshots those of another store or name. Salts stay, and with them every CRC of a frame or link.
fn adopt(home: &Home, old: &Owner) -> Result<()> {
    if *old == *home.owner {
        return Ok(());
    }
    for name in home.dir.names()? {
        let Some(number) = names::parse_segment(&name) else { continue };
        let file = home.dir.open_write(&name)?;
        let mut block = [0; BLOCK];
        file.read_at(&mut block, 0)?;
        let identity = Identity::decode(&block).map_err(|e| {
            Error::corruption(format!("a segment of the backup is damaged: {e:?}")).at(file.path())
        })?;
        let Owner { store, cohort } = Owner::clone(&home.owner);
        let identity = Identity { number, store, cohort, ..identity };
        file.write_at(&identity.encode(), 0).map_err(|short| short.error)?;
        file.sync_all()?;
    }
    if old.cohort == home.owner.cohort {
        return Ok(());
    }
    for name in [names::SNAPSHOT, names::SNAPSHOT_PREV] {
        let fold = &home.settings.fold;
        let Some(snapshot) = Snapshot::open(&home.dir, name, old, fold, Reach::Unknown)? else { continue };
        let head = Head { cohort: home.owner.cohort.clone(), ..snapshot.head.clone() };
        let temporary = names::temporary(Purpose::Snapshot, sys::random_u64());
        let mut writer = snapshot::Writer::begin(home.dir.create(&temporary)?, &head)?;
        for line in snapshot.all() {
            writer.copy(&line?)?;
        }
        writer.finish()?;
        home.dir.rename(&temporary, name)?;
    }
    Ok(())
}

/// A segment behind the last record, with a number, and so an epoch, that the original cannot come to.
fn begin_epoch(home: &Arc<Home>, backed_up: &BackedUp) -> Result<u64> {
    let watermark = home.watermark()?;
    let mut trail = Trail::begin(home, Floor::Seq(watermark), watermark, Published::default())?;
    while trail.next()?.is_some() {}
    let end = trail.scan().place();
    let chain = Chain::resolve(&home.dir, &home.owner, Floor::Seq(watermark), Access::Read)?;
    let highest = chain.epoch().max(end.segment).max(backed_up.epoch).max(FIRST_EPOCH);
    let epoch = highest + 1 + (sys::random_u64() >> (64 - DRAWN_BITS));
    let len = FIRST_RESERVE.min(home.settings.segment_bytes);
    let segment = Segment::make(&home.dir, &names::segment(epoch), home.owner.identity(epoch), len)?;
    segment.write_link(&Link {
        epoch,
        first_seq: end.next_seq,
        previous: end.segment,
        previous_end: end.offset,
        previous_crc: end.last_crc,
        durable_seq: end.next_seq - 1,
        time_us: sys::wall_clock_us(),
        boot: sys::boot_id(),
    })?;
    segment.sync()?;
    Ok(epoch)
}
