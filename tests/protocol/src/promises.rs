//! What the design promises, held against every state that is reached.

use crate::disk::{BATCH, Content, SECOND, Seq};
use crate::scan;
use crate::world::{Pid, World};

/// What must hold always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    Acknowledged,
    Durable,
    Order,
    Names,
    Batches,
    Prefix,
    State,
    Covered,
    Backward,
    Damage,
    Progress,
}

impl Promise {
    pub fn text(self) -> &'static str {
        match self {
            Promise::Acknowledged => {
                "every acknowledged record is there, and a reader that begins later has it"
            }
            Promise::Durable => "every durable record survives a power cut",
            Promise::Order => "what was once in the order stays there: seqs without gaps, each once",
            Promise::Names => "(epoch, seq) never names two contents",
            Promise::Batches => "a batch is there as a whole or not at all",
            Promise::Prefix => "a view is a prefix of the order",
            Promise::State => "a snapshot is what its records fold into",
            Promise::Covered => "a snapshot never covers what a power cut could take",
            Promise::Backward => "a snapshot never goes backward",
            Promise::Damage => "nobody is told of damage where there is none",
            Promise::Progress => "somebody can always go on",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    pub seq: Seq,
    pub content: Content,
    pub count: u8,
    pub durable: bool,
}

/// What was promised so far, and what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    pub acknowledged: Vec<Acknowledged>,
    /// The records in their order, as a reader would have found them in the last state.
    pub order: Vec<Content>,
    /// All that any reader could have seen at any time.
    pub names: Vec<(u8, Seq, Content)>,
    pub broken: Option<Promise>,
}

/// Which act of which process: the content of its first record.
pub fn content(pid: Pid, act: u8, count: u8) -> Content {
    pid << 4 | act | if count > 1 { BATCH } else { 0 }
}

impl World {
    pub fn acknowledge(&mut self, pid: Pid, count: u8, durable: bool) {
        let process = &self.processes[usize::from(pid)];
        let (seq, content) = (process.seq + 1 - count, content(pid, process.act, count));
        let known = &mut self.ledger.acknowledged;
        known.push(Acknowledged { seq, content, count, durable });
        known.sort_unstable_by_key(|known| known.seq);
    }

    /// After every step: what a reader would find now. `cut`: the power was cut.
    pub fn hold(&mut self, cut: bool) {
        if self.ledger.broken.is_some() {
            return;
        }
        if let Err(promise) = self.look(cut) {
            self.broken(promise);
        }
    }

    fn look(&mut self, cut: bool) -> Result<(), Promise> {
        let snapshots = [&self.disk.snapshot.now, &self.disk.previous.now];
        if cut && snapshots.iter().any(|snapshot| snapshot.seq > 0 && !snapshot.synced) {
            return Err(Promise::Covered);
        }
        let found = scan::read_all(&self.disk).map_err(|_| match cut && self.disk.watermark() > 0 {
            true => Promise::Covered,
            false => Promise::Damage,
        })?;
        let order = &found.contents;
        if !are_whole(order) {
            return Err(Promise::Batches);
        }
        let held = |known: &Acknowledged| order.get(usize::from(known.seq) - 1) == Some(&known.content);
        if cut {
            if !self.ledger.acknowledged.iter().filter(|known| known.durable).all(held) {
                return Err(Promise::Durable);
            }
            // What was not durable may be gone. What is there now was found, and stays.
            self.ledger.acknowledged.retain(held);
        } else if !self.ledger.acknowledged.iter().all(held) {
            return Err(Promise::Acknowledged);
        } else if !order.starts_with(&self.ledger.order) {
            return Err(Promise::Order);
        }
        for snapshot in snapshots {
            let before = if cut { order } else { &self.ledger.order };
            if snapshot.contents.len() != usize::from(snapshot.seq) || !before.starts_with(&snapshot.contents)
            {
                return Err(Promise::State);
            }
        }
        let names = &mut self.ledger.names;
        for (epoch, seq, content) in found.epochs {
            match names.iter().find(|name| (name.0, name.1) == (epoch, seq)) {
                Some(name) if name.2 != content => return Err(Promise::Names),
                Some(_) => {}
                None => names.push((epoch, seq, content)),
            }
        }
        names.sort_unstable();
        self.ledger.order = found.contents;
        Ok(())
    }

    /// A reader has come to an end with these records.
    pub fn hold_view(&mut self, view: &[Content], must_have: Seq) {
        if !are_whole(view) {
            self.broken(Promise::Batches);
        } else if !self.ledger.order.starts_with(view) {
            self.broken(Promise::Prefix);
        } else if view.len() < must_have.into() {
            self.broken(Promise::Acknowledged);
        }
    }
}

/// The highest seq acknowledged so far: a view that begins now must hold all up to it.
pub fn acknowledged(ledger: &Ledger) -> Seq {
    ledger.acknowledged.iter().map(|known| known.seq + known.count - 1).max().unwrap_or(0)
}

/// The two records of a batch stand side by side.
fn are_whole(contents: &[Content]) -> bool {
    contents.iter().enumerate().filter(|(_, content)| **content & BATCH != 0).all(|(i, content)| {
        let beside = if content & SECOND == 0 { contents.get(i + 1) } else { contents[..i].last() };
        beside == Some(&(content ^ SECOND))
    })
}
