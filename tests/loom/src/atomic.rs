//! loom's atomics, in the place of `src/sys/atomic.rs`; and threads that die before a chosen step.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub(crate) use loom::sync::atomic::{Ordering, fence};

/// One look before each sleep: more of them would show nothing else, in many more orders.
pub(crate) const SPINS: u32 = 1;

/// Does nothing. loom's own lets all other threads go first, and would hide what happens if they do not.
pub(crate) fn spin_loop() {}

macro_rules! atomic {
    ($($name:ident of $int:ty),*) => {$(
        #[derive(Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code, reason = "not every integer sees every operation")]
        impl $name {
            pub(crate) fn load(&self, ordering: Ordering) -> $int {
                self.0.load(ordering)
            }

            pub(crate) fn store(&self, value: $int, ordering: Ordering) {
                step();
                self.0.store(value, ordering);
            }

            pub(crate) fn swap(&self, value: $int, ordering: Ordering) -> $int {
                step();
                self.0.swap(value, ordering)
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $int,
                to: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                step();
                self.0.compare_exchange(from, to, success, failure)
            }
        }
    )*};
}

atomic!(AtomicU32 of u32, AtomicU64 of u64);

/// What unwinds a thread that dies.
struct Death;

loom::thread_local! {
    /// The steps that this thread lives to take; `None`: all of them.
    static LEFT: Cell<Option<u32>> = Cell::new(None);
}

/// A step that others can notice: a store, or a call of the kernel.
pub(crate) fn step() {
    LEFT.with(|left| match left.get() {
        Some(0) => resume_unwind(Box::new(Death)),
        Some(more) => left.set(Some(more - 1)),
        None => {}
    });
}

/// Does `work` and dies after so many steps of it. `false`: it came to its end before.
pub(crate) fn dies_after(steps: u32, work: impl FnOnce()) -> bool {
    LEFT.with(|left| left.set(Some(steps)));
    let done = catch_unwind(AssertUnwindSafe(work));
    LEFT.with(|left| left.set(None));
    match done {
        Ok(()) => false,
        Err(death) if death.is::<Death>() => true,
        Err(panic) => resume_unwind(panic),
    }
}
