//! The fuzz targets of `fuzz/` with a stable compiler: their corpora, and random changes of them.
//!
//! `make fuzz` looks for more inputs; what it has found belongs into `fuzz/corpus/`. To write the inputs that a fuzzer begins
//! with: `TALLYFOLD_CORPUS=write cargo test --test hostile`.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "some of it is for the fuzzer alone")]
mod fuzz;

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use fuzz::seeds::{TARGETS, Target};
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult, Testable};

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    if std::env::var("TALLYFOLD_CORPUS").as_deref() == Ok("write") {
        fs::create_dir_all(&dir).unwrap();
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{i:02}")), seed).unwrap();
        }
    }
    let names = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A change of an input, as a fuzzer makes it.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
    Zeros(usize, usize),
    Insert(usize, Vec<u8>),
    Word(usize, u64),
}

impl Arbitrary for Change {
    fn arbitrary(g: &mut Gen) -> Change {
        let (at, len) = (usize::arbitrary(g), usize::arbitrary(g) % 64 + 1);
        match u8::arbitrary(g) % 10 {
            0 => Change::Cut(at),
            1 => Change::Remove(at, len),
            2 => Change::Repeat(at, len),
            3 => Change::Zeros(at, len),
            4 => Change::Insert(at, Vec::arbitrary(g)),
            5 | 6 => Change::Word(
                at,
                *g.choose(&[0, 1, u64::MAX, 1 << 31, 1 << 32, i64::MAX as u64, 1 << 30]).unwrap(),
            ),
            _ => Change::Flip(at, u8::arbitrary(g).max(1)),
        }
    }
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let here = input.len();
        let place = |at: usize, len: usize| {
            let from = at % (here + 1);
            from..(from + len).min(here)
        };
        match self {
            Change::Flip(at, with) => {
                if let Some(byte) = input.get_mut(at % here.max(1)) {
                    *byte ^= with;
                }
            }
            Change::Cut(at) => input.truncate(at % (here + 1)),
            Change::Remove(at, len) => drop(input.drain(place(*at, *len))),
            Change::Repeat(at, len) => {
                let piece = input[place(*at, *len)].to_vec();
                let at = at % (here + 1);
                input.splice(at..at, piece);
            }
            Change::Zeros(at, len) => input[place(*at, *len)].fill(0),
            Change::Insert(at, bytes) => {
                let at = at % (here + 1);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Word(at, word) => {
                // Most numbers in a segment stand at multiples of four; the flags and a length stand before them.
                let at = at % (here + 1) / 4 * 4 + 3;
                if let Some(place) = input.get_mut(at..at + 8) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    }
}

fn replay(name: &str, tests: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    assert!(corpus.len() >= 5, "there is a corpus");
    for (path, input) in &corpus {
        println!("{}", path.display());
        (target.run)(input);
    }
    let factor = std::env::var("TALLYFOLD_HOSTILE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let inputs = corpus.into_iter().map(|(_, input)| input).collect();
    QuickCheck::new().tests(tests * factor).quickcheck(Changed { run: target.run, inputs });
}

/// Runs a target on changed inputs of its corpus.
struct Changed {
    run: fn(&[u8]),
    inputs: Vec<Vec<u8>>,
}

impl Testable for Changed {
    fn result(&self, g: &mut Gen) -> TestResult {
        let mut input = g.choose(&self.inputs).unwrap().clone();
        let changes = 1 + usize::arbitrary(g) % 5;
        (0..changes).for_each(|_| Change::arbitrary(g).apply(&mut input));
        match catch_unwind(|| (self.run)(&input)) {
            Ok(()) => TestResult::passed(),
            Err(_) => TestResult::error(format!("as a file for the corpus, in hex: {}", hex(&input))),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn no_bytes_in_place_of_segments_are_read_as_what_no_frame_holds() {
    replay("segment", 1500);
}

#[test]
fn no_bytes_in_place_of_a_snapshot_are_read_as_what_no_line_holds() {
    replay("snapshot", 1500);
}

#[test]
fn no_name_of_a_cohort_leaves_the_store_or_is_found_under_another() {
    replay("names", 500);
}

#[test]
fn no_bytes_in_place_of_a_document_or_of_control_end_the_process() {
    replay("documents", 800);
}

#[test]
fn whatever_is_done_and_whoever_dies_over_it_the_state_is_a_plain_replay() {
    replay("operations", 400);
}
