//! Sizes and positions of a cohort, read without a lock.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::attach::Published;
use crate::chain::{Chain, Floor};
use crate::cursor::Trail;
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::format::FRAMES_BEGIN;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::segment::Access;
use crate::sys::Names;

/// See [`Cohort::stats`](crate::Cohort::stats).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The cohort's name.
    pub cohort: String,
    /// Its fold.
    pub fold: &'static str,
    /// The last seq handed out; 0: none.
    pub seq: Seq,
    /// The highest seq that a frame or link on disk calls durable.
    pub durable_seq: Seq,
    /// The highest seq folded into the snapshot; of a `log`, the last one whose record has been removed.
    pub watermark: Seq,
    /// Goes up whenever the end of the journal was in doubt.
    pub epoch: u64,
    /// Entries in the snapshot.
    pub entries: u64,
    /// Bytes of the snapshot.
    pub snapshot_bytes: u64,
    /// When the snapshot was written, in microseconds since 1970, as its file says; `None`: there is none.
    pub snapshot_time_us: Option<i64>,
    /// Segments in the directory.
    pub segments: u64,
    /// Bytes of all segments, reserved space included.
    pub segment_bytes: u64,
    /// Bytes of frames that the snapshot does not cover.
    pub tail_bytes: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Whether a sync has failed and its records have not been moved yet.
    pub poisoned: bool,
    /// The file system's name.
    pub file_system: String,
    /// How writers exclude each other.
    pub lock: &'static str,
    /// What the last sync or compaction that this handle's process did by itself has failed with, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_failure: Option<String>,
    /// What the last try of this handle's process to write the mirror has failed with, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_failure: Option<String>,
}

/// The last seq, reading as little as possible.
pub(crate) fn last_seq(home: &Arc<Home>, published: &Published) -> Result<Seq> {
    if let Some(end) = published.end() {
        return Ok(end.next_seq - 1);
    }
    let mut trail = Trail::begin(home, home.floor()?, home.watermark()?, Published::default())?;
    while trail.next()?.is_some() {}
    Ok(trail.next_seq() - 1)
}

/// What a handle that is asked again goes on from, so that it reads only what is new.
#[derive(Debug)]
pub(crate) struct Kept {
    trail: Trail,
    /// The segment at whose beginning it began.
    from: u64,
    /// Bytes of the frames since then.
    bytes: u64,
}

/// The journal from a floor on, as numbers.
struct Journal {
    next_seq: Seq,
    durable_seq: Seq,
    epoch: u64,
    tail_bytes: u64,
    active: u64,
}

/// How often a chain is looked at anew because the journal has gone on meanwhile.
const LOOKS: u32 = 3;

/// Sizes and positions. Links say how long sealed segments are, so of the journal no more is read than the active one: how large
/// the tail is makes no difference, and damage in it is `verify`'s to find. Where links do not tell, all of the tail is read.
pub(crate) fn gather(home: &Arc<Home>, kept: &mut Option<Kept>) -> Result<Stats> {
    // A handle may outlive its cohort, and an empty directory would pass for a journal that nobody has written to.
    if !home.dir.exists(names::COHORT)? {
        let what = format!("the cohort {:?} is not there any more", home.owner.cohort);
        return Err(Error::new(Kind::NotFound, what).at(home.dir.path()));
    }
    let snapshot = match home.snapshot(names::SNAPSHOT) {
        Err(e) if e.is_corruption() => None,
        other => other?,
    };
    let floor = match &snapshot {
        // That of a log only says what is gone.
        Some(snapshot) if home.settings.fold != Fold::Log => Floor::Seq(snapshot.head.seq),
        _ => home.floor()?,
    };
    let watermark = snapshot.as_ref().map_or(0, |s| s.head.seq);
    let journal = match by_links(home, floor, watermark, kept) {
        Ok(Some(journal)) => journal,
        other => {
            *kept = None;
            other.and_then(|_| by_frames(home, floor, watermark))?
        }
    };
    let files = home.dir.names()?;
    let segments: Vec<u64> = files.iter().filter_map(|name| names::parse_segment(name)).collect();
    let mut segment_bytes = 0;
    for number in &segments {
        // One that has just been retired counts for nothing.
        if let Ok(file) = home.dir.open_read(&names::segment(*number), Names::One) {
            segment_bytes += file.len()?;
        }
    }
    let quarantined = match home.dir.sub(names::QUARANTINE) {
        Ok(quarantine) => quarantine.names()?.len() as u64,
        Err(e) if e.is_not_found() => 0,
        Err(e) => return Err(e),
    };
    Ok(Stats {
        cohort: home.owner.cohort.clone(),
        fold: home.settings.fold.name(),
        seq: journal.next_seq - 1,
        durable_seq: journal.durable_seq.max(watermark),
        watermark,
        epoch: journal.epoch,
        entries: snapshot.as_ref().map_or(0, |s| s.entries),
        snapshot_bytes: snapshot.as_ref().map_or(0, |s| s.len()),
        snapshot_time_us: snapshot.as_ref().and_then(|_| snapshot_time_us(home)),
        segments: segments.len() as u64,
        segment_bytes,
        tail_bytes: journal.tail_bytes,
        quarantined,
        poisoned: home.dir.exists(&names::poison(journal.active))?,
        file_system: home.file_system.clone(),
        lock: home.settings.lock.name(),
        background_failure: None,
        mirror_failure: None,
    })
}

