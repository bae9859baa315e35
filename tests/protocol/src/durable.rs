//! Making durable: one sync for all who wait in the class `memory`, each process for itself in the class `file`. See
//! `durable.rs` in the store.

use crate::coverage::happened;
use crate::disk::Number;
use crate::scan::{Access, Scan, segments_from};
use crate::world::{Act, Class, Pc, Pid, Scene, Turn, World};
use crate::wrong::Wrong;

impl World {
    /// Whether one who waits for its record can do anything: it is durable, or has to be carried, or nobody syncs.
    pub fn can_go_on_durable(&self, scene: &Scene, pid: Pid) -> bool {
        let done = self.durable(scene, pid) >= self.processes[usize::from(pid)].seq;
        done || scene.class == Class::File || self.control.poisoned || self.can_take(self.control.sync_owner)
    }

    pub fn sync(&mut self, scene: &Scene, pid: Pid, fails: bool) {
        match self.pc(pid) {
            Pc::Durable if self.durable(scene, pid) >= self.process(pid).seq => self.is_durable(scene, pid),
            Pc::Durable if scene.class == Class::File => {
                let written = self.process(pid).at.next - 1;
                self.sync_alone_from(scene, pid, 0, written);
            }
            Pc::Durable if self.control.poisoned => {
                self.process(pid).turn = Turn::Nothing;
                self.go(pid, Pc::Wait);
            }
            Pc::Durable => {
                if self.control.sync_owner.is_some() {
                    happened("the sync lock is taken from a dead leader");
                }
                self.control.sync_owner = Some(pid);
                self.go(pid, Pc::LeadBegin);
            }
            Pc::LeadBegin => {
                let missing = std::mem::replace(&mut self.control.syncing, true);
                let missing = missing && !scene.is(Wrong::ResultMissing);
                if missing {
                    happened("the result of a sync is missing, to the next leader");
                }
                let to = self.control.end;
                self.go(
                    pid,
                    match (missing, self.control.poisoned) {
                        (true, _) => Pc::LeadPoison { told: false },
                        (false, true) => Pc::LeadEnd { told: false },
                        (false, false) => Pc::LeadSync { number: self.control.unsynced_from.max(1), to },
                    },
                );
            }
            Pc::LeadSync { number, to } => {
                if self.disk.link(number).is_some() {
                    self.disk.at_mut(number).sync(fails);
                }
                self.go(
                    pid,
                    match fails {
                        // Tried again.
                        true if scene.is(Wrong::SyncRetried) => Pc::LeadEnd { told: false },
                        true => Pc::LeadPoison { told: true },
                        false if number < to.segment => Pc::LeadSync { number: number + 1, to },
                        false => Pc::LeadKnown(to),
                    },
                );
            }
            Pc::LeadKnown(to) => {
                let to = if scene.is(Wrong::EndReadLate) { self.control.end } else { to };
                self.control.unsynced_from = self.control.unsynced_from.max(to.segment);
                self.control.durable = self.control.durable.max(to.next.saturating_sub(1));
                self.go(pid, Pc::LeadEnd { told: false });
            }
            Pc::LeadPoison { told } => {
                self.control.poisoned = true;
                self.go(pid, Pc::LeadMark { told });
            }
            Pc::LeadMark { told } => {
                self.leave_mark(self.control.end.segment);
                self.go(pid, Pc::LeadEnd { told });
            }
            Pc::LeadEnd { told } => {
                self.end_sync();
                self.go(pid, Pc::Durable);
                if told {
                    self.sync_failed(scene, pid);
                }
            }
            Pc::SyncAlone { number, written } => self.sync_alone(scene, pid, number, written, fails),
            Pc::SyncKnown { .. } if self.was_told_to_others(scene, pid) => {
                happened("a failed sync of another is known by its mark");
                self.sync_failed(scene, pid);
            }
            Pc::SyncKnown { written } => {
                let process = self.process(pid);
                process.durable = process.durable.max(written);
                self.is_durable(scene, pid);
            }
            Pc::Mark => self.mark_here_and_there(scene, pid),
            _ => {}
        }
    }

    /// Whether there is the mark of a failure that a sync of ours was not told of.
    fn was_told_to_others(&self, scene: &Scene, pid: Pid) -> bool {
        let place = self.processes[usize::from(pid)].at;
        let from = match scene.is(Wrong::MarkSoughtHere) {
            true => place.segment,
            false => segments_from(&self.disk, place, self.durable(scene, pid) + 1)[0],
        };
        let to = if scene.is(Wrong::MarkSoughtHere) { from } else { self.disk.segments.len() as Number };
        self.knows_of_failure(scene, pid) || (from..=to).any(|number| self.disk.at(number).poison.is_there())
    }

    /// The class `file`: the next segment behind a number that has to be synced.
    fn sync_alone_from(&mut self, scene: &Scene, pid: Pid, behind: Number, written: u8) {
        let place = self.process(pid).at;
        let unsynced = segments_from(&self.disk, place, self.durable(scene, pid) + 1);
        self.go(
            pid,
            match unsynced.into_iter().find(|number| *number > behind) {
                Some(number) => Pc::SyncAlone { number, written },
                None => Pc::SyncKnown { written },
            },
        );
    }

    fn sync_alone(&mut self, scene: &Scene, pid: Pid, number: Number, written: u8, fails: bool) {
        let told = self.process(pid).untold == number;
        if self.disk.is_there(number) {
            self.disk.at_mut(number).sync(fails);
        }
        if !fails && !told {
            return self.sync_alone_from(scene, pid, number, written);
        }
        if told {
            happened("a failed sync of another is told to a descriptor that was open");
        }
        self.process(pid).untold = 0;
        if fails {
            // Descriptors that were open before are told as well, each once.
            for other in
                self.processes.iter_mut().filter(|other| other.attached && other.at.segment == number)
            {
                other.untold = number;
            }
            self.process(pid).untold = 0;
        }
        match scene.wrong {
            Some(Wrong::SyncRetried) => self.go(pid, Pc::Durable),
            Some(Wrong::LateMark) => self.go(pid, Pc::Mark),
            _ => self.mark_here_and_there(scene, pid),
        }
    }

    /// Where this process believes the tail to be, and where it is.
    fn mark_here_and_there(&mut self, scene: &Scene, pid: Pid) {
        self.mark_poisoned(scene, pid);
        let from = self.process(pid).at;
        let mut scan = Scan::jump(&self.disk, from, Access::Write);
        scan.run(&self.disk);
        let process = self.process(pid);
        if process.at.segment != scan.place().segment {
            process.untold = 0;
        }
        process.at = scan.place();
        self.mark_poisoned(scene, pid);
        self.sync_failed(scene, pid);
    }

    /// Written, and not known to be durable: it is there as long as the system runs.
    pub fn sync_failed(&mut self, scene: &Scene, pid: Pid) {
        match self.act(scene, pid) {
            Some(Act::Append { count, .. }) => self.acknowledge(pid, count, false),
            Some(Act::Detach) => return self.let_go(pid),
            _ => {}
        }
        self.end_act(pid);
    }

    fn is_durable(&mut self, scene: &Scene, pid: Pid) {
        match self.act(scene, pid) {
            Some(Act::Append { count, .. }) => {
                self.acknowledge(pid, count, true);
                self.end_act(pid);
            }
            Some(Act::Compact) => self.go(pid, Pc::CompactNames),
            _ => self.let_go(pid),
        }
    }

    fn let_go(&mut self, pid: Pid) {
        self.end_act(pid);
        self.process(pid).forget();
    }
}
