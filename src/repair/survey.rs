//! What is damaged, and where the cohort can go on: decided from the files alone, changing nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::{Floor, Stray};
use crate::error::Result;
use crate::fold::Fold;
use crate::format::{FRAMES_BEGIN, Link, Unread};
use crate::frames::Frames;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::recover;
use crate::scan::{Place, Scan, Step};
use crate::segment::{Access, Found, Linked, Segment};
use crate::snapshot::{Gap, Snapshot};

/// How often a scan begins anew because the journal has changed under it.
const RESTARTS: u32 = 3;

/// What the state will stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// What there is: a whole snapshot, or none.
    Keep,
    /// A new snapshot, folded from the previous one, or from the first record on.
    Fold { over_previous: bool },
    /// The whole blocks of a damaged snapshot.
    Salvage { name: &'static str, seq: Seq, gaps: Vec<Gap> },
    /// Nothing is known of what was before: a snapshot without entries says so.
    Empty { seq: Seq },
}

/// Where the journal goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesOn {
    /// Where it ends now.
    Whole,
    /// Cut here: behind the last whole frame before the damage.
    Cut(Place),
    /// Behind the snapshot, for the journal does not reach so far or cannot be joined to it.
    Behind(Seq),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) base: Base,
    /// The snapshots that are damaged, by name.
    pub(super) bad_snapshots: Vec<&'static str>,
    pub(super) goes_on: GoesOn,
    /// The watermark of what the state will stand on, before anything is folded over it.
    pub(super) watermark: Seq,
    /// The seq that the next record will have.
    pub(super) next_seq: Seq,
    /// The segments to be set aside, oldest first.
    pub(super) aside: Vec<u64>,
    /// Every segment's number, those in quarantine too.
    pub(super) highest: u64,
    /// The number of the first segment that the state needs, and its first seq.
    pub(super) needed: Option<(u64, Seq)>,
    /// The segments that made up the journal, and where each ends, if the next one's link says so.
    pub(super) parts: BTreeMap<u64, Option<u64>>,
}

/// How far the journal is whole, from a floor on.
struct Reach {
    end: Place,
    is_whole: bool,
    /// The link of the segment that it begins in, and its number.
    first: Option<(u64, Link)>,
}

enum Look {
    None,
    Whole(Seq),
    /// Its first and last line may be whole all the same.
    Bad(Option<Box<Snapshot>>),
}

pub(super) fn run(home: &Arc<Home>, contradicted: bool) -> Result<Survey> {
    let mut newest = look(home, names::SNAPSHOT)?;
    if contradicted {
        // Its CRCs hold, and it is not what its records fold into: they are right.
        newest = Look::Bad(None);
    }
    let previous = look(home, names::SNAPSHOT_PREV)?;
    let promised = [&newest, &previous].into_iter().map(Look::seq).max().unwrap_or(0);
    let bad = |look: &Look, name| matches!(look, Look::Bad(_)).then_some(name);
    let mut bad_snapshots: Vec<&'static str> = Vec::new();
    bad_snapshots.extend(bad(&newest, names::SNAPSHOT));
    bad_snapshots.extend(bad(&previous, names::SNAPSHOT_PREV));

    let (mut base, mut watermark) = match (&newest, &previous) {
        (Look::Whole(seq), _) => (Base::Keep, *seq),
        (_, Look::Whole(seq)) => (Base::Fold { over_previous: true }, *seq),
        (Look::None, Look::None) => (Base::Keep, 0),
        _ => (Base::Fold { over_previous: false }, 0),
    };
    let is_log = home.settings.fold == Fold::Log;
    let mut reach = reach(home, watermark, promised)?;
    if watermark == 0 && !reach.is_whole && reach.end.next_seq == 1 {
        // There is nothing that it could begin with.
        (base, watermark) = match (newest, previous) {
            (Look::Bad(Some(outline)), _) if !is_log => salvage(names::SNAPSHOT, &outline),
            (_, Look::Bad(Some(outline))) if !is_log => salvage(names::SNAPSHOT_PREV, &outline),
            _ => {
                let later = if is_log { None } else { later(home, 0)?.map(|(first, _)| first) };
                match later.or(begins(home, 0)?.first().copied()) {
                    Some(first) => (Base::Empty { seq: first - 1 }, first - 1),
                    None => (base, 0),
                }
            }
        };
        reach = self::reach(home, watermark, promised)?;
    }
    if is_log && !reach.is_whole {
        // Both sides of the damage are a log. The longer one stays.
        let before = (reach.end.next_seq - 1).saturating_sub(watermark);
        if let Some((first, end)) = later(home, reach.end.next_seq)?
            && end - first > before
        {
            (base, watermark) = (Base::Empty { seq: first - 1 }, first - 1);
            reach = self::reach(home, watermark, promised)?;
        }
    }
    if is_log {
        // The snapshot of a log says only what was removed. There is nothing to fold.
        base = match base {
            Base::Fold { over_previous: true } => Base::Empty { seq: watermark },
            Base::Fold { over_previous: false } => Base::Keep,
            other => other,
        };
    }
    let end = reach.end;
    let goes_on = match reach.is_whole {
        true => GoesOn::Whole,
        false if end.next_seq <= watermark || end.segment == 0 && watermark > 0 => {
            GoesOn::Behind(watermark + 1)
        }
        false => GoesOn::Cut(end),
    };
    let next_seq = match goes_on {
        GoesOn::Behind(seq) => seq,
        _ => end.next_seq,
    };
    let (numbers, highest) = numbers(home)?;
    let history = match (goes_on, reach.first) {
        (GoesOn::Behind(_), _) => numbers.last().copied().unwrap_or(0),
        // What is before it is declared gone.
        (_, Some((number, _))) if matches!(base, Base::Empty { .. }) => number - 1,
        (_, Some((_, link))) => damaged_history(home, link)?,
        (_, None) => 0,
    };
    let aside = aside(home, &numbers, history)?;
    let parts = parts(home, &numbers)?;
    let needed = reach.first.map(|(number, link)| (number, link.first_seq));
    Ok(Survey { base, bad_snapshots, goes_on, watermark, next_seq, aside, highest, needed, parts })
}

