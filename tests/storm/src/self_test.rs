//! That the checks can fail: what a storm has left is changed in one place, and the judge must say so.

use std::path::Path;

use crate::Result;
use crate::act::{Kind, Seen};
use crate::judge::{self, Verdict};
use crate::kills::{Round, SORTS, Tally};
use crate::reader::{self, Follower};
use crate::report::{self, Ack};

type Change = fn(&mut Vec<Seen>, &mut Vec<Ack>, at: usize);
type Found = fn(&Verdict) -> bool;

/// What is changed at a record that was acknowledged, in the middle; and what must be found.
const CHANGES: &[(&str, Change, Found)] = &[
    ("an acknowledged record is dropped from what is read", drop_one, |v| v.lost > 0),
    ("and the others close the gap", drop_and_close, |v| v.lost > 0),
    ("a record is there twice", |seen, _, at| seen.insert(at, seen[at].clone()), |v| v.duplicated > 0),
    ("an act is there again at the end", append_again, |v| v.duplicated > 0),
    ("a worker that is unknown to the reports has appended twice", invent, |v| v.invented > 0),
    ("an acknowledged record has another seq", |_, acks, _| acks[0].last += 1, |v| v.wrong > 0),
    ("two records have changed places", |seen, _, at| seen.swap(at, at + 1), |v| !v.is_clean()),
    ("a batch lacks its last record", tear, |v| v.wrong > 0),
    ("a counter misses one", |seen, _, _| of_kind(seen, Kind::Update).found += 1, |v| v.wrong > 0),
    ("an append_if came late", |seen, _, _| of_kind(seen, Kind::IfHead).found -= 1, |v| v.wrong > 0),
    ("all is lost behind the middle", |seen, _, at| seen.truncate(at), |v| v.lost > 0),
];

fn drop_one(seen: &mut Vec<Seen>, _: &mut Vec<Ack>, at: usize) {
    seen.remove(at);
}

fn drop_and_close(seen: &mut Vec<Seen>, _: &mut Vec<Ack>, at: usize) {
    seen.remove(at);
    seen[at..].iter_mut().for_each(|record| record.seq -= 1);
}

fn append_again(seen: &mut Vec<Seen>, _: &mut Vec<Ack>, at: usize) {
    let seq = seen.len() as u64 + 1;
    seen.push(Seen { seq, ..seen[at].clone() });
}

fn invent(seen: &mut Vec<Seen>, _: &mut Vec<Ack>, at: usize) {
    for n in 0..2 {
        let seq = seen.len() as u64 + 1;
        seen.push(Seen { seq, worker: u64::MAX, n, ..seen[at].clone() });
    }
}

fn tear(seen: &mut Vec<Seen>, _: &mut Vec<Ack>, _: usize) {
    if let Some(at) = seen.iter().position(|record| record.of > 1 && record.i + 1 == record.of) {
        seen.remove(at);
    }
}

fn of_kind(seen: &mut [Seen], kind: Kind) -> &mut Seen {
    let at = seen.iter().position(|record| record.kind == kind).unwrap_or(0);
    &mut seen[at]
}

pub fn run(dir: &Path, seed: u64) -> Result<bool> {
    let mut round = Round::begin(dir, SORTS[0], seed)?;
    round.storm(10, 4, &mut Tally::default())?;
    round.kill_all()?;
    let acks = report::acks(&report::read_all(&round.place.outside)?);
    let cohort = round.place.open()?;
    let mut verdict = Verdict::default();
    let seen = judge::read_all(&cohort, seed, &mut verdict)?;
    judge::judge(&seen, &acks, u64::MAX, &mut verdict);
    let mut good = found("nothing is found where nothing is changed", verdict.is_clean());
    verdict.told.iter().for_each(|what| println!("  {what}"));
    // A put, and acknowledged, with another one behind it.
    let at = (seen.len() / 2..seen.len() - 1)
        .find(|at| seen[*at].kind == Kind::Put && acks.iter().any(|ack| ack.last == seen[*at].seq))
        .ok_or("no put was acknowledged")?;
    for (what, change, is_found) in CHANGES {
        let (mut seen, mut acks, mut verdict) = (seen.clone(), acks.clone(), Verdict::default());
        change(&mut seen, &mut acks, at);
        judge::judge(&seen, &acks, u64::MAX, &mut verdict);
        good &= found(what, is_found(&verdict));
    }
    let mut verdict = Verdict::default();
    let ack = |durable| Ack { worker: 0, n: 0, last: 2, durable };
    judge::surviving(vec![ack(false)], 1, &mut verdict);
    good &= found("what was not durable may be gone after a power cut", verdict.is_clean());
    judge::surviving(vec![ack(true)], 1, &mut verdict);
    good &= found("what was durable may not", verdict.lost > 0);

    let last = seen.len() as u64;
    let view = cohort.view()?;
    let mut follower = Follower::begin(&cohort, seed)?;
    follower.follow_to(last)?;
    good &= found("a view is a replay", follower.compare(&view).is_ok());
    good &= found("a cursor that ends before what was acknowledged", follower.follow_to(last + 1).is_err());
    let mut lacking = Follower::begin(&cohort, seed)?;
    lacking.follow_to(last)?;
    lacking.state.pop_first();
    good &= found("a view with an entry that no record made", lacking.compare(&view).is_err());
    follower.state.insert("key-0-1".into(), (1, String::new()));
    good &= found("a view that lacks an entry", follower.compare(&view).is_err());
    let mut wrong_seed = Follower::begin(&cohort, !seed)?;
    good &= found("records that nobody can have appended", wrong_seed.follow_to(last).is_err());
    let mut reader = cohort.reader()?;
    good &=
        found("a reader that holds all", reader::check_reader(&mut reader, &round.board, 0, 0, true).is_ok());
    good &= found(
        "a reader that went back",
        reader::check_reader(&mut reader, &round.board, last + 1, 0, true).is_err(),
    );
    round.board.acknowledge(0, last + 1);
    good &= found(
        "a reader that lacks what was acknowledged",
        reader::check_reader(&mut reader, &round.board, 0, 0, true).is_err(),
    );
    Ok(good)
}

fn found(what: &str, found: bool) -> bool {
    println!("{} {what}", if found { "ok    " } else { "FAILED" });
    found
}
