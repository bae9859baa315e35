//! The published end, and what a death leaves.

use std::rc::Rc;

use loom::thread;

use crate::atomic::{AtomicU64, Ordering, dies_after, fence};
use crate::check::{Check, Patience, in_every_order};
use crate::ends::{End, Ends};
use crate::kernel;
use crate::word::{Owner, Word};

pub(crate) static ALL: [Check; 5] = [
    Check {
        name: "a reader sees whole ends only, never an older one, and the frames before them",
        run: reading,
    },
    Check { name: "the same where nothing was begun before it is published", run: reading_unbegun },
    Check { name: "who sees a frame that is not published sees the mark", run: mark },
    Check { name: "wherever an owner dies, the next one finds the mark or a whole end", run: death },
    Check { name: "wherever an owner dies, a reader sees whole ends only", run: reading_after_a_death },
];

/// A journal with a lock, as far as it matters here: of the frames, how many there are.
#[derive(Default)]
struct Journal {
    word: Word,
    ends: Ends,
    frames: AtomicU64,
}

impl Journal {
    /// What the owner of the lock does.
    fn append(&self) {
        let next = self.ends.current().segment + 1;
        self.ends.begin();
        self.frames.store(next, Ordering::Relaxed);
        self.ends.publish(&end(next));
    }

    /// What is published, for anybody: whole, and with every frame before it.
    fn read(&self) -> u64 {
        let found = self.ends.read();
        assert_eq!(found, end(found.segment), "a mix of two");
        assert!(self.frames.load(Ordering::Relaxed) >= found.segment, "an end without its frame");
        found.segment
    }

    /// What the next owner does, after a death or not.
    fn inherit(&self, slot: u32) {
        // Whoever is told of a death finds all that the dead one has stored: the kernel had stopped it before.
        let is_alive = |owner: Owner| kernel::lives(owner.slot(), Ordering::Acquire);
        self.word.lock(Owner::new(slot, 0), &Patience::endless(), is_alive).unwrap();
        let (found, frames) = (self.ends.current(), self.frames.load(Ordering::Relaxed));
        if self.ends.is_settled() {
            assert_eq!(found, end(frames), "nothing was begun, and the journal ends elsewhere");
        } else {
            assert!(found == end(frames) || found == end(frames - 1), "the last end stays");
            self.ends.publish(&end(frames));
        }
        self.append();
        self.word.unlock();
    }

    fn read_twice(&self) {
        let first = self.read();
        assert!(self.read() >= first, "an older end");
    }
}

/// The end behind so many frames.
fn end(frames: u64) -> End {
    End { segment: frames, offset: frames * 3, next_seq: frames * 5, last_crc: frames as u32 * 7 }
}

/// Without interruptions: nobody takes anything from a reader, so all that it can see while the others are at it, it can see
/// after them as well, loading what is out of date. For the same reason two readers see no more than one.
fn reading() {
    in_every_order(0, || {
        let journal = Rc::new(Journal::default());
        let reader = thread::spawn({
            let journal = Rc::clone(&journal);
            move || journal.read_twice()
        });
        (0..3).for_each(|_| journal.append());
        reader.join().unwrap();
        assert_eq!(journal.read(), 3);
    });
}

/// Who repairs publishes without having begun.
fn reading_unbegun() {
    in_every_order(0, || {
        let journal = Rc::new(Journal::default());
        let reader = thread::spawn({
            let journal = Rc::clone(&journal);
            move || journal.read_twice()
        });
        for next in 1..=3 {
            journal.frames.store(next, Ordering::Relaxed);
            journal.ends.publish(&end(next));
            assert!(journal.ends.is_settled());
        }
        reader.join().unwrap();
    });
}

/// The mark's own ordering, without what the kernel does when it ends a process.
fn mark() {
    in_every_order(None, || {
        let journal = Rc::new(Journal::default());
        let writer = thread::spawn({
            let journal = Rc::clone(&journal);
            move || {
                journal.ends.begin();
                journal.frames.store(1, Ordering::Relaxed);
            }
        });
        if journal.frames.load(Ordering::Relaxed) == 1 {
            fence(Ordering::Acquire);
            assert!(!journal.ends.is_settled());
        }
        writer.join().unwrap();
    });
}

/// The steps of a whole append: taking the lock, the mark, the frame, publishing (six), giving the lock back, waking.
const STEPS: u32 = 11;

/// An owner dies after each number of steps, and another comes, before or after it.
fn death() {
    dying_after_each_step(None, false);
}

/// Somebody reads meanwhile. One interruption is enough for it: see [`reading`].
fn reading_after_a_death() {
    dying_after_each_step(Some(1), true);
}

fn dying_after_each_step(interruptions: Option<usize>, reading: bool) {
    for steps in 0..=STEPS {
        in_every_order(interruptions, move || {
            let journal = Rc::new(Journal::default());
            let heir = thread::spawn({
                let journal = Rc::clone(&journal);
                move || journal.inherit(1)
            });
            let reader = reading.then(|| {
                let journal = Rc::clone(&journal);
                thread::spawn(move || journal.read_twice())
            });
            let died = dies_after(steps, || {
                if journal.word.try_lock(Owner::new(0, 0)) {
                    journal.append();
                    journal.word.unlock();
                }
            });
            assert!(!died || steps < STEPS, "these are all steps");
            if died {
                kernel::bury(0);
            }
            heir.join().unwrap();
            if let Some(reader) = reader {
                reader.join().unwrap();
            }
            journal.inherit(2);
            assert_eq!(journal.read(), journal.frames.load(Ordering::Relaxed));
        });
    }
}
