//! Attaching, and what is done under the append lock: finding the tail, the frame, the rotation. See `attach.rs` and
//! `journal.rs` in the store.

use crate::coverage::happened;
use crate::disk::{Bytes, Frame, Kept, Link, Number, SECOND};
use crate::promises::{Promise, content};
use crate::scan::{Access, Corrupt, Place, Scan, Step};
use crate::world::{Act, Class, Control, Pc, Pid, Scene, Turn, World};
use crate::wrong::Wrong;

impl World {
    /// Begins the next act.
    pub fn begin_act(&mut self, scene: &Scene, pid: Pid) {
        let Some(act) = self.act(scene, pid) else { return };
        let attached = self.process(pid).attached;
        match act {
            Act::Read => self.go(pid, Pc::ReadSnapshot),
            Act::Detach if !attached => self.end_act(pid),
            Act::Detach => {
                let process = self.process(pid);
                (process.seq, process.pc) = (process.wrote, Pc::Durable);
            }
            _ if !attached && scene.class == Class::Memory => self.go(pid, Pc::Attach),
            Act::Append { .. } => {
                self.find_journal(scene, pid);
                self.begin_turn(pid, Turn::Append);
            }
            Act::Compact if scene.two_compact_locks || self.can_take(self.compact_owner) => {
                self.find_journal(scene, pid);
                self.compact_owner = Some(pid);
                self.process(pid).fold = Some(Default::default());
                self.begin_turn(pid, Turn::Seal);
            }
            // Somebody else compacts: that is an answer.
            Act::Compact => self.end_act(pid),
        }
    }

    pub fn end_act(&mut self, pid: Pid) {
        if self.compact_owner == Some(pid) {
            self.compact_owner = None;
        }
        let process = self.process(pid);
        process.act += 1;
        process.pc = Pc::Idle;
        (process.failed, process.fold, process.reading, process.seq, process.target) =
            (false, None, None, 0, 0);
        process.turn = Turn::Nothing;
    }

    fn begin_turn(&mut self, pid: Pid, turn: Turn) {
        let process = self.process(pid);
        (process.turn, process.pc) = (turn, Pc::Wait);
    }

    pub fn begin_publish(&mut self, pid: Pid) {
        self.begin_turn(pid, Turn::Publish);
    }

    /// `Journal::find`: without a lock.
    fn find_journal(&mut self, scene: &Scene, pid: Pid) {
        if self.process(pid).attached {
            return;
        }
        let known = Some(self.control.end).filter(|end| scene.class == Class::Memory && end.segment != 0);
        let floor = self.disk.watermark();
        let scan = match known {
            Some(end) => Scan::jump(&self.disk, end, Access::Write),
            None => Scan::begin(&self.disk, floor, Access::Write),
        };
        let process = self.process(pid);
        (process.attached, process.at, process.durable) = (true, scan.place(), scan.durable());
    }

    pub fn attach(&mut self, scene: &Scene, pid: Pid) {
        match self.pc(pid) {
            Pc::Attach => {
                let alone = scene.is(Wrong::WipeBeside)
                    || !self.processes.iter().any(|process| process.alive && process.attached);
                if alone {
                    self.alone = Some(pid);
                }
                self.go(pid, if alone { Pc::AttachMark } else { Pc::AttachShared });
            }
            Pc::AttachMark => {
                let doubt = self.control.ready && (self.control.poisoned || self.control.syncing);
                if doubt && !scene.is(Wrong::NoDoubt) {
                    let active = Scan::begin(&self.disk, self.disk.watermark(), Access::Read).segment();
                    self.leave_mark(active.unwrap_or(0));
                }
                self.go(pid, Pc::AttachWipe);
            }
            Pc::AttachWipe => {
                self.control = Control { ready: true, begun: true, ..Control::default() };
                (self.append_owner, self.alone) = (None, None);
                self.go(pid, Pc::AttachShared);
            }
            _ => {
                self.go(pid, Pc::Attach);
                if self.control.ready {
                    self.find_journal(scene, pid);
                    self.go(pid, Pc::Idle);
                }
            }
        }
    }

