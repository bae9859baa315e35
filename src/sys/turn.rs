//! Waiting for a lock that is held for long and taken again at once.
//!
//! Who gives a lock back and wants it again would nearly always be quicker than one who sleeps between two tries, and those who
//! wait would starve. So who waits says so ([`queue`](super::queue)), and who comes meanwhile takes turns with them: all try again
//! after sleeps of equal length, in random phases, so each time the lock becomes free each has the same chance.

use std::time::Duration;

use fs4::FileExt;

use super::lock::timed_out;
use super::queue::Queue;
use super::{LockFile, Locked, Patience, holder, random_u64};
use crate::error::Result;

/// Which lock on a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Exclusive,
    Shared,
}

/// The most that one who waits sleeps between two tries; half of it on average.
const LONGEST_TURN: Duration = Duration::from_millis(4);
/// Tries before one counts as waiting: few, for whoever holds the lock may take it again between any two of them.
const QUICK_TRIES: u32 = 3;
/// The sleep behind the first of them; it doubles.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
/// For so many turns a reader does not join other readers while a writer waits, for else they might have the lock between
/// them for ever. Then it does, for the writer that waits may be stopped.
const TURNS_LEFT_TO_WRITERS: u32 = 50;

impl LockFile {
    /// The lock, if it is to be had at once.
    pub(crate) fn at_once(&self, wanted: Wanted) -> Result<Option<Locked<'_>>> {
        match wanted {
            Wanted::Exclusive => self.attempt(FileExt::try_lock),
            Wanted::Shared => self.attempt(FileExt::try_lock_shared),
        }
    }

    /// The lock, in turn with all others who wait for it, as long as there is patience left.
    pub(crate) fn in_turn(&self, wanted: Wanted, patience: &Patience) -> Result<Locked<'_>> {
        let queue = Queue::of(self.file()?);
        if !queue.is_before(wanted) {
            let mut sleep = FIRST_SLEEP;
            for _ in 0..QUICK_TRIES {
                if let Some(locked) = self.at_once(wanted)? {
                    return Ok(locked);
                }
                let left = patience.left();
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(sleep.min(left));
                sleep *= 2;
            }
        }
        let _waiting = queue.join(wanted);
        let mut turns = 0;
        loop {
            let left = patience.left();
            std::thread::sleep(turn().min(left));
            turns += 1;
            let joins_readers = turns > TURNS_LEFT_TO_WRITERS || left.is_zero() || !queue.is_before(wanted);
            let tried = match wanted {
                Wanted::Shared if !joins_readers => self.shared_if_free()?,
                _ => self.at_once(wanted)?,
            };
            if let Some(locked) = tried {
                return Ok(locked);
            }
            if left.is_zero() {
                return Err(timed_out(&self.path, self.kept.file().and_then(holder::of), patience));
            }
        }
    }

    /// The shared lock, if nobody has any.
    fn shared_if_free(&self) -> Result<Option<Locked<'_>>> {
        let Some(alone) = self.at_once(Wanted::Exclusive)? else { return Ok(None) };
        let shared = self.at_once(Wanted::Shared)?;
        // It has become the shared lock. Or somebody came between, for this is no one step: then there is none any more.
        std::mem::forget(alone);
        Ok(shared)
    }
}

/// A sleep of random length.
fn turn() -> Duration {
    let nanoseconds = LONGEST_TURN.as_nanos() as u64;
    Duration::from_nanos(random_u64() % nanoseconds)
}
