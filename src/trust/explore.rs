//! Every state that a crash may leave of what was recorded, made in a fresh directory and gone on with.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::disk::{Disk, Element, Image};
use super::ledger::{Ledger, Note, Promise};
use super::recover::{After, Outcome};
use super::scene::{Recorded, directory};
use crate::Settings;
use crate::record::Seq;
use crate::sys::{Event, Watch};

/// How far to go.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// At a power cut, all states are made if there are at most so many; else those below.
    pub(super) all: usize,
    /// So many at random, beside those in which one element alone is lost, or alone is there.
    pub(super) samples: usize,
    /// Power cuts at every operation, not only before each sync: there each earlier state is one of those that are there.
    pub(super) at_every_operation: bool,
    /// Of so many distinct states, one is crashed again while it is gone on with; 0: none.
    pub(super) again: usize,
}

/// What was found.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) operations: usize,
    /// By kind of crash: states, and distinct states.
    pub(super) states: BTreeMap<&'static str, (u64, u64)>,
    pub(super) wrong: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.operations += other.operations;
        for (kind, (states, distinct)) in other.states {
            let sum = self.states.entry(kind).or_default();
            *sum = (sum.0 + states, sum.1 + distinct);
        }
        self.wrong.extend(other.wrong);
    }
}

/// A workload, or what was gone on with after a crash.
struct Story<'a> {
    name: &'a str,
    events: &'a [Event],
    notes: &'a [Note],
    ledger: &'a Ledger,
    settings: &'a Settings,
    depth: usize,
    kinds: [&'static str; 4],
}

const DEATH: usize = 0;
const TORN: usize = 1;
const ORDERED: usize = 2;
const ANY: usize = 3;
const KINDS: [&str; 4] =
    ["process death", "process death inside a write", "power cut, in order", "power cut, any subset"];
const AGAIN: [&str; 4] = [
    "again: process death",
    "again: process death inside a write",
    "again: power cut, in order",
    "again: power cut, any subset",
];
/// What a power cut is told of by: another start of the system than any workload has seen, and another after that.
const NEXT_BOOT: u8 = 10;

pub(super) fn explore(name: &str, recorded: &Recorded, limits: &Limits, seed: u64) -> Tally {
    let mut tally = Tally::default();
    let story = Story {
        name,
        events: &recorded.events,
        notes: &recorded.notes,
        ledger: &recorded.ledger,
        settings: &recorded.settings,
        depth: 0,
        kinds: KINDS,
    };
    tally.operations = recorded.events.iter().filter(|event| event.is_operation()).count();
    Explorer::new(&story, limits, seed, &mut tally).run(Disk::new(), Promise::default());
    tally
}

struct Explorer<'a> {
    story: &'a Story<'a>,
    limits: &'a Limits,
    tally: &'a mut Tally,
    random: u64,
    /// What was found in a state, for it may be met again with more promised.
    known: HashMap<(u64, bool, Option<u8>), Rc<Outcome>>,
}

/// A state as it is about to be looked at.
struct State<'a> {
    kind: usize,
    image: Image,
    boot: Option<u8>,
    promise: &'a Promise,
    must: &'a BTreeMap<Seq, usize>,
    at: usize,
    /// After the death of a process: what is not on the medium yet.
    disk: Option<&'a Disk>,
}

