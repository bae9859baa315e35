//! What a power cut or a dead writer leaves behind, made by hand, and what becomes of it.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod fixture;

use std::fs;
use std::process::Command;
use std::time::Duration;

use fixture::{FRAMES_BEGIN, Fixture, flip, frames, names, overwrite, segment, segments, state};
use tallyfold::{Cohort, LockClass, Retain, Settings};

/// Records 1 to `n` of equal length, not durable, by a writer that died with them.
fn abandoned(fixture: &Fixture, settings: Settings, n: u64) -> Cohort {
    // No compaction by itself, for the handle's process goes on living.
    let cohort = fixture.create("c", settings.compact_bytes(0));
    for i in 1..=n {
        assert_eq!(cohort.append("k", &(1000 + i)).unwrap(), i);
    }
    fixture.die(cohort)
}

fn values(cohort: &Cohort) -> Vec<(u64, u64)> {
    cohort.cursor(1).unwrap().map(|r| r.unwrap()).map(|r| (r.seq(), r.to().unwrap())).collect()
}

/// Zeros over the frame of a seq, as a power cut leaves a sector that was never written.
fn lose(cohort: &Cohort, number: u64, seq: u64) {
    let path = segment(cohort, number);
    let (frames, tail) = frames(&path);
    let i = frames.iter().position(|frame| frame.2 == seq).unwrap();
    let end = frames.get(i + 1).map_or(tail, |frame| frame.0);
    overwrite(&path, frames[i].0, &vec![0; (end - frames[i].0) as usize]);
}

#[test]
fn a_hole_ends_the_journal_and_whole_frames_behind_it_never_come_back() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::log(), 6);
    lose(&cohort, 1, 4);
    assert_eq!(values(&cohort), [(1, 1001), (2, 1002), (3, 1003)]);
    assert!(!cohort.verify().unwrap().is_damaged(), "a torn tail is expected");
    assert_eq!(cohort.verify().unwrap().findings.len(), 1);
    assert_eq!(cohort.stats().unwrap().epoch, 1);

    // A frame of the same length in the hole would have joined the old frames 5 and 6 to it.
    assert_eq!(cohort.append("k", &2004).unwrap(), 4);
    assert_eq!(values(&cohort), [(1, 1001), (2, 1002), (3, 1003), (4, 2004)]);
    assert_eq!(cohort.stats().unwrap().epoch, 2, "(epoch, seq) never names two contents");
    assert_eq!(segments(&cohort), [1, 2], "the cut goes on in a new segment");
    assert_eq!(frames(&segment(&cohort, 1)).0.len(), 3);
    let bytes = fs::read(segment(&cohort, 1)).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"1006"), "what was cut off is still on disk");
    assert_eq!(cohort.append("k", &2005).unwrap(), 5);
    assert_eq!(values(&fixture.reopen("c")).len(), 5);
}

#[test]
fn a_hole_in_what_a_later_frame_calls_durable_is_corruption() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    for i in 1..=4 {
        cohort.append("k", &i).unwrap();
    }
    cohort.append_durable("k", &5).unwrap();
    // This frame says that 5 is durable.
    cohort.append("k", &6).unwrap();
    let cohort = fixture.die(cohort);
    let (all, _) = frames(&segment(&cohort, 1));
    lose(&cohort, 1, 3);
    let error = cohort.append("k", &7).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!((error.segment(), error.offset(), error.seq()), (Some(1), Some(all[2].0), Some(3)));
    assert!(error.to_string().contains("records 3 to 5 at least are lost"), "{error}");
    let records: Vec<_> = cohort.cursor(1).unwrap().collect();
    assert_eq!(records.len(), 3, "two records, then the error");
    assert!(records[2].as_ref().unwrap_err().is_corruption());
}

#[test]
fn a_hole_behind_what_was_durable_is_a_torn_tail() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    cohort.append_durable("k", &1).unwrap();
    for i in 2..=5 {
        cohort.append("k", &i).unwrap();
    }
    let cohort = fixture.die(cohort);
    lose(&cohort, 1, 3);
    assert_eq!(values(&cohort).len(), 2);
    assert_eq!(cohort.append("k", &33).unwrap(), 3);
}

