//! tallyfold itself, with default settings.

use std::path::Path;

use tallyfold::{Batch, Cohort, Settings, Store};

use super::{Append, Keeper, Log, Peer, Point, Promise, State};
use crate::Result;
use crate::record::Text;

/// The one cohort of a benchmark's store.
const COHORT: &str = "bench";

/// Records are JSON, and checked to be.
pub struct Json;
/// Records are bytes, as they are for the other competitors.
pub struct Raw;

/// Makes a store with one cohort.
pub fn create(dir: &Path, settings: Settings) -> Result<Cohort> {
    Ok(Store::open(dir)?.create(COHORT, settings)?)
}

/// Opens that cohort.
pub fn cohort(dir: &Path) -> Result<Cohort> {
    Ok(Store::open_existing(dir)?.cohort(COHORT)?)
}

struct Writer {
    cohort: Cohort,
    promise: Promise,
    raw: bool,
}

impl Append for Writer {
    fn append(&mut self, records: &[Text]) -> Result<()> {
        let mut batch = Batch::new();
        for record in records {
            match self.raw {
                true => batch.put_raw("", record.as_str().as_bytes())?,
                false => batch.put_json("", record.as_str())?,
            };
        }
        match self.promise {
            Promise::Written => self.cohort.append_batch(batch)?,
            Promise::Durable => self.cohort.append_batch_durable(batch)?,
        };
        Ok(())
    }
}

/// A cohort that the threads of a process share.
struct Shared {
    cohort: Cohort,
    promise: Promise,
    raw: bool,
}

impl Log for Shared {
    fn writer(&self) -> Result<Box<dyn Append>> {
        Ok(Box::new(Writer { cohort: self.cohort.clone(), promise: self.promise, raw: self.raw }))
    }
}

fn read(dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut cursor = cohort(dir)?.cursor(1)?;
    while let Some(record) = cursor.next_ref()? {
        see(record.bytes());
    }
    Ok(())
}

impl Peer for Json {
    fn name(&self) -> &'static str {
        "tallyfold"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        create(dir, Settings::log()).map(drop)
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        Ok(Box::new(Shared { cohort: cohort(dir)?, promise, raw: false }))
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        read(dir, see)
    }
}

impl Peer for Raw {
    fn name(&self) -> &'static str {
        "tallyfold, raw bytes"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        Peer::make(&Json, dir)
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        Ok(Box::new(Shared { cohort: cohort(dir)?, promise, raw: true }))
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        read(dir, see)
    }
}

impl Keeper for Json {
    fn name(&self) -> &'static str {
        Peer::name(self)
    }

    fn make(&self, dir: &Path) -> Result<()> {
        create(dir, Settings::latest()).map(drop)
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn State>> {
        Ok(Box::new(cohort(dir)?))
    }

    fn compact(&self, dir: &Path) -> Result<bool> {
        cohort(dir)?.compact()?;
        Ok(true)
    }
}

impl State for Cohort {
    fn put(&mut self, entries: &[(&str, &str)]) -> Result<()> {
        let mut batch = Batch::new();
        for (key, text) in entries {
            batch.put_json(key, text)?;
        }
        self.append_batch(batch)?;
        Ok(())
    }

    fn update(&mut self, key: &str, change: &dyn Fn(&mut Point)) -> Result<()> {
        let changed = Cohort::update(self, key, |old| {
            let mut point = old.map(|entry| entry.to::<Point>()).transpose()?;
            point.iter_mut().for_each(change);
            Ok(point)
        })?;
        changed.map(drop).ok_or_else(|| super::missing(key))
    }

    fn get(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.view()?.get_ref(key)?.map(|entry| entry.json().to_string()))
    }

    fn each(&mut self, see: &mut dyn FnMut(&str, &str)) -> Result<()> {
        for entry in self.view()?.iter() {
            let (key, entry) = entry?;
            see(&key, entry.json());
        }
        Ok(())
    }
}