impl<'a> Explorer<'a> {
    fn new(story: &'a Story<'a>, limits: &'a Limits, seed: u64, tally: &'a mut Tally) -> Explorer<'a> {
        Explorer { story, limits, tally, random: seed | 1, known: HashMap::new() }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below as u64) as usize
    }

    fn run(mut self, mut disk: Disk, mut promise: Promise) {
        let mut first = true;
        for (at, event) in self.story.events.iter().enumerate() {
            if event.is_operation() {
                if first || self.limits.at_every_operation || is_sync(event) {
                    self.power_cuts(&disk, &promise, at);
                }
                self.inside(&disk, event, &promise, at);
                first = false;
            }
            disk.replay(event);
            if let Event::Note(note) = event {
                promise.note(self.story.notes[*note], self.story.ledger);
            }
            if !matches!(
                event,
                Event::Found { .. } | Event::FoundDirectory { .. } | Event::FoundSymlink { .. }
            ) {
                let outcome = self.death(&disk, DEATH, &promise, at);
                let wrong = promise.saw(&outcome.before);
                self.report(&wrong, DEATH, at);
            }
        }
        self.power_cuts(&disk, &promise, self.story.events.len());
    }

    fn report(&mut self, wrong: &[String], kind: usize, at: usize) {
        for what in wrong {
            let (name, kind) = (self.story.name, self.story.kinds[kind]);
            let event = self.story.events.get(at).map(|event| format!("{event:?}"));
            let event: String = event.unwrap_or_default().chars().take(120).collect();
            self.tally.wrong.push(format!("{name}, {kind}, event {at} ({event}): {what}"));
        }
    }

    fn death(&mut self, disk: &Disk, kind: usize, promise: &Promise, at: usize) -> Rc<Outcome> {
        let (image, boot, must) = (disk.live(), promise.boot, &promise.written);
        self.look(State { kind, image, boot, promise, must, at, disk: Some(disk) })
    }

    /// A process dies in the middle of a write: some of its first bytes are there, or all but its first.
    fn inside(&mut self, disk: &Disk, event: &Event, promise: &Promise, at: usize) {
        let Event::Write { file, offset, bytes, stored } = event else { return };
        let mut parts: Vec<(usize, usize)> =
            [1, 8, 36, 40, bytes.len() / 2, bytes.len() - 1].map(|len| (0, len)).to_vec();
        if *stored {
            parts.extend([(8, bytes.len()), (40, bytes.len())]);
        }
        parts.retain(|(from, to)| from < to && to - from < bytes.len() && *to <= bytes.len());
        for (from, to) in parts {
            let mut torn = disk.clone();
            let bytes = bytes[from..to].to_vec();
            torn.replay(&Event::Write { file: *file, offset: offset + from as u64, bytes, stored: *stored });
            self.death(&torn, TORN, promise, at);
        }
    }

    fn power_cuts(&mut self, disk: &Disk, promise: &Promise, at: usize) {
        let elements = disk.elements();
        for last in disk.pending_operations(&elements) {
            let picks = disk.in_order(&elements, last);
            self.power_cut(disk, &elements, &picks, ORDERED, promise, at);
        }
        let states: Vec<(usize, bool)> = elements.iter().map(|element| disk.states_of(*element)).collect();
        let product = states.iter().try_fold(1usize, |product, (n, _)| product.checked_mul(*n));
        if let Some(product) = product.filter(|product| *product <= self.limits.all) {
            for number in 0..product {
                let mut rest = number;
                let digit = |(n, _): &(usize, bool)| {
                    let digit = rest % n;
                    rest /= n;
                    digit
                };
                let picks: Vec<usize> = states.iter().map(digit).collect();
                self.power_cut(disk, &elements, &picks, ANY, promise, at);
            }
            return;
        }
        let newest: Vec<usize> =
            states.iter().map(|(n, garbage)| n - 1 - usize::from(*garbage && *n > 1)).collect();
        let oldest = vec![0; states.len()];
        for (i, (n, _)) in states.iter().enumerate() {
            for pick in 0..*n {
                for rest in [&newest, &oldest] {
                    let mut picks = rest.clone();
                    picks[i] = pick;
                    self.power_cut(disk, &elements, &picks, ANY, promise, at);
                }
            }
        }
        for _ in 0..self.limits.samples {
            let picks: Vec<usize> = states.iter().map(|(n, _)| self.random(*n)).collect();
            self.power_cut(disk, &elements, &picks, ANY, promise, at);
        }
    }

    fn power_cut(
        &mut self,
        disk: &Disk,
        elements: &[Element],
        picks: &[usize],
        kind: usize,
        promise: &Promise,
        at: usize,
    ) {
        let image = disk.cut(elements, picks);
        let boot = Some(NEXT_BOOT + self.story.depth as u8);
        self.look(State { kind, image, boot, promise, must: &promise.durable, at, disk: None });
    }

    fn look(&mut self, state: State<'_>) -> Rc<Outcome> {
        let State { kind, image, boot, promise, must, at, disk } = state;
        // After a power cut nobody believes what shared memory holds.
        let number = match kind {
            DEATH | TORN => image.number(),
            _ => image.clone().without_control().number(),
        };
        // A cohort that was found made need not be on the medium before something in it is.
        let made = match kind {
            DEATH | TORN => promise.made,
            _ => promise.made && (self.story.depth == 0 || !promise.durable.is_empty()),
        };
        let key = (number, made, boot);
        self.tally.states.entry(self.story.kinds[kind]).or_default().0 += 1;
        if let Some(known) = self.known.get(&key) {
            let outcome = Rc::clone(known);
            self.judge(&outcome, promise, must, kind, at);
            return outcome;
        }
        let distinct = &mut self.tally.states.entry(self.story.kinds[kind]).or_default().1;
        *distinct += 1;
        let again = self.limits.again > 0 && (*distinct as usize).is_multiple_of(self.limits.again);
        let wrong = self.tally.wrong.len();
        let place = format!("{}, after {} at event {at}", self.story.name, self.story.kinds[kind]);
        let outcome = Rc::new(self.make(&image, disk, promise, (made, boot), again.then_some(&place)));
        self.report(&outcome.wrong, kind, at);
        self.judge(&outcome, promise, must, kind, at);
        if self.tally.wrong.len() > wrong {
            self.keep(&image);
        }
        self.known.insert(key, Rc::clone(&outcome));
        outcome
    }

    /// Leaves a bad state where somebody can look at it, if that is asked for.
    fn keep(&self, image: &Image) {
        if let Some(kept) = std::env::var_os("TALLYFOLD_CRASH_KEEP") {
            let root = std::path::Path::new(&kept).join(format!("{:016x}", image.number()));
            if std::fs::create_dir_all(root.parent().unwrap_or(&root)).is_ok()
                && std::fs::create_dir(&root).is_ok()
            {
                image.make(&root);
            }
        }
    }

    fn judge(
        &mut self,
        outcome: &Outcome,
        promise: &Promise,
        must: &BTreeMap<Seq, usize>,
        kind: usize,
        at: usize,
    ) {
        if outcome.wrong.is_empty() {
            let mut promise = promise.clone();
            if !outcome.existed {
                // It was made anew: another cohort.
                promise.forget();
            }
            for probe in super::recover::probes(self.story.depth) {
                let id = self.story.ledger.id(&probe[0]).expect("probes are in the ledger");
                promise.note(Note::Begun(self.story.ledger.batch_of(id)), self.story.ledger);
            }
            let wrong = promise.check(&outcome.after, must, self.story.ledger);
            self.report(&wrong, kind, at);
        }
    }

    fn make(
        &mut self,
        image: &Image,
        disk: Option<&Disk>,
        promise: &Promise,
        (made, boot): (bool, Option<u8>),
        again: Option<&String>,
    ) -> Outcome {
        let dir = directory();
        image.make(dir.path());
        let after = After {
            settings: self.story.settings,
            ledger: self.story.ledger,
            history: &promise.history,
            made,
            boot,
            depth: self.story.depth,
        };
        let Some(name) = again else { return after.go_on(dir.path(), &mut |_| {}) };
        let watch = Watch::over(dir.path());
        watch.record();
        let mut notes = Vec::new();
        let outcome = after.go_on(dir.path(), &mut |note| {
            watch.note(notes.len());
            notes.push(note);
        });
        let story = Story {
            name,
            events: &watch.take(),
            notes: &notes,
            depth: self.story.depth + 1,
            kinds: AGAIN,
            ..*self.story
        };
        let mut begun = promise.clone();
        begun.boot = boot;
        if disk.is_none() {
            begun.written.clone_from(&begun.durable);
        }
        // After a power cut whatever is there is on the medium.
        let disk = disk.map_or_else(Disk::new, Disk::go_on);
        let limits =
            Limits { again: 0, samples: self.limits.samples / 8, all: self.limits.all / 8, ..*self.limits };
        let seed = self.random(usize::MAX) as u64;
        Explorer::new(&story, &limits, seed, self.tally).run(disk, begun);
        outcome
    }
}

fn is_sync(event: &Event) -> bool {
    matches!(event, Event::Sync { .. } | Event::SyncDirectory { .. })
}
