//! Carrying a repair out: see the table in `mod.rs`.

use std::sync::Arc;

use super::survey::{Base, GoesOn};
use super::{RepairPlan, Repaired, plan};
use crate::attach::Published;
use crate::bundle;
use crate::chain::{Chain, Floor};
use crate::cohort::Cohort;
use crate::compact::{self, Running};
use crate::error::{Error, Kind, Result};
use crate::format::Link;
use crate::home::Home;
use crate::journal::Journal;
use crate::names::{self, Purpose};
use crate::ready::FIRST_RESERVE;
use crate::record::Seq;
use crate::scan::{Place, Scan, Step};
use crate::segment::{Access, Segment};
use crate::settings::{DOCUMENT_VERSION, LockClass, Settings};
use crate::snapshot::{self, Head};
use crate::sys::{self, Dir, LockFile, Names, Patience};
use crate::verify;
use crate::view::Reader;

impl RepairPlan {
    /// Does what the plan says, while nobody else is attached and nobody compacts.
    ///
    /// # Errors
    /// `is_lock_timeout` while somebody is attached, `is_conflict` if the cohort has changed since the plan was made: nothing was
    /// changed. Else what stopped it; then the cohort is damaged as before or repaired, and it can be repaired again.
    pub fn carry_out(self) -> Result<Repaired> {
        let home = &self.home;
        home.check_file_system()?;
        let patience = Patience::of(self.timeout);
        let append_lock = LockFile::open_or_make(&home.dir, names::LOCK)?;
        let _alone = append_lock.exclusive(&patience)?;
        let compact_lock = LockFile::open_or_make(&home.dir, names::COMPACT_LOCK)?;
        let _no_compactor = compact_lock.exclusive(&patience)?;
        let _running = Running::begin();
        let now = plan(home, self.timeout, self.remedy.settings.clone(), self.looked)?;
        if (&now.remedy, &now.frames) != (&self.remedy, &self.frames) {
            return Err(Error::new(Kind::Conflict, "the cohort has changed since the repair was planned")
                .at(home.dir.path())
                .advise("nothing was changed; look at the plan again"));
        }
        sys::reached("repair alone");
        let work = Work { plan: &self, home };
        if let Some(settings) = &self.remedy.settings {
            work.write_settings(settings)?;
            sys::reached("repair settings");
        }
        match self.remedy.goes_on {
            GoesOn::Whole => {}
            GoesOn::Cut(end) => work.cut(end)?,
            GoesOn::Behind(seq) => work.begin_behind(seq)?,
        }
        work.base()?;
        work.set_aside()?;
        home.dir.sync()?;
        let mut report = verify::check(home, None)?;
        if !report.is_damaged() {
            let (bundles, damaged) = bundle::check::all(&Cohort::new(Arc::clone(home)))?;
            report.add_bundles(bundles, &damaged);
        }
        let chain = Chain::resolve(&home.dir, &home.owner, home.floor()?, Access::Read)?;
        Ok(Repaired { next_seq: self.remedy.next_seq, epoch: chain.epoch(), report })
    }
}

struct Work<'a> {
    plan: &'a RepairPlan,
    home: &'a Arc<Home>,
}

