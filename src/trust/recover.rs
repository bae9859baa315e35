//! Going on after a crash: what anybody may do with what it has left, and what must be true of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::ledger::{Content, Ledger, Note, Place};
use super::scene::COHORT;
use crate::attach::Published;
use crate::chain::Floor;
use crate::cursor::{self, Trail};
use crate::fold::Fold;
use crate::record::{Kind, Seq};
use crate::sys;
use crate::{Batch, Cohort, Settings, Store};

/// What was found after a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Whether there was a cohort at all.
    pub(super) existed: bool,
    /// By a reader, before anybody wrote.
    pub(super) before: Vec<Place>,
    /// After an append.
    pub(super) after: Vec<Place>,
    /// What is wrong with it, whatever was promised.
    pub(super) wrong: Vec<String>,
}

/// Records that are appended after a crash, at each depth of crashes in crashes.
pub(super) fn probes(depth: usize) -> [Vec<Content>; 2] {
    let probe = |i: usize| Content {
        kind: Kind::Put,
        key: format!("probe {i}"),
        value: format!(r#"{{"depth":{depth},"probe":{i}}}"#),
    };
    [vec![probe(0)], vec![probe(1), probe(2)]]
}

/// Every record that is in the journal still, with what the ledger calls it.
pub(super) fn read(cohort: &Cohort, ledger: &Ledger) -> Result<Vec<Place>, String> {
    let told = |e: crate::Error| format!("it cannot be read: {e}");
    let mut from = 1;
    // Segments may be left over from before others that are folded away: then the journal begins behind those.
    loop {
        match read_from(cohort, ledger, from) {
            Ok(read) => return read,
            Err(e) => match e.seq().filter(|seq| e.is_compacted() && *seq > from) {
                Some(first) => from = first,
                None => return Err(told(e)),
            },
        }
    }
}

fn read_from(cohort: &Cohort, ledger: &Ledger, from: Seq) -> crate::Result<Result<Vec<Place>, String>> {
    let home = cohort.home();
    let watermark = home.watermark()?;
    let mut trail = Trail::begin(home, Floor::Seq(from - 1), watermark, Published::default())?;
    let mut places: Vec<Place> = Vec::new();
    while let Some(header) = trail.next()? {
        let epoch = trail.scan().linked().map_or(0, |linked| linked.link.epoch);
        for record in cursor::records(&header, &trail)? {
            let content = Content {
                kind: record.kind(),
                key: record.key().to_string(),
                value: record.json().unwrap_or_default().to_string(),
            };
            let seq = record.seq();
            if seq < from {
                continue;
            }
            let Some(id) = ledger.id(&content) else { return Ok(Err(format!("invented: {content:?}"))) };
            places.push(Place { epoch, seq, id });
        }
    }
    let gaps = places.windows(2).any(|two| two[0].seq + 1 != two[1].seq || two[0].epoch > two[1].epoch);
    if gaps || places.first().is_some_and(|first| first.seq != from) {
        return Ok(Err(format!("from {from} on there are gaps: {places:?}")));
    }
    Ok(Ok(places))
}

/// The state that records fold into, by the words of the documentation alone.
fn folded(fold: &Fold, records: impl Iterator<Item = Content>) -> BTreeMap<String, Value> {
    let mut state = BTreeMap::new();
    for Content { kind, key, value } in records {
        if kind == Kind::Delete {
            state.remove(&key);
            continue;
        }
        let value: Value = serde_json::from_str(&value).unwrap();
        match fold {
            Fold::Merge => merge(state.entry(key).or_insert(Value::Null), value),
            _ => drop(state.insert(key, value)),
        }
    }
    state
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.remove(&name)),
            value => merge(members.entry(name).or_insert(Value::Null), value),
        }
    }
}

/// Whether the view is what the records fold into: those in the journal, and before them those that were seen once.
pub(super) fn check_view(
    cohort: &Cohort,
    ledger: &Ledger,
    history: &BTreeMap<Seq, (u64, usize)>,
    found: &[Place],
) -> Result<(), String> {
    let fold = cohort.settings().fold();
    if *fold == Fold::Log {
        return Ok(());
    }
    let view = cohort.view().map_err(|e| format!("there is no view: {e}"))?;
    let first = found.first().map_or(view.seq() + 1, |place| place.seq);
    let mut ids = Vec::new();
    for seq in 1..first {
        let Some((_, id)) = history.get(&seq) else {
            return Err(format!("seq {seq} is folded away, and nobody has seen it"));
        };
        ids.push(*id);
    }
    ids.extend(found.iter().map(|place| place.id));
    if view.seq() != ids.len() as Seq {
        return Err(format!("the view is at seq {}, the journal at {}", view.seq(), ids.len()));
    }
    let expected = folded(fold, ids.iter().map(|id| ledger.content(*id).clone()));
    let mut state = BTreeMap::new();
    for entry in view.iter() {
        let (key, entry) = entry.map_err(|e| format!("the view cannot be read: {e}"))?;
        state.insert(key.to_string(), serde_json::from_str(entry.json()).unwrap());
    }
    if state != expected {
        return Err(format!("the state is {state:?}, the records fold into {expected:?}"));
    }
    Ok(())
}

