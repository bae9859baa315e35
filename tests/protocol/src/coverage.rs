//! Which steps were taken, and what happened, in any of the scenes: a model in which something never happens shows nothing
//! about it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::mem::{Discriminant, discriminant};
use std::sync::{Mutex, PoisonError};

use crate::world::Pc;

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

thread_local! {
    // So that most of the time nothing is asked of the other threads.
    static STEPS: RefCell<HashSet<Discriminant<Pc>>> = RefCell::default();
    static EVENTS: RefCell<HashSet<&'static str>> = RefCell::default();
}

fn note(what: String) {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
}

pub fn taken(pc: Pc) {
    if STEPS.with_borrow_mut(|steps| steps.insert(discriminant(&pc))) {
        let text = format!("{pc:?}");
        note(text.split([' ', '(']).next().unwrap_or_default().to_string());
    }
}

pub fn happened(what: &'static str) {
    if EVENTS.with_borrow_mut(|events| events.insert(what)) {
        note(what.to_string());
    }
}

/// What should have been seen in all scenes together and was not, and what was seen and nobody expects.
pub fn compare() -> (Vec<String>, Vec<String>) {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let expected: BTreeSet<String> = EXPECTED.iter().map(|what| what.to_string()).collect();
    (expected.difference(&seen).cloned().collect(), seen.difference(&expected).cloned().collect())
}

/// Every step but those that only a wrong protocol has, and every turn of events that the design speaks of.
pub const EXPECTED: &[&str] = &[
    "Attach",
    "AttachMark",
    "AttachShared",
    "AttachWipe",
    "CompactNames",
    "CutBegin",
    "CutCarrySync",
    "CutEnd",
    "CutInto",
    "CutKeep",
    "CutKnown",
    "CutLink",
    "CutLinkSync",
    "CutPublish",
    "CutSyncLock",
    "Durable",
    "Fold",
    "FoldSync",
    "FrameBegin",
    "FramePublish",
    "FrameWrite",
    "Idle",
    "LeadBegin",
    "LeadEnd",
    "LeadKnown",
    "LeadMark",
    "LeadPoison",
    "LeadSync",
    "Leave",
    "LinkBegin",
    "LinkPublish",
    "LinkWrite",
    "Previous",
    "PreviousSync",
    "PublishSync",
    "ReadFrames",
    "ReadHeld",
    "ReadList",
    "ReadName",
    "ReadSnapshot",
    "ReadWalk",
    "Retire",
    "RetireNext",
    "RetireSync",
    "SettleCut",
    "SpareList",
    "SpareLock",
    "SpareName",
    "SpareSync",
    "SyncAlone",
    "SyncKnown",
    "Wait",
    "a compactor finds a newer snapshot than it can make",
    "a compactor finds another snapshot than it began with",
    "a failed sync of another is known by its mark",
    "a failed sync of another is told to a descriptor that was open",
    "a frame of a dead writer is adopted",
    "a reader begins anew",
    "a reader is told that records are folded away",
    "a segment is retired",
    "a torn tail is found under the lock",
    "a writer finds the journal elsewhere",
    "records are carried into another segment",
    "the append lock is taken from a dead owner",
    "the lock of who makes spares is taken from a dead owner",
    "the result of a sync is missing, to one who cuts",
    "the result of a sync is missing, to the next leader",
    "the sync lock is taken from a dead leader",
    "the sync lock is taken from a dead owner, to cut",
];
