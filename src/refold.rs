//! A new cohort with another fold, made of all records of an old one: the same seqs, the same batches, the same times; and copies
//! of the bundles that they name.
//!
//! Nobody sees it before it is whole, so it is written without a lock or shared memory, segment after segment, each synced
//! before the next one is begun. See [`Store::refold`](crate::Store::refold).

use std::sync::Arc;

use crate::attach::Published;
use crate::bundle;
use crate::chain::Floor;
use crate::cohort::Cohort;
use crate::cursor::{self, Trail};
use crate::error::{Error, Kind, Result};
use crate::format::{Body, FRAMES_BEGIN, Header, Link};
use crate::home::Home;
use crate::names;
use crate::ready::LARGE_RESERVE;
use crate::record::{Batch, RecordRef, Seq};
use crate::segment::{Access, Found, Linked, Owner, Segment};
use crate::settings::Settings;
use crate::sys::{self, Dir};

/// The journal of a cohort that is being made: the end of it.
struct Copy<'a> {
    dir: &'a Dir,
    owner: &'a Owner,
    settings: &'a Settings,
    segment: Arc<Segment>,
    at: u64,
    last_crc: u32,
    next_seq: Seq,
}

/// Fills a cohort that has been made, and that nobody sees yet, with the records of `old`, up to the last one there is now.
/// Returns its seq.
pub(crate) fn run(old: &Cohort, new: &Arc<Home>) -> Result<Seq> {
    let last = copy(old, &new.dir, &new.owner, &new.settings)?;
    check(new, last)?;
    bundle::carry::into(old, &Cohort::new(Arc::clone(new)), last)?;
    Ok(last)
}

fn copy(old: &Cohort, dir: &Dir, owner: &Owner, settings: &Settings) -> Result<Seq> {
    let home = old.home();
    let last = old.last_seq()?;
    let first = Segment::open(dir, 1, owner, Access::Write)?;
    let Some(Found::Linked(Linked { segment, link })) = first else {
        return Err(Error::corruption("the first segment is not what was made").at(dir.path()));
    };
    let last_crc = link.crc(segment.salt());
    let mut copy = Copy { dir, owner, settings, segment, at: FRAMES_BEGIN, last_crc, next_seq: 1 };
    let mut trail = Trail::begin(home, Floor::Seq(0), home.watermark()?, Published::default())?;
    while copy.next_seq <= last {
        let Some(header) = trail.next().map_err(|e| incomplete(old, e))? else { break };
        if header.count > 0 {
            copy.batch(&header, cursor::records(&header, &trail)?)?;
        }
    }
    if copy.next_seq <= last {
        return Err(Error::corruption(format!(
            "the journal ends at seq {}, and {last} was there",
            copy.next_seq - 1
        ))
        .at(home.dir.path())
        .at_seq(copy.next_seq));
    }
    copy.end()
}

/// Why records are missing, as a refold sees it.
fn incomplete(old: &Cohort, e: Error) -> Error {
    match e.seq().filter(|_| e.is_compacted()) {
        Some(first) => e
            .become_kind(
                Kind::Compacted,
                format!("a refold needs every record, and {:?} has them from seq {first} on", old.name()),
            )
            .at_seq(first)
            .advise("retain all of a cohort that may be refolded one day"),
        None => e,
    }
}

impl Copy<'_> {
    /// Appends a batch as it was.
    fn batch<'r>(&mut self, header: &Header, records: impl Iterator<Item = RecordRef<'r>>) -> Result<()> {
        let records: Vec<RecordRef<'_>> = records.collect();
        let batch = batch_of(&records)?;
        self.settings.fold.check(&batch).map_err(|e| self.refused(&records, e))?;
        if batch.bytes() > self.settings.max_body_bytes as usize {
            let what = format!(
                "the batch takes {} bytes, {} are allowed (max_body_bytes)",
                batch.bytes(),
                self.settings.max_body_bytes
            );
            return Err(refusal(header.first_seq, Error::invalid(what)));
        }
        self.append(&batch.into_body(), header.time_us, 0)
    }

    /// The first record of a batch that the fold does not take by itself, or the batch if it takes each.
    fn refused(&self, records: &[RecordRef<'_>], e: Error) -> Error {
        for record in records {
            let alone = batch_of(&[*record]).and_then(|batch| self.settings.fold.check(&batch));
            if let Err(e) = alone {
                return refusal(record.seq, e);
            }
        }
        refusal(records.first().map_or(0, |record| record.seq), e)
    }

    fn append(&mut self, body: &Body, time_us: i64, durable_seq: Seq) -> Result<()> {
        let header = Header::new(body, self.next_seq, durable_seq, time_us);
        let len = header.frame_len();
        if self.at + len > self.settings.segment_bytes && self.at != FRAMES_BEGIN {
            self.rotate(len)?;
        }
        let end = self.at + len;
        if !self.segment.has_room(end) {
            self.segment.grow(end, self.settings.segment_bytes)?;
        }
        let (frame, crc) = body.frame(&header, self.segment.salt());
        self.segment.write(&frame, self.at)?;
        (self.at, self.last_crc, self.next_seq) = (end, crc, header.next_seq());
        Ok(())
    }

    fn rotate(&mut self, len: u64) -> Result<()> {
        self.segment.sync()?;
        let number = self.segment.number + 1;
        let reserve = LARGE_RESERVE.min(self.settings.segment_bytes).max(FRAMES_BEGIN + len);
        let next = Segment::make(self.dir, &names::segment(number), self.owner.identity(number), reserve)?;
        let link = Link {
            epoch: 1,
            first_seq: self.next_seq,
            previous: self.segment.number,
            previous_end: self.at,
            previous_crc: self.last_crc,
            durable_seq: self.next_seq - 1,
            time_us: sys::wall_clock_us(),
            boot: sys::boot_id(),
        };
        next.write_link(&link)?;
        self.last_crc = link.crc(next.salt());
        (self.segment, self.at) = (Arc::new(next), FRAMES_BEGIN);
        Ok(())
    }

    /// The last word: all of it is durable. Then the names are, too.
    fn end(mut self) -> Result<Seq> {
        self.segment.sync()?;
        let last = self.next_seq - 1;
        if last > 0 {
            self.append(&Body::empty(), sys::wall_clock_us(), last)?;
            self.segment.sync()?;
        }
        self.dir.sync()?;
        Ok(last)
    }
}

fn batch_of(records: &[RecordRef<'_>]) -> Result<Batch> {
    let mut batch = Batch::new();
    for record in records {
        batch.put_again(record)?;
    }
    Ok(batch)
}

fn refusal(seq: Seq, e: Error) -> Error {
    let kind = e.kind();
    e.become_kind(kind, format!("nothing was refolded: record {seq} does not fit"))
        .at_seq(seq)
        .advise("choose a fold and settings that take every record")
}

/// Reads what was made, as its users will.
fn check(home: &Arc<Home>, last: Seq) -> Result<()> {
    let mut trail = Trail::begin(home, Floor::Seq(0), 0, Published::default())?;
    while let Some(header) = trail.next()? {
        cursor::records(&header, &trail).map(|_| ())?;
    }
    match trail.next_seq() - 1 {
        found if found == last => Ok(()),
        found => {
            Err(Error::corruption(format!("seq {last} was written, and {found} is the last that is read"))
                .at(home.dir.path()))
        }
    }
}