#[test]
fn a_hole_in_a_sealed_segment_makes_all_later_segments_void_and_keeps_them() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::latest().segment_bytes(4096), 150);
    assert!(segments(&cohort).len() >= 3, "{:?}", segments(&cohort));
    let last = *segments(&cohort).last().unwrap();
    lose(&cohort, 1, 10);
    assert_eq!(cohort.view().unwrap().seq(), 9);
    assert_eq!(cohort.append("k", &"anew").unwrap(), 10);
    assert_eq!(*segments(&cohort).last().unwrap(), last + 1, "a number is never used twice");
    let reopened = fixture.reopen("c");
    assert_eq!(state(&reopened.view().unwrap())["k"], (10, "\"anew\"".to_string()));

    // They go to quarantine when they retire.
    for i in 0..3 {
        reopened.append("k", &i).unwrap();
        reopened.compact().unwrap();
    }
    let kept = names(&reopened.path().join("quarantine"));
    assert_eq!(kept.len() as u64, last, "the segment that was cut, and all that came after: {kept:?}");
    assert!(!reopened.verify().unwrap().is_damaged());
}

#[test]
fn a_link_that_never_reached_the_disk_leaves_the_journal_before_it() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::log().segment_bytes(4096), 120);
    let [.., before, active] = segments(&cohort)[..] else { panic!("two segments") };
    let first_lost = frames(&segment(&cohort, active)).0[0].2;
    overwrite(&segment(&cohort, active), 512, &[0; 512]);
    let cohort = fixture.reopen("c");
    assert_eq!(values(&cohort).len() as u64, first_lost - 1);
    assert_eq!(cohort.append("k", &1).unwrap(), first_lost);
    assert_eq!(values(&fixture.reopen("c")).len() as u64, first_lost);
    assert!(segments(&cohort).contains(&before));
}

#[test]
fn a_link_is_lost_though_a_spare_behind_its_segment_was_ready() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log().segment_bytes(1 << 20).sync_interval(Duration::ZERO));
    let value = "v".repeat(60_000);
    let mut seq = 0;
    // Into the second half of the second segment: then a third one is made ready in the background, or soon begun.
    while seq < 28 || segments(&cohort).len() < 3 {
        seq = cohort.append("k", &value).unwrap();
    }
    let cohort = fixture.die(cohort);
    let first_lost = frames(&segment(&cohort, 2)).0[0].2;
    overwrite(&segment(&cohort, 2), 512, &[0; 512]);
    let reader = || cohort.reader().unwrap();
    let (mut kept, mut other) = (reader(), fixture.reopen("c").reader().unwrap());
    assert_eq!(kept.seq(), first_lost - 1);
    let (next, writer) = (first_lost, fixture.reopen("c"));
    for seq in next..next + 40 {
        assert_eq!(writer.append("k", &value).unwrap(), seq);
        assert_eq!((kept.refresh().unwrap(), other.refresh().unwrap()), (seq, seq));
    }
    assert_eq!(reader().seq(), next + 39);
}

#[test]
fn a_garbled_link_that_was_never_durable_is_cut_off_and_one_that_was_is_corruption() {
    for durable in [false, true] {
        let fixture = Fixture::new();
        let cohort = abandoned(&fixture, Settings::log().segment_bytes(4096), 120);
        if durable {
            cohort.append_durable("k", &1).unwrap();
            cohort.append("k", &2).unwrap();
            cohort.detach().unwrap();
        }
        let cohort = fixture.die(cohort);
        let active = *segments(&cohort).last().unwrap();
        let first_lost = frames(&segment(&cohort, active)).0[0].2;
        flip(&segment(&cohort, active), 600);
        let appended = fixture.reopen("c").append("k", &1);
        match durable {
            false => assert_eq!(appended.unwrap(), first_lost),
            true => {
                let error = appended.unwrap_err();
                assert!(error.is_corruption() && error.seq() == Some(first_lost), "{error}");
            }
        }
    }
}

#[test]
fn what_a_writer_wrote_of_a_frame_before_it_died_is_cut_off_by_one_who_was_there_before() {
    let fixture = Fixture::new();
    // In the class memory a writer that lives looks at its tail only where a dead one has left its mark: see `memory_lock.rs`.
    let survivor = fixture.store.create("c", Settings::log().lock(LockClass::File)).unwrap();
    survivor.append("k", &1).unwrap();
    let (_, tail) = frames(&segment(&survivor, 1));
    // The beginning of a frame: a header, and no body.
    let mut torn = 24u32.to_le_bytes().to_vec();
    torn.extend([9; 36]);
    overwrite(&segment(&survivor, 1), tail, &torn);
    assert_eq!(values(&fixture.reopen("c")), [(1, 1)], "readers stop before it");
    assert_eq!(survivor.append("k", &2).unwrap(), 2);
    assert_eq!(values(&fixture.reopen("c")), [(1, 1), (2, 2)]);
    assert_eq!(fs::read(segment(&survivor, 1)).unwrap()[tail as usize..][..40], torn);
    assert_eq!(survivor.append("k", &3).unwrap(), 3);
}

