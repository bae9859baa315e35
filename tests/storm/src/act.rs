//! What workers do: the n-th act of a worker is drawn from the seed, so that whoever reads its records knows what they must be.

use serde::{Deserialize, Serialize};
use tallyfold::{Record, Seq};

use crate::Result;

/// Keys of puts and batches, of counters, and of conditional appends: each kind has keys of its own.
const PLAIN: usize = 48;
const COUNTERS: usize = 3;
const CHAINED: usize = 3;
pub const KEYS: usize = PLAIN + COUNTERS + CHAINED + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Put,
    Batch,
    /// Adds one to the counter in the entry.
    Update,
    /// `append_if` with the seq of the key's entry.
    IfKey,
    /// `append_if` with the cohort's last seq.
    IfHead,
}

/// One act: all that its records hold but for what they found in the store.
pub struct Act {
    pub worker: u64,
    pub n: u64,
    pub kind: Kind,
    pub count: u64,
    pub durable: bool,
    first_key: usize,
    pad: usize,
}

/// The JSON of a record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    pub worker: u64,
    pub n: u64,
    /// Which record of its batch, and of how many.
    pub i: u64,
    pub of: u64,
    pub kind: Kind,
    /// `Update`: the counter. `IfKey`, `IfHead`: the seq that was expected.
    pub found: u64,
    pub pad: String,
}

impl Act {
    /// The n-th act of a worker; `entries`: the cohort's fold makes some.
    pub fn draw(seed: u64, worker: u64, n: u64, entries: bool) -> Act {
        let mut rng = fastrand::Rng::with_seed(
            seed ^ worker.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03),
        );
        let kind = match rng.u8(..100) {
            0..60 => Kind::Put,
            60..78 => Kind::Batch,
            78..88 if entries => Kind::Update,
            88..95 if entries => Kind::IfKey,
            95.. => Kind::IfHead,
            _ => Kind::Put,
        };
        let count = if kind == Kind::Batch { rng.u64(2..=8) } else { 1 };
        let first_key = match kind {
            Kind::Put | Kind::Batch => rng.usize(..PLAIN),
            Kind::Update => PLAIN + rng.usize(..COUNTERS),
            Kind::IfKey => PLAIN + COUNTERS + rng.usize(..CHAINED),
            Kind::IfHead => KEYS - 1,
        };
        // A kill takes effect between two pages of a write, so frames of many pages are what it tears.
        let pad = match kind {
            Kind::Put if rng.u16(..400) == 0 => rng.usize(60_000..400_000),
            Kind::Put if rng.u8(..40) == 0 => rng.usize(10_000..60_000),
            Kind::Batch if rng.u8(..20) == 0 => rng.usize(2_000..8_000),
            _ => rng.usize(..120),
        };
        Act { worker, n, kind, count, durable: rng.u8(..20) == 0, first_key, pad }
    }

    /// The number of the key of its i-th record.
    pub fn key(&self, i: u64) -> usize {
        match self.kind {
            Kind::Put | Kind::Batch => (self.first_key + i as usize) % PLAIN,
            _ => self.first_key,
        }
    }

    pub fn value(&self, i: u64, found: u64) -> Value {
        let letter =
            |at: usize| char::from(b'a' + ((self.worker + self.n * 7 + i * 3) as usize + at) as u8 % 26);
        let pad = (0..self.pad).map(letter).collect();
        Value { worker: self.worker, n: self.n, i, of: self.count, kind: self.kind, found, pad }
    }
}

pub fn key_name(key: usize) -> String {
    format!("key-{key}")
}

/// The number of a key by its name.
pub fn parse_key(name: &str) -> Option<usize> {
    name.strip_prefix("key-")?.parse().ok().filter(|key| *key < KEYS)
}

/// A record as it was read, without what is known from the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub seq: Seq,
    pub worker: u64,
    pub n: u64,
    pub i: u64,
    pub of: u64,
    pub kind: Kind,
    pub key: usize,
    pub found: u64,
}

/// What a record says; an error if nobody can have appended it.
pub fn read(seed: u64, entries: bool, record: &Record) -> Result<Seen> {
    let seq = record.seq();
    let value: Value = record.to().map_err(|e| format!("seq {seq} is no value of ours: {e}"))?;
    let act = Act::draw(seed, value.worker, value.n, entries);
    if value.i >= act.count || value != act.value(value.i, value.found) {
        return Err(
            format!("seq {seq} is not what worker {} has for its act {}", value.worker, value.n).into()
        );
    }
    let key = act.key(value.i);
    if record.key() != key_name(key) {
        return Err(format!("seq {seq} has the key {:?} and not {:?}", record.key(), key_name(key)).into());
    }
    let Value { worker, n, i, of, kind, found, .. } = value;
    Ok(Seen { seq, worker, n, i, of, kind, key, found })
}