/// When the snapshot was written, as its file says.
fn snapshot_time_us(home: &Home) -> Option<i64> {
    let (_, changed) = home.dir.open_read(names::SNAPSHOT, Names::Several).ok()?.stamp().ok()?;
    i64::try_from(changed?.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// `None`: the links do not tell, for some are missing or do not join, or the journal does not stand still.
fn by_links(
    home: &Arc<Home>,
    floor: Floor,
    watermark: Seq,
    kept: &mut Option<Kept>,
) -> Result<Option<Journal>> {
    for _ in 0..LOOKS {
        let chain = Chain::resolve(&home.dir, &home.owner, floor, Access::Read)?;
        let Some(active) = chain.active() else { return Ok(None) };
        if !chain.strays.is_empty() || chain.missing.is_some() {
            return Ok(None);
        }
        let index = |number| chain.segments.iter().position(|joint| joint.number == number);
        // After a cut some of what was read may not be part of the journal any more.
        let goes_on =
            |kept: &Kept| kept.trail.scan().chain().epoch() == chain.epoch() && index(kept.from).is_some();
        let mut at = match kept.take().filter(goes_on) {
            Some(kept) => kept,
            None => {
                let begin = Floor::Seq(active.link.first_seq - 1);
                let trail = Trail::begin(home, begin, watermark, Published::default())?;
                Kept { from: trail.scan().place().segment, trail, bytes: 0 }
            }
        };
        let Some(index) = index(at.from) else { continue };
        let epoch = at.trail.scan().chain().epoch();
        while let Some(header) = at.trail.next()? {
            at.bytes += header.frame_len();
        }
        let scan = at.trail.scan();
        if scan.chain().epoch() != epoch {
            continue;
        }
        let sealed = chain.segments.range(1..=index).map(|next| next.link.previous_end);
        let said = chain.segments.iter().map(|joint| joint.link.durable_seq).max().unwrap_or(0);
        let journal = Journal {
            next_seq: at.trail.next_seq(),
            durable_seq: scan.durable_seq().max(said),
            epoch,
            tail_bytes: at.bytes + sealed.map(|end| end.saturating_sub(FRAMES_BEGIN)).sum::<u64>(),
            active: scan.place().segment,
        };
        *kept = Some(at);
        return Ok(Some(journal));
    }
    Ok(None)
}

fn by_frames(home: &Arc<Home>, floor: Floor, watermark: Seq) -> Result<Journal> {
    let mut trail = Trail::begin(home, floor, watermark, Published::default())?;
    let mut tail_bytes = 0;
    while let Some(header) = trail.next()? {
        tail_bytes += header.frame_len();
    }
    let scan = trail.scan();
    Ok(Journal {
        next_seq: trail.next_seq(),
        durable_seq: scan.durable_seq(),
        epoch: scan.chain().epoch(),
        tail_bytes,
        active: scan.place().segment,
    })
}