impl Work<'_> {
    fn dir(&self) -> &Dir {
        &self.home.dir
    }

    fn quarantine(&self) -> Result<Dir> {
        self.dir().make_sub(names::QUARANTINE)?;
        self.dir().sub(names::QUARANTINE)
    }

    /// A temporary file with these bytes, synced.
    fn write_temporary(&self, purpose: Purpose, bytes: &[u8]) -> Result<String> {
        let temporary = names::temporary(purpose, sys::random_u64());
        let file = self.dir().create(&temporary)?;
        file.write_at(bytes, 0).map_err(|short| short.error)?;
        file.sync_all()?;
        Ok(temporary)
    }

    /// Keeps what a file holds, before another takes its name. A copy, so that there is a file of that name at all times.
    fn keep_copy(&self, name: &str, kept: &str) -> Result<()> {
        let quarantine = self.quarantine()?;
        let file = match self.dir().open_read(name, Names::Several) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(()),
            // What is no file of ours cannot be copied, and need not be there.
            Err(e) if e.is_unsafe_file() => {
                self.dir().rename_into(name, &quarantine, kept)?;
                return quarantine.sync();
            }
            Err(e) => return Err(e),
        };
        let copy = quarantine.create(kept)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            copy.write_at(&buffer[..read], at).map_err(|short| short.error)?;
            at += read as u64;
        }
        copy.sync_all()?;
        quarantine.sync()
    }

    fn write_settings(&self, settings: &Settings) -> Result<()> {
        self.keep_copy(names::COHORT, &names::set_aside(names::COHORT, sys::random_u64()))?;
        let temporary = self.write_temporary(Purpose::Json, settings.document()?.as_bytes())?;
        self.dir().rename(&temporary, names::COHORT)?;
        self.dir().sync()
    }

    /// Step 3: as an append cuts, but at a place that is corruption.
    fn cut(&self, end: Place) -> Result<()> {
        let floor = Floor::Seq(self.plan.remedy.watermark);
        let mut scan = Scan::begin(&self.home.dir, &self.home.owner, floor, Access::Write)?;
        while scan.place() != end {
            if !matches!(scan.step()?, Step::Frame(_)) && scan.place() != end {
                return Err(Error::corruption("the journal cannot be read to the place of the cut")
                    .at(self.dir().path())
                    .in_segment(end.segment)
                    .at_offset(end.offset));
            }
        }
        let (temporary, segment) = self.make_segment()?;
        let mut journal = Journal::over(Arc::clone(self.home), scan);
        let known = journal.scan.durable_seq().min(end.next_seq - 1);
        journal.synced(known);
        journal.cut_into(&segment, end)?;
        self.name_segment(&temporary)
    }

    /// Step 3 where nothing joins the snapshot. The link names a segment that was never there, so whoever reads back from it is
    /// told that what came before is folded away.
    fn begin_behind(&self, seq: Seq) -> Result<()> {
        let (temporary, segment) = self.make_segment()?;
        let link = Link {
            epoch: segment.number,
            first_seq: seq,
            previous: segment.number - 1,
            previous_end: 0,
            previous_crc: 0,
            durable_seq: seq - 1,
            time_us: sys::wall_clock_us(),
            boot: sys::boot_id(),
        };
        segment.write_link(&link)?;
        segment.sync()?;
        self.name_segment(&temporary)
    }

    fn make_segment(&self) -> Result<(String, Segment)> {
        let number = self.plan.remedy.new_number();
        let temporary = names::temporary(Purpose::Segment, sys::random_u64());
        let len = FIRST_RESERVE.min(self.home.settings.segment_bytes);
        let segment = Segment::make(self.dir(), &temporary, self.home.owner.identity(number), len)?;
        sys::reached("repair segment made");
        Ok((temporary, segment))
    }

    fn name_segment(&self, temporary: &str) -> Result<()> {
        self.mark_gaps()?;
        sys::reached("repair segment linked");
        self.dir().rename(temporary, &names::segment(self.plan.remedy.new_number()))?;
        self.dir().sync()?;
        sys::reached("repair segment named");
        Ok(())
    }

    /// A writer of the class `file` that has been idle since before the damage looks for the next number only. Where there is
    /// none, a mark lets it begin anew, and find where the journal goes on.
    fn mark_gaps(&self) -> Result<()> {
        if self.home.settings.lock != LockClass::File {
            return Ok(());
        }
        let names = self.dir().names()?;
        let numbers: Vec<u64> = names.iter().filter_map(|name| names::parse_segment(name)).collect();
        for number in &numbers {
            let next = number + 1;
            let stays = numbers.contains(&next) && !self.plan.remedy.aside.contains(&next);
            let mark = names::poison(*number);
            if !stays && next != self.plan.remedy.new_number() && !self.dir().exists(&mark)? {
                self.dir().create(&mark)?;
            }
        }
        self.dir().sync()
    }

    /// Step 4.
    fn base(&self) -> Result<()> {
        let temporary = match &self.plan.remedy.base {
            Base::Keep => None,
            Base::Fold { over_previous } => self.fold(*over_previous)?,
            Base::Salvage { name, seq, .. } => Some(self.lines_of(Some(name), *seq)?),
            Base::Empty { seq } => Some(self.lines_of(None, *seq)?),
        };
        sys::reached("repair snapshot written");
        let bad = |name| self.plan.remedy.bad_snapshots.contains(&name);
        if let Some(temporary) = temporary {
            // Of a log that begins later now the old one is whole, and goes all the same.
            self.keep_copy(names::SNAPSHOT, &names::damaged_snapshot(sys::random_u64()))?;
            sys::reached("repair snapshot kept");
            self.dir().rename(&temporary, names::SNAPSHOT)?;
            self.dir().sync()?;
            sys::reached("repair snapshot named");
        } else if bad(names::SNAPSHOT) {
            self.move_away(names::SNAPSHOT, &names::damaged_snapshot(sys::random_u64()))?;
        }
        if bad(names::SNAPSHOT_PREV) {
            self.move_away(names::SNAPSHOT_PREV, &names::damaged_snapshot(sys::random_u64()))?;
        }
        Ok(())
    }

    fn move_away(&self, name: &str, to: &str) -> Result<()> {
        if self.dir().exists(name)? {
            let quarantine = self.quarantine()?;
            self.dir().rename_into(name, &quarantine, to)?;
            quarantine.sync()?;
        }
        Ok(())
    }

    fn head(&self, seq: Seq) -> Result<Head> {
        let active = Chain::resolve(self.dir(), &self.home.owner, Floor::Seq(Seq::MAX), Access::Read)?;
        Ok(Head {
            tallyfold: DOCUMENT_VERSION,
            cohort: self.home.owner.cohort.clone(),
            fold: self.home.settings.fold.clone(),
            epoch: active.active().map_or(1, |active| active.link.epoch),
            seq,
        })
    }

    /// The state at the last place that is sealed and durable; `None` if that is the beginning.
    fn fold(&self, over_previous: bool) -> Result<Option<String>> {
        let watermark = self.plan.remedy.watermark;
        let chain = Chain::resolve(self.dir(), &self.home.owner, Floor::Seq(watermark), Access::Write)?;
        let through = match chain.active() {
            Some(active) if !self.is_poisoned()? => active.link.first_seq.saturating_sub(1).max(watermark),
            _ => watermark,
        };
        let sealed = chain.segments.len().saturating_sub(1);
        for joint in chain.segments.into_iter().take(sealed) {
            joint.sync(self.dir(), &self.home.owner)?;
        }
        self.dir().sync()?;
        if through == 0 {
            return Ok(None);
        }
        let base = if over_previous { self.home.snapshot(names::SNAPSHOT_PREV)? } else { None };
        let mut reader = Reader::over(self.home, base, None, Published::default())?;
        reader.run(through)?;
        let epoch = self.head(through)?.epoch;
        let (temporary, _) = compact::write(self.home, &reader.into_view(), through, epoch, &mut || Ok(()))?;
        Ok(Some(temporary))
    }

    /// Pages of a failed sync cannot be trusted to reach the disk, and no snapshot may cover them.
    fn is_poisoned(&self) -> Result<bool> {
        Ok(self.dir().names()?.iter().any(|name| names::parse_poison(name).is_some()))
    }

    /// A snapshot of the whole blocks of another one, or of nothing.
    fn lines_of(&self, name: Option<&str>, seq: Seq) -> Result<String> {
        let old = name.map(|name| self.home.snapshot(name)).transpose()?.flatten();
        let temporary = names::temporary(Purpose::Snapshot, sys::random_u64());
        let mut writer = snapshot::Writer::begin(self.dir().create(&temporary)?, &self.head(seq)?)?;
        let mut last: Option<String> = None;
        for line in old.iter().flat_map(|old| old.blocks()).flatten().flatten() {
            // What CRCs vouch for may still have been written wrong.
            if last.as_deref().is_none_or(|last| last < &*line.key) && line.entry.seq <= seq {
                writer.copy(&line)?;
                last = Some(line.key.into_owned());
            }
        }
        writer.finish()?;
        Ok(temporary)
    }

    /// Step 5.
    fn set_aside(&self) -> Result<()> {
        for number in &self.plan.remedy.aside {
            let name = names::segment(*number);
            let quarantine = self.quarantine()?;
            let to = match quarantine.exists(&name)? {
                true => names::set_aside(&name, sys::random_u64()),
                false => name.clone(),
            };
            self.move_away(&name, &to)?;
            self.dir().remove(&names::poison(*number))?;
            sys::reached("repair segment set aside");
        }
        Ok(())
    }
}
