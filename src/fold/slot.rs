//! What the records of one key have made of it so far.

use std::sync::OnceLock;

use crate::fold::series::Metrics;
use crate::fold::sum::Sums;
use crate::fold::top::Best;
use crate::fold::{Entry, EntryRef};
use crate::record::Seq;
use crate::value::Text;

/// What has become of a key. The folds whose entry a record only touches keep it taken apart, and make text of it when somebody
/// asks.
#[derive(Debug, Default)]
pub(crate) enum Slot {
    /// There is no entry.
    #[default]
    Gone,
    /// The entry.
    Text(Entry),
    /// The entry, taken apart.
    Apart(Box<Apart>),
}

/// See [`Slot::Apart`].
#[derive(Debug)]
pub(crate) struct Apart {
    seq: Seq,
    parts: Parts,
    /// The entry, once somebody has asked for it.
    text: OnceLock<Entry>,
}

/// An entry taken apart, by fold.
#[derive(Debug)]
pub(crate) enum Parts {
    Sum(Sums),
    Top(Best),
    Series(Metrics),
}

impl Slot {
    /// The entry, if there is one.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match self {
            Slot::Gone => None,
            Slot::Text(entry) => Some(entry),
            Slot::Apart(apart) => Some(apart.entry()),
        }
    }

    /// Roughly what the entry takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Slot::Gone => 0,
            Slot::Text(entry) => entry.json.len(),
            Slot::Apart(apart) => {
                let text = apart.text.get().map_or(0, |entry| entry.json.len());
                size_of::<Apart>() + text + apart.parts.bytes()
            }
        }
    }

    /// The parts of the entry, to be changed: those that are there, or made by `new`. The entry becomes that of `seq`.
    pub(crate) fn parts(&mut self, seq: Seq, new: impl FnOnce() -> Parts) -> &mut Parts {
        if !matches!(self, Slot::Apart(_)) {
            *self = Slot::Apart(Box::new(Apart { seq, parts: new(), text: OnceLock::new() }));
        }
        let Slot::Apart(apart) = self else { unreachable!("it has just been taken apart") };
        apart.seq = seq;
        apart.text = OnceLock::new();
        &mut apart.parts
    }

    /// An entry taken apart.
    pub(crate) fn apart(entry: EntryRef<'_>, parts: Parts) -> Slot {
        Slot::Apart(Box::new(Apart { seq: entry.seq, parts, text: OnceLock::new() }))
    }
}

impl Apart {
    fn entry(&self) -> &Entry {
        self.text.get_or_init(|| {
            let Text { text, nonfinite } = match &self.parts {
                Parts::Sum(sums) => sums.text(),
                Parts::Top(best) => best.text(),
                Parts::Series(metrics) => metrics.text(),
            };
            Entry { seq: self.seq, nonfinite, json: text }
        })
    }
}

impl Parts {
    fn bytes(&self) -> usize {
        match self {
            Parts::Sum(sums) => sums.bytes(),
            Parts::Top(best) => best.bytes(),
            Parts::Series(metrics) => metrics.bytes(),
        }
    }
}
