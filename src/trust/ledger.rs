//! What a workload has asked for and been told, and what it must therefore find again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::record::{Kind, Seq};

/// A record but for its place. No two that a workload appends are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) value: String,
}

/// Everything that a workload has tried to append, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    contents: Vec<Content>,
    batch_of: Vec<usize>,
    batches: Vec<Range<usize>>,
    ids: HashMap<Content, usize>,
}

impl Ledger {
    /// Enters a batch, and returns its number.
    pub(super) fn enter(&mut self, batch: &[Content]) -> usize {
        let from = self.contents.len();
        for content in batch {
            let before = self.ids.insert(content.clone(), self.contents.len());
            assert_eq!(before, None, "{content:?} is there twice: it could not be told apart");
            self.contents.push(content.clone());
            self.batch_of.push(self.batches.len());
        }
        self.batches.push(from..self.contents.len());
        self.batches.len() - 1
    }

    pub(super) fn id(&self, content: &Content) -> Option<usize> {
        self.ids.get(content).copied()
    }

    pub(super) fn content(&self, id: usize) -> &Content {
        &self.contents[id]
    }

    pub(super) fn batch_of(&self, id: usize) -> usize {
        self.batch_of[id]
    }

    pub(super) fn batch(&self, batch: usize) -> Range<usize> {
        self.batches[batch].clone()
    }
}

/// What happened in a workload besides its operations, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The cohort has been made.
    Made,
    /// A batch is about to be appended.
    Begun(usize),
    Acknowledged {
        batch: usize,
        last: Seq,
        durable: bool,
    },
    /// Written, durability unknown.
    Unknown {
        batch: usize,
        last: Seq,
    },
    /// Nothing was written.
    Refused(usize),
    /// What was acknowledged before is durable.
    Synced,
    /// The system has been started anew.
    Boot(Option<u8>),
    /// A writer has gone.
    Closed,
}

/// A record where somebody has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) seq: Seq,
    pub(super) id: usize,
}

/// What must hold after a crash at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    pub(super) made: bool,
    pub(super) boot: Option<u8>,
    begun: HashSet<usize>,
    /// Batches that were refused: they are nowhere.
    refused: HashSet<usize>,
    /// By seq, whatever has been written and told so; and the part of it that is durable.
    pub(super) written: BTreeMap<Seq, usize>,
    pub(super) durable: BTreeMap<Seq, usize>,
    /// What readers have seen.
    seen: HashMap<(u64, Seq), usize>,
    /// The newest of it by seq.
    pub(super) history: BTreeMap<Seq, (u64, usize)>,
}

impl Promise {
    pub(super) fn note(&mut self, note: Note, ledger: &Ledger) {
        match note {
            Note::Made => self.made = true,
            Note::Begun(batch) => drop(self.begun.insert(batch)),
            Note::Acknowledged { batch, last, durable } => {
                self.wrote(batch, last, ledger);
                if durable {
                    self.durable = self.written.range(..=last).map(|(seq, id)| (*seq, *id)).collect();
                }
            }
            Note::Unknown { batch, last } => self.wrote(batch, last, ledger),
            Note::Refused(batch) => drop(self.refused.insert(batch)),
            Note::Synced => self.durable = self.written.clone(),
            Note::Boot(boot) => self.boot = boot,
            Note::Closed => {}
        }
    }

    /// What would have been told next may have happened.
    pub(super) fn begin(&mut self, next: Note) {
        if let Note::Acknowledged { batch, .. } | Note::Unknown { batch, .. } | Note::Begun(batch) = next {
            self.begun.insert(batch);
        }
    }

    fn wrote(&mut self, batch: usize, last: Seq, ledger: &Ledger) {
        let ids = ledger.batch(batch);
        let first = last + 1 - ids.len() as Seq;
        self.written.extend((first..).zip(ids));
    }

    /// What readers have seen was in another cohort.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }

    /// A reader has found these. Returns what contradicts what another has found.
    pub(super) fn saw(&mut self, places: &[Place]) -> Vec<String> {
        let mut wrong = Vec::new();
        for place in places {
            let before = *self.seen.entry((place.epoch, place.seq)).or_insert(place.id);
            if before != place.id {
                wrong.push(format!("{place:?} was record {before}"));
            }
            let newest = self.history.entry(place.seq).or_insert((place.epoch, place.id));
            *newest = (*newest).max((place.epoch, place.id));
        }
        wrong
    }

    /// What is wrong with the records found after a crash, of which these must be there.
    pub(super) fn check(&self, found: &[Place], must: &BTreeMap<Seq, usize>, ledger: &Ledger) -> Vec<String> {
        let mut wrong = Vec::new();
        let first = found.first().map_or(Seq::MAX, |place| place.seq);
        let by_seq: HashMap<Seq, usize> = found.iter().map(|place| (place.seq, place.id)).collect();
        for (seq, id) in must.range(..).filter(|(seq, _)| **seq >= first || first == Seq::MAX) {
            if by_seq.get(seq) != Some(id) {
                wrong.push(format!("seq {seq} was record {id}, and is {:?}", by_seq.get(seq)));
            }
        }
        let mut of_batch: HashMap<usize, Vec<Place>> = HashMap::new();
        for place in found {
            if let Some(other) = self.seen.get(&(place.epoch, place.seq)).filter(|id| **id != place.id) {
                wrong.push(format!("{place:?} was record {other} before the crash"));
            }
            of_batch.entry(ledger.batch_of(place.id)).or_default().push(*place);
        }
        for (batch, places) in of_batch {
            if !self.begun.contains(&batch) || self.refused.contains(&batch) {
                wrong.push(format!("batch {batch} is there, and was never appended: {places:?}"));
            }
            let ids = ledger.batch(batch);
            let in_order = places.iter().map(|place| place.id).eq(ids.clone());
            if !in_order || places.windows(2).any(|two| two[0].seq + 1 != two[1].seq) {
                wrong.push(format!("batch {batch} has the records {ids:?}, and there is {places:?}"));
            }
        }
        wrong
    }
}
