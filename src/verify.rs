//! Checks every byte of a cohort and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attach::Published;
use crate::chain::{Chain, Floor};
use crate::cursor::{self, Trail};
use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::segment::{Access, Found, Segment};
use crate::snapshot::Snapshot;
use crate::sys::{self, LockFile, Names, Patience};
use crate::view::Reader;

/// What [`Cohort::verify`](crate::Cohort::verify) found.
#[derive(Debug)]
pub struct Report {
    /// The first seq whose record is still in the journal, and the last; both 0 if there is none.
    pub records: (Seq, Seq),
    /// Frames whose CRCs were checked.
    pub frames: u64,
    /// Segments read.
    pub segments: u64,
    /// Entries in the snapshot.
    pub entries: u64,
    /// Keys that have a bundle.
    pub bundles: u64,
    /// What is worth knowing, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether anything is damaged: then something may be lost, or could be rebuilt.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }

    /// What was found in the bundles, beside the rest.
    pub(crate) fn add_bundles(&mut self, bundles: u64, damaged: &[Error]) {
        self.bundles = bundles;
        self.findings.extend(damaged.iter().map(|e| finding(Severity::Damage, e)));
        self.findings.sort_by_key(|finding| finding.severity);
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a sentence.
    pub what: String,
    /// The file concerned.
    pub path: Option<PathBuf>,
    /// The segment's number.
    pub segment: Option<u64>,
    /// Bytes from the beginning of the file.
    pub offset: Option<u64>,
    /// The first seq concerned.
    pub seq: Option<Seq>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Bytes that were whole once are not any more.
    Damage,
    /// A dead writer or a power cut left unacknowledged or not durable bytes: expected.
    TornTail,
    /// Nothing is wrong; something is left over.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Damage => "damage",
            Severity::TornTail => "torn tail",
            Severity::Note => "note",
        }
    }
}

pub(crate) fn run(home: &Arc<Home>, timeout: Duration) -> Result<Report> {
    // Retirement would look like damage. Where the lock cannot even be opened for reading, there is no compactor to fear.
    let compact_lock = LockFile::open_read(&home.dir, names::COMPACT_LOCK);
    let _held = match &compact_lock {
        Ok(lock) => Some(lock.shared(&Patience::of(timeout))?),
        Err(_) => None,
    };
    sys::reached("compactor held off");
    check(home, compact_lock.as_ref().err())
}

/// The check itself, by who holds the compactor off, or is it.
pub(crate) fn check(home: &Arc<Home>, no_compact_lock: Option<&Error>) -> Result<Report> {
    let mut check = Check::new(home);
    if let Some(e) = no_compact_lock {
        check.damage(e);
    }
    if let Err(e) = home.dir.open_read(names::LOCK, Names::One) {
        check.damage(&e);
    }
    check.all()
}

/// The check of a copy, which nobody locks.
pub(crate) fn contents(home: &Arc<Home>) -> Result<Report> {
    Check::new(home).all()
}

/// Whether the snapshot is whole and not what its records fold into.
pub(crate) fn contradiction(home: &Arc<Home>) -> Result<bool> {
    let mut check = Check::new(home);
    let (snapshot, previous) = (check.snapshot(names::SNAPSHOT), check.snapshot(names::SNAPSHOT_PREV));
    match &snapshot {
        Some(snapshot) if !check.report.is_damaged() => {
            check.folded(snapshot, previous)?;
            // Where the journal is damaged nothing can be said of it.
            let found = |finding: &Finding| finding.what.starts_with(CONTRADICTS);
            Ok(check.report.findings.iter().any(found))
        }
        _ => Ok(false),
    }
}

/// What the finding of an entry begins with that its records do not fold into.
const CONTRADICTS: &str = "the entry of ";

pub(crate) fn finding(severity: Severity, e: &Error) -> Finding {
    Finding {
        severity,
        what: e.what().to_string(),
        path: e.path().map(PathBuf::from),
        segment: e.segment(),
        offset: e.offset(),
        seq: e.seq(),
    }
}

struct Check<'a> {
    home: &'a Arc<Home>,
    report: Report,
}