    /// Takes the append lock and finds the tail.
    pub fn enter(&mut self, scene: &Scene, pid: Pid) {
        if self.append_owner.is_some() {
            happened("the append lock is taken from a dead owner");
        }
        self.append_owner = Some(pid);
        let end = match scene.class {
            Class::File => self.catch_up(scene, pid, true),
            Class::Memory => self.find_tail(scene, pid),
        };
        match end {
            Err(Corrupt) => self.broken(Promise::Damage),
            Ok(Some(end)) => {
                self.process(pid).at = end;
                self.begin_cut(scene, pid);
            }
            Ok(None) if self.must_settle_cut(scene, pid) => self.go(pid, Pc::SettleCut),
            Ok(None) => self.tail_found(scene, pid),
        }
    }

    /// `Some`: the journal has to be cut there.
    fn find_tail(&mut self, scene: &Scene, pid: Pid) -> Result<Option<Place>, Corrupt> {
        let end = self.control.end;
        let doubt = self.control.begun && !scene.is(Wrong::NoRepair) || end.segment == 0;
        let linked = end.segment != 0 && self.disk.at(end.segment).is_linked();
        if doubt {
            self.process(pid).looked = false;
            if linked {
                self.process(pid).at = end;
            }
            return self.catch_up(scene, pid, linked);
        }
        if !linked {
            return Err(Corrupt);
        }
        self.process(pid).at = end;
        Ok(self.control.poisoned.then_some(end))
    }

    /// Reads on to the tail.
    fn catch_up(&mut self, scene: &Scene, pid: Pid, known: bool) -> Result<Option<Place>, Corrupt> {
        let from = self.process(pid).at;
        let watermark = self.disk.watermark();
        let begin = || Scan::begin(&self.disk, watermark, Access::Write);
        let mut scan = if from.segment == 0 { begin() } else { Scan::jump(&self.disk, from, Access::Write) };
        let (mut moved, mut anew) = (false, false);
        let mut looked = self.processes[usize::from(pid)].looked;
        let end = loop {
            match scan.step_to_end(&self.disk) {
                Step::Frame(_) | Step::End { .. } => {}
                Step::Moved if !moved => {
                    happened("a writer finds the journal elsewhere");
                    (moved, scan) = (true, begin());
                }
                Step::Moved => return Err(Corrupt),
                Step::Tail { blank: true } if looked || scan.place().next > watermark => {
                    looked = true;
                    if !self.is_in_doubt(scene, pid, scan.place()) {
                        break None;
                    }
                    // A number may be missing behind this segment: only a listing tells.
                    if anew || scene.is(Wrong::NextNumberOnly) {
                        break Some(scan.place());
                    }
                    (anew, scan) = (true, begin());
                }
                Step::Tail { .. } | Step::Broken if !anew => (anew, scan) = (true, begin()),
                Step::Tail { .. } | Step::Broken => {
                    let torn = scan.judge(&self.disk, watermark)?;
                    happened("a torn tail is found under the lock");
                    if scene.is(Wrong::BehindTornTail) {
                        scan.pass();
                        break None;
                    }
                    break Some(torn);
                }
            }
        };
        let at = scan.place();
        let process = self.process(pid);
        if process.at.segment != at.segment {
            process.untold = 0;
        }
        (process.at, process.looked) = (at, looked);
        process.durable = process.durable.max(scan.durable()).max(watermark.min(at.next - 1));
        let durable = process.durable;
        if !known && scene.class == Class::Memory {
            let unsynced = crate::scan::segments_from(&self.disk, at, durable + 1);
            self.control.durable = self.control.durable.max(durable);
            self.control.unsynced_from =
                self.control.unsynced_from.max(unsynced.first().copied().unwrap_or(0));
        }
        if known && scene.class == Class::Memory && at.next > self.control.end.next {
            happened("a frame of a dead writer is adopted");
        }
        Ok(end)
    }

    /// Whether the journal has to be cut at a place though it looks whole.
    fn is_in_doubt(&self, scene: &Scene, pid: Pid, place: Place) -> bool {
        let segment = self.disk.get(place.segment);
        let marked = segment.is_some_and(|segment| segment.poison.is_there());
        let link = segment.and_then(|segment| segment.link);
        let of_another_boot = link.is_some_and(|link| link.boot != self.boot);
        self.knows_of_failure(scene, pid) || marked || of_another_boot && !scene.is(Wrong::BootNotSeen)
    }

