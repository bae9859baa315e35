//! Whether what is there is what was acknowledged: each record once, with the seq it was told and the content it was given, and
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};

use tallyfold::{Seq, View};

use super::board::Board;
use super::plan::{Act, Claim, Kind, Plan};
use super::target::Document;

/// How many faults are told in words; all are counted.
const TOLD: usize = 10;

/// What a check has come to, in records.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What is there.
    pub(super) appended: u64,
    pub(super) acknowledged: u64,
    /// Acknowledged, and not there; or an update that another one has overwritten.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    /// Not as it was sent; or an entry that is not what its records fold into; or damage that is told.
    pub(super) corrupted: u64,
    /// Not where it was told to be; a gap between seqs; a part of a batch.
    pub(super) misplaced: u64,
    /// There, and neither acknowledged nor what a killed worker may have left.
    pub(super) unexpected: u64,
    /// What killed workers had written when they died before it was acknowledged.
    pub(super) unsaid: u64,
    pub(super) faults: Vec<String>,
}

impl Outcome {
    pub(super) fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.corrupted + self.misplaced + self.unexpected == 0
    }

    fn tell(&mut self, fault: impl FnOnce() -> String) {
        if self.faults.len() < TOLD {
            self.faults.push(fault());
        }
    }

    /// What somebody says is damaged.
    pub(super) fn damage(&mut self, what: impl ToString) {
        self.corrupted += 1;
        self.tell(|| what.to_string());
    }
}

/// Goes over a journal, record by record.
pub(super) struct Check<'a> {
    plan: &'a Plan,
    board: &'a Board,
    /// For each lane the acts with which the processes that wrote there began; each but the first after a kill.
    lives: &'a [Vec<u64>],
    keys: Vec<String>,
    outcome: Outcome,
    next_seq: Seq,
    lanes: Vec<Place>,
    current: Option<Current>,
    /// Seqs of records that were not as sent: what stood there is not lost besides.
    spoilt: BTreeSet<Seq>,
    counters: BTreeMap<usize, u64>,
    /// By how much counters are higher than they should be after the update before.
    surplus: u64,
    state: BTreeMap<String, (Seq, String)>,
    text: String,
}

/// How far the records of a lane have come.
#[derive(Default)]
struct Place {
    next: u64,
    /// The killed ones whose last act was seen, which they could not say.
    unsaid: BTreeSet<u64>,
}

/// The act whose records come.
struct Current {
    act: Act,
    life: u64,
    found: u64,
    part: u64,
    seq: Seq,
}