impl<'a> Check<'a> {
    fn new(home: &'a Arc<Home>) -> Check<'a> {
        let report =
            Report { records: (0, 0), frames: 0, segments: 0, entries: 0, bundles: 0, findings: Vec::new() };
        Check { home, report }
    }

    fn all(mut self) -> Result<Report> {
        let snapshot = self.snapshot(names::SNAPSHOT);
        let previous = self.snapshot(names::SNAPSHOT_PREV);
        self.report.entries = snapshot.as_ref().map_or(0, |s| s.entries);
        if snapshot.is_none() && previous.is_some() && !self.report.is_damaged() {
            let what = "snapshot.json is missing, and there is a previous one";
            self.damage(&Error::corruption(what).at(self.home.dir.path()));
        }
        self.segments()?;
        self.journal(snapshot.as_ref().or(previous.as_ref()).map_or(0, |s| s.head.seq))?;
        if let Some(snapshot) = &snapshot {
            self.folded(snapshot, previous)?;
        }
        self.leftovers()?;
        self.report.findings.sort_by_key(|finding| finding.severity);
        Ok(self.report)
    }

    fn damage(&mut self, e: &Error) {
        self.find(Severity::Damage, e);
    }

    fn find(&mut self, severity: Severity, e: &Error) {
        self.report.findings.push(finding(severity, e));
    }

    fn snapshot(&mut self, name: &str) -> Option<Snapshot> {
        match self.home.snapshot(name).and_then(|s| s.map(|s| s.verify().map(|()| s)).transpose()) {
            Ok(snapshot) => snapshot,
            Err(e) => {
                self.damage(&e);
                None
            }
        }
    }

    /// Every segment file: its identity, and a link if it has one.
    fn segments(&mut self) -> Result<()> {
        let mut numbers: Vec<u64> =
            self.home.dir.names()?.iter().filter_map(|n| names::parse_segment(n)).collect();
        numbers.sort_unstable();
        for number in numbers {
            match Segment::open(&self.home.dir, number, &self.home.owner, Access::Read) {
                Ok(Some(Found::Damaged(damaged))) if damaged.segment.is_none() => {
                    self.damage(&damaged.error(self.home.dir.path()));
                }
                Ok(_) => self.report.segments += 1,
                Err(e) => self.damage(&e),
            }
        }
        Ok(())
    }

    /// Every frame, from the first segment that joins the journal to its end.
    fn journal(&mut self, watermark: Seq) -> Result<()> {
        let oldest = Chain::resolve(&self.home.dir, &self.home.owner, Floor::Seq(0), Access::Read)?;
        // What both snapshots cover may be retired; what is left of it joins the rest, and is checked with it.
        let floor = match oldest.missing {
            Some(missing) if missing.resumes_at <= watermark + 1 => missing.resumes_at - 1,
            Some(_) => watermark,
            None => 0,
        };
        let mut trail = Trail::begin(self.home, Floor::Seq(floor), watermark, Published::default())?;
        loop {
            match trail.next() {
                Ok(Some(header)) => {
                    self.report.frames += 1;
                    if header.count > 0 && self.report.records.0 == 0 {
                        self.report.records.0 = header.first_seq;
                    }
                    if let Err(e) = cursor::records(&header, &trail) {
                        self.damage(&e);
                        return Ok(());
                    }
                }
                Ok(None) => break,
                // A power cut may bring back some of the segments that were retired, with gaps between them.
                Err(e) if e.is_compacted() && e.seq().is_some_and(|first| first <= watermark + 1) => {
                    let floor = e.seq().map_or(watermark, |first| first - 1);
                    trail = Trail::begin(self.home, Floor::Seq(floor), watermark, Published::default())?;
                    self.report.records.0 = 0;
                }
                Err(e) => {
                    self.damage(&e);
                    return Ok(());
                }
            }
        }
        let place = trail.scan().place();
        if self.report.records.0 > 0 {
            self.report.records.1 = place.next_seq - 1;
        }
        if trail.is_torn() {
            let what = "bytes behind the last whole frame: the next append cuts them off and keeps them";
            let torn = Error::corruption(what)
                .in_segment(place.segment)
                .at_offset(place.offset)
                .at_seq(place.next_seq);
            let path = self.home.dir.path().join(names::segment(place.segment));
            self.find(Severity::TornTail, &torn.at(&path));
        }
        Ok(())
    }

    /// Whether the snapshot is what its records fold into, where they are still there.
    fn folded(&mut self, snapshot: &Snapshot, previous: Option<Snapshot>) -> Result<()> {
        if self.home.settings.fold == Fold::Log || self.report.is_damaged() {
            return Ok(());
        }
        let mut reader = Reader::over(self.home, previous, None, Published::default())?;
        match reader.run(snapshot.head.seq) {
            Ok(()) if reader.seq() == snapshot.head.seq => {}
            // Without a previous snapshot the first segments may be gone by the user's own hand; verify says what it can.
            Ok(()) => return Ok(()),
            Err(e) if e.is_compacted() => return Ok(()),
            Err(e) => {
                self.damage(&e);
                return Ok(());
            }
        }
        let mut replayed = reader.iter();
        for line in snapshot.lines("").giving_back() {
            let line = line?;
            let expected = replayed.next().transpose()?;
            if expected.as_ref().is_none_or(|(key, entry)| (key, *entry) != (&line.key, line.entry)) {
                let what = format!("{CONTRADICTS}{:?} is not what its records fold into", line.key);
                self.damage(
                    &Error::corruption(what)
                        .at(&self.home.dir.path().join(names::SNAPSHOT))
                        .at_seq(line.entry.seq),
                );
                return Ok(());
            }
        }
        if let Some((key, entry)) = replayed.next().transpose()? {
            let what = format!("{CONTRADICTS}{key:?} is missing");
            self.damage(
                &Error::corruption(what).at(&self.home.dir.path().join(names::SNAPSHOT)).at_seq(entry.seq()),
            );
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<()> {
        for name in self.home.dir.names()? {
            let what = if names::parse_temporary(&name).is_some() {
                "a temporary file: being written, or left by a process that died; the next compaction removes it"
            } else if names::parse_poison(&name).is_some() {
                "a sync of this segment has failed, or a repair went on elsewhere: its records were carried on, or will be \
                 by the next append"
            } else if name == names::QUARANTINE {
                "bytes that were cut off are kept here"
            } else {
                continue;
            };
            let note = Error::invalid(what).at(&self.home.dir.path().join(&name));
            self.find(Severity::Note, &note);
        }
        Ok(())
    }
}
