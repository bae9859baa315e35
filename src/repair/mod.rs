//! Repair: the user's explicit act after corruption. What cannot be read any more is given up, what can is kept, and the cohort
//! takes appends again. Nothing is deleted or overwritten: what is no part of the cohort any more is cut off where it stands, or
//! goes to quarantine.
//!
//! | step | what | a crash after it leaves |
//! |---|---|---|
//! | 1 | take the append lock and `compact.lock`, exclusively; look again at what is damaged | what was there |
//! | 2 | settings that are gone are written anew; what stood there goes to quarantine | the rest of the damage |
//! | 3 | where the journal is damaged, a new segment is made under a temporary name, with a link that cuts the journal before the damage, and synced; then it gets its name | the journal is whole; the rest of the damage |
//! | 4 | where no snapshot is whole, or the journal begins behind what is lost, a new one is written, synced, and renamed to `snapshot.json` | the cohort takes appends |
//! | 5 | damaged history, and segments that are none, go to quarantine, oldest first | some of them, which the next repair sets aside |
//!
//! **Commit point: the last of these renames that is needed.** Each of them is one call, and until the last one the cohort is
//! damaged; a repair that dies before it is done again, and finds what is left to do.

mod carry_out;
mod salvage;
mod survey;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::salvage::Lost;
use self::survey::{Base, GoesOn, Survey};
use crate::attach::Published;
use crate::bundle;
use crate::cohort::Cohort;
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::home::Home;
use crate::names;
use crate::record::{Record, Seq};
use crate::settings::{LockClass, Retain, Settings};
use crate::snapshot;
use crate::stats;
use crate::store::Store;
use crate::sys::{self, Names};
use crate::verify::{self, Finding, Report, Severity};
use crate::view::Reader;

/// Seqs from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeqRange {
    /// The first of them.
    pub first: Seq,
    /// The last one that is known of.
    pub last: Seq,
}

/// Keys whose entries cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRange {
    /// The first of them.
    pub from: String,
    /// The first key behind them; `None`: there is none.
    pub until: Option<String>,
}

/// A key whose entry goes back to what it was before the damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WentBack {
    /// The key.
    pub key: String,
    /// The last of its records behind the damage that can still be read.
    pub seq: Seq,
    /// The seq of the entry that it goes back to; `None`: it has none.
    pub back_to: Option<Seq>,
}

/// What a repair will do, and what it will cost. Nothing is changed before [`carry_out`](RepairPlan::carry_out).
#[derive(Debug)]
pub struct RepairPlan {
    home: Arc<Home>,
    timeout: Duration,
    findings: Vec<Finding>,
    beyond: Vec<Finding>,
    looked: bool,
    remedy: Remedy,
    lost: Vec<SeqRange>,
    lost_keys: Vec<KeyRange>,
    history: Option<SeqRange>,
    went_back: Vec<WentBack>,
    frames: Vec<Lost>,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq)]
struct Remedy {
    /// The document that is written anew.
    settings: Option<Settings>,
    base: Base,
    bad_snapshots: Vec<&'static str>,
    goes_on: GoesOn,
    watermark: Seq,
    next_seq: Seq,
    aside: Vec<u64>,
    highest: u64,
}

/// What a repair has done.
#[derive(Debug)]
pub struct Repaired {
    /// The seq that the next record gets.
    pub next_seq: Seq,
    /// The epoch of the journal now.
    pub epoch: u64,
    /// What a check of every byte has found afterwards.
    pub report: Report,
}

impl Cohort {
    /// Looks for what is damaged and how the cohort could go on, and changes nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let index = store.create("index", tallyfold::Settings::latest())?;
    /// # index.append("run-1", &0.5)?;
    /// let plan = index.repair_plan()?;
    /// assert!(!plan.is_needed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What keeps from looking: `is_unsafe_file` where something that is not ours stands under one of our names,
    /// `is_unsupported` for a newer version's files.
    pub fn repair_plan(&self) -> Result<RepairPlan> {
        plan(self.home(), self.timeout(), None, false)
    }
}

