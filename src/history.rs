//! The records that are still in the journal, folded or not: of all keys or of one, between two seqs.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::attach::Published;
use crate::chain::{Chain, Floor};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::home::Home;
use crate::record::{Record, RecordRef, Seq};
use crate::segment::Access;

/// Records of the past, in order. See [`Cohort::history`](crate::Cohort::history). After an error it ends.
#[derive(Debug)]
pub struct History {
    cursor: Cursor,
    key: Option<String>,
    to: Seq,
    ended: bool,
}

impl History {
    /// From one seq to another, both included.
    pub(crate) fn begin(
        home: &Arc<Home>,
        published: &Published,
        key: Option<&str>,
        (from, to): (Seq, Seq),
    ) -> Result<History> {
        let cursor = Cursor::begin(home, from, published.clone())?;
        Ok(History { cursor, key: key.map(str::to_string), to, ended: false })
    }

    /// The next record where it lies in its frame, without copying it; `None` at the end of the range or of the journal.
    ///
    /// # Errors
    /// As [`Cursor::next_ref`].
    pub fn next_ref(&mut self) -> Result<Option<RecordRef<'_>>> {
        while self.cursor.next_seq() <= self.to {
            let Some(key) = &self.key else { return self.cursor.next_ref() };
            match self.cursor.peek_key()?.map(|next| next == key) {
                Some(false) => drop(self.cursor.next_ref()?),
                Some(true) => return self.cursor.next_ref(),
                None => break,
            }
        }
        Ok(None)
    }
}

impl Iterator for History {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.next_ref().map(|record| record.map(RecordRef::to_record)).transpose();
        self.ended = matches!(record, Some(Err(_)));
        record
    }
}

/// See [`Cohort::history`](crate::Cohort::history).
pub(crate) fn of(
    home: &Arc<Home>,
    published: &Published,
    key: Option<&str>,
    range: impl RangeBounds<Seq>,
) -> Result<History> {
    let to = match range.end_bound() {
        Bound::Included(seq) => *seq,
        Bound::Excluded(seq) => seq.saturating_sub(1),
        Bound::Unbounded => Seq::MAX,
    };
    match range.start_bound() {
        Bound::Included(seq) => return History::begin(home, published, key, (*seq, to)),
        Bound::Excluded(seq) => return History::begin(home, published, key, (seq.saturating_add(1), to)),
        Bound::Unbounded => {}
    }
    let mut asked = 0;
    loop {
        let first = begins(home)?.first().copied().unwrap_or(1);
        match History::begin(home, published, key, (first, to)) {
            // Nobody has asked for it by its number, and compaction has removed it meanwhile.
            Err(e) if e.is_compacted() && first > asked => asked = first,
            other => return other,
        }
    }
}

/// The first seqs of the segments that are still there and join each other up to the tail, in order.
pub(crate) fn begins(home: &Home) -> Result<Vec<Seq>> {
    let chain = |floor| Chain::resolve(&home.dir, &home.owner, Floor::Seq(floor), Access::Read);
    let mut found = chain(0)?;
    // What is older than a gap was retired too, and has come back with a power cut.
    while let Some(missing) = found.missing {
        found = chain(missing.resumes_at - 1)?;
    }
    let mut begins: Vec<Seq> = found.segments.iter().map(|joint| joint.link.first_seq).collect();
    begins.dedup();
    Ok(begins)
}
