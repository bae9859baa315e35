//! okaywal: a write-ahead log for the threads of one process, which syncs for several of them at once.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::{Append, Log, Peer, Promise};
use crate::Result;
use crate::record::Text;

/// Enough for most runs; where it is not, the segment grows. It is never checkpointed: all it has to do is append.
const SEGMENT_BYTES: u32 = 64 << 20;

pub struct OkayWal;

/// Keeps what recovery finds.
#[derive(Clone, Debug, Default)]
struct Recovered(Arc<Mutex<Vec<Vec<u8>>>>);

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        if let Some(chunks) = entry.read_all_chunks()? {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path, manager: Recovered) -> Result<WriteAheadLog> {
    let configuration =
        Configuration::default_for(dir).preallocate_bytes(SEGMENT_BYTES).checkpoint_after_bytes(u64::MAX);
    Ok(configuration.open(manager)?)
}

impl Peer for OkayWal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        open(dir, Recovered::default())?.shutdown()?;
        Ok(())
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        match promise {
            Promise::Written => Err("okaywal syncs every append".into()),
            Promise::Durable => Ok(Box::new(open(dir, Recovered::default())?)),
        }
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let recovered = Recovered::default();
        open(dir, recovered.clone())?.shutdown()?;
        let records = recovered.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().for_each(|record| see(record));
        Ok(())
    }
}

impl Log for WriteAheadLog {
    fn writer(&self) -> Result<Box<dyn Append>> {
        Ok(Box::new(self.clone()))
    }
}

impl Append for WriteAheadLog {
    fn append(&mut self, records: &[Text]) -> Result<()> {
        let mut entry = self.begin_entry()?;
        for record in records {
            entry.write_chunk(record.as_str().as_bytes())?;
        }
        entry.commit()?;
        Ok(())
    }
}
