//! What it means that the journal stops: a torn tail, which a crash leaves and nobody was promised, or corruption.

use std::sync::Arc;

use crate::chain::Stray;
use crate::error::{Error, Kind, Result};
use crate::format::FRAMES_BEGIN;
use crate::record::Seq;
use crate::scan::{Place, Scan};

/// Decides about a scan that has stopped at a place where there is no whole frame.
///
/// `durable` in any link or whole frame says what was on the medium when it was written. So where the first bad frame should
/// begin with seq *s*, and nothing says that *s* was durable, it is a **torn tail**: a power cut may leave it, even with whole
/// frames behind it, and so may the death of a writer. The journal ends there, and the place is returned.
///
/// # Errors
/// Anything else is corruption: *s* was durable, or folded into a snapshot, or a segment is gone or is none of ours. The error
/// names the segment, the offset and the first lost seq. A reader must look again from the beginning before it believes this,
/// for what it read without a lock may have changed under its eyes.
pub(crate) fn judge(scan: &Scan, watermark: Seq, dir: &std::path::Path) -> Result<Place> {
    let place = scan.place();
    let chain = scan.chain();
    if let Some(missing) = chain.missing {
        let lost = match missing.resumes_at {
            resumes if resumes > place.next_seq => format!("records {} to {}", place.next_seq, resumes - 1),
            _ => format!("records from {}", place.next_seq),
        };
        return Err(Error::corruption(format!("segment {} is missing: {lost} are lost", missing.number))
            .at(&dir.join(crate::names::segment(missing.number)))
            .in_segment(missing.number)
            .at_seq(place.next_seq)
            .advise("put the file back, or see what `tallyfold repair` would keep; nothing was changed"));
    }
    let mut durable = watermark.max(scan.durable_seq());
    if let Some(linked) = scan.linked() {
        durable = durable.max(linked.segment.durable_behind(place.offset, place.next_seq)?);
        for later in chain.segments.iter().filter(|later| later.number > linked.segment.number) {
            if let Some(segment) = scan.open(later)? {
                durable = durable.max(segment.durable_behind(FRAMES_BEGIN, place.next_seq)?);
            }
        }
    }
    for stray in &chain.strays {
        let segment = match stray {
            Stray::Linked(joint) => {
                durable = durable.max(joint.link.durable_seq);
                scan.open(joint)?
            }
            Stray::Damaged(damaged) => match &damaged.segment {
                Some(segment) if !damaged.newer => Some(Arc::clone(segment)),
                // An identity is on the medium before its name is: no crash leaves a bad one.
                _ => return Err(damaged.error(dir).at_seq(place.next_seq)),
            },
        };
        if let Some(segment) = segment {
            durable = durable.max(segment.durable_behind(FRAMES_BEGIN, place.next_seq)?);
        }
    }
    if place.next_seq > durable {
        return Ok(place);
    }
    let lost = format!("records {} to {durable} at least are lost", place.next_seq);
    let damaged = chain.strays.iter().find_map(|stray| match stray {
        Stray::Damaged(damaged) => Some(damaged),
        Stray::Linked(_) => None,
    });
    let error = match (scan.linked(), damaged) {
        (Some(linked), _) => Error::corruption(format!("no whole frame where one was durable: {lost}"))
            .at(linked.segment.file.path())
            .in_segment(place.segment)
            .at_offset(place.offset),
        (None, Some(damaged)) => damaged.error(dir).become_kind(Kind::Corruption, lost),
        (None, None) => Error::corruption(format!("no segment of the journal is left: {lost}")).at(dir),
    };
    Err(error.at_seq(place.next_seq).advise(
        "restore the file from a copy, or see what `tallyfold repair` would keep; records before it can still be read \
         (`tallyfold log`), and nothing was changed",
    ))
}

/// The links lead from this place to a segment that leads back to it.
pub(crate) fn no_way_on(place: &Place, dir: &std::path::Path) -> Error {
    Error::corruption("a later segment exists, and no link leads to it from here")
        .at(&dir.join(crate::names::segment(place.segment)))
        .in_segment(place.segment)
        .at_offset(place.offset)
        .at_seq(place.next_seq)
        .advise("nothing was changed; keep a copy of the cohort's directory, and see what `tallyfold repair` would keep")
}