    /// Nothing is appended behind a cut before its link is durable. A tail that shared memory names is behind one that is.
    fn must_settle_cut(&self, scene: &Scene, pid: Pid) -> bool {
        let process = &self.processes[usize::from(pid)];
        let number = process.at.segment;
        let is_cut = |link: Link| link.previous != 0 && link.epoch == number;
        process.at.index == 0
            && (scene.class == Class::File || self.control.begun)
            && self.disk.get(number).and_then(|segment| segment.link).is_some_and(is_cut)
            && process.cut != number
            && !scene.is(Wrong::LinkOfDeadNotSynced)
    }

    pub fn settle_cut(&mut self, scene: &Scene, pid: Pid, fails: bool) {
        let number = self.process(pid).at.segment;
        self.disk.at_mut(number).sync(fails);
        if fails {
            self.mark_poisoned(scene, pid);
            self.fail_turn(pid);
        } else {
            self.process(pid).cut = number;
            self.tail_found(scene, pid);
        }
    }

    fn tail_found(&mut self, scene: &Scene, pid: Pid) {
        if scene.class == Class::Memory {
            (self.control.end, self.control.begun) = (self.process(pid).at, false);
        }
        self.in_turn(scene, pid);
    }

    /// What the turn is for, with the tail beyond doubt.
    fn in_turn(&mut self, scene: &Scene, pid: Pid) {
        let (at, turn) = (self.process(pid).at, self.process(pid).turn);
        let memory = scene.class == Class::Memory;
        match turn {
            Turn::Append if at.index >= scene.room => self.begin_rotation(scene, pid),
            Turn::Append => self.go(pid, if memory { Pc::FrameBegin } else { Pc::FrameWrite }),
            Turn::Nothing => self.go(pid, Pc::Leave),
            Turn::Seal if at.index > 0 => self.begin_rotation(scene, pid),
            Turn::Seal => {
                let through = at.next - 1;
                if let Some(fold) = &mut self.process(pid).fold {
                    fold.through = through;
                }
                self.go(pid, Pc::Leave);
            }
            Turn::Publish => {
                self.publish_snapshot(scene, pid);
                self.go(pid, Pc::Leave);
            }
        }
    }

    fn begin_rotation(&mut self, scene: &Scene, pid: Pid) {
        match self.take_spare(scene, pid) {
            None => self.leave_for_spare(scene, pid),
            Some(spare) => {
                self.process(pid).target = spare;
                let memory = scene.class == Class::Memory;
                self.go(pid, if memory { Pc::LinkBegin } else { Pc::LinkWrite });
            }
        }
    }

    /// Gives the lock back to have a spare made.
    pub fn leave_for_spare(&mut self, scene: &Scene, pid: Pid) {
        self.append_owner = None;
        let memory = scene.class == Class::Memory;
        self.go(pid, if memory { Pc::SpareLock } else { Pc::SpareList });
    }

    /// A turn that could not be done: it leaves, and its act ends.
    pub fn fail_turn(&mut self, pid: Pid) {
        self.process(pid).failed = true;
        self.go(pid, Pc::Leave);
    }

    pub fn write(&mut self, scene: &Scene, pid: Pid) {
        match self.pc(pid) {
            Pc::FrameBegin => {
                self.control.begun = true;
                self.go(pid, Pc::FrameWrite);
                if scene.is(Wrong::PublishFirst)
                    && let Some(Act::Append { count, .. }) = self.act(scene, pid)
                {
                    let at = self.process(pid).at;
                    let next = at.next + count;
                    self.control.end = Place { index: at.index + 1, next, ..at };
                    self.control.begun = false;
                }
            }
            Pc::FrameWrite | Pc::FrameHalf => self.write_frame(scene, pid),
            Pc::LinkBegin => {
                self.control.begun = true;
                self.go(pid, Pc::LinkWrite);
            }
            Pc::LinkWrite => {
                let (at, target) = (self.process(pid).at, self.process(pid).target);
                let epoch = self.disk.at(at.segment).link.map_or(0, |link| link.epoch);
                self.write_link(scene, pid, epoch, at, 0);
                self.process(pid).at = Place { segment: target, index: 0, next: at.next };
                self.process(pid).untold = 0;
                match scene.class {
                    Class::Memory => self.go(pid, Pc::LinkPublish),
                    Class::File => self.in_turn(scene, pid),
                }
            }
            _ => {
                (self.control.end, self.control.begun) = (self.process(pid).at, false);
                match self.pc(pid) {
                    Pc::LinkPublish => self.in_turn(scene, pid),
                    _ => self.go(pid, Pc::Leave),
                }
            }
        }
    }

