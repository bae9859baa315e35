//! Where the journal ends, published in shared memory: two slots, and one store that selects between them.
//!
//! The owner of the append lock alone writes. A death at any instruction leaves the last published end in place, and a mark
//! that something was begun, from before the first byte of a frame is written until the publishing store, which ends it and
//! selects the new slot at once. Who takes the lock next and finds the mark looks at the bytes of the journal.
//!
//! With the lock in front of it, all of this is one line of the processors' caches: to hand such a line over is what an append
//! among many writers mostly waits for.
//!
//! **Orderings.** A reader loads the state (acquire, and each store to it is a release: it sees the slot as it was then), the
//! slot, and the state again, and believes the slot if the number in the state is the same. The writer puts a release fence
//! between the last publishing and its next stores to a slot; with the reader's acquire fence before its second load: a reader
//! that has met a store of publishing n + 2 in slot n sees n + 1 or more, and looks again.

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
    /// How many ends have been published, and in the lowest bit whether something is begun.
    state: AtomicU64,
    slots: [Slot; 2],
}

const BEGUN: u64 = 1;

/// The slot that a state selects.
fn selected(state: u64) -> usize {
    (state >> 1 & 1) as usize
}

/// An end in 24 bytes.
#[derive(Default)]
#[repr(C)]
struct Slot {
    /// The offset, below the upper half of the segment's number.
    offset: AtomicU64,
    next_seq: AtomicU64,
    /// The lower half of the segment's number above the CRC.
    crc: AtomicU64,
}

/// Offsets have fewer bits: a segment is at most 1 TiB, or one frame of 1 GiB, long. So 23 are left for the segment's number
/// beside the other 32, enough for a new segment every microsecond of a thousand years.
const OFFSET_BITS: u32 = 41;

impl Slot {
    #[inline]
    fn load(&self) -> End {
        let (offset, crc) = (self.offset.load(Ordering::Relaxed), self.crc.load(Ordering::Relaxed));
        End {
            segment: offset >> OFFSET_BITS << 32 | crc >> 32,
            offset: offset & ((1 << OFFSET_BITS) - 1),
            next_seq: self.next_seq.load(Ordering::Relaxed),
            last_crc: crc as u32,
        }
    }

    #[inline]
    fn store(&self, end: &End) {
        debug_assert!(end.offset >> OFFSET_BITS == 0 && end.segment >> 32 >> (64 - OFFSET_BITS) == 0);
        self.offset.store(end.offset | end.segment >> 32 << OFFSET_BITS, Ordering::Relaxed);
        self.next_seq.store(end.next_seq, Ordering::Relaxed);
        self.crc.store(end.segment << 32 | u64::from(end.last_crc), Ordering::Relaxed);
    }
}

impl Ends {
    /// The last published end. For anybody, at any time.
    #[inline]
    pub(crate) fn read(&self) -> End {
        loop {
            let state = self.state.load(Ordering::Acquire);
            let end = self.slots[selected(state)].load();
            fence(Ordering::Acquire);
            if self.state.load(Ordering::Relaxed) >> 1 == state >> 1 {
                return end;
            }
            spin_loop();
        }
    }

    /// The last published end, for the owner of the append lock: nobody else writes.
    #[inline]
    pub(crate) fn current(&self) -> End {
        self.slots[selected(self.state.load(Ordering::Relaxed))].load()
    }

    /// Whether nothing was begun that has not been published. For the owner of the append lock.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.state.load(Ordering::Relaxed) & BEGUN == 0
    }

    /// Says that bytes behind the end are about to change. For the owner of the append lock.
    #[inline]
    pub(crate) fn begin(&self) {
        // A release, for a reader may take the slot's contents from this store, too.
        self.state.store(self.state.load(Ordering::Relaxed) | BEGUN, Ordering::Release);
        // No store to the journal may come before the mark, in a thread that can be killed between any two of them.
        fence(Ordering::Release);
    }

    /// Publishes an end, and ends what was begun. For the owner of the append lock.
    #[inline]
    pub(crate) fn publish(&self, end: &End) {
        let state = self.state.load(Ordering::Relaxed);
        let next = (state | BEGUN).wrapping_add(1);
        // A takeover after a death may publish without having begun.
        self.state.store(state | BEGUN, Ordering::Release);
        fence(Ordering::Release);
        self.slots[selected(next)].store(end);
        self.state.store(next, Ordering::Release);
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
    fn an_end_fits_into_its_slot() {
        let largest =
            End { segment: (1 << 55) - 1, offset: (1 << 41) - 1, next_seq: u64::MAX, last_crc: u32::MAX };
        for end in [
            End::default(),
            largest,
            End { segment: 1 << 32, offset: 1, ..largest },
            End { last_crc: 0, ..largest },
        ] {
            let ends = Ends::default();
            ends.publish(&end);
            assert_eq!((ends.read(), ends.current()), (end, end));
        }
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
