//! All that the steps of the model change: the disk, what processes share, where each of them is, and what was promised.

use crate::disk::{Disk, Number, Seq, Snapshot};
use crate::promises::{Ledger, Promise};
use crate::scan::{Place, Scan};
use crate::wrong::Wrong;

/// Which process: its place in the scene.
pub type Pid = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    File,
    Memory,
}

/// What a process does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Append { count: u8, durable: bool },
    Compact,
    Read,
    Detach,
}

/// What is looked at: who does what, and how much may go wrong.
#[derive(Clone, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub class: Class,
    pub scripts: Vec<Vec<Act>>,
    /// How many frames a segment has room for.
    pub room: u8,
    /// Processes killed, syncs that fail, power cuts: at most so many.
    pub deaths: u8,
    pub failures: u8,
    pub cuts: u8,
    /// Somebody has replaced `compact.lock`: it excludes nobody.
    pub two_compact_locks: bool,
    /// What is left out of the protocol, or done wrong.
    pub wrong: Option<Wrong>,
}

impl Scene {
    pub fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }
}

/// What is done under the append lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    Append,
    /// To have the records of a failed sync moved.
    Nothing,
    Seal,
    /// Step 6 of a compaction.
    Publish,
}

/// The step that a process takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pc {
    Idle,
    // Attaching.
    Attach,
    AttachMark,
    AttachWipe,
    AttachShared,
    // The append lock, and what is done in it.
    Wait,
    SettleCut,
    FrameBegin,
    FrameWrite,
    /// The first record of a batch that is written as two frames: only in [`Wrong::BatchInTwo`].
    FrameHalf,
    FramePublish,
    LinkBegin,
    LinkWrite,
    LinkPublish,
    Leave,
    // A spare.
    SpareLock,
    SpareList,
    SpareName(Number),
    SpareSync(Number),
    // A cut.
    CutSyncLock,
    CutBegin,
    CutInto,
    CutKeep,
    CutCarrySync(Place),
    CutLink(Place),
    CutLinkSync,
    CutKnown,
    CutPublish,
    CutEnd,
    // Making durable.
    Durable,
    LeadBegin,
    LeadSync {
        number: Number,
        to: Place,
    },
    LeadKnown(Place),
    LeadPoison {
        told: bool,
    },
    LeadMark {
        told: bool,
    },
    LeadEnd {
        told: bool,
    },
    SyncAlone {
        number: Number,
        written: Seq,
    },
    SyncKnown {
        written: Seq,
    },
    /// Only in [`Wrong::MarkLater`].
    Mark,
    // Compacting.
    CompactNames,
    Fold,
    FoldSync,
    Previous,
    PreviousSync,
    PublishSync,
    Retire,
    RetireNext {
        keep: Number,
    },
    RetireSync,
    // Reading.
    ReadSnapshot,
    ReadList,
    ReadWalk,
    /// List and walk with the compactor held off.
    ReadHeld,
    ReadFrames,
    ReadName {
        blank: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub alive: bool,
    /// It knows the journal, and in the class `memory` it has a slot.
    pub attached: bool,
    pub act: u8,
    pub pc: Pc,
    pub turn: Turn,
    /// Where it last was in the journal.
    pub at: Place,
    /// Whether a turn has looked at the whole rest of the active segment.
    pub looked: bool,
    /// The class `file`: what it knows to be durable, and whether a sync of its own has failed.
    pub durable: Seq,
    pub sync_failed: bool,
    /// The segment that was begun by a cut, and whose link it knows to be durable.
    pub cut: Number,
    /// The spare that it has seen synced: number and file.
    pub spare: (Number, u8),
    /// A failed sync that its descriptor of the segment it is in will be told of, too (class `file`).
    pub untold: Number,
    /// Where it cuts into.
    pub target: Number,
    /// The seq it waits to be durable; of an append the last one.
    pub seq: Seq,
    pub wrote: Seq,
    /// A turn that could not be done.
    pub failed: bool,
    pub fold: Option<Folding>,
    pub reading: Option<Reading>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Folding {
    pub base: Seq,
    pub through: Seq,
    pub made: Snapshot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reading {
    /// The highest seq that was acknowledged when it began.
    pub must_have: Seq,
    pub base: Seq,
    pub contents: Vec<u8>,
    pub listed: Vec<Number>,
    pub scan: Option<Scan>,
    /// How often it has begun anew for the frame that comes next.
    pub restarts: u8,
    /// The seq to go on from.
    pub next: Seq,
}

impl Process {
    pub fn new() -> Process {
        Process {
            alive: true,
            attached: false,
            act: 0,
            pc: Pc::Idle,
            turn: Turn::Nothing,
            at: Place::default(),
            looked: false,
            durable: 0,
            sync_failed: false,
            cut: 0,
            spare: (0, 0),
            untold: 0,
            target: 0,
            seq: 0,
            wrote: 0,
            failed: false,
            fold: None,
            reading: None,
        }
    }

    /// What it knew is gone; how far it has come with its acts is not.
    pub fn forget(&mut self) {
        *self = Process { alive: self.alive, act: self.act, ..Process::new() };
    }
}

/// The class `memory`: what the attached processes share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Control {
    pub ready: bool,
    /// Something was begun that has not been published.
    pub begun: bool,
    pub end: Place,
    pub sync_owner: Option<Pid>,
    pub syncing: bool,
    pub poisoned: bool,
    pub durable: Seq,
    pub unsynced_from: Number,
    pub ready_owner: Option<Pid>,
    pub spare: Number,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub disk: Disk,
    pub control: Control,
    /// Who is alone with the cohort, to wipe `control`.
    pub alone: Option<Pid>,
    pub append_owner: Option<Pid>,
    pub compact_owner: Option<Pid>,
    pub processes: Vec<Process>,
    pub boot: u8,
    pub deaths: u8,
    pub failures: u8,
    pub cuts: u8,
    pub ledger: Ledger,
}

impl World {
    pub fn new(scene: &Scene) -> World {
        World {
            disk: Disk::new(),
            control: Control::default(),
            alone: None,
            append_owner: None,
            compact_owner: None,
            processes: vec![Process::new(); scene.scripts.len()],
            boot: 1,
            deaths: scene.deaths,
            failures: scene.failures,
            cuts: scene.cuts,
            ledger: Ledger::default(),
        }
    }

    pub fn process(&mut self, pid: Pid) -> &mut Process {
        &mut self.processes[usize::from(pid)]
    }

    pub fn pc(&self, pid: Pid) -> Pc {
        self.processes[usize::from(pid)].pc
    }

    pub fn go(&mut self, pid: Pid, pc: Pc) {
        self.process(pid).pc = pc;
    }

    pub fn act(&self, scene: &Scene, pid: Pid) -> Option<Act> {
        let process = &self.processes[usize::from(pid)];
        scene.scripts[usize::from(pid)].get(usize::from(process.act)).copied()
    }

    /// Whether a lock can be had: it is free, or its owner is dead. A `flock` of the dead is free by itself.
    pub fn can_take(&self, owner: Option<Pid>) -> bool {
        owner.is_none_or(|owner| !self.processes[usize::from(owner)].alive)
    }

    /// What `journal.durable_seq()` says.
    pub fn durable(&self, scene: &Scene, pid: Pid) -> Seq {
        match scene.class {
            Class::Memory => self.control.durable,
            Class::File => self.processes[usize::from(pid)].durable,
        }
    }

    /// What `journal.is_poisoned()` says.
    pub fn is_poisoned(&self, scene: &Scene, pid: Pid) -> bool {
        let at = self.processes[usize::from(pid)].at.segment;
        self.knows_of_failure(scene, pid)
            || self.disk.get(at).is_some_and(|segment| segment.poison.is_there())
    }

    /// What it knows without a look at the marks.
    pub fn knows_of_failure(&self, scene: &Scene, pid: Pid) -> bool {
        match scene.class {
            Class::Memory => self.control.poisoned,
            Class::File => self.processes[usize::from(pid)].sync_failed,
        }
    }

    /// A mark on disk, its name synced.
    pub fn leave_mark(&mut self, number: Number) {
        if number != 0 {
            self.disk.at_mut(number).poison.make();
        }
        self.disk.sync_names();
    }

    /// `Journal::mark_poisoned`.
    pub fn mark_poisoned(&mut self, scene: &Scene, pid: Pid) {
        let process = self.process(pid);
        process.sync_failed = true;
        let number = process.at.segment;
        self.control.poisoned |= scene.class == Class::Memory;
        self.leave_mark(number);
    }

    pub fn broken(&mut self, promise: Promise) {
        self.ledger.broken.get_or_insert(promise);
    }

    /// The process dies: its `flock`s are free, what it owned in shared memory stays.
    pub fn die(&mut self, scene: &Scene, pid: Pid) {
        let process = self.process(pid);
        // What was being done is not done again.
        process.act += u8::from(process.pc != Pc::Idle);
        process.alive = false;
        process.forget();
        if scene.class == Class::File && self.append_owner == Some(pid) {
            self.append_owner = None;
        }
        for lock in [&mut self.alone, &mut self.compact_owner] {
            *lock = lock.filter(|owner| *owner != pid);
        }
    }

    /// The power is cut, and the system started again.
    pub fn cut_power(&mut self, disk: Disk) {
        self.disk = disk;
        self.boot += 1;
        self.control = Control::default();
        (self.alone, self.append_owner, self.compact_owner) = (None, None, None);
        for process in &mut self.processes {
            process.alive = true;
            process.act += u8::from(process.pc != Pc::Idle);
            process.forget();
        }
    }
}
