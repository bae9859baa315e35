//! The records that can still be read behind the damage.

use super::survey::{GoesOn, Survey};
use crate::error::Result;
use crate::fold::Fold;
use crate::format::{ALIGN, BLOCK, BadBlock, FRAMES_BEGIN, HEADER, Header, Identity, Unread};
use crate::home::Home;
use crate::names;
use crate::record::{Record, RecordRef, Seq};
use crate::sys::{File, Names};

/// How much of a segment is searched at a time.
const CHUNK: usize = 1 << 20;
/// Where a segment's identity has its salt. It may be whole where the rest of the block is not; what it is worth the CRCs of the
/// frames tell.
const SALT_AT: usize = 48;

/// A whole frame that will be no part of the journal any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    segment: u64,
    offset: u64,
    pub(super) first_seq: Seq,
    pub(super) count: u32,
}

/// All of them, in the order of their seqs.
pub(super) fn find(home: &Home, survey: &Survey) -> Result<Vec<Lost>> {
    let is_log = home.settings.fold == Fold::Log;
    let mut found = Vec::new();
    for (number, end) in &survey.parts {
        let aside = survey.aside.contains(number);
        let from = match survey.goes_on {
            _ if aside => FRAMES_BEGIN,
            GoesOn::Cut(place) if *number == place.segment => place.offset,
            GoesOn::Cut(place) if *number > place.segment => FRAMES_BEGIN,
            _ => continue,
        };
        for (offset, header) in whole_frames(home, *number, from, end.unwrap_or(u64::MAX))? {
            let Header { first_seq, count, .. } = header;
            // What the state holds is not lost, and must not be appended again.
            let lost = first_seq >= survey.next_seq || is_log && aside;
            if count > 0 && lost {
                found.push(Lost { segment: *number, offset, first_seq, count });
            }
        }
    }
    // Of two of the same seq the one in the later segment was the one that counted.
    found.sort_by_key(|lost| (lost.first_seq, std::cmp::Reverse(lost.segment)));
    let mut next = 0;
    found.retain(|lost| {
        let keep = lost.first_seq >= next;
        if keep {
            next = lost.first_seq + Seq::from(lost.count);
        }
        keep
    });
    Ok(found)
}

/// The records of a lost frame; none if it makes no sense.
pub(super) fn records(home: &Home, lost: &Lost) -> Result<Vec<Record>> {
    let file = home.dir.open_read(&names::segment(lost.segment), Names::One)?;
    let Some(salt) = salt(home, lost.segment, &file)? else { return Ok(Vec::new()) };
    let Some((header, frame)) = frame_at(&file, salt, lost.offset, file.len()?)? else {
        return Ok(Vec::new());
    };
    let body = &frame[HEADER..HEADER + header.body_len as usize];
    let mut unread = Unread::of(&header);
    if unread.check(body).is_err() {
        return Ok(Vec::new());
    }
    Ok(std::iter::from_fn(|| unread.next(body)?.ok()).map(RecordRef::to_record).collect())
}

/// The salt that frames are read with; `None` if the file is whole and another's: its frames are no records of this cohort.
fn salt(home: &Home, number: u64, file: &File) -> Result<Option<u32>> {
    let mut block = [0; BLOCK];
    let read = file.read_at(&mut block, 0)?;
    let whole = match Identity::decode(&block[..read]) {
        Ok(identity) => {
            identity.number == number
                && identity.store == home.owner.store
                && identity.cohort == home.owner.cohort
        }
        Err(BadBlock::Newer(_)) => false,
        Err(BadBlock::Blank | BadBlock::Damaged(_)) => true,
    };
    let salt = block.get(SALT_AT..SALT_AT + 4).and_then(|salt| salt.try_into().ok());
    Ok(salt.filter(|_| whole).map(u32::from_le_bytes))
}

fn frame_at(file: &File, salt: u32, at: u64, len: u64) -> Result<Option<(Header, Vec<u8>)>> {
    let mut head = [0; HEADER];
    if file.read_at(&mut head, at)? < HEADER {
        return Ok(None);
    }
    let Some(header) = Header::decode(&head, salt, len - at) else { return Ok(None) };
    let mut frame = vec![0; header.frame_len() as usize];
    let read = file.read_at(&mut frame, at)?;
    frame.truncate(read);
    Ok(header.body_is_whole(&frame).then_some((header, frame)))
}

/// Every whole frame between two places, wherever it begins. Behind each the next one is looked for, so that no frame is found
/// in what a record holds.
fn whole_frames(home: &Home, number: u64, from: u64, end: u64) -> Result<Vec<(u64, Header)>> {
    let file = home.dir.open_read(&names::segment(number), Names::One)?;
    let Some(salt) = salt(home, number, &file)? else { return Ok(Vec::new()) };
    let len = file.len()?;
    let end = end.min(len);
    let mut found = Vec::new();
    let mut chunk = vec![0; CHUNK];
    let mut at = from.next_multiple_of(ALIGN);
    while at + HEADER as u64 <= end {
        let Some(data) = file.next_data(at)? else { break };
        at = at.max(data / ALIGN * ALIGN);
        let read = file.read_at(&mut chunk, at)?;
        if read < HEADER {
            break;
        }
        let mut i = 0;
        while i + HEADER <= read {
            let place = at + i as u64;
            let header = Header::decode(&chunk[i..], salt, len - place.min(len));
            let whole = match header {
                Some(header) if place + header.frame_len() <= end => frame_at(&file, salt, place, len)?,
                _ => None,
            };
            match whole {
                Some((header, _)) => {
                    found.push((place, header));
                    i += header.frame_len() as usize;
                }
                None => i += ALIGN as usize,
            }
        }
        at += i as u64;
    }
    Ok(found)
}