/// The story: a power cut takes the last frames, and where they stood there are zeros. Nothing looks torn, and yet a reader may
/// have seen the records whose seqs are handed out next.
#[test]
fn after_a_restart_of_the_system_the_epoch_goes_up_even_if_nothing_looks_torn() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::log());
    for i in 1..=3 {
        cohort.append("k", &i).unwrap();
    }
    cohort.detach().unwrap();
    let cohort = fixture.die(cohort);
    let path = segment(&cohort, 1);
    let bytes = fs::read(&path).unwrap();
    let (salt, mut link) = (u32::from_le_bytes(bytes[48..52].try_into().unwrap()), bytes[512..1020].to_vec());
    if link[64..80] == [0; 16] {
        println!("skipped: this system does not tell its starts apart");
        return;
    }
    link[64] ^= 1;
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(&link);
    link.extend(crc.finalize().to_le_bytes());
    overwrite(&path, 512, &link);

    let restarted = fixture.reopen("c");
    assert_eq!(restarted.append("k", &4).unwrap(), 4);
    assert_eq!(restarted.stats().unwrap().epoch, 2);
    assert_eq!(fixture.reopen("c").append("k", &5).unwrap(), 5);
    assert_eq!(restarted.stats().unwrap().epoch, 2, "once for each restart");
    assert_eq!(values(&restarted), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert!(!restarted.verify().unwrap().is_damaged());
}

#[test]
fn a_whole_frame_of_another_seq_at_the_tail_is_no_frame() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::log(), 3);
    let path = segment(&cohort, 1);
    let (all, tail) = frames(&path);
    let first = fs::read(&path).unwrap()[all[0].0 as usize..all[1].0 as usize].to_vec();
    overwrite(&path, tail, &first);
    assert_eq!(values(&cohort).len(), 3, "its CRC is right, and it is the first record again");
    assert_eq!(cohort.append("k", &1004).unwrap(), 4);
    assert_eq!(values(&fixture.reopen("c")), [(1, 1001), (2, 1002), (3, 1003), (4, 1004)]);
}

#[test]
fn a_whole_frame_that_nobody_acknowledged_is_adopted() {
    let (one, other) = (Fixture::new(), Fixture::new());
    let cohort = abandoned(&one, Settings::log(), 3);
    // The same store a record earlier, as if its writer died between the write and the return.
    drop(other);
    let earlier = one.copy();
    lose(&earlier.reopen("c"), 1, 3);
    assert_eq!(values(&earlier.reopen("c")).len(), 2);
    assert_eq!(values(&cohort).len(), 3);
    assert_eq!(cohort.append("k", &4).unwrap(), 4);
    assert_eq!(cohort.stats().unwrap().epoch, 1, "nothing was in doubt");
}

#[test]
fn a_spare_that_was_not_begun_is_used_and_a_torn_temporary_segment_is_removed() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::latest().segment_bytes(4096), 120);
    let active = *segments(&cohort).last().unwrap();
    // What a writer leaves that died after making a spare, and one that died while making another.
    let fresh = Fixture::new();
    drop(fresh);
    fs::write(cohort.path().join("segment.0000000000000001.tmp"), b"half a segment").unwrap();
    for i in 0..200 {
        cohort.append("k", &i).unwrap();
    }
    assert!(*segments(&cohort).last().unwrap() > active);
    cohort.compact().unwrap();
    assert!(!cohort.path().join("segment.0000000000000001.tmp").exists());
    assert_eq!(cohort.view().unwrap().seq(), 320);
}

