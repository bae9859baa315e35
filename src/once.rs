//! Compute once: of all processes and threads that want the value of a key, one computes it and the others wait for that.
//!
//! 1. If the key has an entry, that is it.
//! 2. `once/<key>.lock` is locked, waiting for whoever has it. If the file has lost its name meanwhile: begin again.
//! 3. If the key has an entry now, that is it. Else the function runs, with no lock of the cohort held.
//! 4. The value is appended if the key still has no entry. **Commit point: the append.**
//! 5. The file loses its name, for nobody needs it any more, and the lock is given back.
//!
//! A process that dies gives the lock back with its life, and who waits takes over; so it is after an error or a panic. A crash
//! between 4 and 5 leaves an empty file, which does no harm.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::cohort::{Cohort, Expect};
use crate::error::{Error, Kind, Result};
use crate::fold::{Entry, Fold};
use crate::names;
use crate::record::Batch;
use crate::sys::{Dir, LockFile, Patience};

impl Cohort {
    /// The entry of a key; if there is none, `f` computes its value, once: of all processes and threads that ask for the same key
    /// at the same time one runs its `f`, and the others wait for the entry. If that one dies, panics or fails, another one takes
    /// over.
    ///
    /// They wait as long as the cohort's timeout says: see [`with_timeout`](Cohort::with_timeout) for work that takes longer. Keys
    /// do not wait for each other. `f` runs with no lock of the cohort held; it may use the cohort, ask for other keys, and fork.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let cache = store.create("cache", tallyfold::Settings::latest())?;
    /// let mut runs = 0;
    /// for _ in 0..2 {
    ///     let entry = cache.once("vocabulary", || {
    ///         runs += 1;
    ///         Ok::<_, tallyfold::Error>(["A", "C", "G", "T"])
    ///     })?;
    ///     assert_eq!(entry.json(), r#"["A","C","G","T"]"#);
    /// }
    /// assert_eq!(runs, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What `f` returns: then another one who waits runs its own. `is_lock_timeout` if somebody else still computes when the
    /// timeout is over, `is_invalid` in a cohort whose fold is `log`, which has no entries; else as [`append`](Cohort::append).
    pub fn once<T: Serialize, E: From<Error>>(
        &self,
        key: &str,
        f: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<Entry, E> {
        if let Some(entry) = self.entry_now(key)? {
            return Ok(entry);
        }
        let dir = self.once_directory()?;
        let name = names::once_lock(key);
        let patience = Patience::of(self.timeout());
        loop {
            let lock = LockFile::open_or_make(&dir, &name)?;
            let held = lock.exclusive_after_work(&patience)?;
            // Whoever had it has taken the name away: others may lock another file of that name by now.
            if !lock.is_named(&dir, &name)? {
                drop(held);
                match self.entry_now(key)? {
                    Some(entry) => return Ok(entry),
                    None => continue,
                }
            }
            let entry = match self.entry_now(key)? {
                Some(entry) => entry,
                None => {
                    let value = f()?;
                    if !lock.is_ours() {
                        let forked = "the function was begun before a fork: its value is the parent's";
                        return Err(Error::invalid(forked)
                            .advise("end the child inside the function")
                            .into());
                    }
                    self.first_of(key, &value)?
                }
            };
            // Not worth an error: the next one finds the entry before it looks for the file.
            let _ = lock.remove_name(&dir, &name);
            drop(held);
            return Ok(entry);
        }
    }

    /// As [`once`](Cohort::once), with a value that `f` returns as JSON text.
    ///
    /// # Errors
    /// As [`once`](Cohort::once), and `is_invalid` for what is no JSON.
    pub fn once_json<E: From<Error>>(
        &self,
        key: &str,
        f: impl FnOnce() -> std::result::Result<String, E>,
    ) -> std::result::Result<Entry, E> {
        self.once(key, || {
            let text = f()?;
            Batch::new().put_json(key, &text)?;
            let raw = RawValue::from_string(text).map_err(|e| Error::invalid(e.to_string()))?;
            Ok(raw)
        })
    }

    fn entry_now(&self, key: &str) -> Result<Option<Entry>> {
        if *self.settings().fold() == Fold::Log {
            return Err(Error::invalid("a cohort whose fold is log has no entries to compute once")
                .advise("use a cohort whose fold is latest"));
        }
        match self.writer().attached() {
            Some(_) => self.with_reader(|reader| {
                reader.refresh()?;
                reader.get(key)
            }),
            None => self.view()?.get(key),
        }
    }

    /// The directory of the locks. Who comes so far will write: a file system whose locks cannot be believed is refused first.
    fn once_directory(&self) -> Result<Dir> {
        self.writer().attachment(self.timeout())?;
        self.home().dir.make_sub(names::ONCE)?;
        self.home().dir.sub(names::ONCE)
    }

    /// Appends the key's value, unless somebody who asked no lock has given it one.
    fn first_of<T: Serialize>(&self, key: &str, value: &T) -> Result<Entry> {
        let mut batch = Batch::new();
        batch.put(key, value)?;
        match self.append_if(Expect::Key(key, 0), batch) {
            Err(e) if !e.is_conflict() => return Err(e),
            _ => {}
        }
        self.entry_now(key)?.ok_or_else(|| {
            Error::new(Kind::Conflict, format!("the entry of {key:?} was deleted as soon as it was there"))
                .at(self.home().dir.path())
                .advise("ask again, and see who deletes it")
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use crate::error::Error;
    use crate::{Settings, Store, sys};

    #[test]
    fn a_child_forked_by_the_function_neither_has_the_lock_nor_drops_it() {
        let dir = tempfile::tempdir().unwrap();
        let cohort = Store::open(dir.path().join("store")).unwrap().create("c", Settings::latest()).unwrap();
        let entry = cohort.once("k", || {
            for _ in 0..2 {
                // The first child's end must not free the lock for the second one.
                let status = sys::in_forked_child(|| {
                    let hurried = cohort.clone().with_timeout(Duration::from_millis(10));
                    hurried.once("k", || Ok::<_, Error>("child")).is_err_and(|e| e.is_lock_timeout())
                });
                assert_eq!(status, Some(0));
            }
            Ok::<_, Error>("parent")
        });
        assert_eq!(entry.unwrap().json(), r#""parent""#);
    }

    #[test]
    fn a_child_that_lives_on_after_the_function_keeps_nothing_locked() {
        let dir = tempfile::tempdir().unwrap();
        let cohort = Store::open(dir.path().join("store")).unwrap().create("c", Settings::latest()).unwrap();
        let pipe = sys::Pipe::new().unwrap();
        let entry = cohort.once("k", || {
            sys::fork_and_linger(&pipe);
            Ok::<_, Error>("parent")
        });
        assert_eq!(entry.unwrap().seq(), 1);
        // The grandchild lives, and keeps nothing locked.
        cohort.delete("k").unwrap();
        let again =
            cohort.clone().with_timeout(Duration::from_millis(50)).once("k", || Ok::<_, Error>("again"));
        assert_eq!(again.unwrap().seq(), 3);
        pipe.release();
    }
}
