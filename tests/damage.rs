//! Every byte of a small cohort cut off, and every byte flipped: what was acknowledged is there, or the damage is named.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;

use fixture::{FRAMES_BEGIN, Fixture, cut, flip, frames, segment, segments, state};
use serde_json::json;
use tallyfold::{Batch, Settings};

type State = BTreeMap<String, (u64, String)>;

/// Two segments: single records, a batch, a delete, one durable record, and the last word of a detached writer. Returns the
/// state after each seq.
fn small_cohort(detach: bool) -> (Fixture, Vec<State>) {
    let fixture = Fixture::in_memory();
    let cohort = fixture.create("c", Settings::latest().segment_bytes(4096));
    let mut states = vec![State::new()];
    let mut put = |seq: u64, key: &str, value: Option<String>| {
        let mut state = states.last().unwrap().clone();
        match value {
            Some(value) => state.insert(key.to_string(), (seq, value)),
            None => state.remove(key),
        };
        states.push(state);
    };
    for i in 1..=4u64 {
        let value = json!({"i": i, "pad": "x".repeat(500 + i as usize)});
        let key = format!("k{i}");
        assert_eq!(cohort.append(&key, &value).unwrap(), i);
        put(i, &key, Some(value.to_string()));
    }
    assert_eq!(cohort.append_durable("durable", &5).unwrap(), 5);
    put(5, "durable", Some("5".into()));
    let mut batch = Batch::new();
    let long = "y".repeat(800);
    batch.put("k1", &long).unwrap().delete("k2").unwrap().put("b", &[1, 2]).unwrap();
    assert_eq!(cohort.append_batch(batch).unwrap(), 8);
    put(6, "k1", Some(format!("\"{long}\"")));
    put(7, "k2", None);
    put(8, "b", Some("[1,2]".into()));
    for i in 9..=10u64 {
        assert_eq!(cohort.append("last", &i).unwrap(), i);
        put(i, "last", Some(i.to_string()));
    }
    if detach {
        cohort.detach().unwrap();
    }
    assert_eq!(segments(&cohort), [1, 2]);
    assert_eq!(state(&cohort.view().unwrap()), states[10]);
    (fixture, states)
}

/// What any damage may lead to: the whole of a prefix no shorter than `at_least`, or a corruption error that names the place.
/// Then the same for a writer; what was damaged must still be on disk when it goes on. Returns whether nothing is lost without
/// a word from `verify`.
fn check(damaged: &Fixture, states: &[State], at_least: u64, number: u64, what: &str) -> bool {
    let cohort = damaged.reopen("c");
    let path = segment(&cohort, number);
    let before = fs::read(&path).unwrap();
    let seen = match cohort.view() {
        Ok(view) => {
            assert!(view.seq() >= at_least, "{what}: the view ends at {}, {at_least} is whole", view.seq());
            assert!(![6, 7].contains(&view.seq()), "{what}: the view ends inside a batch");
            assert_eq!(state(&view), states[view.seq() as usize], "{what}");
            Some(view.seq())
        }
        Err(e) => {
            assert!(e.is_corruption() && e.segment().is_some() && e.seq().is_some(), "{what}: {e:?}");
            None
        }
    };
    let records: Result<Vec<_>, _> = cohort.cursor(1).and_then(|cursor| cursor.collect());
    assert_eq!(records.is_ok(), seen.is_some(), "{what}: cursor and view disagree");
    let damage_is_reported = cohort.verify().unwrap().findings.iter().any(|f| f.what.len() > 10);

    match cohort.append("after", &1) {
        Err(e) => {
            assert!(e.is_corruption() && e.segment().is_some(), "{what}: {e:?}");
            assert!(seen.is_none(), "{what}: read as whole, and refused for writing: {e}");
            assert_eq!(fs::read(&path).unwrap(), before, "{what}: refused, and yet changed");
        }
        Ok(seq) => {
            assert_eq!(Some(seq - 1), seen, "{what}: the seq goes on where the readers saw the end");
            let mut expected = states[seq as usize - 1].clone();
            expected.insert("after".into(), (seq, "1".into()));
            assert_eq!(state(&damaged.reopen("c").view().unwrap()), expected, "{what}");
            let after = fs::read(&path).unwrap();
            assert!(after.len() >= before.len(), "{what}: the segment was shortened");
            let kept = before.iter().zip(&after).all(|(b, a)| *b == 0 || b == a);
            assert!(kept, "{what}: bytes that were cut off are not on disk any more");
        }
    }
    damage_is_reported || seen == Some(states.len() as u64 - 1)
}

