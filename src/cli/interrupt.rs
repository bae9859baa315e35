//! Ctrl-C: the command ends with 130, and what it had begun is in order.
//!
//! A verb that goes on for long asks [`check`] between two steps, ends by itself, and its guards clean up. One that is stuck in
//! a call (it waits for input, a lock, a record to come) is not waited for: after a moment its [`farewell`] is said and the
//! process ends. The store needs neither, for an end at any instruction is what it is made for.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::exit::{self, Failure};

/// How long a verb has to notice before it counts as stuck.
const GRACE: Duration = Duration::from_millis(100);
/// How often [`sleep`] looks.
const NAP: Duration = Duration::from_millis(20);

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// How many child processes are running whose affair Ctrl-C is.
static CHILDREN: AtomicU32 = AtomicU32::new(0);
/// Whether it was pressed while it was theirs.
static MEANWHILE: AtomicBool = AtomicBool::new(false);
static FAREWELL: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Begins to listen. Where that cannot be, or Ctrl-C was to be ignored before, everything stays as it was.
pub(crate) fn listen() {
    let _ = ctrlc::try_set_handler(|| {
        if CHILDREN.load(Ordering::SeqCst) > 0 {
            MEANWHILE.store(true, Ordering::SeqCst);
            return;
        }
        if REQUESTED.swap(true, Ordering::SeqCst) || thread::Builder::new().spawn(end_if_stuck).is_err() {
            // Asked for twice: at once.
            process::exit(exit::INTERRUPTED.into());
        }
    });
}

fn end_if_stuck() {
    thread::sleep(GRACE);
    if let Some(farewell) = farewell_slot().take() {
        farewell();
    }
    process::exit(exit::INTERRUPTED.into());
}

fn farewell_slot() -> MutexGuard<'static, Option<Box<dyn FnOnce() + Send>>> {
    FAREWELL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the command is to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// For loops: an error when the command is to end. It has no message, for who pressed the keys knows.
pub(crate) fn check() -> Result<(), Failure> {
    if requested() { Err(Failure::new(exit::INTERRUPTED, "")) } else { Ok(()) }
}

/// Sleeps, and less when the command is to end.
pub(crate) fn sleep(time: Duration) -> Result<(), Failure> {
    let until = Instant::now() + time;
    loop {
        check()?;
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return Ok(()),
            left => thread::sleep(left.min(NAP)),
        }
    }
}

/// Until this is dropped, what is to be done before the process ends while its main thread is stuck.
#[must_use]
pub(crate) struct Farewell(());

/// `f` runs on another thread, and must not wait for long. There is one farewell at a time: the last one given.
pub(crate) fn farewell(f: impl FnOnce() + Send + 'static) -> Farewell {
    *farewell_slot() = Some(Box::new(f));
    Farewell(())
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Waits for one that is being said: it took the slot's content, and ends the process.
        farewell_slot().take();
    }
}

/// Until this is dropped, Ctrl-C is the affair of a child process, which the terminal sends it to as well.
#[must_use]
pub(crate) struct LeftToChild(());

pub(crate) fn left_to_child() -> LeftToChild {
    CHILDREN.fetch_add(1, Ordering::SeqCst);
    LeftToChild(())
}

impl LeftToChild {
    /// Whether it was pressed.
    pub(crate) fn was_pressed(&self) -> bool {
        MEANWHILE.load(Ordering::SeqCst)
    }
}

impl Drop for LeftToChild {
    fn drop(&mut self) {
        CHILDREN.fetch_sub(1, Ordering::SeqCst);
    }
}
