//! SQLite in WAL mode: `synchronous` is NORMAL for what is written and FULL for what is durable.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{Append, Keeper, Log, Peer, Point, Promise, State};
use crate::Result;
use crate::record::Text;

/// How long a writer waits for the others.
const PATIENCE: Duration = Duration::from_secs(60);

const INSERT: &str = "INSERT INTO records(text) VALUES (?1)";
const UPSERT: &str =
    "INSERT INTO entries(key, text) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET text = ?2";
const SELECT: &str = "SELECT text FROM entries WHERE key = ?1";

pub struct Sqlite;

fn path(dir: &Path) -> PathBuf {
    dir.join("records.sqlite")
}

fn make(dir: &Path, table: &str) -> Result<()> {
    fs::create_dir(dir)?;
    let connection = Connection::open(path(dir))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(table)?;
    Ok(())
}

fn connect(path: &Path, promise: Promise) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let synchronous = match promise {
        Promise::Written => "NORMAL",
        Promise::Durable => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        make(dir, "CREATE TABLE records(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    }

    fn open(&self, dir: &Path, promise: Promise) -> Result<Box<dyn Log>> {
        Ok(Box::new(Place { path: path(dir), promise }))
    }

    fn read(&self, dir: &Path, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let connection = connect(&path(dir), Promise::Written)?;
        let mut statement = connection.prepare("SELECT text FROM records ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            see(row.get_ref(0)?.as_bytes()?);
        }
        Ok(())
    }
}

struct Place {
    path: PathBuf,
    promise: Promise,
}

impl Log for Place {
    /// Every thread has a connection: one cannot be used by two at once.
    fn writer(&self) -> Result<Box<dyn Append>> {
        Ok(Box::new(connect(&self.path, self.promise)?))
    }
}

impl Append for Connection {
    fn append(&mut self, records: &[Text]) -> Result<()> {
        if let [record] = records {
            self.prepare_cached(INSERT)?.execute([record.as_str()])?;
            return Ok(());
        }
        let transaction = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for record in records {
            insert.execute([record.as_str()])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }
}

impl Keeper for Sqlite {
    fn name(&self) -> &'static str {
        Peer::name(self)
    }

    fn make(&self, dir: &Path) -> Result<()> {
        make(dir, "CREATE TABLE entries(key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID")
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn State>> {
        Ok(Box::new(connect(&path(dir), Promise::Written)?))
    }
}

impl State for Connection {
    fn put(&mut self, entries: &[(&str, &str)]) -> Result<()> {
        let transaction = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (key, text) in entries {
            transaction.prepare_cached(UPSERT)?.execute([key, text])?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn update(&mut self, key: &str, change: &dyn Fn(&mut Point)) -> Result<()> {
        let transaction = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old: String = transaction.prepare_cached(SELECT)?.query_row([key], |row| row.get(0))?;
        transaction.prepare_cached(UPSERT)?.execute([key, &super::changed(&old, change)?])?;
        transaction.commit()?;
        Ok(())
    }

    fn get(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.prepare_cached(SELECT)?.query_row([key], |row| row.get(0)).optional()?)
    }

    fn each(&mut self, see: &mut dyn FnMut(&str, &str)) -> Result<()> {
        let mut statement = self.prepare_cached("SELECT key, text FROM entries ORDER BY key")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            see(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        }
        Ok(())
    }
}
