//! Who does what, and what goes wrong: what is looked at by each run.

use crate::world::{Act, Class, Scene};
use crate::wrong::Wrong;

const WRITTEN: Act = Act::Append { count: 1, durable: false };
const DURABLE: Act = Act::Append { count: 1, durable: true };
const BATCH: Act = Act::Append { count: 2, durable: false };
const DURABLE_BATCH: Act = Act::Append { count: 2, durable: true };
use Act::{Compact, Detach, Read};

fn scene(name: &'static str, class: Class, scripts: &[&[Act]]) -> Scene {
    Scene {
        name,
        class,
        scripts: scripts.iter().map(|script| script.to_vec()).collect(),
        room: 2,
        deaths: 0,
        failures: 0,
        cuts: 0,
        two_compact_locks: false,
        wrong: None,
    }
}

impl Scene {
    fn deaths(self, deaths: u8) -> Scene {
        Scene { deaths, ..self }
    }

    fn failures(self, failures: u8) -> Scene {
        Scene { failures, ..self }
    }

    fn cuts(self, cuts: u8) -> Scene {
        Scene { cuts, ..self }
    }

    fn room(self, room: u8) -> Scene {
        Scene { room, ..self }
    }
}

/// Gone through to the end, in less than a minute together.
pub fn short() -> Vec<Scene> {
    [Class::Memory, Class::File].into_iter().flat_map(short_of).collect()
}

fn short_of(class: Class) -> Vec<Scene> {
    vec![
        scene("appends", class, &[&[WRITTEN, BATCH], &[BATCH, WRITTEN]]).deaths(2),
        scene("durable appends", class, &[&[DURABLE, DURABLE_BATCH], &[DURABLE]]).deaths(1).failures(1),
        scene("failed syncs", class, &[&[WRITTEN, DURABLE], &[DURABLE]]).failures(2).room(1),
        scene("power cuts", class, &[&[DURABLE], &[BATCH, DURABLE]]).cuts(2),
        scene("a failed sync and a power cut", class, &[&[DURABLE, BATCH], &[DURABLE]]).failures(1).cuts(1),
        scene("attach and detach", class, &[&[WRITTEN, Detach, WRITTEN], &[DURABLE, Detach]]).deaths(1),
        scene("compactions", class, &[&[WRITTEN, BATCH], &[Compact, Compact], &[Compact]]).deaths(1),
        scene("a compaction and a power cut", class, &[&[BATCH, DURABLE], &[Compact, Compact]]).cuts(1),
        scene("a reader", class, &[&[WRITTEN, BATCH], &[Compact, Compact], &[Read]]),
        scene("an attached reader", class, &[&[WRITTEN, BATCH], &[WRITTEN, Read]]).deaths(1),
        Scene {
            two_compact_locks: true,
            ..scene("no compact.lock", class, &[&[WRITTEN, WRITTEN], &[Compact], &[Compact]])
        },
    ]
}

/// Goes on for minutes.
pub fn long() -> Vec<Scene> {
    [Class::Memory, Class::File].into_iter().flat_map(long_of).collect()
}

fn long_of(class: Class) -> Vec<Scene> {
    vec![
        scene("failed syncs", class, &[&[DURABLE, WRITTEN, DURABLE], &[DURABLE, DURABLE]]).failures(2),
        scene("failed syncs, short segments", class, &[&[DURABLE, WRITTEN], &[DURABLE, DURABLE]])
            .failures(2)
            .room(1),
        scene("all at once", class, &[&[DURABLE, WRITTEN], &[DURABLE]]).deaths(1).failures(1).cuts(1),
        scene("three who sync", class, &[&[WRITTEN, DURABLE], &[DURABLE], &[DURABLE]])
            .failures(1)
            .cuts(1)
            .room(1),
        scene("power cuts", class, &[&[DURABLE, WRITTEN], &[WRITTEN, BATCH]]).cuts(2).room(1),
        scene("compactions and deaths", class, &[&[WRITTEN, DURABLE_BATCH], &[Compact], &[Compact]])
            .deaths(2)
            .cuts(1),
        scene("compaction and a failed sync", class, &[&[WRITTEN, DURABLE], &[Compact]])
            .failures(1)
            .cuts(1)
            .room(1),
        scene("a reader", class, &[&[WRITTEN, DURABLE_BATCH], &[Compact, Compact], &[Read]]).deaths(1),
        scene("a reader and a failed sync", class, &[&[DURABLE, BATCH], &[DURABLE], &[Read]]).failures(1),
    ]
}

/// A scene in which something done wrong should be noticed.
pub fn of(wrong: Wrong) -> Scene {
    use Class::{File, Memory};
    let two = scene("", Memory, &[&[WRITTEN, WRITTEN], &[WRITTEN]]);
    let durable = scene("", Memory, &[&[DURABLE, DURABLE], &[DURABLE]]);
    let folds = scene("", Memory, &[&[WRITTEN, WRITTEN], &[Compact, Compact]]).room(1);
    let reads = scene("", Memory, &[&[WRITTEN, WRITTEN], &[Compact, Compact], &[Read]]).room(1);
    let scene = match wrong {
        Wrong::NoRepair | Wrong::PublishFirst | Wrong::BehindTornTail => two.deaths(1),
        Wrong::TakeFromLiving | Wrong::WipeBeside => two,
        Wrong::AckBeforeSync | Wrong::EndReadLate => durable.cuts(1),
        Wrong::SyncRetried | Wrong::CarriedNotSynced => durable.failures(1).cuts(1),
        Wrong::ResultMissing | Wrong::NoDoubt => durable.deaths(1).failures(1).cuts(1),
        Wrong::LateMark => Scene { class: File, ..durable }.failures(1).cuts(1),
        Wrong::CutLinkNotSynced => durable.failures(1).cuts(1),
        Wrong::LinkOfDeadNotSynced => Scene { class: File, ..durable }.deaths(2).cuts(2),
        Wrong::EpochNotRaised | Wrong::BootNotSeen => two.cuts(1),
        Wrong::EpochByOne => durable.failures(1).cuts(2),
        Wrong::BatchInTwo => scene("", Memory, &[&[BATCH], &[WRITTEN]]).deaths(1),
        Wrong::SpareNotSynced => scene("", Memory, &[&[DURABLE, DURABLE]]).room(1).cuts(1),
        Wrong::FoldNotSynced | Wrong::SnapshotNotSynced => folds.cuts(1),
        Wrong::RetireEarly => folds.deaths(1),
        Wrong::RetireUnsynced => folds.cuts(1),
        Wrong::NoGenerationCheck => {
            let scripts: &[&[Act]] = &[&[WRITTEN, WRITTEN], &[Compact], &[Compact]];
            Scene { two_compact_locks: true, ..scene("", Memory, scripts) }
        }
        Wrong::NoRestart => reads,
        Wrong::NextNumberOnly => scene("", File, &[&[DURABLE, WRITTEN], &[DURABLE, WRITTEN]]).failures(2),
        Wrong::GapNotMarked => {
            scene("", File, &[&[DURABLE, WRITTEN, WRITTEN], &[DURABLE, WRITTEN]]).failures(2)
        }
        Wrong::MarkSoughtHere => {
            scene("", File, &[&[WRITTEN, DURABLE], &[DURABLE], &[DURABLE]]).failures(1).cuts(1).room(1)
        }
    };
    Scene { name: "", wrong: Some(wrong), ..scene }
}
