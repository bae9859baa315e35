//! The competitors, each in a file of its own behind the same face.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::record::Text;

mod json_file;
mod lines;
mod lmdb;
mod okaywal;
mod sqlite;
pub mod tallyfold;

/// What an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promise {
    /// The death of the process.
    Written,
    /// A power cut.
    Durable,
}

/// Something that records can be appended to.
pub trait Peer: Sync {
    fn name(&self) -> &'static str;

    /// Makes an empty store in a directory that is not there yet.
    fn make(&self, dir: &Path) -> Result<()>;

    /// Opens it for the threads of one process.
    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>>;

    /// Hands the bytes of every record to `see`, in their order.
    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()>;
}

/// A store opened for writing.
pub trait Log {
    /// What one thread writes through.
    fn writer(&self) -> Result<Box<dyn Append>>;
}

/// A writer of records.
pub trait Append: Send {
    /// Appends all of them at once. When this returns, they are acknowledged.
    fn append(&mut self, records: &[Text]) -> Result<()>;
}

pub const TALLYFOLD: &dyn Peer = &tallyfold::Json;
pub const TALLYFOLD_RAW: &dyn Peer = &tallyfold::Raw;
pub const SQLITE: &dyn Peer = &sqlite::Sqlite;
pub const LMDB: &dyn Peer = &lmdb::Lmdb;
pub const BARE: &dyn Peer = &lines::Lines { locked: false };
pub const FLOOR: &dyn Peer = &lines::Lines { locked: true };
pub const OKAYWAL: &dyn Peer = &okaywal::OkayWal;

/// Those that several processes can write at once, tallyfold first.
pub const PEERS: [&dyn Peer; 6] = [TALLYFOLD, TALLYFOLD_RAW, SQLITE, LMDB, BARE, FLOOR];

/// The competitor of that name.
pub fn named(name: &str) -> Result<&'static dyn Peer> {
    let found = PEERS.into_iter().chain([OKAYWAL]).find(|peer| peer.name() == name);
    found.ok_or_else(|| format!("there is no competitor {name:?}").into())
}

/// A value of a state: a metric point whose step is counted up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub run_id: String,
    pub stage: String,
    pub step: u64,
    pub loss: f64,
    pub acc: f64,
    pub ts: f64,
}

/// Something that keeps a value for each key.
pub trait Keeper {
    fn name(&self) -> &'static str;

    /// Makes an empty state in a directory that is not there yet.
    fn make(&self, dir: &Path) -> Result<()>;

    /// Opens it for one writer; what is put is written, not durable.
    fn open(&self, dir: &Path) -> Result<Box<dyn State>>;

    /// Brings a state that nobody has open into its smallest form; `false` if there is no such thing.
    fn compact(&self, _dir: &Path) -> Result<bool> {
        Ok(false)
    }
}

/// A state opened for reading and writing.
pub trait State {
    /// Puts all of them at once.
    fn put(&mut self, entries: &[(&str, &str)]) -> Result<()>;

    /// Reads the value of a key, lets `change` change it and puts it back, so that no other writer comes between.
    fn update(&mut self, key: &str, change: &dyn Fn(&mut Point)) -> Result<()>;

    fn get(&mut self, key: &str) -> Result<Option<String>>;

    /// Hands every key and value to `see`.
    fn each(&mut self, see: &mut dyn FnMut(&str, &str)) -> Result<()>;
}

pub const KEEPER: &dyn Keeper = &tallyfold::Json;
pub const KEEPER_SQLITE: &dyn Keeper = &sqlite::Sqlite;
pub const KEEPER_LMDB: &dyn Keeper = &lmdb::Lmdb;
pub const KEEPER_JSON: &dyn Keeper = &json_file::JsonFile;

/// A JSON text read, changed and written again, as most keepers do it.
fn changed(text: &str, change: &dyn Fn(&mut Point)) -> Result<String> {
    let mut point: Point = serde_json::from_str(text)?;
    change(&mut point);
    Ok(serde_json::to_string(&point)?)
}

fn missing(key: &str) -> crate::Error {
    format!("there is no key {key:?}").into()
}
