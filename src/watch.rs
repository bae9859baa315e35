//! Sizes and positions again and again, for whoever keeps an eye on a cohort: each look reads only what is new.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use crate::attach::Published;
use crate::chain::Floor;
use crate::cursor::Trail;
use crate::error::Result;
use crate::fold::Fold;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::stats::Stats;
use crate::sys::Names;

/// How often a look begins anew because compaction has overtaken it.
const RESTARTS: u32 = 3;

/// See [`Cohort::watch`](crate::Cohort::watch).
#[derive(Debug)]
pub struct Watch {
    home: Arc<Home>,
    snapshot: Snapshot,
    trail: Option<Trail>,
    /// What was read of the segments that the snapshot does not cover, oldest first.
    spans: VecDeque<Span>,
    /// The lengths of segments that are not written any more.
    lengths: HashMap<u64, u64>,
    bytes: u64,
}

/// What is known of the snapshot, and what tells whether it is another one by now.
#[derive(Debug, Default)]
struct Snapshot {
    /// Length and time.
    mark: Option<(u64, Option<SystemTime>)>,
    seq: Seq,
    entries: u64,
    bytes: u64,
    damaged: bool,
}

/// Where the journal ends.
struct End {
    segment: u64,
    seq: Seq,
    durable_seq: Seq,
    epoch: u64,
}

#[derive(Debug)]
struct Span {
    segment: u64,
    last: Seq,
    bytes: u64,
}

impl Watch {
    pub(crate) fn new(home: &Arc<Home>) -> Watch {
        Watch {
            home: Arc::clone(home),
            snapshot: Snapshot::default(),
            trail: None,
            spans: VecDeque::new(),
            lengths: HashMap::new(),
            bytes: 0,
        }
    }

    /// Sizes and positions now. The first look reads the journal behind the snapshot, as [`stats`](crate::Cohort::stats) does,
    /// each later one what was appended since.
    ///
    /// # Errors
    /// As [`stats`](crate::Cohort::stats); the next look begins anew.
    pub fn look(&mut self) -> Result<Stats> {
        let looked = self.try_look();
        if looked.is_err() {
            self.trail = None;
            self.spans.clear();
        }
        looked
    }

    /// Bytes of all frames that this watch has met so far: what they grow by was appended between two looks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the snapshot was written, by the file system's clock; `None`: there is none yet.
    pub fn snapshot_time(&self) -> Option<SystemTime> {
        self.snapshot.mark.and_then(|(_, time)| time)
    }

    fn try_look(&mut self) -> Result<Stats> {
        self.look_at_snapshot()?;
        let tail = self.read_on()?;
        let watermark = self.snapshot.seq;
        if self.home.settings.fold != Fold::Log {
            while self.spans.front().is_some_and(|span| span.last <= watermark) {
                self.spans.pop_front();
            }
        }
        let (segments, segment_bytes) = self.look_at_segments(tail.segment)?;
        let home = &self.home;
        let quarantined = match home.dir.sub(names::QUARANTINE) {
            Ok(quarantine) => quarantine.names()?.len() as u64,
            Err(e) if e.is_not_found() => 0,
            Err(e) => return Err(e),
        };
        Ok(Stats {
            cohort: home.owner.cohort.clone(),
            fold: home.settings.fold.name(),
            seq: tail.seq,
            durable_seq: tail.durable_seq.max(watermark),
            watermark,
            epoch: tail.epoch,
            entries: self.snapshot.entries,
            snapshot_bytes: self.snapshot.bytes,
            segments,
            segment_bytes,
            tail_bytes: self.spans.iter().map(|span| span.bytes).sum(),
            quarantined,
            poisoned: home.dir.exists(&names::poison(tail.segment))?,
            file_system: home.file_system.clone(),
            lock: home.settings.lock.name(),
            background_failure: None,
            mirror_failure: None,
        })
    }

    /// Opens the snapshot if it is not the one that was looked at last.
    fn look_at_snapshot(&mut self) -> Result<()> {
        let mark = match self.home.dir.open_read(names::SNAPSHOT, Names::Several) {
            Ok(file) => Some(file.stamp()?),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        };
        if mark.is_some() && mark == self.snapshot.mark {
            return Ok(());
        }
        let (found, damaged) = match self.home.snapshot(names::SNAPSHOT) {
            Err(e) if e.is_corruption() => (None, true),
            other => (other?, false),
        };
        self.snapshot = Snapshot {
            mark,
            seq: found.as_ref().map_or(0, |it| it.head.seq),
            entries: found.as_ref().map_or(0, |it| it.entries),
            bytes: found.as_ref().map_or(0, |it| it.len()),
            damaged,
        };
        Ok(())
    }

    /// Reads the journal on to its tail.
    fn read_on(&mut self) -> Result<End> {
        let mut restarts = 0;
        loop {
            let mut trail = match self.trail.take() {
                Some(trail) => trail,
                None => self.begin()?,
            };
            match self.read(&mut trail) {
                Err(e) if e.is_compacted() && restarts < RESTARTS => {
                    restarts += 1;
                    self.look_at_snapshot()?;
                }
                read => {
                    read?;
                    let scan = trail.scan();
                    let end = End {
                        segment: scan.place().segment,
                        seq: trail.next_seq() - 1,
                        durable_seq: scan.durable_seq(),
                        epoch: scan.chain().epoch(),
                    };
                    self.trail = Some(trail);
                    return Ok(end);
                }
            }
        }
    }

