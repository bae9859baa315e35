//! What the kernel may know of how a mapped file is read: madvise(2). It may be ignored, so no error counts.

use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

/// These bytes will hardly be read again: they need not count as memory of this process. If they are read all the same, the
/// kernel maps them again.
pub(super) fn give_back(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: MADV_DONTNEED is dangerous where pages hold what is nowhere else: they come back as zeros. This is a shared
    // mapping of a file that nobody can write through it, so a page holds what the file does, before and after; whoever still
    // borrows from it reads the same bytes again.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
}