fn check_bytes(cohort: &Cohort) -> Result<(), String> {
    let report = cohort.verify().map_err(|e| format!("it cannot be verified: {e}"))?;
    if report.is_damaged() { Err(format!("damage: {:?}", report.findings)) } else { Ok(()) }
}

/// What is gone on with after a crash.
pub(super) struct After<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ledger: &'a Ledger,
    pub(super) history: &'a BTreeMap<Seq, (u64, usize)>,
    /// Whether the cohort was made, so must be there.
    pub(super) made: bool,
    /// Which start of the system it is.
    pub(super) boot: Option<u8>,
    /// How many crashes there were before.
    pub(super) depth: usize,
}

impl After<'_> {
    /// Reads, appends, reads, verifies, compacts, and verifies again.
    pub(super) fn go_on(&self, root: &Path, note: &mut dyn FnMut(Note)) -> Outcome {
        let mut outcome = Outcome::default();
        sys::pretend_boot(self.boot);
        if let Err(wrong) = self.recover(root, note, &mut outcome) {
            outcome.wrong.push(wrong);
        }
        sys::pretend_boot(None);
        outcome
    }

    fn recover(&self, root: &Path, note: &mut dyn FnMut(Note), outcome: &mut Outcome) -> Result<(), String> {
        let path = root.join("store");
        let told = |e: crate::Error| format!("it cannot be opened: {e}");
        let existing = Store::open_existing(&path).and_then(|store| store.cohort(COHORT));
        outcome.existed = self.made || existing.is_ok();
        if outcome.existed {
            outcome.before = read(&existing.map_err(told)?, self.ledger)?;
        }
        let store = Store::open(&path).map_err(told)?;
        let cohort = store.create(COHORT, self.settings.clone()).map_err(told)?;
        note(Note::Made);
        check_view(&cohort, self.ledger, self.history, &outcome.before)?;
        let last = cohort.last_seq().map_err(told)?;

        let [single, batch] = probes(self.depth);
        self.append(&cohort, &single, false, last + 1, note)?;
        self.append(&cohort, &batch, true, last + 3, note)?;
        outcome.after = read(&cohort, self.ledger)?;
        let kept = |(before, after): (&Place, &Place)| (before.seq, before.id) == (after.seq, after.id);
        if outcome.before.len() > outcome.after.len() || !outcome.before.iter().zip(&outcome.after).all(kept)
        {
            outcome.wrong.push(format!(
                "a reader saw {:?}, and after an append there is {:?}",
                outcome.before, outcome.after
            ));
        }
        check_view(&cohort, self.ledger, self.history, &outcome.after)?;
        check_bytes(&cohort)?;

        // What was found before is history for what a compaction folds away.
        let mut history = self.history.clone();
        history.extend(outcome.after.iter().map(|place| (place.seq, (place.epoch, place.id))));
        for _ in 0..2 {
            cohort.compact().map_err(|e| format!("it cannot be compacted: {e}"))?;
            check_view(&cohort, self.ledger, &history, &read(&cohort, self.ledger)?)?;
        }
        check_bytes(&cohort)
    }

    fn append(
        &self,
        cohort: &Cohort,
        records: &[Content],
        durable: bool,
        expected: Seq,
        note: &mut dyn FnMut(Note),
    ) -> Result<(), String> {
        let mut put = Batch::new();
        for record in records {
            put.put_json(&record.key, &record.value).unwrap();
        }
        let batch = self.ledger.batch_of(self.ledger.id(&records[0]).expect("probes are in the ledger"));
        note(Note::Begun(batch));
        let appended = match durable {
            true => cohort.append_batch_durable(put),
            false => cohort.append_batch(put),
        };
        let last = appended.map_err(|e| format!("nothing can be appended: {e}"))?;
        note(Note::Acknowledged { batch, last, durable });
        if last != expected { Err(format!("appended as seq {last}, not {expected}")) } else { Ok(()) }
    }
}
