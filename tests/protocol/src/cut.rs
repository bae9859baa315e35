//! Spares, and cuts into them: see `ready.rs` and `cut.rs` in the store.

use crate::coverage::happened;
use crate::disk::{Frame, Kept, Number};
use crate::promises::Promise;
use crate::scan::{Access, Place, Scan, Step, segments_from};
use crate::world::{Class, Pc, Pid, Scene, World};
use crate::wrong::Wrong;

impl World {
    pub fn make_spare(&mut self, scene: &Scene, pid: Pid) {
        let known = self.process(pid).at.segment;
        match self.pc(pid) {
            Pc::SpareLock => {
                if self.control.ready_owner.is_some() {
                    happened("the lock of who makes spares is taken from a dead owner");
                }
                self.control.ready_owner = Some(pid);
                if self.control.spare > self.control.end.segment {
                    self.spare_is_there(pid);
                } else {
                    self.go(pid, Pc::SpareList);
                }
            }
            Pc::SpareList => {
                let highest = self.disk.listed().last().copied().unwrap_or(0);
                let left = self.disk.get(highest).filter(|segment| segment.is_spare());
                // One that frames were carried into stays as it is: its number may have been an epoch.
                let blank = left.is_some_and(|spare| spare.frames.is_empty());
                self.go(pid, if blank { Pc::SpareSync(highest) } else { Pc::SpareName(highest + 1) });
            }
            Pc::SpareName(number) => {
                let free = !self.disk.is_there(number) && (known == 0 || self.disk.is_there(known));
                if free {
                    self.disk.name_new(number);
                    self.go(pid, Pc::SpareSync(number));
                } else {
                    self.spare_is_there(pid);
                }
            }
            Pc::SpareSync(number) => {
                if !scene.is(Wrong::SpareNotSynced) {
                    if self.disk.is_there(number) {
                        self.disk.at_mut(number).sync(false);
                    }
                    self.disk.sync_names();
                }
                let file = self.disk.at(number).file;
                self.process(pid).spare = (number, file);
                if scene.class == Class::Memory {
                    self.control.spare = number;
                }
                self.spare_is_there(pid);
            }
            _ => {}
        }
    }

    fn spare_is_there(&mut self, pid: Pid) {
        if self.control.ready_owner == Some(pid) {
            self.control.ready_owner = None;
        }
        self.go(pid, Pc::Wait);
    }

    /// The end of the journal is in doubt at the place where the process is.
    pub fn begin_cut(&mut self, scene: &Scene, pid: Pid) {
        match self.take_spare(scene, pid) {
            None => self.leave_for_spare(scene, pid),
            Some(spare) => {
                self.process(pid).target = spare;
                let memory = scene.class == Class::Memory;
                self.go(pid, if memory { Pc::CutSyncLock } else { Pc::CutInto });
            }
        }
    }

