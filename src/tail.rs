//! What the records behind a snapshot have made of their keys: found by key for each record, and sorted only when somebody asks.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::fold::{Entry, Slot};

/// What has become of each key.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// In the order in which the keys came.
    entries: Vec<(Arc<str>, Slot)>,
    /// Where in `entries` a key stands.
    places: HashMap<Arc<str>, u32>,
    /// The places, in the order of the bytes of their keys; made when asked for, gone when a key is added.
    sorted: OnceLock<Vec<u32>>,
    /// Roughly what all of this takes in memory.
    bytes: usize,
}

/// What a key and its entry take beside their text.
const OVERHEAD: usize = 128;

impl Tail {
    /// Roughly how many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has become of a key; `None`: nothing, as far as this tail goes.
    pub(crate) fn get(&self, key: &str) -> Option<&Slot> {
        self.places.get(key).map(|place| &self.entries[*place as usize].1)
    }

    /// Lets `change` make something new of what has become of a key. `None`: nothing has.
    pub(crate) fn change<T>(&mut self, key: &str, change: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let slot = &mut self.entries[*self.places.get(key)? as usize].1;
        let before = slot.bytes();
        let changed = change(slot);
        self.bytes = self.bytes + slot.bytes() - before;
        Some(changed)
    }

    /// Adds a key that is not there yet. Each takes more than four bytes of a segment's worth of memory, so a u32 counts them.
    pub(crate) fn add(&mut self, key: &str, slot: Slot) {
        self.bytes += key.len() + slot.bytes() + OVERHEAD;
        let key: Arc<str> = key.into();
        self.places.insert(Arc::clone(&key), self.entries.len() as u32);
        self.entries.push((key, slot));
        self.sorted = OnceLock::new();
    }

    /// From a key on, or behind it, in the order of the keys' bytes.
    pub(crate) fn sorted(&self, from: &str, excluded: bool) -> Sorted<'_> {
        let sorted = self.sorted.get_or_init(|| {
            let mut places: Vec<u32> = (0..self.entries.len() as u32).collect();
            places.sort_unstable_by(|a, b| self.key(*a).cmp(self.key(*b)));
            places
        });
        let begin = sorted.partition_point(|place| {
            let key = self.key(*place);
            key < from || excluded && key == from
        });
        Sorted { tail: self, places: sorted[begin..].iter() }
    }

    fn key(&self, place: u32) -> &str {
        &self.entries[place as usize].0
    }
}

/// See [`Tail::sorted`].
#[derive(Clone)]
pub(crate) struct Sorted<'a> {
    tail: &'a Tail,
    places: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Sorted<'a> {
    type Item = (&'a str, Option<&'a Entry>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, slot) = &self.tail.entries[*self.places.next()? as usize];
        Some((key, slot.entry()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::collections::BTreeMap;

    quickcheck! {
        fn it_is_a_sorted_map(steps: Vec<(u8, Option<u8>)>, from: u8, excluded: bool) -> bool {
            let (mut tail, mut model) = (Tail::default(), BTreeMap::new());
            let entry = |n: u8| Entry { seq: n.into(), nonfinite: false, json: n.to_string() };
            let slot = |value: Option<u8>| value.map_or(Slot::Gone, |n| Slot::Text(entry(n)));
            let from = format!("{}", from % 40);
            for (key, value) in steps {
                let key = format!("{}", key % 40);
                if tail.change(&key, |old| *old = slot(value)).is_none() {
                    tail.add(&key, slot(value));
                }
                model.insert(key, value.map(entry));
                let bound = if excluded { std::ops::Bound::Excluded(&*from) } else { std::ops::Bound::Included(&*from) };
                let expected = model.range::<str, _>((bound, std::ops::Bound::Unbounded));
                if !tail.sorted(&from, excluded).eq(expected.map(|(key, entry)| (&**key, entry.as_ref()))) {
                    return false;
                }
            }
            let bytes = model.iter().map(|(key, entry)| key.len() + entry.as_ref().map_or(0, |entry| entry.json.len()) + OVERHEAD).sum::<usize>();
            tail.bytes() == bytes && model.iter().all(|(key, entry)| tail.get(key).map(Slot::entry) == Some(entry.as_ref()))
        }
    }
}
