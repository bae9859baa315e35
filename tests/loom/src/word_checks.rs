//! The lock in a word.

use std::rc::Rc;

use loom::cell::Cell;
use loom::thread;

use crate::atomic::Ordering;
use crate::check::{Check, Patience, in_every_order};
use crate::kernel;
use crate::word::{Owner, Word};

pub(crate) static ALL: [Check; 5] = [
    Check { name: "two exclude each other, and nobody sleeps for ever", run: two_take_turns },
    Check { name: "three exclude each other, and nobody sleeps for ever", run: three_take_turns },
    Check { name: "a sleep may end early", run: early_end },
    Check { name: "who gives up does not keep a wake-up to itself", run: giving_up },
    Check { name: "a dead owner is followed by one, who sees what was done under the lock", run: death },
];

/// A lock, and what it protects: loom fails when two are at it and nothing orders them. loom runs its threads by turns in one
/// real thread, so an `Rc` can be shared.
#[derive(Default)]
struct Protected {
    word: Word,
    turns: Cell<u32>,
}

impl Protected {
    fn turn(&self, slot: u32) {
        self.word.lock(Owner::new(slot, 0), &Patience::endless(), |_| true).unwrap();
        self.count();
        self.word.unlock();
    }

    fn count(&self) {
        self.turns.set(self.turns.get() + 1);
    }

    /// The turns in all, for who is alone.
    fn turns(&self) -> u32 {
        let me = Owner::new(3, 0);
        assert!(self.word.try_lock(me) || self.word.take_from_dead(me, is_alive), "it is free in the end");
        self.turns.get()
    }
}

fn is_alive(owner: Owner) -> bool {
    kernel::lives(owner.slot(), Ordering::Relaxed)
}

fn two_take_turns() {
    in_every_order(7, || {
        let shared = Rc::new(Protected::default());
        let other = thread::spawn({
            let shared = Rc::clone(&shared);
            move || (0..2).for_each(|_| shared.turn(1))
        });
        (0..2).for_each(|_| shared.turn(0));
        other.join().unwrap();
        assert_eq!(shared.turns(), 4);
    });
}

fn three_take_turns() {
    in_every_order(3, || {
        let shared = Rc::new(Protected::default());
        let others = [1, 2].map(|slot| {
            let shared = Rc::clone(&shared);
            thread::spawn(move || shared.turn(slot))
        });
        (0..2).for_each(|_| shared.turn(0));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.turns(), 4);
    });
}

fn early_end() {
    in_every_order(3, || {
        let shared = Rc::new(Protected::default());
        let other = thread::spawn({
            let shared = Rc::clone(&shared);
            move || shared.turn(1)
        });
        let clock = thread::spawn(kernel::time_out);
        (0..2).for_each(|_| shared.turn(0));
        other.join().unwrap();
        clock.join().unwrap();
        assert_eq!(shared.turns(), 3);
    });
}

/// One who is woken, finds that a newcomer was faster and has no patience left must see to it that the next is woken.
fn giving_up() {
    in_every_order(3, || {
        let shared = Rc::new(Protected::default());
        let impatient = thread::spawn({
            let shared = Rc::clone(&shared);
            move || {
                let locked = shared.word.lock(Owner::new(1, 0), &Patience::of_sleeps(1), |_| true);
                if locked.is_ok() {
                    shared.word.unlock();
                }
            }
        });
        let patient = thread::spawn({
            let shared = Rc::clone(&shared);
            move || shared.turn(2)
        });
        (0..2).for_each(|_| shared.turn(0));
        impatient.join().unwrap();
        patient.join().unwrap();
        assert_eq!(shared.turns(), 3);
    });
}

/// The kernel is taken to say that the owner is dead and nothing else (`Relaxed`): so that what was done by the owners before
/// is seen is the lock's own work.
fn death() {
    in_every_order(3, || {
        let shared = Rc::new(Protected::default());
        let mortal = thread::spawn({
            let shared = Rc::clone(&shared);
            move || {
                shared.turn(0);
                shared.word.lock(Owner::new(0, 0), &Patience::endless(), |_| true).unwrap();
                kernel::bury(0);
            }
        });
        let heirs = [1, 2].map(|slot| {
            let shared = Rc::clone(&shared);
            thread::spawn(move || {
                shared.word.lock(Owner::new(slot, 0), &Patience::endless(), is_alive).unwrap();
                shared.count();
                shared.word.unlock();
            })
        });
        mortal.join().unwrap();
        heirs.into_iter().for_each(|heir| heir.join().unwrap());
        assert_eq!(shared.turns(), 3);
    });
}