    fn write_frame(&mut self, scene: &Scene, pid: Pid) {
        let Some(Act::Append { count, .. }) = self.act(scene, pid) else { return };
        let half = self.pc(pid) == Pc::FrameHalf;
        let in_two = scene.is(Wrong::BatchInTwo) && count == 2;
        let durable = self.durable(scene, pid);
        let process = self.process(pid);
        let at = process.at;
        let content = content(pid, process.act, count) | if half { SECOND } else { 0 };
        let count = if in_two { 1 } else { count };
        let frame = Frame { seq: at.next, count, content, durable, bytes: Bytes::Whole, kept: Kept::Cache };
        process.at = Place { index: at.index + 1, next: frame.next(), ..at };
        (process.seq, process.wrote) = (frame.next() - 1, frame.next() - 1);
        process.pc = match scene.class {
            _ if in_two && !half => Pc::FrameHalf,
            Class::Memory => Pc::FramePublish,
            Class::File => Pc::Leave,
        };
        self.put(at, frame);
    }

    fn put(&mut self, at: Place, frame: Frame) {
        let frames = &mut self.disk.at_mut(at.segment).frames;
        match frames.get_mut(usize::from(at.index)) {
            Some(there) => *there = frame,
            None => {
                // Space behind the tail that was left out is zeros.
                let hole = Frame { bytes: Bytes::Hole, kept: Kept::Medium, ..frame };
                frames.resize(at.index.into(), hole);
                frames.push(frame);
            }
        }
    }

    /// What stays of a frame whose writer dies in the middle.
    pub fn tear(&mut self, pid: Pid) {
        let torn = Frame { seq: 0, count: 0, content: 0, durable: 0, bytes: Bytes::Torn, kept: Kept::Cache };
        let at = self.process(pid).at;
        self.put(at, torn);
    }

    pub fn write_link(&mut self, scene: &Scene, pid: Pid, epoch: u8, from: Place, durable: u8) {
        let durable = self.durable(scene, pid).max(durable);
        let (boot, target) = (self.boot, self.process(pid).target);
        let link = Link {
            epoch,
            first: from.next,
            previous: from.segment,
            end: from.index,
            durable,
            boot,
            kept: Kept::Cache,
        };
        self.disk.at_mut(target).link = Some(link);
    }

    /// Gives the lock back, with the turn done.
    pub fn leave(&mut self, scene: &Scene, pid: Pid) {
        if self.append_owner == Some(pid) {
            self.append_owner = None;
        }
        let (turn, failed) = (self.process(pid).turn, self.process(pid).failed);
        match (turn, self.act(scene, pid)) {
            (Turn::Nothing, _) if failed => self.sync_failed(scene, pid),
            (Turn::Nothing, _) => self.go(pid, Pc::Durable),
            _ if failed => self.end_act(pid),
            (Turn::Append, Some(Act::Append { count, durable })) => {
                if durable && !scene.is(Wrong::AckBeforeSync) {
                    return self.go(pid, Pc::Durable);
                }
                self.acknowledge(pid, count, durable);
                self.end_act(pid);
            }
            (Turn::Seal, _) => {
                let through = self.process(pid).fold.as_ref().map_or(0, |fold| fold.through);
                self.process(pid).seq = through;
                self.go(pid, if scene.is(Wrong::FoldNotSynced) { Pc::CompactNames } else { Pc::Durable });
            }
            _ => self.go(pid, Pc::PublishSync),
        }
    }

    /// `Journal::take_spare`: the spare, if there is one to rely on.
    pub fn take_spare(&mut self, scene: &Scene, pid: Pid) -> Option<Number> {
        let (active, ours) = (self.process(pid).at.segment, self.process(pid).spare);
        let next = if scene.class == Class::Memory { self.control.spare } else { ours.0 };
        let there = self.disk.get(next).filter(|segment| segment.is_spare()).map(|segment| segment.file);
        let relied = match scene.class {
            Class::Memory => there.is_some(),
            Class::File => there == Some(ours.1),
        };
        if next <= active || !relied {
            self.forget_spare(scene, pid);
            return None;
        }
        self.process(pid).spare = (0, 0);
        Some(next)
    }

    pub fn forget_spare(&mut self, scene: &Scene, pid: Pid) {
        self.process(pid).spare = (0, 0);
        if scene.class == Class::Memory {
            self.control.spare = 0;
        }
    }
}