impl Store {
    /// As [`Cohort::repair_plan`], also of a cohort that cannot be opened because its `cohort.json` is damaged or gone. What a
    /// snapshot says of the fold is believed; if there is none, or other settings are wanted, they are given here.
    ///
    /// # Errors
    /// As [`Cohort::repair_plan`]; `is_corruption` if nothing tells the fold, and no settings are given; `is_conflict` if some
    /// are given and the document is whole.
    pub fn repair_plan(&self, cohort: &str, settings: Option<Settings>) -> Result<RepairPlan> {
        let damage = match self.cohort(cohort) {
            Ok(_) if settings.is_some() => {
                return Err(Error::new(Kind::Conflict, "the cohort's settings are whole")
                    .at(&self.path().join(names::cohort_directory(cohort)?))
                    .advise("repair it without settings; `tallyfold alter` changes them"));
            }
            Ok(cohort) => return cohort.repair_plan(),
            Err(e) => e,
        };
        let dir = match self.directory(cohort) {
            Ok(dir) if damage.is_corruption() || !dir.exists(names::COHORT)? => dir,
            _ => return Err(damage),
        };
        if !dir.exists(names::LOCK)? && !dir.names()?.iter().any(|name| names::parse_segment(name).is_some())
        {
            return Err(damage);
        }
        let settings = match settings {
            Some(settings) => self.fitted(settings)?,
            None => {
                let heads = [names::SNAPSHOT, names::SNAPSHOT_PREV].into_iter();
                let mut heads = heads.filter_map(|name| snapshot::head_of(&dir, name, self.reach()));
                let head = heads.find(|head| head.cohort == cohort).ok_or_else(|| {
                    Error::corruption("the cohort's settings are damaged, and no snapshot tells its fold")
                        .at(&dir.path().join(names::COHORT))
                        .advise(
                            "name the settings: tallyfold repair COHORT --settings '{\"fold\":{\"kind\":…}}'",
                        )
                })?;
                // Only those who share memory have made it. And nothing is removed that somebody wanted retained.
                let class = if dir.exists(names::CONTROL)? { LockClass::Memory } else { LockClass::Auto };
                self.fitted(Settings::new(head.fold).retain(Retain::All).lock(class))?
            }
        };
        let home = self.home(Arc::new(dir), cohort, settings.clone())?;
        let what = format!("the cohort's settings cannot be read: {}", damage.what());
        let damage = Error::corruption(what).at(&home.dir.path().join(names::COHORT));
        let finding = verify::finding(Severity::Damage, &damage);
        let mut plan = plan(&home, settings.timeout(), Some(settings), false)?;
        plan.findings.insert(0, finding);
        Ok(plan)
    }
}