#[test]
fn every_flipped_byte_of_a_detached_cohort_gives_all_records_or_a_located_error() {
    let (whole, states) = small_cohort(true);
    for number in [1, 2] {
        let len = fs::metadata(segment(&whole.reopen("c"), number)).unwrap().len();
        for offset in 0..len {
            let damaged = whole.copy();
            flip(&segment(&damaged.reopen("c"), number), offset);
            let what = format!("segment {number}, byte {offset} flipped");
            assert!(check(&damaged, &states, 10, number, &what), "{what}: verify says nothing");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_cohort_left_behind_by_a_killed_writer_keeps_what_was_durable() {
    let (whole, states) = small_cohort(false);
    for number in [1, 2] {
        let path = segment(&whole.reopen("c"), number);
        let (_, tail) = frames(&path);
        let len = fs::metadata(&path).unwrap().len();
        for offset in (0..len.min(tail + 64)).step_by(3) {
            let damaged = whole.copy();
            flip(&segment(&damaged.reopen("c"), number), offset);
            // Records 1 to 5 were durable when record 6 was written, and it says so.
            let what = format!("killed; segment {number}, byte {offset} flipped");
            assert!(check(&damaged, &states, 5, number, &what), "{what}: verify says nothing");
        }
    }
}

#[test]
fn every_length_of_the_last_segment_gives_the_whole_records_before_the_cut() {
    let (whole, states) = small_cohort(true);
    let path = segment(&whole.reopen("c"), 2);
    let (frames, tail) = frames(&path);
    let before = frames[0].2 - 1;
    for len in (FRAMES_BEGIN..tail + 8).rev() {
        let damaged = whole.copy();
        cut(&segment(&damaged.reopen("c"), 2), len);
        let ends = frames.iter().skip(1).map(|f| f.0).chain([tail]);
        let whole_frames = frames.iter().zip(ends).filter(|(_, end)| *end <= len).map(|(frame, _)| frame);
        let at_least =
            whole_frames.map(|(_, count, first)| first + u64::from(*count) - 1).max().unwrap_or(before);
        let told = check(&damaged, &states, at_least, 2, &format!("segment 2 cut to {len}"));
        // Of a frame of which not a byte is left, and no later one either, nobody can tell that it was there.
        let on_a_boundary = len == tail || frames.iter().any(|frame| frame.0 == len);
        assert!(told || on_a_boundary, "cut to {len}: verify says nothing");
    }
    for len in 0..FRAMES_BEGIN {
        let damaged = whole.copy();
        cut(&segment(&damaged.reopen("c"), 2), len);
        check(&damaged, &states, 0, 2, &format!("segment 2 cut to {len}"));
    }
}

#[test]
fn every_length_of_a_sealed_segment_is_corruption_unless_only_zeros_are_gone() {
    let (whole, states) = small_cohort(true);
    let (_, tail) = frames(&segment(&whole.reopen("c"), 1));
    for len in (0..tail).step_by(7) {
        let damaged = whole.copy();
        let cohort = damaged.reopen("c");
        cut(&segment(&cohort, 1), len);
        let error = cohort.view().unwrap_err();
        assert!(error.is_corruption() && error.segment() == Some(1), "cut to {len}: {error}");
        let (view, damage) = cohort.view_until_damage().unwrap();
        assert!(damage.is_some());
        assert_eq!(state(&view), states[view.seq() as usize], "cut to {len}: what is before can be read");
        assert!(cohort.append("k", &1).unwrap_err().is_corruption());
        assert!(cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_corruption_that_names_it_and_what_is_lost() {
    let (whole, _) = small_cohort(true);
    let cohort = whole.reopen("c");
    fs::remove_file(segment(&cohort, 1)).unwrap();
    let error = cohort.view().unwrap_err();
    assert!(error.is_corruption() && error.segment() == Some(1) && error.seq() == Some(1), "{error}");
    assert!(error.to_string().contains("records 1 to"), "{error}");
    assert!(cohort.append("k", &1).unwrap_err().is_corruption());
}

#[test]
fn a_segment_of_another_cohort_is_not_read_whatever_it_holds() {
    let fixture = Fixture::new();
    for name in ["a", "b"] {
        fixture.create(name, Settings::latest()).append_durable(name, &1).unwrap();
    }
    let (a, b) = (fixture.reopen("a"), fixture.reopen("b"));
    fs::copy(segment(&a, 1), segment(&b, 1)).unwrap();
    let error = b.view().unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("another cohort"), "{error}");
}

#[test]
fn a_frame_that_claims_gigabytes_allocates_nothing_and_is_a_torn_tail() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    cohort.append("", &1).unwrap();
    cohort.detach().unwrap();
    let cohort = fixture.die(cohort);
    let (_, tail) = frames(&segment(&cohort, 1));
    let mut header = vec![0xFF; 4];
    header.extend(1u32.to_le_bytes());
    header.extend(2u64.to_le_bytes());
    header.resize(40, 7);
    fixture::overwrite(&segment(&cohort, 1), tail, &header);
    let reopened = fixture.reopen("c");
    assert_eq!(reopened.cursor(1).unwrap().count(), 1);
    assert_eq!(reopened.append("", &2).unwrap(), 2);
}