    fn begin(&mut self) -> Result<Trail> {
        self.spans.clear();
        // The snapshot of a log only says what is gone.
        let floor = match self.home.settings.fold != Fold::Log && !self.snapshot.damaged {
            true => Floor::Seq(self.snapshot.seq),
            false => self.home.floor()?,
        };
        Trail::begin(&self.home, floor, self.snapshot.seq, Published::default())
    }

    fn read(&mut self, trail: &mut Trail) -> Result<()> {
        while let Some(header) = trail.next()? {
            let (segment, last) = (trail.scan().place().segment, trail.next_seq() - 1);
            self.bytes += header.frame_len();
            match self.spans.back_mut() {
                Some(span) if span.segment == segment => {
                    span.last = last;
                    span.bytes += header.frame_len();
                }
                _ => self.spans.push_back(Span { segment, last, bytes: header.frame_len() }),
            }
        }
        Ok(())
    }

    /// How many segments there are, and their bytes. Only those that may have grown are opened.
    fn look_at_segments(&mut self, active: u64) -> Result<(u64, u64)> {
        let files = self.home.dir.names()?;
        let mut lengths = HashMap::new();
        for number in files.iter().filter_map(|name| names::parse_segment(name)) {
            let known = self.lengths.get(&number).filter(|_| number < active);
            let length = match known {
                Some(length) => *length,
                None => match self.home.dir.open_read(&names::segment(number), Names::One) {
                    Ok(file) => file.len()?,
                    // One that has just been retired counts for nothing.
                    Err(_) => 0,
                },
            };
            lengths.insert(number, length);
        }
        self.lengths = lengths;
        Ok((self.lengths.len() as u64, self.lengths.values().sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cohort::Cohort;
    use crate::record::Batch;
    use crate::settings::Settings;
    use crate::store::Store;
    use tempfile::TempDir;

    fn cohort(settings: Settings) -> (TempDir, Cohort) {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(temporary.path().join("store")).unwrap();
        let cohort = store.create("c", settings).unwrap();
        (temporary, cohort)
    }

    #[test]
    fn every_look_is_what_stats_says_whatever_is_appended_and_compacted_meanwhile() {
        for settings in [Settings::latest(), Settings::log()] {
            let log = settings == Settings::log();
            let (_temporary, cohort) = cohort(settings);
            let mut watch = cohort.watch();
            for round in 0..40_u64 {
                let mut batch = Batch::new();
                for i in 0..=round % 7 {
                    batch.put(&format!("k{i}"), &"x".repeat(1000)).unwrap();
                }
                cohort.append_batch(batch).unwrap();
                if round % 5 == 4 {
                    cohort.compact().unwrap();
                }
                if round % 3 != 2 {
                    let (looked, stats) = (watch.look().unwrap(), cohort.stats().unwrap());
                    // Of a log both count what is not known durable, from where they began on.
                    let tail_bytes = if log { looked.tail_bytes } else { stats.tail_bytes };
                    assert_eq!(looked, Stats { tail_bytes, ..stats }, "{round}");
                    assert_eq!(watch.snapshot_time().is_some(), !log && round >= 4, "{round}");
                }
            }
        }
    }

    #[test]
    fn a_look_reads_what_is_new_and_no_more() {
        let (_temporary, cohort) = cohort(Settings::latest());
        let mut watch = cohort.watch();
        cohort.append("k", &"x".repeat(1000)).unwrap();
        let first = watch.look().unwrap();
        let met = watch.bytes();
        assert!((1000..2000).contains(&met) && first.tail_bytes == met);
        assert_eq!((watch.look().unwrap().seq, watch.bytes()), (1, met));
        cohort.append("k", &"x".repeat(1000)).unwrap();
        assert_eq!((watch.look().unwrap().seq, watch.bytes()), (2, 2 * met));
        cohort.compact().unwrap();
        let folded = watch.look().unwrap();
        assert_eq!((folded.watermark, folded.tail_bytes, watch.bytes()), (2, 0, 2 * met));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages a file on purpose, and puts it right")]
    fn damage_is_an_error_of_each_look_until_it_is_put_right() {
        let (_temporary, cohort) = cohort(Settings::latest());
        cohort.append_durable("k", &"abc").unwrap();
        cohort.append_durable("k", &"def").unwrap();
        cohort.detach().unwrap();
        let path = cohort.path().join(names::segment(1));
        let whole = std::fs::read(&path).unwrap();
        let mut spoilt = whole.clone();
        let at = whole.windows(3).position(|bytes| bytes == b"abc").unwrap();
        spoilt[at] ^= 1;
        std::fs::write(&path, spoilt).unwrap();
        let mut watch = cohort.watch();
        for _ in 0..2 {
            assert!(watch.look().unwrap_err().is_corruption());
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(watch.look().unwrap().seq, 2);
    }
}