impl<'a> Check<'a> {
    pub(super) fn new(plan: &'a Plan, board: &'a Board, lives: &'a [Vec<u64>]) -> Check<'a> {
        Check {
            plan,
            board,
            lives,
            keys: plan.keys(),
            outcome: Outcome::default(),
            next_seq: 1,
            lanes: lives.iter().map(|_| Place::default()).collect(),
            current: None,
            spoilt: BTreeSet::new(),
            counters: BTreeMap::new(),
            surplus: 0,
            state: BTreeMap::new(),
            text: String::new(),
        }
    }

    /// The next record of the journal.
    pub(super) fn record(&mut self, seq: Seq, key: &str, json: &str) {
        self.outcome.appended += 1;
        let expected = self.next_seq;
        if seq < expected {
            self.outcome.duplicated += 1;
            return self.outcome.tell(|| format!("seq {seq} comes again, where seq {expected} should"));
        }
        if seq > expected {
            self.outcome.misplaced += 1;
            self.outcome.tell(|| format!("a gap: seq {seq} comes where seq {expected} should"));
        }
        self.next_seq = seq + 1;
        if !key.is_empty() {
            self.state.insert(key.to_string(), (seq, json.to_string()));
        }
        let Some((act, claim)) = recognised(self.plan, self.lives, &mut self.text, json) else {
            return self.spoil(seq, "a record that is not as anybody sent it");
        };
        if self.keys[act.key(claim.part)] != key {
            return self.spoil(seq, "a record under another key than it was sent with");
        }
        if let Some(count) = claim.count
            && act.n >= self.lanes[act.lane as usize].next
        {
            self.count(act.key(0), count, seq);
        }
        match &mut self.current {
            Some(current)
                if (current.act.lane, current.act.n, current.life) == (act.lane, act.n, claim.life)
                    && claim.part > current.part =>
            {
                current.found += 1;
                (current.part, current.seq) = (claim.part, seq);
            }
            _ => {
                self.close();
                self.current = Some(Current { act, life: claim.life, found: 1, part: claim.part, seq });
            }
        }
    }

    fn spoil(&mut self, seq: Seq, what: &str) {
        self.spoilt.insert(seq);
        self.outcome.damage(format!("seq {seq}: {what}"));
    }

    /// Each update has to make one more of its counter than the one before: one that does not has overwritten another.
    fn count(&mut self, key: usize, count: u64, seq: Seq) {
        let before = self.counters.insert(key, count).unwrap_or_default();
        if count <= before {
            self.outcome.lost += before + 1 - count;
            let name = &self.keys[key];
            self.outcome.tell(|| format!("a lost update: {name} is {count} as seq {seq}, and was {before}"));
        }
        self.surplus += count.saturating_sub(before + 1);
    }

    /// The records of an act are over.
    fn close(&mut self) {
        let Some(Current { act, life, found, part, seq }) = self.current.take() else { return };
        // Of what is missing at its end the seqs are not known; then those that were found have to do.
        let last = seq + (act.records - 1 - part);
        let lives = &self.lives[act.lane as usize];
        let begun = lives[life as usize];
        let died = lives.get(life as usize + 1);
        let told = self.board.lane(act.lane).ack(act.n);
        let place = &mut self.lanes[act.lane as usize];
        let (lane, n) = (act.lane, act.n);

        if died == Some(&n) && n >= place.next && place.unsaid.insert(life) {
            self.outcome.unsaid += found;
            return self.whole(&act, found, last);
        }
        if n < begun || died.is_some_and(|died| n >= *died) || told.is_none() {
            match told.is_some() || died == Some(&n) {
                true => self.outcome.duplicated += found,
                false => self.outcome.unexpected += found,
            }
            return self
                .outcome
                .tell(|| format!("seq {seq}: act {n} of lane {lane} was not acknowledged here"));
        }
        if n < place.next {
            self.outcome.duplicated += found;
            return self.outcome.tell(|| format!("seq {seq}: act {n} of lane {lane} is there again"));
        }
        let missing = place.next..n;
        place.next = n + 1;
        missing.for_each(|n| self.lose(lane, n));
        self.outcome.acknowledged += act.records;
        if told.is_some_and(|told| told != last) {
            self.outcome.misplaced += 1;
            let told = told.unwrap_or_default();
            self.outcome
                .tell(|| format!("act {n} of lane {lane} was acknowledged as seq {told} and is seq {last}"));
        }
        let gone = (act.records - found).saturating_sub(self.spoilt_in(&act, last));
        if gone > 0 {
            self.outcome.lost += gone;
            self.outcome.tell(|| format!("seq {last}: {gone} records of act {n} of lane {lane} are lost"));
        }
    }

    /// A batch is there as a whole or not at all, whoever died over it.
    fn whole(&mut self, act: &Act, found: u64, last: Seq) {
        if found + self.spoilt_in(act, last) < act.records {
            self.outcome.misplaced += 1;
            let of = act.records;
            self.outcome.tell(|| format!("seq {last}: {found} records of a batch of {of}"));
        }
    }

    fn spoilt_in(&self, act: &Act, last: Seq) -> u64 {
        self.spoilt.range((last + 1).saturating_sub(act.records)..=last).count() as u64
    }

    /// An acknowledged act whose records did not come.
    fn lose(&mut self, lane: u64, n: u64) {
        let Some(told) = self.board.lane(lane).ack(n) else { return };
        let act = self.plan.act(lane, n);
        self.outcome.acknowledged += act.records;
        let gone = act.records - self.spoilt_in(&act, told).min(act.records);
        if gone > 0 {
            self.outcome.lost += gone;
            self.outcome.tell(|| format!("act {n} of lane {lane}, acknowledged as seq {told}, is lost"));
        }
    }

    /// The journal cannot be read any further.
    pub(super) fn broken(&mut self, e: &tallyfold::Error) {
        self.outcome.damage(e);
    }

    /// The journal is over.
    pub(super) fn end(mut self) -> (Outcome, State) {
        self.close();
        for lane in 0..self.lanes.len() {
            let acknowledged = self.board.lane(lane as u64).acknowledged();
            (self.lanes[lane].next..acknowledged).for_each(|n| self.lose(lane as u64, n));
        }
        // A counter also jumps where a record is missing, and that is counted already.
        let explained = self.outcome.lost + self.outcome.corrupted + self.outcome.misplaced;
        if self.surplus > explained {
            self.outcome.damage(format!("counters are {} too high", self.surplus - explained));
        }
        (self.outcome, State(self.state))
    }
}

/// What the records of a journal fold into, under the fold `latest`.
pub(super) struct State(BTreeMap<String, (Seq, String)>);

impl State {
    /// Compares it with a view.
    pub(super) fn is(&self, view: &View, outcome: &mut Outcome) {
        let mut expected = self.0.clone();
        for item in view.iter() {
            match item {
                Ok((key, entry)) => match expected.remove(&*key) {
                    Some((seq, json)) if (seq, json.as_str()) == (entry.seq(), entry.json()) => {}
                    _ => outcome.damage(format!("the entry of {key:?} is not what its records fold into")),
                },
                Err(e) => return outcome.damage(e),
            }
        }
        for key in expected.keys() {
            outcome.damage(format!("the entry of {key:?} is missing"));
        }
    }
}

/// Whose record a text is, if it is byte by byte as it was sent.
fn recognised(plan: &Plan, lives: &[Vec<u64>], text: &mut String, json: &str) -> Option<(Act, Claim)> {
    let (act, claim) = claimed(plan, lives, json)?;
    act.text(claim.life, claim.part, claim.count.unwrap_or_default(), text);
    (text == json).then_some((act, claim))
}

fn claimed(plan: &Plan, lives: &[Vec<u64>], json: &str) -> Option<(Act, Claim)> {
    let claim: Claim = serde_json::from_str(json).ok()?;
    let lives = lives.get(usize::try_from(claim.lane).ok()?)?;
    let known = claim.life < lives.len() as u64 && claim.act < plan.acts;
    let act = known.then(|| plan.act(claim.lane, claim.act))?;
    (claim.part < act.records && claim.count.is_some() == (act.kind == Kind::Update)).then_some((act, claim))
}

/// The same of a JSON file, which knows only how many records each lane has put in, and the last one of each key.
pub(super) fn document(
    plan: &Plan,
    board: &Board,
    lives: &[Vec<u64>],
    document: tallyfold::Result<Document>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let document = document.unwrap_or_else(|e| {
        outcome.damage(e);
        Document::default()
    });
    for (lane, lives) in (0..).zip(lives) {
        let records = |n| plan.act(lane, n).records;
        let acknowledged: u64 = (0..board.lane(lane).acknowledged()).map(records).sum();
        let there = document.records.get(&lane).copied().unwrap_or_default();
        // What each killed one was at may be there too.
        let unsaid: u64 = lives.iter().skip(1).filter(|n| **n < plan.acts).map(|n| records(*n)).sum();
        outcome.acknowledged += acknowledged;
        outcome.appended += there;
        outcome.unsaid += there.saturating_sub(acknowledged).min(unsaid);
        outcome.duplicated += there.saturating_sub(acknowledged + unsaid);
        if there < acknowledged {
            outcome.lost += acknowledged - there;
            outcome.tell(|| {
                format!("{} of {acknowledged} records of lane {lane} are lost", acknowledged - there)
            });
        }
    }
    let mut text = String::new();
    for (key, value) in &document.entries {
        let sent = claimed(plan, lives, &value.to_string()).is_some_and(|(act, claim)| {
            act.text(claim.life, claim.part, claim.count.unwrap_or_default(), &mut text);
            serde_json::from_str(&text).is_ok_and(|sent: serde_json::Value| sent == *value)
        });
        if !sent {
            outcome.damage(format!("the value of {key:?} is not as anybody sent it"));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::plan::Load;
    use super::*;

    const PLAN: Plan = Plan { seed: 11, lanes: 2, acts: 60, load: Load::Mixed, durable: false };

    /// What two lanes have written in turn, as it was acknowledged; in the second one a worker was killed.
    struct Written {
        _dir: TempDir,
        board: Board,
        lives: Vec<Vec<u64>>,
        journal: Vec<(Seq, String, String)>,
    }

    const DIED_AT: u64 = 20;

    impl Written {
        fn new() -> Written {
            let dir = tempfile::tempdir().unwrap();
            let board = Board::make(&dir.path().join("board"), PLAN.lanes, PLAN.acts + 1).unwrap();
            let lives = vec![vec![0], vec![0, DIED_AT]];
            let mut written = Written { _dir: dir, board, lives, journal: Vec::new() };
            let mut counts = BTreeMap::new();
            for n in 0..PLAN.acts {
                for lane in 0..PLAN.lanes {
                    let life = u64::from(lane == 1 && n >= DIED_AT);
                    written.act(lane, life, n, &mut counts);
                    written.board.lane(lane).acknowledge(n, written.last());
                }
            }
            written
        }

        fn last(&self) -> Seq {
            self.journal.len() as Seq
        }

        fn act(&mut self, lane: u64, life: u64, n: u64, counts: &mut BTreeMap<usize, u64>) {
            let act = PLAN.act(lane, n);
            for part in 0..act.records {
                let key = act.key(part);
                let mut count = 0;
                if act.kind == Kind::Update {
                    *counts.entry(key).or_default() += 1;
                    count = counts[&key];
                }
                let mut text = String::new();
                act.text(life, part, count, &mut text);
                self.journal.push((self.last() + 1, PLAN.keys()[key].clone(), text));
            }
        }

        /// Where an act of a kind stands in the journal: its first record, and how many there are.
        fn find(&self, kind: Kind) -> (usize, usize) {
            let mut text = String::new();
            let at = self.journal.iter().position(|(_, _, json)| {
                recognised(&PLAN, &self.lives, &mut text, json).is_some_and(|(act, _)| act.kind == kind)
            });
            let at = at.unwrap();
            let (act, _) = recognised(&PLAN, &self.lives, &mut text, &self.journal[at].2).unwrap();
            (at, act.records as usize)
        }

        /// Numbers the records anew, as a journal always has them; what was acknowledged stays.
        fn renumber(&mut self) {
            (1..).zip(&mut self.journal).for_each(|(seq, record)| record.0 = seq);
        }

        fn check(&self) -> Outcome {
            let mut check = Check::new(&PLAN, &self.board, &self.lives);
            for (seq, key, json) in &self.journal {
                check.record(*seq, key, json);
            }
            check.end().0
        }
    }

    /// Lost, duplicated, corrupted, misplaced, unexpected.
    fn faults(outcome: &Outcome) -> [u64; 5] {
        let Outcome { lost, duplicated, corrupted, misplaced, unexpected, .. } = outcome;
        [*lost, *duplicated, *corrupted, *misplaced, *unexpected]
    }

    #[test]
    fn what_is_as_it_was_acknowledged_is_clean() {
        let written = Written::new();
        let outcome = written.check();
        assert!(outcome.is_clean() && outcome.faults.is_empty(), "{outcome:?}");
        assert_eq!(
            (outcome.appended, outcome.acknowledged, outcome.unsaid),
            (written.last(), written.last(), 0)
        );
        assert!(written.last() > PLAN.lanes * PLAN.acts, "there are batches");
    }

    #[test]
    fn each_record_taken_away_or_changed_or_added_is_counted_as_what_it_is() {
        for kind in Kind::ALL {
            // Gone without a trace, the seqs of the others as they were told.
            let mut written = Written::new();
            let (at, records) = written.find(kind);
            written.journal.drain(at..at + records);
            let outcome = written.check();
            assert_eq!(faults(&outcome), [records as u64, 0, 0, 1, 0], "{kind:?} {outcome:?}");
            assert_eq!(outcome.acknowledged, written.last() + records as u64);

            // A byte of it changed: that is no loss besides.
            let mut written = Written::new();
            let json = &mut written.journal[at].2;
            *json = json.replacen("mark\":\"", "mark\":\"x", 1);
            assert_eq!(faults(&written.check()), [0, 0, 1, 0, 0], "{kind:?}");

            // Once more at the end.
            let mut written = Written::new();
            let again = (written.last() + 1, written.journal[at].1.clone(), written.journal[at].2.clone());
            written.journal.push(again);
            assert_eq!(faults(&written.check()), [0, 1, 0, 0, 0], "{kind:?}");

            // Under another key, and in a place of another.
            let mut written = Written::new();
            written.journal[at].1.push('x');
            assert_eq!(faults(&written.check()), [0, 0, 1, 0, 0], "{kind:?}");
        }
    }

    #[test]
    fn an_acknowledgement_without_a_record_is_a_loss_and_a_record_without_one_is_unexpected() {
        let written = Written::new();
        let extra = PLAN.act(0, PLAN.acts).records;
        written.board.lane(0).acknowledge(PLAN.acts, written.last() + extra);
        assert_eq!(faults(&written.check()), [extra, 0, 0, 0, 0]);

        let mut written = Written::new();
        let (_, mut counts) = ((), BTreeMap::new());
        // What a living worker was never told.
        let plan = Plan { acts: PLAN.acts + 1, ..PLAN };
        written.act(0, 0, PLAN.acts, &mut counts);
        let mut check = Check::new(&plan, &written.board, &written.lives);
        for (seq, key, json) in &written.journal {
            check.record(*seq, key, json);
        }
        let outcome = check.end().0;
        assert_eq!(outcome.unexpected, extra, "{outcome:?}");

        // Not of this run at all.
        let mut written = Written::new();
        written.journal.push((written.last() + 1, "run-1".into(), "7".into()));
        assert_eq!(faults(&written.check()), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_seq_that_is_not_the_one_told_or_comes_twice_or_is_left_out_is_told() {
        let mut written = Written::new();
        let (at, _) = written.find(Kind::Append);
        let same = written.journal[at].clone();
        written.journal.insert(at, same);
        assert_eq!(faults(&written.check()), [0, 1, 0, 0, 0], "the same seq again");

        written.renumber();
        let outcome = written.check();
        assert_eq!((outcome.duplicated, outcome.lost), (1, 0));
        assert!(outcome.misplaced > 0, "all behind it have other seqs than were told: {outcome:?}");

        let mut written = Written::new();
        written.journal.last_mut().unwrap().0 += 1;
        assert_eq!(written.check().misplaced, 2, "a gap, and not the seq that was told");
    }

    #[test]
    fn an_update_that_has_overwritten_another_is_a_loss() {
        let mut written = Written::new();
        let updates: Vec<usize> =
            (0..written.journal.len()).filter(|at| written.journal[*at].2.contains("\"count\":2")).collect();
        let at = *updates.first().unwrap();
        written.journal[at].2 = written.journal[at].2.replace("\"count\":2", "\"count\":1");
        let outcome = written.check();
        assert_eq!(outcome.lost, 1, "{outcome:?}");
        assert!(outcome.faults[0].contains("a lost update"), "{outcome:?}");

        written.journal[at].2 = written.journal[at].2.replace("\"count\":1", "\"count\":9");
        assert!(!written.check().is_clean());
    }

    #[test]
    fn a_killed_worker_may_leave_the_act_it_died_over_once_and_whole_and_no_other() {
        let act = PLAN.act(1, DIED_AT);
        let put_in = |written: &mut Written, records: u64, life: u64| {
            let mut text = String::new();
            let before = (0..DIED_AT).map(|n| PLAN.act(1, n).records).sum::<u64>() > 0;
            assert!(before);
            // Directly before the first record of the next life.
            let at = written.journal.iter().position(|(_, _, json)| json.contains("\"life\":1")).unwrap();
            for part in 0..records {
                act.text(life, part, 1, &mut text);
                let key = PLAN.keys()[act.key(part)].clone();
                written.journal.insert(at + part as usize, (0, key, text.clone()));
            }
        };
        // Seqs behind it are not those that were told, so the acknowledgements are made anew.
        let told_anew = |written: &mut Written| {
            written.renumber();
            let mut text = String::new();
            for (seq, _, json) in &written.journal {
                let Some((act, claim)) = recognised(&PLAN, &written.lives, &mut text, json) else { continue };
                if claim.part + 1 == act.records && (act.lane == 0 || claim.life > 0 || act.n < DIED_AT) {
                    let lane = written.board.lane(act.lane);
                    lane.acknowledge(act.n, *seq);
                }
            }
        };
        let counter = act.kind == Kind::Update;
        assert!(!counter, "another seed");
        let mut written = Written::new();
        put_in(&mut written, act.records, 0);
        told_anew(&mut written);
        let outcome = written.check();
        assert!(outcome.is_clean(), "{outcome:?}");
        assert_eq!(outcome.unsaid, act.records);

        // A second time.
        let mut written = Written::new();
        put_in(&mut written, act.records, 0);
        let (_, key, json) = written.journal[0].clone();
        let at = written.journal.iter().position(|(_, _, json)| json.contains("\"life\":1")).unwrap();
        written.journal.insert(at, (0, key, json));
        put_in(&mut written, act.records, 0);
        told_anew(&mut written);
        assert!(written.check().duplicated >= act.records, "{:?}", written.check());
    }

    #[test]
    fn a_part_of_a_batch_is_told() {
        let mut written = Written::new();
        let (at, records) = written.find(Kind::Batch);
        written.journal.remove(at + records - 1);
        let outcome = written.check();
        assert_eq!((outcome.lost, outcome.misplaced), (1, 1), "{outcome:?}");
    }

    #[test]
    fn a_json_file_is_held_against_the_same_board() {
        let written = Written::new();
        let mut whole = Document::default();
        for lane in 0..PLAN.lanes {
            whole.records.insert(lane, (0..PLAN.acts).map(|n| PLAN.act(lane, n).records).sum());
        }
        for (_, key, json) in &written.journal {
            whole.entries.insert(key.clone(), serde_json::from_str(json).unwrap());
        }
        let check = |document| super::document(&PLAN, &written.board, &written.lives, Ok(document));
        let again =
            |whole: &Document| Document { records: whole.records.clone(), entries: whole.entries.clone() };
        assert!(check(again(&whole)).is_clean());
        let mut less = again(&whole);
        *less.records.get_mut(&0).unwrap() -= 7;
        assert_eq!(faults(&check(less)), [7, 0, 0, 0, 0]);
        let mut more = again(&whole);
        *more.records.get_mut(&0).unwrap() += 7;
        assert_eq!(faults(&check(more)), [0, 7, 0, 0, 0]);
        let mut foreign = again(&whole);
        foreign.entries.insert("run-1".into(), serde_json::json!({"lane": 0}));
        assert_eq!(faults(&check(foreign)), [0, 0, 1, 0, 0]);
        assert_eq!(check(Document::default()).lost, written.last());
    }
}