/// Looks at everything. `looked`: for damage even where there seems to be none, for it may have been a lock that was missing.
fn plan(home: &Arc<Home>, timeout: Duration, settings: Option<Settings>, looked: bool) -> Result<RepairPlan> {
    for name in [names::LOCK, names::COMPACT_LOCK, names::CONTROL] {
        match home.dir.open_read(name, Names::One) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    let no_lock = home.dir.open_read(names::COMPACT_LOCK, Names::One).err();
    let report = verify::check(home, no_lock.as_ref())?;
    let mut findings = report.findings;
    findings.retain(|finding| finding.severity == Severity::Damage);
    // Of a whole cohort nothing else is asked: somebody may be writing it.
    let looked = looked || !findings.is_empty();
    let survey = match looked {
        false => Survey::of_whole(stats::last_seq(home, &Published::default())?),
        true => survey::run(home, verify::contradiction(home)?)?,
    };
    let beyond = match looked {
        // Before the state can be read nobody can tell what belongs to it.
        true => Vec::new(),
        false => bundle::check::all(&Cohort::new(Arc::clone(home)))?.1,
    };
    let beyond = beyond.iter().map(|e| verify::finding(Severity::Damage, e)).collect();
    let frames = salvage::find(home, &survey)?;
    let (lost, lost_keys, history) = losses(home, &survey, &frames)?;
    let went_back = went_back(home, &survey, &frames)?;
    let Survey { base, bad_snapshots, goes_on, watermark, next_seq, aside, highest, .. } = survey;
    let remedy = Remedy { settings, base, bad_snapshots, goes_on, watermark, next_seq, aside, highest };
    Ok(RepairPlan {
        home: Arc::clone(home),
        timeout,
        findings,
        beyond,
        looked,
        remedy,
        lost,
        lost_keys,
        history,
        went_back,
        frames,
    })
}

type Losses = (Vec<SeqRange>, Vec<KeyRange>, Option<SeqRange>);

fn losses(home: &Home, survey: &Survey, frames: &[Lost]) -> Result<Losses> {
    let mut lost = Vec::new();
    let mut lost_keys = Vec::new();
    let is_log = home.settings.fold == Fold::Log;
    let snapshots = [names::SNAPSHOT, names::SNAPSHOT_PREV].into_iter();
    let promised = snapshots.filter_map(|name| snapshot::head_of(&home.dir, name, home.reach));
    let promised = promised.map(|head| head.seq).max().unwrap_or(0);
    match &survey.base {
        Base::Empty { seq } => {
            let gone = match is_log {
                false => 0,
                // Nothing tells how much a log with a limit has removed: what is before the oldest segment, then.
                true if promised == 0 && home.settings.retain.is_limit() => {
                    let oldest =
                        survey.parts.keys().filter_map(|number| survey::first_seq(home, *number)).min();
                    oldest.map_or(*seq, |oldest| (oldest - 1).min(*seq))
                }
                true => promised.min(*seq),
            };
            if gone < *seq {
                lost.push(SeqRange { first: gone + 1, last: *seq });
            }
        }
        Base::Salvage { gaps, .. } => {
            lost_keys.extend(
                gaps.iter().map(|(from, until)| KeyRange { from: from.clone(), until: until.clone() }),
            );
        }
        _ => {}
    }
    if survey.goes_on != GoesOn::Whole {
        let readable = frames.last().map_or(0, |lost| lost.first_seq + Seq::from(lost.count) - 1);
        let said = survey::durable_seq(home, survey)?;
        let last = readable.max(said).max(promised);
        if last >= survey.next_seq {
            lost.push(SeqRange { first: survey.next_seq, last });
        }
    }
    let oldest = survey.aside.iter().filter_map(|number| survey::first_seq(home, *number)).min();
    let end = match (survey.goes_on, survey.needed) {
        (GoesOn::Behind(seq), _) => seq,
        (_, Some((_, first))) => first,
        _ => 0,
    };
    let history = oldest.filter(|oldest| !is_log && *oldest < end);
    Ok((lost, lost_keys, history.map(|first| SeqRange { first, last: end - 1 })))
}

fn went_back(home: &Arc<Home>, survey: &Survey, frames: &[Lost]) -> Result<Vec<WentBack>> {
    let over_previous = match &survey.base {
        _ if home.settings.fold == Fold::Log => return Ok(Vec::new()),
        Base::Keep => false,
        Base::Fold { over_previous } => *over_previous,
        Base::Salvage { .. } | Base::Empty { .. } => return Ok(Vec::new()),
    };
    let mut last: BTreeMap<String, Seq> = BTreeMap::new();
    for lost in frames {
        for record in salvage::records(home, lost)? {
            last.insert(record.key().to_string(), record.seq());
        }
    }
    if last.is_empty() {
        return Ok(Vec::new());
    }
    let base = match (&survey.base, over_previous) {
        (Base::Keep, _) => home.snapshot(names::SNAPSHOT)?,
        (_, true) => home.snapshot(names::SNAPSHOT_PREV)?,
        (_, false) => None,
    };
    let mut reader = Reader::over(home, base, None, Published::default())?;
    if reader.seq() + 1 < survey.next_seq {
        reader.run(survey.next_seq - 1)?;
    }
    let mut went_back = Vec::new();
    for (key, seq) in last {
        let back_to = reader.get_ref(&key)?.map(|entry| entry.seq());
        went_back.push(WentBack { key, seq, back_to });
    }
    Ok(went_back)
}

impl RepairPlan {
    /// The cohort's name.
    pub fn cohort(&self) -> &str {
        &self.home.owner.cohort
    }

    /// The same plan with another patience for the locks.
    pub fn with_timeout(mut self, timeout: Duration) -> RepairPlan {
        self.timeout = timeout;
        self
    }

    /// A new name in quarantine, for the rescued records; makes quarantine if there is none.
    ///
    /// # Errors
    /// If quarantine cannot be made.
    pub fn rescue_path(&self) -> Result<PathBuf> {
        self.home.dir.make_sub(names::QUARANTINE)?;
        let quarantine = self.home.dir.sub(names::QUARANTINE)?;
        Ok(quarantine.path().join(names::rescued(sys::random_u64())))
    }

    /// What is damaged, as a check of every byte says it.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What is damaged and cannot be repaired: files of bundles, which are nowhere else. They are restored from a backup, or
    /// committed anew. Told once the rest is whole.
    pub fn beyond_repair(&self) -> &[Finding] {
        &self.beyond
    }

    /// Whether there is anything to repair.
    pub fn is_needed(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Whether anything will be lost: records, entries, or history that the settings retain.
    pub fn loses(&self) -> bool {
        let retained = self.home.settings.retain != Retain::None;
        !self.lost.is_empty() || !self.lost_keys.is_empty() || self.history.is_some() && retained
    }

    /// The seqs of records that will be in no state and no journal any more, as far as they are known of.
    pub fn lost(&self) -> &[SeqRange] {
        &self.lost
    }

    /// How many of the lost records can still be read.
    pub fn rescued(&self) -> u64 {
        self.frames.iter().map(|lost| u64::from(lost.count)).sum()
    }

    /// Those records, in the order of their seqs. To be read before the repair is carried out.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn rescue(&self) -> impl Iterator<Item = Result<Record>> {
        self.frames.iter().flat_map(|lost| match salvage::records(&self.home, lost) {
            Ok(records) => records.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(e) => vec![Err(e)],
        })
    }

    /// Keys whose entries cannot be read any more.
    pub fn lost_keys(&self) -> &[KeyRange] {
        &self.lost_keys
    }

    /// Records that the state holds, and that will not be in the journal any more.
    pub fn history(&self) -> Option<SeqRange> {
        self.history
    }

    /// The keys of lost records that can still be read, and what their entries go back to.
    pub fn went_back(&self) -> &[WentBack] {
        &self.went_back
    }

    /// The settings that will be written, if they cannot be read any more, as JSON.
    ///
    /// # Errors
    /// None that can be met.
    pub fn settings(&self) -> Result<Option<String>> {
        self.remedy.settings.as_ref().map(Settings::document).transpose()
    }

    /// The seq that the next record will get.
    pub fn next_seq(&self) -> Seq {
        self.remedy.next_seq
    }

    /// The segment that the journal will go on in, if it is cut, and where it is cut: segment and offset, 0 for none.
    pub fn cut(&self) -> Option<(u64, u64, u64)> {
        match self.remedy.goes_on {
            GoesOn::Whole => None,
            GoesOn::Cut(place) => Some((self.remedy.new_number(), place.segment, place.offset)),
            GoesOn::Behind(_) => Some((self.remedy.new_number(), 0, 0)),
        }
    }

    /// The files that will go to quarantine, with their lengths.
    ///
    /// # Errors
    /// If one cannot be asked for its length.
    pub fn quarantined(&self) -> Result<Vec<(String, u64)>> {
        let mut names: Vec<String> = self.remedy.aside.iter().map(|number| names::segment(*number)).collect();
        names.extend(self.remedy.bad_snapshots.iter().map(ToString::to_string));
        if self.remedy.settings.is_some() {
            names.push(names::COHORT.to_string());
        }
        let mut files = Vec::new();
        for name in names {
            if self.home.dir.exists(&name)? {
                let bytes = self.home.dir.open_read(&name, Names::Several).and_then(|file| file.len());
                files.push((name, bytes.unwrap_or(0)));
            }
        }
        Ok(files)
    }

    /// Whether a new snapshot is written, and what it is made of.
    pub fn new_snapshot(&self) -> Option<&'static str> {
        match self.remedy.base {
            Base::Keep => None,
            Base::Fold { over_previous: true } => Some("the previous snapshot and the journal since"),
            Base::Fold { over_previous: false } => Some("the journal from its first record on"),
            Base::Salvage { .. } => Some("what is whole of the damaged one"),
            Base::Empty { .. } => Some("nothing: it says where the journal begins"),
        }
    }
}

impl Remedy {
    /// The number after all that were ever given. Where nothing is joined to the new segment, a number that nothing has is left
    /// before it, for its link to name.
    fn new_number(&self) -> u64 {
        match self.goes_on {
            GoesOn::Behind(_) => self.highest + 2,
            _ => self.highest + 1,
        }
    }
}
