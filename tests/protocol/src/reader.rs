//! A reader that holds no lock: snapshot, list of names, links, frames, the last name. See `view.rs` and `cursor.rs` in the
//! store.

use crate::coverage::happened;
use crate::promises::{Promise, acknowledged};
use crate::scan::{Access, Scan, Step};
use crate::world::{Class, Pc, Pid, Reading, Scene, World};
use crate::wrong::Wrong;

/// How often a reader begins anew before it holds the compactor off. In the store it is 3.
const RESTARTS: u8 = 1;

impl World {
    pub fn read(&mut self, scene: &Scene, pid: Pid) {
        if self.pc(pid) == Pc::ReadSnapshot {
            return self.read_snapshot(pid);
        }
        let Some(mut reading) = self.process(pid).reading.take() else { return };
        let next = match self.pc(pid) {
            Pc::ReadList => {
                reading.listed = self.disk.listed();
                Some(Pc::ReadWalk)
            }
            Pc::ReadWalk => {
                self.walk(&mut reading);
                Some(Pc::ReadFrames)
            }
            Pc::ReadHeld => {
                reading.listed = self.disk.listed();
                self.walk(&mut reading);
                Some(Pc::ReadFrames)
            }
            Pc::ReadFrames => self.read_frames(scene, pid, &mut reading),
            Pc::ReadName { blank } => self.read_name(scene, blank, &mut reading),
            _ => None,
        };
        match next {
            Some(pc) => {
                self.process(pid).reading = Some(reading);
                self.go(pid, pc);
            }
            None => {
                if self.ledger.broken.is_none() {
                    self.hold_view(&reading.contents, reading.must_have);
                }
                self.end_act(pid);
            }
        }
    }

    fn read_snapshot(&mut self, pid: Pid) {
        let base = if self.disk.snapshot.now.seq > 0 { &self.disk.snapshot } else { &self.disk.previous };
        let (base, contents) = (base.now.seq, base.now.contents.clone());
        // Who has been overtaken has begun before.
        let earlier = self.process(pid).reading.take().map(|earlier| earlier.must_have);
        let must_have = earlier.unwrap_or_else(|| acknowledged(&self.ledger));
        let listed = Vec::new();
        let reading = Reading { must_have, base, contents, listed, scan: None, restarts: 0, next: base + 1 };
        self.process(pid).reading = Some(reading);
        self.go(pid, Pc::ReadList);
    }

    /// Finds the journal among the names that were listed, and goes to where the reader was.
    fn walk(&self, reading: &mut Reading) {
        let listed = std::mem::take(&mut reading.listed);
        let mut scan = Scan::resolve(&self.disk, listed, reading.next - 1, Access::Read);
        while scan.place().next < reading.next && matches!(scan.step_to_end(&self.disk), Step::Frame(_)) {}
        reading.scan = Some(scan);
    }

    /// The frames of one segment, or the way to the next. `None`: the reader is done.
    fn read_frames(&mut self, scene: &Scene, pid: Pid, reading: &mut Reading) -> Option<Pc> {
        let mut scan = reading.scan.take()?;
        let before = scan.segment();
        let known = self.process(pid).attached && scene.class == Class::Memory;
        loop {
            if known && self.control.end.segment != 0 && scan.place() == self.control.end {
                return None;
            }
            match scan.step(&self.disk) {
                Step::Frame(frame) => {
                    reading.restarts = 0;
                    let new = (frame.seq..).zip(frame.contents());
                    let seen = reading.contents.len();
                    reading
                        .contents
                        .extend(new.filter(|(seq, _)| usize::from(*seq) > seen).map(|(_, content)| content));
                    reading.next = reading.next.max(frame.next());
                }
                Step::End { blank } => {
                    reading.scan = Some(scan);
                    return Some(Pc::ReadName { blank });
                }
                Step::Moved => return self.moved(scene, reading),
                Step::Tail { .. } | Step::Broken => return self.in_doubt(scene, reading, &scan),
            }
            if scan.segment() != before {
                reading.scan = Some(scan);
                return Some(Pc::ReadFrames);
            }
        }
    }

    fn read_name(&mut self, scene: &Scene, blank: bool, reading: &mut Reading) -> Option<Pc> {
        let scan = reading.scan.take()?;
        if scan.tail(&self.disk, blank) == Step::Moved {
            return self.moved(scene, reading);
        }
        let place = scan.place();
        let rest_is_blank = self.disk.at(place.segment).frames.len() <= usize::from(place.index);
        if blank && place.next > reading.base && rest_is_blank {
            return None;
        }
        self.in_doubt(scene, reading, &scan)
    }

    fn moved(&mut self, scene: &Scene, reading: &mut Reading) -> Option<Pc> {
        if reading.restarts > RESTARTS {
            self.broken(Promise::Damage);
            return None;
        }
        self.begin_anew(scene, reading)
    }

    /// What looks wrong may only have changed meanwhile: it is looked at again before it is believed.
    fn in_doubt(&mut self, scene: &Scene, reading: &mut Reading, scan: &Scan) -> Option<Pc> {
        if reading.restarts > 0 {
            if scan.judge(&self.disk, reading.base).is_ok() {
                return None;
            }
            if reading.restarts > RESTARTS {
                if scan.missing() && self.disk.watermark() >= scan.place().next {
                    // Folded away: the next snapshot has it.
                    happened("a reader is told that records are folded away");
                    reading.scan = None;
                    return Some(Pc::ReadSnapshot);
                }
                self.broken(Promise::Damage);
                return None;
            }
        }
        self.begin_anew(scene, reading)
    }

    fn begin_anew(&mut self, scene: &Scene, reading: &mut Reading) -> Option<Pc> {
        if scene.is(Wrong::NoRestart) {
            return None;
        }
        happened("a reader begins anew");
        reading.restarts += 1;
        Some(if reading.restarts > RESTARTS { Pc::ReadHeld } else { Pc::ReadList })
    }
}
