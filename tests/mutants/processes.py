"""Locks, forks, and what processes share in memory."""

from bug import Bug, file, unit

SLOTS = unit("when_every_slot_is_taken")
DEAD = unit("a_writer_that_dies_at_any_step_of_an_append")

LOCKS = [
    Bug(
        "a living owner is taken for dead",
        "src/sys/word.rs",
        "if seen == Some(owner) && ⟦!is_alive(owner)⟧ {",
        "true",
        unit("a_dead_owner_loses_the_lock"),
    ),
    Bug(
        "a dead owner is not noticed",
        "src/sys/word.rs",
        "if seen == Some(owner) && ⟦!is_alive(owner)⟧ {",
        "false",
        unit("a_writer_that_dies_in_the_middle_of_a_frame"),
    ),
    Bug(
        "a slot that nobody has locked counts as alive",
        "src/sys/slots_linux.rs",
        "0 => Ok(⟦range.l_type != libc::F_UNLCK as libc::c_short⟧),",
        "true",
        unit("a_writer_that_dies_in_the_middle_of_a_frame"),
    ),
    Bug(
        "a slot that somebody has locked counts as dead",
        "src/sys/slots_linux.rs",
        "0 => Ok(⟦range.l_type != libc::F_UNLCK as libc::c_short⟧),",
        "false",
        SLOTS,
    ),
    Bug(
        "who has a dead one's slot is taken for it",
        "src/sys/control_linux.rs",
        "⟦owner.is_incarnation(entry.incarnation.load(Ordering::Acquire))⟧\n            && slot",
        "true",
        SLOTS,
    ),
    Bug(
        "who does not get the sync lock frees it",
        "src/sys/control_linux.rs",
        "⟦taken.then(|| Owned(word))⟧",
        "taken.then_some(Owned(word))",
        unit("who_does_not_get_the_sync_lock"),
    ),
    Bug(
        "a dead leader is not replaced",
        "src/sys/control_linux.rs",
        "|| ⟦test⟧ && word.take_from_dead",
        "false",
        unit("those_who_wait_for_a_sync_whose_leader_is_killed"),
    ),
    Bug(
        "the append lock of the class file is taken shared",
        "src/sys/lock.rs",
        "fn exclusive(&self, patience: &Patience) -> Result<Locked<'_>> {\n        self.wait(patience, LONGEST_SLEEP, || ⟦self.try_exclusive()⟧)",
        "self.attempt(FileExt::try_lock_shared)",
        unit("a_forked_child_goes_on"),
    ),
    Bug(
        "a forked child keeps its parent's descriptors",
        "src/sys/fork_unix.rs",
        "⟦unsafe { libc::close(fd) };⟧",
        "",
        unit("a_child_that_lives_on"),
    ),
    Bug(
        "a forked child unlocks its parent",
        "src/sys/fork_unix.rs",
        "⟦unsafe { libc::close(fd) };⟧",
        "",
        unit("a_guard_dropped_in_a_forked_child"),
        also=(("src/sys/fork_unix.rs", "⟦(self.generation == generation())⟧.then_some(&*self.file)", "true"),),
    ),
    Bug(
        "a forked child uses its parent's attachment",
        "src/sys/fork_unix.rs",
        "&& ⟦entry.generation == now⟧\n",
        "true",
        unit("a_forked_child_goes_on"),
        also=(("src/sys/fork_unix.rs", "⟦(entry.generation == generation())⟧.then_some(&entry.value)", "true"),),
    ),
]

# `make loom` orders the steps of a few threads in every way, and what a processor may reorder too.
ORDERS = [
    Bug(
        "the end is selected before its slot is written",
        "src/sys/ends.rs",
        "⟦self.slots[selected(next)].store(end);\n        self.state.store(next, Ordering::Release);⟧",
        "self.state.store(next, Ordering::Release);\n        self.slots[selected(next)].store(end);",
        loom="a reader sees whole ends only",
    ),
    Bug(
        "a reader believes an end that changed meanwhile",
        "src/sys/ends.rs",
        "if ⟦self.state.load(Ordering::Relaxed) >> 1 == state >> 1⟧ {",
        "true",
        loom="a reader sees whole ends only",
    ),
    Bug(
        "the mark that a frame was begun may be seen after the frame",
        "src/sys/ends.rs",
        "⟦fence(Ordering::Release);⟧\n    }\n\n    /// Publishes an end",
        "",
        loom="who sees a frame that is not published",
    ),
    Bug(
        "who takes the lock may not see what was done under it",
        "src/sys/word.rs",
        "self.0.swap(0, ⟦Ordering::Release⟧)",
        "Ordering::Relaxed",
        loom="two exclude each other",
    ),
    Bug(
        "who has slept forgets that others may be asleep",
        "src/sys/word.rs",
        "asleep = ⟦ASLEEP⟧;",
        "0",
        loom="three exclude each other",
    ),
]
