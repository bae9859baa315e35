//! Sizes and positions of a cohort, read without a lock.

use std::sync::Arc;

use serde::Serialize;

use crate::attach::Published;
use crate::chain::Floor;
use crate::cursor::Trail;
use crate::error::Result;
use crate::fold::Fold;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
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

pub(crate) fn gather(home: &Arc<Home>) -> Result<Stats> {
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
    let mut trail = Trail::begin(home, floor, watermark, Published::default())?;
    let mut tail_bytes = 0;
    while let Some(header) = trail.next()? {
        tail_bytes += header.frame_len();
    }
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
    let scan = trail.scan();
    Ok(Stats {
        cohort: home.owner.cohort.clone(),
        fold: home.settings.fold.name(),
        seq: trail.next_seq() - 1,
        durable_seq: scan.durable_seq().max(watermark),
        watermark,
        epoch: scan.chain().epoch(),
        entries: snapshot.as_ref().map_or(0, |s| s.entries),
        snapshot_bytes: snapshot.as_ref().map_or(0, |s| s.len()),
        segments: segments.len() as u64,
        segment_bytes,
        tail_bytes,
        quarantined,
        poisoned: home.dir.exists(&names::poison(scan.place().segment))?,
        file_system: home.file_system.clone(),
        lock: home.settings.lock.name(),
        background_failure: None,
        mirror_failure: None,
    })
}
