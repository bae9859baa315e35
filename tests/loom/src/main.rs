//! Checks the lock in a word and the published end in every order that the steps of a few threads can be seen in. What is
//! checked are the files that tallyfold is built of, between an [`atomic`] and a [`kernel`] of our own.
//!
//! An argument picks the checks whose names contain it.

mod atomic;
mod check;
#[allow(dead_code, reason = "a check needs less than a store does")]
#[path = "../../../src/sys/ends.rs"]
mod ends;
mod ends_checks;
mod kernel;
#[allow(dead_code, reason = "as above")]
#[path = "../../../src/sys/word.rs"]
mod word;
mod word_checks;

use std::process::ExitCode;

use check::Patience;
use kernel as futex;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    check::run(word_checks::ALL.iter().chain(&ends_checks::ALL).filter(|check| check.name.contains(&wanted)))
}
