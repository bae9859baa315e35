//! The bytes on disk, written by hand and held against files that later versions must go on reading.
//!
//! `docs/format.md` is the specification; nothing here uses the crate's own encoder. To make the golden files anew after a
//! change of the format (with a new version!): `TALLYFOLD_GOLDEN=write cargo test --test format`.
#![allow(clippy::disallowed_methods, reason = "tests compare files")]

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};

use fixture::{Fixture, copy_all, overwrite, shares_memory, state};
use tallyfold::{LockClass, Settings, Store};

const SALT: u32 = 0x5EED_1234;
const STORE_ID: [u8; 16] =
    [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x43, 0x33, 0x84, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55];
const STORE_JSON: &str = "{\"tallyfold\":1,\"id\":\"11111111-2222-4333-8444-555555555555\"}\n";
const COHORT_JSON: &str = "{\"tallyfold\":1,\"fold\":{\"kind\":\"latest\"},\"retain\":\"none\",\"segment_bytes\":67108864,\
    \"durable\":false,\"lock\":\"file\",\"lock_timeout_s\":30.0,\"max_body_bytes\":16777216,\"trust_network_locks\":false}\n";
const TIME_US: i64 = 1_767_871_234_123_456;

fn crc(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

fn sealed_block(mut bytes: Vec<u8>, seed: u32) -> Vec<u8> {
    bytes.resize(508, 0);
    let sum = crc(&bytes, seed);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn identity(version: u32, incompatible: u32, compatible: u32, number: u64) -> Vec<u8> {
    let mut bytes = b"TALLYSEG".to_vec();
    for word in [version, incompatible, compatible, 8] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(number.to_le_bytes());
    bytes.extend(STORE_ID);
    bytes.extend(SALT.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(b"TRAINING");
    sealed_block(bytes, 0)
}

fn link(
    epoch: u64,
    first_seq: u64,
    previous: u64,
    previous_end: u64,
    previous_crc: u32,
    durable_seq: u64,
) -> Vec<u8> {
    let mut bytes = b"TALLYLNK".to_vec();
    for word in [epoch, first_seq, previous, previous_end] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(previous_crc.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(durable_seq.to_le_bytes());
    bytes.extend(TIME_US.to_le_bytes());
    sealed_block(bytes, SALT)
}

fn record(kind: u8, key: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key.as_bytes());
    bytes.extend((value.len() as u64).to_le_bytes());
    bytes.extend(value.as_bytes());
    bytes
}

fn frame(first_seq: u64, durable_seq: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let body = records.concat();
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend((records.len() as u32).to_le_bytes());
    bytes.extend(first_seq.to_le_bytes());
    bytes.extend(durable_seq.to_le_bytes());
    bytes.extend(TIME_US.to_le_bytes());
    bytes.extend(crc(&body, 0).to_le_bytes());
    bytes.extend(crc(&bytes, SALT).to_le_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The worked example of `docs/format.md` is the first frame.
fn first_frame() -> Vec<u8> {
    frame(1, 0, &[record(1, "run-1", "{\"loss\":0.25}")])
}

fn segment_file() -> Vec<u8> {
    let mut bytes = identity(1, 0, 0, 1);
    bytes.extend(link(1, 1, 0, 0, 0, 0));
    bytes.extend(first_frame());
    bytes.extend(frame(
        2,
        1,
        &[record(1, "run-2", "[1.50,null]"), record(1 | 8, "run-3", "{\"loss\":\"NaN\"}")],
    ));
    bytes.extend(frame(4, 3, &[record(2, "run-1", "")]));
    bytes.extend(frame(5, 4, &[]));
    bytes.resize(2048, 0);
    bytes
}

fn snapshot_file() -> String {
    let first = "{\"tallyfold\":1,\"cohort\":\"TRAINING\",\"fold\":{\"kind\":\"latest\"},\"epoch\":1,\"seq\":4,\"state\":{\n";
    let lines = "\"run-2\":{\"seq\":2,\"value\":[1.50,null]},\n\
                 \"run-3\":{\"seq\":3,\"nonfinite\":true,\"value\":{\"loss\":\"NaN\"}}\n";
    let last = format!(
        "}},\"entries\":2,\"blocks\":[[\"run-2\",{},\"{:08x}\"]]",
        first.len(),
        crc(lines.as_bytes(), 0)
    );
    let sum = crc(last.as_bytes(), crc(first.as_bytes(), 0));
    format!("{first}{lines}{last},\"crc32\":\"{sum:08x}\"}}\n")
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1")
}

/// The golden store, somewhere it may be changed.
fn golden_store() -> Fixture {
    let fixture = Fixture::new();
    fs::remove_file(fixture.store.path().join("store.json")).unwrap();
    copy_all(&golden(), fixture.store.path());
    for lock in ["lock", "compact.lock"] {
        fs::write(fixture.store.path().join("TRAINING").join(lock), b"").unwrap();
    }
    Fixture { store: Store::open_existing(fixture.store.path()).unwrap(), dir: fixture.dir }
}

#[test]
fn the_golden_files_are_the_bytes_of_the_specification() {
    let expected = [
        ("store.json", STORE_JSON.as_bytes().to_vec()),
        ("TRAINING/cohort.json", COHORT_JSON.as_bytes().to_vec()),
        ("TRAINING/00000001.journal", segment_file()),
        ("snapshot.json", snapshot_file().into_bytes()),
    ];
    for (name, bytes) in expected {
        let path = golden().join(name);
        if std::env::var("TALLYFOLD_GOLDEN").as_deref() == Ok("write") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{name} differs");
    }
}

#[test]
fn a_golden_store_is_read_appended_to_and_folded_into_the_golden_snapshot() {
    let fixture = golden_store();
    let cohort = fixture.store.cohort("TRAINING").unwrap();
    let records: Vec<_> = cohort.cursor(1).unwrap().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), 4);
    assert_eq!(
        records.iter().map(|r| (r.seq(), r.key(), r.json())).collect::<Vec<_>>(),
        [
            (1, "run-1", Some("{\"loss\":0.25}")),
            (2, "run-2", Some("[1.50,null]")),
            (3, "run-3", Some("{\"loss\":\"NaN\"}")),
            (4, "run-1", None),
        ]
    );
    assert!(records[2].nonfinite() && records.iter().all(|record| record.time_us() == TIME_US));
    assert!(!cohort.verify().unwrap().is_damaged());
    assert_eq!(cohort.stats().unwrap().durable_seq, 4);
    cohort.compact().unwrap();
    let made = fs::read_to_string(cohort.path().join("snapshot.json")).unwrap();
    assert_eq!(made, snapshot_file());
    assert_eq!(cohort.append("run-4", &4).unwrap(), 5);
    assert_eq!(state(&cohort.view().unwrap()).len(), 3);
}

#[test]
fn what_this_version_writes_is_the_specified_bytes() {
    for lock in [LockClass::File, LockClass::Memory] {
        if lock == LockClass::File || shares_memory() {
            this_version_writes_the_specified_bytes(lock);
        }
    }
}

fn this_version_writes_the_specified_bytes(lock: LockClass) {
    let fixture = Fixture::new();
    let cohort = fixture.store.create("TRAINING", Settings::latest().lock(lock)).unwrap();
    cohort.append("run-1", &serde_json::json!({"loss": 0.25})).unwrap();
    let bytes = fs::read(fixture::segment(&cohort, 1)).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    // What is drawn by chance or by the clock is taken over; everything else is as it should be.
    let (salt, id, time) = (u32_at(48), &bytes[32..48], &bytes[1024 + 24..1024 + 32]);
    let mut expected = identity(1, 0, 0, 1)[..508].to_vec();
    expected[32..48].copy_from_slice(id);
    expected[48..52].copy_from_slice(&salt.to_le_bytes());
    assert_eq!(bytes[..512], sealed_block(expected, 0));
    let mut expected = link(1, 1, 0, 0, 0, 0)[..508].to_vec();
    // The time and the boot.
    expected[56..80].copy_from_slice(&bytes[512 + 56..512 + 80]);
    assert_eq!(bytes[512..1024], sealed_block(expected, salt));
    let mut expected = first_frame();
    expected[24..32].copy_from_slice(time);
    let sum = crc(&expected[..36], salt);
    expected[36..40].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(bytes[1024..1024 + expected.len()], expected);
    assert!(bytes[1024 + expected.len()..].iter().all(|b| *b == 0));
    let settings = COHORT_JSON.replace("\"file\"", &format!("{:?}", lock.name())).replace(
        "}
",
        ",\"sync_interval_ms\":1000,\"compact_bytes\":1048576}
",
    );
    assert_eq!(fs::read_to_string(cohort.path().join("cohort.json")).unwrap(), settings);
}

#[test]
fn a_newer_version_and_an_unknown_incompatible_feature_are_refused_with_their_own_error() {
    for (block, words) in
        [(identity(2, 0, 0, 1), "version 2"), (identity(1, 0x10, 0, 1), "feature bits 0x10")]
    {
        let fixture = golden_store();
        let cohort = fixture.store.cohort("TRAINING").unwrap();
        overwrite(&fixture::segment(&cohort, 1), 0, &block);
        for error in [cohort.view().unwrap_err(), cohort.append("k", &1).unwrap_err()] {
            assert!(error.is_unsupported() && !error.is_corruption(), "{error}");
            assert!(error.to_string().contains(words) && error.segment() == Some(1), "{error}");
        }
    }
    let fixture = golden_store();
    let cohort = fixture.store.cohort("TRAINING").unwrap();
    overwrite(&fixture::segment(&cohort, 1), 0, &identity(1, 0, 1, 1));
    assert_eq!(cohort.view().unwrap().seq(), 4, "an unknown compatible feature is read");
    assert!(cohort.append("k", &1).unwrap_err().is_unsupported(), "and not written");
}

#[test]
fn newer_documents_are_refused_with_their_own_error() {
    let fixture = golden_store();
    let path = fixture.store.path().to_path_buf();
    fs::write(path.join("TRAINING/cohort.json"), COHORT_JSON.replace("\"tallyfold\":1", "\"tallyfold\":2"))
        .unwrap();
    assert!(fixture.store.cohort("TRAINING").unwrap_err().is_unsupported());
    fs::write(path.join("TRAINING/cohort.json"), COHORT_JSON).unwrap();
    let cohort = fixture.store.cohort("TRAINING").unwrap();
    cohort.compact().unwrap();
    let newer = snapshot_file().replace("{\"tallyfold\":1", "{\"tallyfold\":2");
    let (first, rest) = newer.split_once('\n').unwrap();
    let first = format!("{first}\n");
    let last_at = rest.rfind("},\"entries\"").unwrap();
    let covered = &rest[last_at..rest.rfind(",\"crc32\"").unwrap()];
    let sum = crc(covered.as_bytes(), crc(first.as_bytes(), 0));
    let text = format!("{first}{}{covered},\"crc32\":\"{sum:08x}\"}}\n", &rest[..last_at]);
    fs::write(cohort.path().join("snapshot.json"), text).unwrap();
    let cohort = fixture.reopen("TRAINING");
    for error in
        [cohort.view().unwrap_err(), cohort.append("k", &1).unwrap_err(), cohort.compact().unwrap_err()]
    {
        assert!(error.is_unsupported(), "{error}");
    }
    fs::write(path.join("store.json"), STORE_JSON.replace("\"tallyfold\":1", "\"tallyfold\":2")).unwrap();
    assert!(Store::open(&path).unwrap_err().is_unsupported());
}

#[test]
fn the_worked_example_of_the_document_is_the_first_golden_frame() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let example = document.split("<!-- example -->").nth(1).expect("the example's mark");
    let example =
        example.split("```text").nth(1).and_then(|block| block.split("```").next()).expect("a block");
    // Lines of `offset  hex hex …  | comment`.
    let hex: Vec<u8> = example
        .lines()
        .filter_map(|line| line.split_once("  "))
        .flat_map(|(_, rest)| rest.split('|').next().unwrap().split_whitespace().collect::<Vec<_>>())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|e| panic!("{byte:?}: {e}")))
        .collect();
    assert_eq!(hex, first_frame());
}