    pub fn cut(&mut self, scene: &Scene, pid: Pid, fails: bool) {
        let (end, target) = (self.process(pid).at, self.process(pid).target);
        let memory = scene.class == Class::Memory;
        match self.pc(pid) {
            Pc::CutSyncLock => {
                if self.control.sync_owner.is_some() {
                    happened("the sync lock is taken from a dead owner, to cut");
                }
                self.control.sync_owner = Some(pid);
                let anew = Scan::begin(&self.disk, self.disk.watermark(), Access::Write).place();
                if anew != end {
                    self.broken(Promise::Damage);
                }
                self.go(pid, Pc::CutBegin);
            }
            Pc::CutBegin => {
                let missing = std::mem::replace(&mut self.control.syncing, true);
                if missing && !scene.is(Wrong::ResultMissing) {
                    happened("the result of a sync is missing, to one who cuts");
                    self.mark_poisoned(scene, pid);
                }
                self.control.begun = true;
                self.go(pid, Pc::CutInto);
            }
            Pc::CutInto if self.is_poisoned(scene, pid) => self.carry(scene, pid, end, target),
            Pc::CutInto => self.go(pid, Pc::CutKeep),
            Pc::CutKeep => {
                let unsynced = segments_from(&self.disk, end, self.durable(scene, pid) + 1);
                let dirty = unsynced.into_iter().find(|number| self.disk.at(*number).is_dirty());
                match dirty {
                    Some(number) => self.disk.at_mut(number).sync(fails),
                    None => self.go(pid, Pc::CutLink(end)),
                }
                if fails {
                    self.mark_poisoned(scene, pid);
                    self.fail_cut(scene, pid);
                }
            }
            Pc::CutCarrySync(from) => {
                self.disk.at_mut(target).sync(fails);
                self.go(pid, Pc::CutLink(from));
                if fails {
                    if !scene.is(Wrong::GapNotMarked) {
                        self.mark_poisoned(scene, pid);
                    }
                    self.forget_spare(scene, pid);
                    self.disk.at_mut(target).name.remove();
                    self.fail_cut(scene, pid);
                }
            }
            Pc::CutLink(from) => {
                let scan = Scan::begin(&self.disk, self.disk.watermark(), Access::Write);
                let before = self.disk.at(end.segment).link.map_or(0, |link| link.epoch);
                let epoch = match scene.wrong {
                    Some(Wrong::EpochNotRaised) => before,
                    Some(Wrong::EpochByOne) => before + 1,
                    _ => target.max(scan.epoch(&self.disk).max(before) + 1),
                };
                let durable = if from == end { end.next - 1 } else { 0 };
                self.write_link(scene, pid, epoch, from, durable);
                let synced = !scene.is(Wrong::CutLinkNotSynced);
                self.go(pid, if synced { Pc::CutLinkSync } else { Pc::CutKnown });
            }
            Pc::CutLinkSync => {
                self.disk.at_mut(target).sync(fails);
                self.go(pid, Pc::CutKnown);
                if fails {
                    self.process(pid).sync_failed = true;
                    self.control.poisoned |= memory;
                    self.disk.at_mut(target).poison.make();
                    self.fail_cut(scene, pid);
                }
            }
            Pc::CutKnown => {
                let at = Scan::begin(&self.disk, self.disk.watermark(), Access::Write).place();
                let process = self.process(pid);
                (process.cut, process.sync_failed, process.at, process.untold) = (target, false, at, 0);
                process.durable = process.durable.max(end.next - 1);
                if memory {
                    self.control.durable = self.control.durable.max(end.next - 1);
                    self.control.unsynced_from = self.control.unsynced_from.max(target);
                    self.control.poisoned = false;
                    self.go(pid, Pc::CutPublish);
                } else {
                    self.append_owner = None;
                    self.go(pid, Pc::Wait);
                }
            }
            Pc::CutPublish => {
                (self.control.end, self.control.begun) = (end, false);
                self.go(pid, Pc::CutEnd);
            }
            Pc::CutEnd => {
                self.end_sync();
                if self.process(pid).failed {
                    self.go(pid, Pc::Leave);
                } else {
                    self.append_owner = None;
                    self.go(pid, Pc::Wait);
                }
            }
            _ => {}
        }
    }

    pub fn end_sync(&mut self) {
        (self.control.syncing, self.control.sync_owner) = (false, None);
    }

    fn fail_cut(&mut self, scene: &Scene, pid: Pid) {
        self.process(pid).failed = true;
        self.go(pid, if scene.class == Class::Memory { Pc::CutEnd } else { Pc::Leave });
    }

    /// Copies what is not known durable into the spare.
    fn carry(&mut self, scene: &Scene, pid: Pid, end: Place, target: Number) {
        let durable = self.durable(scene, pid);
        let mut old = Scan::resolve(&self.disk, self.disk.listed(), durable, Access::Write);
        while old.place().next <= durable && matches!(old.step_to_end(&self.disk), Step::Frame(_)) {}
        let from = self.behind_what_is_durable(old.place());
        self.forget_spare(scene, pid);
        let mut carried: Vec<Frame> = Vec::new();
        while old.place().next < end.next {
            match old.step_to_end(&self.disk) {
                Step::Frame(frame) => carried.push(Frame { kept: Kept::Cache, ..frame }),
                _ => return self.broken(Promise::Damage),
            }
        }
        if !carried.is_empty() {
            happened("records are carried into another segment");
        }
        self.disk.at_mut(target).frames = carried;
        let synced = !scene.is(Wrong::CarriedNotSynced);
        self.go(pid, if synced { Pc::CutCarrySync(from) } else { Pc::CutLink(from) });
    }

    /// No link leads through a segment in which no record is durable: it may lose its own.
    fn behind_what_is_durable(&self, mut place: Place) -> Place {
        while let Some(link) = self.disk.get(place.segment).and_then(|segment| segment.link)
            && link.previous != 0
            && place.index == 0
        {
            place = Place { segment: link.previous, index: link.end, next: place.next };
        }
        place
    }
}