#[test]
fn a_spare_that_records_were_being_carried_into_is_not_mistaken_for_an_empty_one() {
    let fixture = Fixture::new();
    let cohort = abandoned(&fixture, Settings::log().segment_bytes(4096), 60);
    // The first segment again as number 2 without its link: frames with valid CRCs behind a blank link.
    let mut spare = fs::read(segment(&cohort, 1)).unwrap();
    let frames_of_one = spare[FRAMES_BEGIN as usize..].to_vec();
    let next = *segments(&cohort).last().unwrap() + 1;
    let other = Fixture::new();
    drop(other);
    spare.truncate(FRAMES_BEGIN as usize);
    spare[512..].fill(0);
    spare[24..32].copy_from_slice(&next.to_le_bytes());
    let crc = crc32fast::hash(&spare[..508]);
    spare[508..512].copy_from_slice(&crc.to_le_bytes());
    spare.extend(&frames_of_one);
    fs::write(segment(&cohort, next), &spare).unwrap();
    for i in 0..60 {
        assert_eq!(cohort.append("k", &i).unwrap(), 61 + i);
    }
    let values = values(&fixture.reopen("c"));
    assert_eq!(values.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn a_journal_that_ends_below_the_watermark_is_corruption() {
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest());
    for i in 0..3 {
        cohort.append("k", &i).unwrap();
    }
    let early = fixture.copy();
    for i in 0..3 {
        cohort.append("k", &i).unwrap();
    }
    cohort.compact().unwrap();
    fs::copy(cohort.path().join("snapshot.json"), early.reopen("c").path().join("snapshot.json")).unwrap();
    // The snapshot covers 6 records, the journal has 3.
    let cohort = early.reopen("c");
    for error in [cohort.view().unwrap_err(), cohort.append("k", &1).unwrap_err()] {
        assert!(error.is_corruption() && error.seq() == Some(4), "{error}");
    }
    assert!(cohort.verify().unwrap().is_damaged());
}

#[test]
fn a_kept_reader_and_a_cursor_follow_across_a_cut_rotations_and_compactions() {
    let fixture = Fixture::new();
    let settings = Settings::latest().segment_bytes(4096).retain(Retain::None);
    // With a writer that lives on beside the one that dies; for the class memory see `memory_lock.rs`.
    let cohort = fixture.store.create("c", settings.lock(LockClass::File)).unwrap();
    let mut reader = cohort.reader().unwrap();
    let mut cursor = cohort.cursor(1).unwrap();
    let mut followed = 0;
    for round in 0..12u64 {
        for i in 0..30 {
            cohort.append(&format!("k{}", i % 5), &(round * 100 + i)).unwrap();
        }
        if round % 3 == 1 {
            // Another writer dies in the middle of a frame.
            let active = *segments(&cohort).last().unwrap();
            let (_, tail) = frames(&segment(&cohort, active));
            if tail + 8 < 4096 {
                overwrite(&segment(&cohort, active), tail, &[1, 0, 0, 0, 1, 0, 0, 0]);
            }
        }
        for record in &mut cursor {
            followed += 1;
            assert_eq!(record.unwrap().seq(), followed);
        }
        assert_eq!(reader.refresh().unwrap(), followed);
        assert_eq!(state(&reader), state(&cohort.view().unwrap()));
        if round % 2 == 0 {
            cohort.compact().unwrap();
        }
    }
    assert_eq!(followed, 360);
    assert!(cohort.stats().unwrap().epoch > 1);
    assert!(cohort.cursor(1).unwrap_err().is_compacted());
}

#[test]
fn a_journal_may_have_more_segments_than_a_process_may_have_files_open() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 128 && exec \"$0\" --exact writes_and_reads_many_segments --nocapture"])
        .arg(program)
        .env("TALLYFOLD_TEST_SEGMENTS", "400")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all there"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Not a test of its own: what the test above runs with few files.
#[test]
fn writes_and_reads_many_segments() {
    let Ok(wanted) = std::env::var("TALLYFOLD_TEST_SEGMENTS") else { return };
    let wanted: u64 = wanted.parse().unwrap();
    let fixture = Fixture::in_memory();
    let cohort = fixture.create("c", Settings::latest().segment_bytes(4096).retain(Retain::All));
    // Every record fills a segment.
    let pad = "x".repeat(2500);
    for i in 1..=wanted {
        assert_eq!(cohort.append("k", &pad).unwrap(), i);
    }
    assert!(segments(&cohort).len() as u64 >= wanted);
    assert_eq!(cohort.cursor(1).unwrap().filter(|record| record.is_ok()).count() as u64, wanted);
    assert_eq!(cohort.view().unwrap().seq(), wanted);
    assert_eq!(
        fixture.reopen("c").append("k", &1).unwrap(),
        wanted + 1,
        "a writer that finds them all unfolded"
    );
    fixture.reopen("c").compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
    println!("all there");
}
