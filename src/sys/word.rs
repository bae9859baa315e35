//! A lock in one word of shared memory, which survives the death of its owner.
//!
//! ```text
//! bit 31: somebody may be asleep   bits 11..31: the owner's incarnation   bits 0..11: the owner's slot + 1; 0: free
//! ```
//!
//! To take it is one compare-and-swap, to give it back one swap; the kernel is called only to sleep and to wake. Who has seen
//! the same owner for [`TEST_AFTER`] asks whether it lives, and if not takes the lock from it by compare-and-swap. What the
//! dead one was doing is not this lock's concern: see [`Ends`](super::Ends).
//!
//! **Orderings.** Taking is an acquire, giving back a release, so everything done under the lock is seen by the next owner.
//! A dead owner released nothing; but it was found dead by way of the kernel, which had stopped it before, and stores that a
//! processor has retired become visible to all. The take-over is an acquire all the same, for earlier owners' sake.
//!
//! **Fairness.** A newcomer may overtake a sleeper that has just been woken. The lock is held for about 100 ns and a woken one
//! looks for [`SPINS`] turns before it sleeps again, so it is not overtaken for long.

use std::time::Duration;

use super::atomic::{AtomicU32, Ordering, SPINS, spin_loop};
use super::{Patience, futex};

/// How long a waiter sleeps before it asks whether the owner lives. Also bounds what a lost wake-up costs: one who was woken
/// and is killed before it takes the lock wakes nobody.
const TEST_AFTER: Duration = Duration::from_millis(10);

/// The most turns between two looks.
const LONGEST_PAUSE: u32 = 32;

const ASLEEP: u32 = 1 << 31;
const SLOT_BITS: u32 = 11;
const INCARNATION_BITS: u32 = 20;

/// Who owns a word: an attached process, by its slot and that slot's incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The highest number of slots that a word can name.
    pub(super) const SLOTS: u32 = (1 << SLOT_BITS) - 1;

    pub(super) fn new(slot: u32, incarnation: u32) -> Owner {
        debug_assert!(slot < Owner::SLOTS);
        Owner((slot + 1) | (incarnation % (1 << INCARNATION_BITS)) << SLOT_BITS)
    }

    pub(super) fn slot(self) -> u32 {
        (self.0 & Owner::SLOTS) - 1
    }

    /// Whether an incarnation of the slot is this one.
    pub(super) fn is_incarnation(self, incarnation: u32) -> bool {
        self.0 >> SLOT_BITS == incarnation % (1 << INCARNATION_BITS)
    }

    fn of(word: u32) -> Option<Owner> {
        (word & !ASLEEP != 0).then_some(Owner(word & !ASLEEP))
    }
}

/// See the module. The default is free.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct Word(AtomicU32);

impl Word {
    /// Frees it, whoever had it. For one who is alone.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(super) fn try_lock(&self, me: Owner) -> bool {
        self.0.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock, waiting as long as there is patience left.
    ///
    /// # Errors
    /// Who has it.
    #[inline]
    pub(super) fn lock(
        &self,
        me: Owner,
        patience: &Patience,
        is_alive: impl Fn(Owner) -> bool,
    ) -> Result<(), Owner> {
        if self.try_lock(me) { Ok(()) } else { self.wait(me, patience, is_alive).map(|_| ()) }
    }

    /// The same, where it was not free at the first look. `true`: it had to be slept for.
    #[cold]
    pub(super) fn wait(
        &self,
        me: Owner,
        patience: &Patience,
        is_alive: impl Fn(Owner) -> bool,
    ) -> Result<bool, Owner> {
        let mut seen = None;
        // Who has slept takes the lock with the bit set: there may be others asleep, and nobody else knows of them now.
        let mut asleep = 0;
        loop {
            // Ever less often: each look takes the line out of the cache of the owner, who needs it for the next store.
            let (mut turns, mut pause) = (0, 1);
            while turns < SPINS {
                let word = self.0.load(Ordering::Relaxed);
                if Owner::of(word).is_none() && self.swap(word, me.0 | word & ASLEEP | asleep) {
                    return Ok(asleep != 0);
                }
                (0..pause).for_each(|_| spin_loop());
                turns += pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            let word = self.0.load(Ordering::Relaxed);
            let Some(owner) = Owner::of(word) else { continue };
            if seen == Some(owner) && !is_alive(owner) {
                if self.swap(word, me.0 | ASLEEP) {
                    return Ok(true);
                }
                continue;
            }
            seen = Some(owner);
            // Who gives up sets it too: it may have been woken, and then overtaken by a newcomer that knows of no other sleepers.
            if word & ASLEEP == 0 && !self.swap(word, word | ASLEEP) {
                continue;
            }
            let left = patience.left();
            if left.is_zero() {
                return Err(owner);
            }
            futex::wait(&self.0, word | ASLEEP, left.min(TEST_AFTER));
            asleep = ASLEEP;
        }
    }

    fn swap(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock from an owner that has died. `false`: it lives, or somebody was faster.
    pub(super) fn take_from_dead(&self, me: Owner, is_alive: impl Fn(Owner) -> bool) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        Owner::of(word).is_some_and(|owner| !is_alive(owner)) && self.swap(word, me.0 | word & ASLEEP)
    }

    /// Gives the lock back. Only the owner may.
    #[inline]
    pub(super) fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) & ASLEEP != 0 {
            futex::wake(&self.0, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn threads_with_slots_of_their_own_exclude_each_other() {
        const TURNS: u64 = 20_000;
        let (word, count) = (Word::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for slot in 0..4 {
                let (word, count) = (&word, &count);
                scope.spawn(move || {
                    let patience = Patience::of(Duration::from_secs(60));
                    for _ in 0..TURNS {
                        word.lock(Owner::new(slot, 1), &patience, |_| true).unwrap();
                        // Two steps, so that who is not excluded loses one.
                        let seen = count.load(Ordering::Relaxed);
                        count.store(seen + 1, Ordering::Relaxed);
                        word.unlock();
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4 * TURNS);
    }

    #[test]
    fn a_dead_owner_loses_the_lock_to_one_of_those_who_wait_and_a_living_one_keeps_it() {
        let word = Word::default();
        let (dead, living) = (Owner::new(0, 7), Owner::new(1, 1));
        assert!(word.try_lock(dead));
        let short = Patience::of(Duration::from_millis(30));
        assert_eq!(word.lock(living, &short, |_| true), Err(dead), "who lives is named");
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for slot in 1..3 {
                let (word, inside) = (&word, &inside);
                scope.spawn(move || {
                    let patience = Patience::of(Duration::from_secs(60));
                    word.lock(Owner::new(slot, 1), &patience, |owner| owner != dead).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    std::thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    word.unlock();
                });
            }
        });
        assert!(word.try_lock(living), "it is free in the end");
        assert!(!word.take_from_dead(dead, |_| true) && word.take_from_dead(dead, |_| false));
    }

    #[test]
    fn a_word_names_every_slot_and_incarnation() {
        for slot in [0, 1, 1023, Owner::SLOTS - 1] {
            for incarnation in [0, 1, (1 << INCARNATION_BITS) - 1, 1 << INCARNATION_BITS] {
                let owner = Owner::new(slot, incarnation);
                assert_eq!(owner.slot(), slot);
                assert!(owner.is_incarnation(incarnation) && !owner.is_incarnation(incarnation + 1));
                assert_eq!(Owner::of(owner.0 | ASLEEP), Some(owner));
            }
        }
        assert_eq!(Owner::of(ASLEEP), None);
    }
}
