//! How a check is run.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::kernel;

/// A check: its name is what holds.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// Runs checks side by side. A failure has told what it saw when this returns.
pub(crate) fn run(checks: impl Iterator<Item = &'static Check>) -> ExitCode {
    let running: Vec<_> = checks
        .map(|check| {
            let thread = std::thread::Builder::new().name(check.name.to_string()).spawn(|| {
                let begun = Instant::now();
                (check.run)();
                begun.elapsed()
            });
            (check.name, thread.unwrap())
        })
        .collect();
    let mut code = ExitCode::SUCCESS;
    for (name, thread) in running {
        match thread.join() {
            Ok(took) => println!("{:5.1} s  {name}", took.as_secs_f64()),
            Err(_) => {
                println!("  FAILS  {name}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Runs `model` in every order; or, if there are too many, in all where a thread that could go on is interrupted at most
/// `interruptions` times.
pub(crate) fn in_every_order(
    interruptions: impl Into<Option<usize>>,
    model: impl Fn() + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = interruptions.into();
    builder.check(move || {
        kernel::boot();
        model();
    });
}

/// How long a waiter waits, counted in sleeps.
pub(crate) struct Patience(Cell<Option<u32>>);

impl Patience {
    pub(crate) fn endless() -> Patience {
        Patience(Cell::new(None))
    }

    pub(crate) fn of_sleeps(sleeps: u32) -> Patience {
        Patience(Cell::new(Some(sleeps)))
    }

    /// The lock asks before each sleep.
    pub(crate) fn left(&self) -> Duration {
        match self.0.get() {
            Some(0) => Duration::ZERO,
            Some(sleeps) => {
                self.0.set(Some(sleeps - 1));
                Duration::MAX
            }
            None => Duration::MAX,
        }
    }
}