impl Survey {
    /// Of a cohort that has nothing to be repaired.
    pub(super) fn of_whole(last: Seq) -> Survey {
        Survey {
            base: Base::Keep,
            bad_snapshots: Vec::new(),
            goes_on: GoesOn::Whole,
            watermark: 0,
            next_seq: last + 1,
            aside: Vec::new(),
            highest: 0,
            needed: None,
            parts: BTreeMap::new(),
        }
    }
}

impl Look {
    fn seq(&self) -> Seq {
        match self {
            Look::Whole(seq) => *seq,
            Look::Bad(Some(outline)) => outline.head.seq,
            Look::None | Look::Bad(None) => 0,
        }
    }
}

fn look(home: &Home, name: &str) -> Result<Look> {
    match home.snapshot(name) {
        Ok(None) => Ok(match name == names::SNAPSHOT && home.dir.exists(names::SNAPSHOT_PREV)? {
            true => Look::Bad(None),
            false => Look::None,
        }),
        Ok(Some(snapshot)) => match snapshot.verify() {
            Ok(()) => Ok(Look::Whole(snapshot.head.seq)),
            Err(e) if e.is_corruption() => Ok(Look::Bad(Some(Box::new(snapshot)))),
            Err(e) => Err(e),
        },
        Err(e) if e.is_corruption() || e.is_unsafe_file() => Ok(Look::Bad(None)),
        Err(e) => Err(e),
    }
}

fn salvage(name: &'static str, outline: &Snapshot) -> (Base, Seq) {
    let gaps = outline.blocks().filter_map(|block| block.err()).collect();
    (Base::Salvage { name, seq: outline.head.seq, gaps }, outline.head.seq)
}

/// Reads the journal from a floor on, to its end or to what is damaged. It must reach beyond `promised`.
fn reach(home: &Home, floor: Seq, promised: Seq) -> Result<Reach> {
    let mut restarts = 0;
    'anew: loop {
        let mut scan = Scan::begin(&home.dir, &home.owner, Floor::Seq(floor), Access::Read)?;
        let first = scan.linked().map(|first| (first.segment.number, first.link));
        let mut end = scan.place();
        loop {
            match scan.step()? {
                Step::Frame(header) if Unread::of(&header).check(scan.body()).is_err() => {
                    return Ok(Reach { end, is_whole: false, first });
                }
                Step::Frame(_) => end = scan.place(),
                Step::Moved if restarts < RESTARTS => {
                    restarts += 1;
                    continue 'anew;
                }
                Step::Moved => return Err(recover::no_way_on(&scan.place(), home.dir.path())),
                Step::Tail { .. } | Step::Broken => {
                    return match recover::judge(&scan, promised, home.dir.path()) {
                        Ok(end) => Ok(Reach { end, is_whole: end.next_seq > promised, first }),
                        Err(e) if e.is_corruption() => {
                            Ok(Reach { end: scan.place(), is_whole: false, first })
                        }
                        Err(e) => Err(e),
                    };
                }
            }
        }
    }
}

/// The first seqs of the journal's segments behind a seq, lowest first, whether they join or not.
fn begins(home: &Home, after: Seq) -> Result<Vec<Seq>> {
    let scan = Scan::begin(&home.dir, &home.owner, Floor::Seq(0), Access::Read)?;
    let strays = scan.chain().strays.iter().filter_map(|stray| match stray {
        Stray::Linked(joint) => Some(joint.link.first_seq),
        Stray::Damaged(_) => None,
    });
    let segments = scan.chain().segments.iter().map(|joint| joint.link.first_seq);
    let mut begins: Vec<Seq> = strays.chain(segments).filter(|first| *first > after.max(1)).collect();
    begins.sort_unstable();
    begins.dedup();
    Ok(begins)
}

