//! Waiting for a lock that is held for long and taken again at once.
//!
//! Who gives a lock back and wants it again would nearly always be quicker than one who sleeps between two tries, and those who
//! wait would starve. So who waits says so ([`queue`](super::queue)), and who comes meanwhile takes turns with them: all try again
//! after sleeps of equal length, in random phases, so each time the lock becomes free each has the same chance.

use std::time::Duration;

use fs4::FileExt;

use super::lock::{FIRST_SLEEP, LONGEST_SLEEP, YIELDS, timed_out};
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
/// The sleeps before one counts as waiting: they make up a millisecond or so.
const QUICK_TRIES: u32 = YIELDS + 6;
/// So many turns a reader leaves to writers who wait, and then tries though they still wait: one of them may be stopped, and
/// waiting for ever.
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
            for tries in 1..=QUICK_TRIES {
                if let Some(locked) = self.at_once(wanted)? {
                    return Ok(locked);
                }
                let left = patience.left();
                if left.is_zero() {
                    break;
                }
                if tries <= YIELDS {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(sleep.min(left));
                    sleep = (sleep * 2).min(LONGEST_SLEEP);
                }
            }
        }
        let _waiting = queue.join(wanted);
        let mut turns = 0;
        loop {
            let left = patience.left();
            std::thread::sleep(turn().min(left));
            turns += 1;
            let leaves_it = wanted == Wanted::Shared
                && turns < TURNS_LEFT_TO_WRITERS
                && !left.is_zero()
                && queue.is_before(wanted);
            if !leaves_it && let Some(locked) = self.at_once(wanted)? {
                return Ok(locked);
            }
            if left.is_zero() {
                return Err(timed_out(&self.path, self.kept.file().and_then(holder::of), patience));
            }
        }
    }
}

/// A sleep of random length.
fn turn() -> Duration {
    let nanoseconds = LONGEST_TURN.as_nanos() as u64;
    Duration::from_nanos(random_u64() % nanoseconds)
}
