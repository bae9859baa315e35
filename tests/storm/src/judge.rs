//! Whether what is there at the end is what was acknowledged: no more, no less, once each, in one order.

use std::collections::HashMap;

use tallyfold::{Cohort, Seq};

use crate::Result;
use crate::act::{self, KEYS, Kind, Seen};
use crate::report::Ack;

/// How many violations are told in words; the rest is counted.
const TOLD: usize = 20;

#[derive(Debug, Default)]
pub struct Verdict {
    pub records: u64,
    pub acks: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub invented: u64,
    /// Everything else that must not be.
    pub wrong: u64,
    pub told: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.invented + self.wrong == 0
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    fn lost(&mut self, what: String) {
        self.lost += 1;
        self.tell(format!("lost: {what}"));
    }

    fn duplicated(&mut self, what: String) {
        self.duplicated += 1;
        self.tell(format!("duplicated: {what}"));
    }

    fn invented(&mut self, what: String) {
        self.invented += 1;
        self.tell(format!("invented: {what}"));
    }

    pub fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.tell(what);
    }

    pub fn add(&mut self, other: Verdict) {
        self.records += other.records;
        self.acks += other.acks;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.invented += other.invented;
        self.wrong += other.wrong;
        other.told.into_iter().for_each(|what| self.tell(what));
    }
}

/// The records of a cohort, from the first to the tail.
pub fn read_all(cohort: &Cohort, seed: u64, verdict: &mut Verdict) -> Result<Vec<Seen>> {
    let entries = *cohort.settings().fold() != tallyfold::Fold::Log;
    let mut seen = Vec::new();
    for record in cohort.cursor(1)? {
        match act::read(seed, entries, &record?) {
            Ok(record) => seen.push(record),
            Err(e) => verdict.invented(e.to_string()),
        }
    }
    Ok(seen)
}

/// `kills`: how many acts may have been appended and not acknowledged.
pub fn judge(seen: &[Seen], acks: &[Ack], kills: u64, verdict: &mut Verdict) {
    verdict.records += seen.len() as u64;
    verdict.acks += acks.len() as u64;
    let told: HashMap<(u64, u64), Seq> = acks.iter().map(|ack| ((ack.worker, ack.n), ack.last)).collect();
    if told.len() != acks.len() {
        verdict.wrong("an act was acknowledged twice".into());
    }
    order(seen, verdict);
    let found = acts(seen, verdict);
    for (act, last) in &told {
        match found.get(act) {
            None => verdict.lost(format!("act {} of worker {}, acknowledged as seq {last}", act.1, act.0)),
            Some(there) if there != last => {
                verdict.wrong(format!(
                    "act {} of worker {} was acknowledged as seq {last} and is seq {there}",
                    act.1, act.0
                ));
            }
            Some(_) => {}
        }
    }
    // A worker does one act at a time, so each can have one that it died over before it reported it.
    let mut last_of: HashMap<u64, u64> = HashMap::new();
    for (worker, n) in told.keys() {
        let last = last_of.entry(*worker).or_default();
        *last = (*last).max(n + 1);
    }
    let mut unacknowledged = 0;
    for act in found.keys().filter(|act| !told.contains_key(act)) {
        unacknowledged += 1;
        if act.1 != last_of.get(&act.0).copied().unwrap_or(0) {
            verdict.invented(format!(
                "act {} of worker {} was never acknowledged, a later one was",
                act.1, act.0
            ));
        }
    }
    if unacknowledged > kills {
        verdict.invented(format!("{unacknowledged} acts were not acknowledged, {kills} can have been"));
    }
    counters(seen, verdict);
}

/// Seqs 1 to n, each once.
fn order(seen: &[Seen], verdict: &mut Verdict) {
    let mut next = 1;
    for record in seen {
        match record.seq {
            seq if seq < next => verdict.duplicated(format!("seq {seq} comes again before seq {next}")),
            seq if seq > next => verdict.wrong(format!("a gap: seq {seq} comes where {next} should")),
            _ => {}
        }
        next = record.seq + 1;
    }
}

/// Which acts there are, and the last seq of each. Batches whole, and each worker's acts once and in its order.
fn acts(seen: &[Seen], verdict: &mut Verdict) -> HashMap<(u64, u64), Seq> {
    let mut found = HashMap::new();
    let mut next_of: HashMap<u64, u64> = HashMap::new();
    let mut at = 0;
    while let Some(first) = seen.get(at) {
        let whole = seen[at..]
            .iter()
            .zip(0..first.of)
            .take_while(|(record, i)| (record.worker, record.n, record.i) == (first.worker, first.n, *i))
            .count();
        if whole < first.of as usize {
            verdict.wrong(format!(
                "a torn batch: {whole} of {} records of act {} of worker {} at seq {}",
                first.of, first.n, first.worker, first.seq
            ));
        }
        at += whole.max(1);
        let Some(last) = seen.get(at - 1) else { break };
        let next = next_of.entry(first.worker).or_default();
        if found.insert((first.worker, first.n), last.seq).is_some() {
            verdict.duplicated(format!("act {} of worker {} at seq {}", first.n, first.worker, last.seq));
        } else if first.n != *next {
            verdict.wrong(format!(
                "act {} of worker {} comes where act {next} should, at seq {}",
                first.n, first.worker, first.seq
            ));
        }
        *next = first.n + 1;
    }
    found
}

/// Each counter counts one by one, and each `append_if` came directly behind what it expected.
fn counters(seen: &[Seen], verdict: &mut Verdict) {
    let (mut counts, mut last_of) = ([0; KEYS], [0; KEYS]);
    for record in seen {
        let (expected, is) = match record.kind {
            Kind::Put | Kind::Batch => (record.found, "a value"),
            Kind::Update => (counts[record.key] + 1, "a counter"),
            Kind::IfKey => (last_of[record.key], "the expected seq of its key"),
            Kind::IfHead => (record.seq - 1, "the expected last seq"),
        };
        if record.found != expected {
            verdict.wrong(format!("{is} is {} and not {expected}, at seq {}", record.found, record.seq));
        }
        counts[record.key] = record.found;
        last_of[record.key] = record.seq;
    }
}

/// After a power cut the journal is a prefix of what was: an acknowledgement behind its end must not have been durable. Returns
/// the others, which must still hold.
pub fn surviving(acks: Vec<Ack>, end: Seq, verdict: &mut Verdict) -> Vec<Ack> {
    let (kept, gone): (Vec<Ack>, Vec<Ack>) = acks.into_iter().partition(|ack| ack.last <= end);
    for ack in gone.iter().filter(|ack| ack.durable) {
        verdict.lost(format!("act {} of worker {}, durable as seq {}", ack.n, ack.worker, ack.last));
    }
    kept
}

/// The hash of records 1 to n for each n, as a witness makes it.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Chain(pub u64);

impl Chain {
    pub fn add(&mut self, seq: Seq, key: &str, bytes: &[u8]) {
        let mut hash = self.0 ^ 0xCBF2_9CE4_8422_2325;
        for byte in seq.to_le_bytes().iter().chain(key.as_bytes()).chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.0 = hash;
    }
}

/// The chain at each seq; the first is that of no record.
pub fn chains(cohort: &Cohort) -> Result<Vec<u64>> {
    let mut chain = Chain::default();
    let mut chains = vec![chain.0];
    let mut cursor = cohort.cursor(1)?;
    while let Some(record) = cursor.next_ref()? {
        chain.add(record.seq(), record.key(), record.bytes());
        chains.push(chain.0);
    }
    Ok(chains)
}