/// The first record behind a seq from which on the journal is whole to its end, and the seq behind that.
fn later(home: &Home, after: Seq) -> Result<Option<(Seq, Seq)>> {
    for first in begins(home, after)? {
        let behind = reach(home, first - 1, 0)?;
        if behind.is_whole && behind.first.is_some_and(|(_, link)| link.first_seq == first) {
            return Ok(Some((first, behind.end.next_seq)));
        }
    }
    Ok(None)
}

/// The numbers of the segments, oldest first, and the highest one that was ever given, as far as it is known.
fn numbers(home: &Home) -> Result<(Vec<u64>, u64)> {
    let segments = |names: Vec<String>| names.into_iter().filter_map(|name| names::parse_segment(&name));
    let mut numbers: Vec<u64> = segments(home.dir.names()?).collect();
    numbers.sort_unstable();
    let quarantined = match home.dir.sub(names::QUARANTINE) {
        Ok(quarantine) => segments(quarantine.names()?).max().unwrap_or(0),
        Err(e) if e.is_not_found() => 0,
        Err(e) => return Err(e),
    };
    let highest = numbers.last().copied().unwrap_or(0).max(quarantined);
    Ok((numbers, highest))
}

fn open(home: &Home, number: u64) -> Result<Option<Found>> {
    Segment::open(&home.dir, number, &home.owner, Access::Read)
}

/// The segments that cannot stay where they are: those whose identity is not theirs, and history that is damaged, with what is
/// older.
fn aside(home: &Home, numbers: &[u64], history: u64) -> Result<Vec<u64>> {
    let mut aside = Vec::new();
    for number in numbers {
        let damaged = matches!(open(home, *number)?, Some(Found::Damaged(d)) if d.segment.is_none());
        if *number <= history || damaged {
            aside.push(*number);
        }
    }
    Ok(aside)
}

/// The newest damaged segment among those that are older than what the state needs; 0: none.
fn damaged_history(home: &Home, needed: Link) -> Result<u64> {
    let mut next = needed;
    while next.previous != 0 {
        let linked = match open(home, next.previous)? {
            None => break,
            Some(Found::Linked(linked)) if linked.link.first_seq <= next.first_seq => linked,
            Some(_) => return Ok(next.previous),
        };
        let link = linked.link;
        if !is_whole(linked, &next)? {
            return Ok(next.previous);
        }
        next = link;
    }
    Ok(0)
}

/// Whether the frames of a sealed segment lead to the one behind it.
fn is_whole(linked: Linked, next: &Link) -> Result<bool> {
    let mut frames = Frames::begin(linked);
    while frames.at() < next.previous_end {
        match frames.next()? {
            Some(header) if Unread::of(&header).check(frames.body()).is_ok() => {}
            _ => return Ok(false),
        }
    }
    let met = (frames.at(), frames.last_crc(), frames.next_seq());
    Ok(met == (next.previous_end, next.previous_crc, next.first_seq))
}

/// The segments that the journal was made of before it was damaged. Those that were cut off earlier are left out: what is in
/// them has no place in it.
fn parts(home: &Home, numbers: &[u64]) -> Result<BTreeMap<u64, Option<u64>>> {
    let mut parts = BTreeMap::new();
    // The number and the end of the one that the link of the last part names.
    let mut named: Option<(u64, u64)> = None;
    for number in numbers.iter().rev() {
        if named.is_some_and(|(previous, _)| *number > previous) {
            continue;
        }
        let end = named.take_if(|(previous, _)| previous == number).map(|(_, end)| end);
        match open(home, *number)? {
            Some(Found::Linked(linked)) => {
                parts.insert(*number, end);
                if linked.link.previous == 0 {
                    break;
                }
                named = Some((linked.link.previous, linked.link.previous_end));
            }
            Some(Found::Damaged(_)) => drop(parts.insert(*number, end)),
            Some(Found::Spare(spare)) if !spare.is_blank_from(FRAMES_BEGIN)? => {
                parts.insert(*number, end);
            }
            Some(Found::Spare(_)) | None => {}
        }
    }
    Ok(parts)
}

/// The first seq of a segment, if its link tells.
pub(super) fn first_seq(home: &Home, number: u64) -> Option<Seq> {
    match open(home, number) {
        Ok(Some(Found::Linked(linked))) => Some(linked.link.first_seq),
        _ => None,
    }
}

/// The highest seq that anything behind the damage calls durable, or that a link behind it presupposes.
pub(super) fn durable_seq(home: &Home, survey: &Survey) -> Result<Seq> {
    let mut highest = 0;
    for number in survey.parts.keys() {
        if let Some(Found::Linked(linked)) = open(home, *number)? {
            highest = highest.max(linked.link.durable_seq).max(linked.link.first_seq - 1);
            highest = highest.max(linked.segment.durable_behind(FRAMES_BEGIN, survey.next_seq)?);
        }
    }
    Ok(highest)
}
