//! Compaction, from the sealed journal on: steps 3 to 7 of `compact.rs` in the store.

use crate::coverage::happened;
use crate::disk::Snapshot;
use crate::promises::Promise;
use crate::scan::{Access, Scan, read_all};
use crate::world::{Folding, Pc, Pid, Scene, World};
use crate::wrong::Wrong;

impl World {
    pub fn compact(&mut self, scene: &Scene, pid: Pid, fails: bool) {
        let fold = self.process(pid).fold.clone().unwrap_or_default();
        match self.pc(pid) {
            Pc::CompactNames => {
                self.disk.sync_names();
                self.go(pid, Pc::Fold);
            }
            Pc::Fold => self.fold(scene, pid, fold),
            Pc::FoldSync if fails => self.end_act(pid),
            Pc::FoldSync => {
                self.process(pid).fold =
                    Some(Folding { made: Snapshot { synced: true, ..fold.made }, ..fold });
                self.go(pid, Pc::Previous);
            }
            Pc::Previous => {
                if fold.base > 0 {
                    self.disk.previous.now = self.disk.snapshot.now.clone();
                    return self.go(pid, Pc::PreviousSync);
                }
                self.after_previous(scene, pid);
            }
            Pc::PreviousSync => {
                self.disk.sync_names();
                self.after_previous(scene, pid);
            }
            Pc::PublishSync => {
                if !scene.is(Wrong::RetireUnsynced) {
                    self.disk.sync_names();
                }
                self.go(pid, Pc::Retire);
            }
            Pc::Retire => {
                let previous = match scene.wrong {
                    Some(Wrong::RetireEarly | Wrong::RetireUnsynced) => fold.through,
                    _ => self.disk.previous.now.seq,
                };
                let unneeded =
                    previous == 0 || self.disk.snapshot.now.seq == 0 && !scene.is(Wrong::RetireEarly);
                let needed = Scan::resolve(&self.disk, self.disk.listed(), previous, Access::Read);
                match needed.segment() {
                    Some(keep) if !unneeded => self.go(pid, Pc::RetireNext { keep }),
                    _ => self.retired(scene, pid),
                }
            }
            Pc::RetireNext { keep } => {
                match self.disk.listed().first().copied().filter(|number| *number < keep) {
                    Some(oldest) => {
                        happened("a segment is retired");
                        self.disk.at_mut(oldest).name.remove();
                    }
                    None => {
                        for number in 1..keep {
                            self.disk.at_mut(number).poison.remove();
                        }
                        self.go(pid, Pc::RetireSync);
                    }
                }
            }
            Pc::RetireSync => {
                self.disk.sync_names();
                self.retired(scene, pid);
            }
            _ => {}
        }
    }

    fn fold(&mut self, scene: &Scene, pid: Pid, fold: Folding) {
        let base = self.disk.snapshot.now.seq;
        if base == fold.through {
            return self.go(pid, Pc::Retire);
        }
        if base > fold.through && !scene.is(Wrong::NoGenerationCheck) {
            happened("a compactor finds a newer snapshot than it can make");
            return self.end_act(pid);
        }
        let mut contents = match read_all(&self.disk) {
            Ok(found) if found.contents.len() >= fold.through.into() => found.contents,
            _ => return self.broken(Promise::Damage),
        };
        contents.truncate(fold.through.into());
        let made = Snapshot { seq: fold.through, contents, synced: false };
        self.process(pid).fold = Some(Folding { base, made, ..fold });
        self.go(pid, if scene.is(Wrong::SnapshotNotSynced) { Pc::Previous } else { Pc::FoldSync });
    }

    fn after_previous(&mut self, scene: &Scene, pid: Pid) {
        match scene.is(Wrong::RetireEarly) {
            true => self.go(pid, Pc::Retire),
            false => self.begin_publish(pid),
        }
    }

    fn retired(&mut self, scene: &Scene, pid: Pid) {
        let through = self.process(pid).fold.as_ref().map_or(0, |fold| fold.through);
        match scene.is(Wrong::RetireEarly) && self.disk.snapshot.now.seq < through {
            true => self.begin_publish(pid),
            false => self.end_act(pid),
        }
    }

    /// Step 6, under the append lock.
    pub fn publish_snapshot(&mut self, scene: &Scene, pid: Pid) {
        let Some(fold) = self.process(pid).fold.clone() else { return };
        let now = self.disk.snapshot.now.seq;
        if now != fold.base && !scene.is(Wrong::NoGenerationCheck) {
            // Somebody compacts who does not respect compact.lock. Nothing is lost.
            happened("a compactor finds another snapshot than it began with");
            self.process(pid).failed = true;
            return;
        }
        if fold.made.seq < now {
            self.broken(Promise::Backward);
        }
        self.disk.snapshot.now = fold.made;
    }
}
