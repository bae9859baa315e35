//! LMDB: with `WRITE_MAP | NO_SYNC` for what is written, as it comes for what is durable.

use std::fs;
use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, Str, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use super::{Append, Keeper, Log, Peer, Point, Promise, State};
use crate::Result;
use crate::record::Text;

/// Larger than anything written here; the file is as sparse as it is empty.
const MAP_BYTES: usize = 32 << 30;
const MOST_READERS: u32 = 256;

pub struct Lmdb;

fn environment(dir: &Path, promise: Promise) -> Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(MOST_READERS);
    if promise == Promise::Written {
        // SAFETY: nothing else in this process writes to its memory map, and no crash of the system is survived here.
        unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC) };
    }
    // SAFETY: only LMDB changes the files in a benchmark's directory, and each process opens it once at a time.
    Ok(unsafe { options.open(dir)? })
}

/// A store whose one database has keys of type `K` and values of type `V`.
struct Opened<K, V> {
    env: Env,
    database: Database<K, V>,
}

impl<K: 'static, V: 'static> Opened<K, V> {
    fn new(dir: &Path, promise: Promise) -> Result<Opened<K, V>> {
        let env = environment(dir, promise)?;
        let transaction = env.read_txn()?;
        let database = env.open_database(&transaction, None)?.ok_or("the database is not there")?;
        drop(transaction);
        Ok(Opened { env, database })
    }

    fn make(dir: &Path) -> Result<()> {
        fs::create_dir(dir)?;
        let env = environment(dir, Promise::Written)?;
        let mut transaction = env.write_txn()?;
        env.create_database::<K, V>(&mut transaction, None)?;
        transaction.commit()?;
        Ok(())
    }
}

type Records = Opened<U64<BigEndian>, Bytes>;
type Entries = Opened<Str, Str>;

impl Peer for Lmdb {
    fn name(&self) -> &'static str {
        "LMDB"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        Records::make(dir)
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        Ok(Box::new(Records::new(dir, promise)?))
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let records = Records::new(dir, Promise::Written)?;
        let transaction = records.env.read_txn()?;
        for record in records.database.iter(&transaction)? {
            see(record?.1);
        }
        Ok(())
    }
}

impl Log for Records {
    fn writer(&self) -> Result<Box<dyn Append>> {
        Ok(Box::new(Records { env: self.env.clone(), database: self.database }))
    }
}

impl Append for Records {
    /// Other processes append too, so the last key is looked up in each transaction.
    fn append(&mut self, records: &[Text]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        let last = self.database.last(&transaction)?.map_or(0, |(key, _)| key);
        for (record, key) in records.iter().zip(last + 1..) {
            self.database.put_with_flags(
                &mut transaction,
                PutFlags::APPEND,
                &key,
                record.as_str().as_bytes(),
            )?;
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Keeper for Lmdb {
    fn name(&self) -> &'static str {
        Peer::name(self)
    }

    fn make(&self, dir: &Path) -> Result<()> {
        Entries::make(dir)
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn State>> {
        Ok(Box::new(Entries::new(dir, Promise::Written)?))
    }
}

impl State for Entries {
    fn put(&mut self, entries: &[(&str, &str)]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, text) in entries {
            self.database.put(&mut transaction, key, text)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn update(&mut self, key: &str, change: &dyn Fn(&mut Point)) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        let old = self.database.get(&transaction, key)?.ok_or_else(|| super::missing(key))?;
        let new = super::changed(old, change)?;
        self.database.put(&mut transaction, key, &new)?;
        transaction.commit()?;
        Ok(())
    }

    fn get(&mut self, key: &str) -> Result<Option<String>> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(str::to_string))
    }

    fn each(&mut self, see: &mut dyn FnMut(&str, &str)) -> Result<()> {
        let transaction = self.env.read_txn()?;
        for entry in self.database.iter(&transaction)? {
            let (key, text) = entry?;
            see(key, text);
        }
        Ok(())
    }
}
