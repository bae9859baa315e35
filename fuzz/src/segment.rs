//! Bytes in place of segments.
//!
//! The first byte of an input says what is done to the others: bit 0, the CRCs are made right, so that the fuzzer gets past them;
//! bit 1, so are links and seqs, so that several segments make up a journal; bits 2 and 3, the fold; bit 4, the lock class. Then
//! come up to four segments, each behind its length in two bytes.

use super::bytes;
use super::scene::{self, Scene, found, go_on, latest, must_be_placed};

const MOST_SEGMENTS: usize = 4;

pub fn run(input: &[u8]) {
    let Some((&flags, rest)) = input.split_first() else { return };
    let (mended, joined) = (flags & 1 != 0, flags & 2 != 0);
    let fold = ["latest", "merge", "log", "latest"][usize::from(flags >> 2 & 3)];
    let lock = if flags & 16 != 0 && scene::shares_memory() { "memory" } else { "file" };
    let mut segments = pieces(rest);
    for i in 0..segments.len() {
        let number = i as u64 + 1;
        let (before, from) = segments.split_at_mut(i);
        if joined {
            bytes::join(&mut from[0], number, before.last().map(|bytes| (number - 1, &bytes[..])));
        } else if mended {
            bytes::mend(&mut from[0], number);
        }
    }
    let scene = Scene::new(&scene::settings(fold, lock));
    for (i, segment) in segments.iter().enumerate() {
        scene.put_segment(i as u64 + 1, segment);
    }
    let known: Vec<_> =
        segments.iter().flat_map(|s| bytes::frames(s)).filter_map(|frame| frame.records).flatten().collect();
    let cohort = scene.open().expect("its document is whole");
    let (records, error) = scene::records(&cohort, 1);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.seq(), i as u64 + 1, "seqs have no gaps");
        assert!(known.contains(&found(record)), "a record that no frame holds: {record:?}");
    }
    if let Some(e) = &error {
        must_be_placed(e);
    }
    if let [segment] = &segments[..]
        && error.is_none()
        && !records.is_empty()
    {
        let count = bytes::end(segment).next_seq - 1;
        assert_eq!(records.len() as u64, count, "whole frames that nobody reads");
    }
    let puts_and_deletes = records.iter().all(|record| std::str::from_utf8(record.bytes()).is_ok());
    let no_raw = records.iter().all(|record| record.kind() != tallyfold::Kind::Raw);
    if fold == "latest" && puts_and_deletes && no_raw {
        match cohort.view_until_damage() {
            Err(e) => assert!(e.is_unsupported(), "up to the damage it can be read: {e:?}"),
            Ok((view, damage)) => {
                assert_eq!(
                    damage.is_some(),
                    error.is_some(),
                    "cursor and view disagree: {error:?} {damage:?}"
                );
                assert_eq!(view.seq(), records.len() as u64);
                let state = scene::state(&view).expect("there is no snapshot to be damaged");
                assert_eq!(state, latest(&records));
            }
        }
    }
    drop(cohort);
    go_on(&scene, fold != "log" && !mended && !joined).expect("its document is whole");
}

fn pieces(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let ([a, b, tail @ ..], true) = (rest, pieces.len() < MOST_SEGMENTS) {
        let len = usize::from(u16::from_le_bytes([*a, *b])).min(tail.len());
        pieces.push(tail[..len].to_vec());
        rest = &tail[len..];
    }
    pieces
}

/// An input of these segments.
pub fn input(flags: u8, segments: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![flags];
    for segment in segments {
        input.extend((segment.len() as u16).to_le_bytes());
        input.extend(segment);
    }
    input
}
