//! The model as a model checker wants it: what can happen next, and what comes of it.

use stateright::{Model, Property};

use crate::coverage::taken;
use crate::promises::Promise;
use crate::scan::segments_from;
use crate::world::{Act, Class, Pc, Pid, Scene, World};
use crate::wrong::Wrong;

/// Up to so many things in doubt a power cut leaves any subset of them; of more, all, none, all but one, or one.
const ANY_SUBSET: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Step(Pid, Pc),
    /// The step is a sync, and fails.
    Fails(Pid, Pc),
    Dies(Pid, Pc),
    /// It dies with the frame half written.
    DiesInWrite(Pid),
    /// A power cut; of the things in doubt those survive whose bit is set.
    PowerCut(u32),
}

impl Model for Scene {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.ledger.broken.is_some() {
            return;
        }
        for pid in 0..world.processes.len() as Pid {
            let process = &world.processes[usize::from(pid)];
            if !process.alive {
                continue;
            }
            if world.can_step(self, pid) {
                actions.push(Action::Step(pid, process.pc));
            }
            if world.failures > 0 && world.can_fail(self, pid) {
                actions.push(Action::Fails(pid, process.pc));
            }
            if world.deaths > 0 && (process.pc != Pc::Idle || process.attached) {
                actions.push(Action::Dies(pid, process.pc));
                if matches!(process.pc, Pc::FrameWrite | Pc::FrameHalf) {
                    actions.push(Action::DiesInWrite(pid));
                }
            }
        }
        if world.cuts > 0 {
            let doubtful = world.disk.doubtful();
            let all = (1u32 << doubtful) - 1;
            match doubtful {
                ..=ANY_SUBSET => actions.extend((0..=all).map(Action::PowerCut)),
                _ => {
                    actions.extend([0, all].map(Action::PowerCut));
                    let ones = (0..doubtful).map(|bit| 1 << bit);
                    actions.extend(ones.flat_map(|one| [one, all ^ one]).map(Action::PowerCut));
                }
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Step(pid, pc) => {
                taken(pc);
                world.step(self, pid, false);
            }
            Action::Fails(pid, _) => {
                world.failures -= 1;
                world.step(self, pid, true);
            }
            Action::Dies(pid, _) => {
                world.deaths -= 1;
                world.die(self, pid);
            }
            Action::DiesInWrite(pid) => {
                world.deaths -= 1;
                world.tear(pid);
                world.die(self, pid);
            }
            Action::PowerCut(mask) => {
                world.cuts -= 1;
                world.cut_power(last.disk.after_cut(mask));
            }
        }
        if world.disk != last.disk || world.ledger != last.ledger {
            world.hold(matches!(action, Action::PowerCut(_)));
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Scene>> {
        macro_rules! hold {
            ($($promise:ident),*) => {
                vec![$(Property::always(Promise::$promise.text(), |_, world: &World| {
                    world.ledger.broken != Some(Promise::$promise)
                })),*]
            };
        }
        let mut properties =
            hold![Acknowledged, Durable, Order, Names, Batches, Prefix, State, Covered, Backward, Damage];
        properties.push(Property::always(Promise::Progress.text(), |scene: &Scene, world: &World| {
            world.ledger.broken.is_some() || !world.is_stuck(scene)
        }));
        // That there is something to hold: somewhere each of the acts comes to its end, with all that may go wrong gone wrong.
        properties.push(Property::sometimes(ALL_DONE, |scene: &Scene, world: &World| {
            world.deaths + world.failures + world.cuts == 0
                && world.ledger.broken.is_none()
                && (0..world.processes.len() as Pid).all(|pid| {
                    let process = &world.processes[usize::from(pid)];
                    !process.alive || process.pc == Pc::Idle && world.act(scene, pid).is_none()
                })
        }));
        if self.scripts.iter().flatten().any(|act| *act == Act::Compact) {
            properties.push(Property::sometimes(COMPACTED, |_, world: &World| {
                world.disk.previous.settled.seq > 0 || world.disk.snapshot.settled.seq > 1
            }));
        }
        properties
    }
}

pub const ALL_DONE: &str = "all that may go wrong has, and who lives has come to an end";
pub const COMPACTED: &str = "a compaction comes to its end";

impl World {
    fn can_step(&self, scene: &Scene, pid: Pid) -> bool {
        let process = &self.processes[usize::from(pid)];
        match process.pc {
            Pc::Idle => self.act(scene, pid).is_some(),
            Pc::Attach | Pc::AttachShared => self.can_take(self.alone),
            Pc::Wait => self.can_take(self.append_owner) || scene.is(Wrong::TakeFromLiving),
            Pc::SpareLock => self.can_take(self.control.ready_owner),
            Pc::SpareName(_) => scene.class == Class::Memory || self.can_take(self.append_owner),
            Pc::CutSyncLock => self.can_take(self.control.sync_owner),
            Pc::Durable => self.can_go_on_durable(scene, pid),
            Pc::ReadHeld => self.can_take(self.compact_owner),
            _ => true,
        }
    }

    /// Whether the step is a sync that takes something to the medium.
    fn can_fail(&self, scene: &Scene, pid: Pid) -> bool {
        let process = &self.processes[usize::from(pid)];
        let is_dirty = |number| self.disk.get(number).is_some_and(|segment| segment.is_dirty());
        match process.pc {
            Pc::SettleCut => is_dirty(process.at.segment),
            Pc::CutKeep => {
                let from = self.durable(scene, pid) + 1;
                segments_from(&self.disk, process.at, from).into_iter().any(is_dirty)
            }
            Pc::CutCarrySync(_) | Pc::CutLinkSync => is_dirty(process.target),
            Pc::LeadSync { number, .. } => is_dirty(number),
            // The sync, its error and the mark are one step: between them nobody could know (a documented limit).
            Pc::SyncAlone { number, .. } => is_dirty(number) && self.can_take(self.append_owner),
            Pc::FoldSync => true,
            _ => false,
        }
    }

    /// Somebody has something to do, and nobody can.
    fn is_stuck(&self, scene: &Scene) -> bool {
        let pids = || (0..self.processes.len() as Pid).filter(|pid| self.processes[usize::from(*pid)].alive);
        let waits = |pid| self.pc(pid) != Pc::Idle || self.act(scene, pid).is_some();
        pids().any(waits) && !pids().any(|pid| self.can_step(scene, pid))
    }

    fn step(&mut self, scene: &Scene, pid: Pid, fails: bool) {
        match self.pc(pid) {
            Pc::Idle => self.begin_act(scene, pid),
            Pc::Attach | Pc::AttachMark | Pc::AttachWipe | Pc::AttachShared => self.attach(scene, pid),
            Pc::Wait => self.enter(scene, pid),
            Pc::SettleCut => self.settle_cut(scene, pid, fails),
            Pc::FrameBegin | Pc::FrameWrite | Pc::FrameHalf | Pc::FramePublish => self.write(scene, pid),
            Pc::LinkBegin | Pc::LinkWrite | Pc::LinkPublish => self.write(scene, pid),
            Pc::Leave => self.leave(scene, pid),
            Pc::SpareLock | Pc::SpareList | Pc::SpareName(_) | Pc::SpareSync(_) => {
                self.make_spare(scene, pid)
            }
            Pc::CutSyncLock | Pc::CutBegin | Pc::CutInto | Pc::CutKeep | Pc::CutCarrySync(_) => {
                self.cut(scene, pid, fails)
            }
            Pc::CutLink(_) | Pc::CutLinkSync | Pc::CutKnown | Pc::CutPublish | Pc::CutEnd => {
                self.cut(scene, pid, fails)
            }
            Pc::Durable | Pc::LeadBegin | Pc::LeadSync { .. } | Pc::LeadKnown(_) => {
                self.sync(scene, pid, fails)
            }
            Pc::LeadPoison { .. } | Pc::LeadMark { .. } | Pc::LeadEnd { .. } => self.sync(scene, pid, fails),
            Pc::SyncAlone { .. } | Pc::SyncKnown { .. } | Pc::Mark => self.sync(scene, pid, fails),
            Pc::CompactNames | Pc::Fold | Pc::FoldSync | Pc::Previous | Pc::PreviousSync => {
                self.compact(scene, pid, fails)
            }
            Pc::PublishSync | Pc::Retire | Pc::RetireNext { .. } | Pc::RetireSync => {
                self.compact(scene, pid, fails)
            }
            Pc::ReadSnapshot | Pc::ReadList | Pc::ReadWalk | Pc::ReadHeld => self.read(scene, pid),
            Pc::ReadFrames | Pc::ReadName { .. } => self.read(scene, pid),
        }
    }
}
