//! Where the journal ends, published in shared memory: two slots, and one store that selects between them.
//!
//! The owner of the append lock alone writes. A death at any instruction leaves the last published end in place, and a mark
//! that something was begun: `begun` is one ahead of `published` from before the first byte of a frame is written until the
//! publishing store, which ends both at once. Who takes the lock next and finds the mark looks at the bytes of the journal.
//!
//! **Orderings.** A reader loads `published` (acquire: it sees the slot as it was then), the slot, and `published` again, and
//! believes the slot if the number is the same. The writer puts a release fence between the last publishing and its next
//! stores to a slot; with the reader's acquire fence before its second load: a reader that has met a store of publishing
//! n + 2 in slot n sees n + 1 or more, and looks again.

use super::atomic::{AtomicU64, Ordering, fence, spin_loop};

/// The place behind the last whole frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// The active segment; 0: not known.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) next_seq: u64,
    /// The CRC of what stands before it: a frame's header, or the link.
    pub(crate) last_crc: u32,
}

/// See the module.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Ends {
    begun: AtomicU64,
    published: AtomicU64,
    slots: [Slot; 2],
}

#[derive(Default)]
#[repr(C)]
struct Slot {
    segment: AtomicU64,
    offset: AtomicU64,
    next_seq: AtomicU64,
    last_crc: AtomicU64,
}

impl Slot {
    #[inline]
    fn load(&self) -> End {
        End {
            segment: self.segment.load(Ordering::Relaxed),
            offset: self.offset.load(Ordering::Relaxed),
            next_seq: self.next_seq.load(Ordering::Relaxed),
            last_crc: self.last_crc.load(Ordering::Relaxed) as u32,
        }
    }

    #[inline]
    fn store(&self, end: &End) {
        self.segment.store(end.segment, Ordering::Relaxed);
        self.offset.store(end.offset, Ordering::Relaxed);
        self.next_seq.store(end.next_seq, Ordering::Relaxed);
        self.last_crc.store(u64::from(end.last_crc), Ordering::Relaxed);
    }
}

impl Ends {
    /// The last published end. For anybody, at any time.
    #[inline]
    pub(crate) fn read(&self) -> End {
        loop {
            let number = self.published.load(Ordering::Acquire);
            let end = self.slots[(number & 1) as usize].load();
            fence(Ordering::Acquire);
            if self.published.load(Ordering::Relaxed) == number {
                return end;
            }
            spin_loop();
        }
    }

    /// The last published end, for the owner of the append lock: nobody else writes.
    #[inline]
    pub(crate) fn current(&self) -> End {
        self.slots[(self.published.load(Ordering::Relaxed) & 1) as usize].load()
    }

    /// Whether nothing was begun that has not been published. For the owner of the append lock.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == self.published.load(Ordering::Relaxed)
    }

    /// Says that bytes behind the end are about to change. For the owner of the append lock.
    #[inline]
    pub(crate) fn begin(&self) {
        self.begun.store(self.published.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // No store to the journal may come before the mark, in a thread that can be killed between any two of them.
        fence(Ordering::Release);
    }

    /// Publishes an end, and ends what was begun. For the owner of the append lock.
    #[inline]
    pub(crate) fn publish(&self, end: &End) {
        let next = self.published.load(Ordering::Relaxed).wrapping_add(1);
        // A takeover after a death may publish without having begun.
        self.begun.store(next, Ordering::Relaxed);
        fence(Ordering::Release);
        self.slots[(next & 1) as usize].store(end);
        self.published.store(next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u64) -> End {
        End { segment: n, offset: n.wrapping_mul(3), next_seq: n + 7, last_crc: n as u32 }
    }

    #[test]
    fn a_reader_sees_whole_ends_only_and_never_an_older_one() {
        let ends = Ends::default();
        ends.publish(&end(1));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 200_000 {
                        let seen = ends.read();
                        assert_eq!(seen, end(seen.segment), "a mix of two");
                        assert!(seen.segment >= last);
                        last = seen.segment;
                    }
                });
            }
            for n in 2..=200_000 {
                ends.begin();
                ends.publish(&end(n));
            }
        });
    }

    #[test]
    fn what_was_begun_and_not_published_leaves_the_last_end_and_a_mark() {
        let ends = Ends::default();
        ends.publish(&end(1));
        assert!(ends.is_settled());
        ends.begin();
        assert!(!ends.is_settled());
        // As far as a writer may get that dies before the publishing store.
        ends.slots[0].store(&end(2));
        assert_eq!((ends.read(), ends.current()), (end(1), end(1)));
        ends.publish(&end(3));
        assert!(ends.is_settled());
        assert_eq!(ends.read(), end(3));
    }
}
