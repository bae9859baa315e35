//! What the workers do. The n-th act of a lane is drawn from the seed: so whoever reads a record knows what it must be.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::random::Random;

/// Keys of plain appends and of batches, and those of counters.
const KEYS: usize = 64;
const COUNTERS: usize = 8;
/// The most records of a batch.
const LARGEST_BATCH: usize = 20;
/// The longest filling. A kill tears a frame only between two pages of it, so some have to be large.
const LONGEST_FILLING: usize = 32 << 10;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    /// Appends, batches, updates of counters, some large records; and compaction
    Mixed,
    /// Small records one by one into a log: how fast it is
    Appends,
}

/// What all workers of a run share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// How many processes write at once, each in a lane of its own.
    pub(super) lanes: u64,
    /// How many acts there are in a lane.
    pub(super) acts: u64,
    pub(super) load: Load,
    pub(super) durable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Append,
    Batch,
    /// Adds one to the counter in an entry.
    Update,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Append, Kind::Batch, Kind::Update];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Append => "append",
            Kind::Batch => "batch",
            Kind::Update => "update",
        }
    }
}

/// One act of a lane: what is acknowledged as a whole.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) lane: u64,
    pub(super) n: u64,
    pub(super) kind: Kind,
    /// How many records it has.
    pub(super) records: u64,
    origin: u64,
    first_key: usize,
    filling: usize,
}

/// A record of an update; its text is what [`Act::text`] gives.
#[derive(Serialize)]
pub(super) struct Counted {
    lane: u64,
    life: u64,
    act: u64,
    part: u64,
    of: u64,
    mark: String,
    pub(super) count: u64,
}

/// Who a record says it is of.
#[derive(Debug, Deserialize)]
pub(super) struct Claim {
    pub(super) lane: u64,
    /// Which of the processes that wrote in this lane one after another.
    pub(super) life: u64,
    pub(super) act: u64,
    pub(super) part: u64,
    #[serde(default)]
    pub(super) count: Option<u64>,
}

impl Plan {
    pub(super) fn act(&self, lane: u64, n: u64) -> Act {
        let origin = Random::new(self.seed ^ Random::new(lane).bits()).bits().wrapping_add(n);
        let mut act = Act { lane, n, kind: Kind::Append, records: 1, origin, first_key: 0, filling: 0 };
        if self.load == Load::Appends {
            return act;
        }
        let mut random = Random::new(origin);
        match random.below(10) {
            0 => act.kind = Kind::Update,
            1 => {
                act.kind = Kind::Batch;
                act.records = 2 + random.below(LARGEST_BATCH - 1) as u64;
            }
            _ => {}
        }
        match act.kind {
            Kind::Update => act.first_key = KEYS + random.below(COUNTERS),
            Kind::Append | Kind::Batch => {
                act.first_key = random.below(KEYS);
                if random.below(64) == 0 {
                    act.filling = 1 + random.below(LONGEST_FILLING);
                }
            }
        }
        act
    }

    /// The keys that acts have.
    pub(super) fn keys(&self) -> Vec<String> {
        match self.load {
            Load::Appends => vec![String::new()],
            Load::Mixed => {
                let runs = (0..KEYS).map(|n| format!("run-{n}"));
                runs.chain((0..COUNTERS).map(|n| format!("counter-{n}"))).collect()
            }
        }
    }
}

impl Act {
    /// Which of the plan's keys a record has.
    pub(super) fn key(&self, part: u64) -> usize {
        match self.kind {
            Kind::Append | Kind::Update => self.first_key,
            Kind::Batch => (self.first_key + part as usize) % KEYS,
        }
    }

    /// Writes the JSON text of a record. `count`: what an update has made of its counter.
    pub(super) fn text(&self, life: u64, part: u64, count: u64, text: &mut String) {
        text.clear();
        for (name, number) in [
            (r#"{"lane":"#, self.lane),
            (r#","life":"#, life),
            (r#","act":"#, self.n),
            (r#","part":"#, part),
            (r#","of":"#, self.records),
        ] {
            text.push_str(name);
            push_number(text, number);
        }
        text.push_str(r#","mark":""#);
        push_mark(text, self.mark(part));
        text.push('"');
        if self.kind == Kind::Update {
            text.push_str(r#","count":"#);
            push_number(text, count);
        }
        if self.filling > 0 && part == 0 {
            text.push_str(r#","filling":""#);
            text.extend(std::iter::repeat_n('x', self.filling));
            text.push('"');
        }
        text.push('}');
    }

    /// The one record of an update.
    pub(super) fn counted(&self, life: u64, count: u64) -> Counted {
        let mut mark = String::new();
        push_mark(&mut mark, self.mark(0));
        Counted { lane: self.lane, life, act: self.n, part: 0, of: self.records, mark, count }
    }

    /// What no other record of the same seed is likely to have.
    fn mark(&self, part: u64) -> u64 {
        Random::new(!self.origin ^ part.rotate_right(8)).bits()
    }
}

/// Formatting would take as long as the append that is measured.
fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        from -= 1;
        if number == 0 {
            break;
        }
    }
    push_ascii(text, &digits[from..]);
}

fn push_mark(text: &mut String, mut mark: u64) {
    let mut digits = [0; 16];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(mark & 15) as usize];
        mark >>= 4;
    }
    push_ascii(text, &digits);
}

fn push_ascii(text: &mut String, ascii: &[u8]) {
    text.push_str(std::str::from_utf8(ascii).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(load: Load) -> Plan {
        Plan { seed: 7, lanes: 4, acts: 1000, load, durable: false }
    }

    #[test]
    fn texts_are_json_that_says_whose_they_are_and_differ_from_all_others() {
        let mut texts = std::collections::HashSet::new();
        let mut text = String::new();
        let mut kinds = std::collections::HashMap::new();
        for load in [Load::Mixed, Load::Appends] {
            let plan = plan(load);
            for (lane, n) in (0..4).flat_map(|lane| (0..250).map(move |n| (lane, n))) {
                let act = plan.act(lane, n);
                *kinds.entry((load == Load::Mixed, act.kind.name())).or_insert(0) += 1;
                for part in 0..act.records {
                    act.text(2, part, 18_446_744_073_709_551_615, &mut text);
                    let claim: Claim = serde_json::from_str(&text).unwrap();
                    assert_eq!((claim.lane, claim.life, claim.act, claim.part), (lane, 2, n, part));
                    assert_eq!(claim.count, (act.kind == Kind::Update).then_some(u64::MAX));
                    assert!(act.key(part) < plan.keys().len());
                    assert!(load == Load::Appends || texts.insert(text.clone()));
                }
            }
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
        assert!(texts.iter().any(|text| text.len() > 1000));
        assert!(kinds.values().all(|count| *count > 50), "{kinds:?}");
    }

    #[test]
    fn what_an_update_serializes_is_its_text() {
        let plan = plan(Load::Mixed);
        let act = (0..).map(|n| plan.act(1, n)).find(|act| act.kind == Kind::Update).unwrap();
        let mut text = String::new();
        act.text(3, 0, 41, &mut text);
        assert_eq!(serde_json::to_string(&act.counted(3, 41)).unwrap(), text);
    }

    #[test]
    fn another_seed_makes_other_records() {
        let (mut one, mut other) = (String::new(), String::new());
        plan(Load::Appends).act(0, 0).text(0, 0, 0, &mut one);
        Plan { seed: 8, ..plan(Load::Appends) }.act(0, 0).text(0, 0, 0, &mut other);
        assert_ne!(one, other);
    }
}
