//! One JSON file that is read, changed and written anew as a whole, under a file lock: what pipelines do without a store.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::{Keeper, Point, State};
use crate::Result;

pub struct JsonFile;

/// A file of values, and the lock file beside it.
struct Opened {
    path: PathBuf,
    lock: File,
}

impl Keeper for JsonFile {
    fn name(&self) -> &'static str {
        "JSON file, locked and rewritten"
    }

    fn make(&self, dir: &Path) -> Result<()> {
        fs::create_dir(dir)?;
        fs::write(dir.join("state.json"), "{}")?;
        Ok(())
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn State>> {
        let path = dir.join("state.json.lock");
        let lock = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Box::new(Opened { path: dir.join("state.json"), lock }))
    }
}

impl Opened {
    fn read(&self) -> Result<BTreeMap<String, Point>> {
        Ok(serde_json::from_slice(&fs::read(&self.path)?)?)
    }

    /// Reads, changes and replaces the file; not synced, as none of the others is here.
    fn rewrite(&self, change: impl FnOnce(&mut BTreeMap<String, Point>) -> Result<()>) -> Result<()> {
        self.lock.lock()?;
        let rewritten = self.read().and_then(|mut entries| {
            change(&mut entries)?;
            let temporary = self.path.with_extension("tmp");
            fs::write(&temporary, serde_json::to_vec(&entries)?)?;
            fs::rename(&temporary, &self.path)?;
            Ok(())
        });
        self.lock.unlock()?;
        rewritten
    }
}

impl State for Opened {
    fn put(&mut self, new: &[(&str, &str)]) -> Result<()> {
        self.rewrite(|entries| {
            for (key, text) in new {
                entries.insert((*key).to_string(), serde_json::from_str(text)?);
            }
            Ok(())
        })
    }

    fn update(&mut self, key: &str, change: &dyn Fn(&mut Point)) -> Result<()> {
        self.rewrite(|entries| {
            change(entries.get_mut(key).ok_or_else(|| super::missing(key))?);
            Ok(())
        })
    }

    fn get(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.read()?.get(key).map(serde_json::to_string).transpose()?)
    }

    fn each(&mut self, see: &mut dyn FnMut(&str, &str)) -> Result<()> {
        for (key, point) in self.read()? {
            see(&key, &serde_json::to_string(&point)?);
        }
        Ok(())
    }
}
