//! What can be left out of the protocol, or be done wrong, to see that the model notices.

use crate::promises::Promise;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    NoRepair,
    PublishFirst,
    TakeFromLiving,
    TornTailStays,
    AckBeforeSync,
    SyncRetried,
    ResultMissing,
    NoDoubt,
    LateMark,
    CarriedNotSynced,
    CutLinkNotSynced,
    LinkOfDeadNotSynced,
    EpochNotRaised,
    EpochByOne,
    BootNotSeen,
    BatchInTwo,
    SpareNotSynced,
    FoldNotSynced,
    SnapshotNotSynced,
    RetireEarly,
    RetireUnsynced,
    NoGenerationCheck,
    SnapshotLast,
    NoRestart,
}

impl Wrong {
    pub const ALL: [(Wrong, &'static str); 24] = [
        (Wrong::NoRepair, "who takes a dead owner's lock ignores that something was begun"),
        (Wrong::PublishFirst, "the end is published before the frame is written"),
        (Wrong::TakeFromLiving, "the append lock is taken from an owner that lives"),
        (Wrong::TornTailStays, "what a dead writer left is not cut off, and written over"),
        (Wrong::AckBeforeSync, "a durable append is acknowledged before it is synced"),
        (Wrong::SyncRetried, "a failed sync is tried again and believed"),
        (Wrong::ResultMissing, "that a dead leader's result is missing is ignored"),
        (Wrong::NoDoubt, "who wipes shared memory ignores that a sync had no result"),
        (Wrong::LateMark, "the mark of a failed sync comes a step after it (class file: a documented limit)"),
        (Wrong::CarriedNotSynced, "records are carried after a failed sync and not synced there"),
        (Wrong::CutLinkNotSynced, "appends go on behind a cut whose link is not synced"),
        (Wrong::LinkOfDeadNotSynced, "the link of a cut whose maker died is not synced by the next"),
        (Wrong::EpochNotRaised, "a cut keeps the epoch"),
        (Wrong::EpochByOne, "a cut's epoch is the one before and one more"),
        (Wrong::BootNotSeen, "another start of the system is not noticed"),
        (Wrong::BatchInTwo, "a batch is written as two frames"),
        (Wrong::SpareNotSynced, "a link is written into a spare whose name is not synced"),
        (Wrong::FoldNotSynced, "a compaction folds what is not synced"),
        (Wrong::SnapshotNotSynced, "a snapshot gets its name before it is synced"),
        (Wrong::RetireEarly, "segments are retired before the new snapshot has its name"),
        (Wrong::RetireUnsynced, "segments that only the new snapshot covers are retired, before its name is synced"),
        (Wrong::NoGenerationCheck, "compact.lock excludes nobody, and the snapshot is not looked at before it is replaced"),
        (Wrong::SnapshotLast, "a reader lists the segments first and opens the snapshot after that"),
        (Wrong::NoRestart, "a reader that is overtaken does not begin anew"),
    ];

    /// What is expected to say so first. More than one where it depends on which of the shortest ways is met.
    pub fn found_by(self) -> &'static [Promise] {
        &[]
    }
}
