//! Files that claim gigabytes: nothing is allocated for a claim. In a file, and so a process, of its own, for it counts all that the
//! process allocates.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

#[path = "../fuzz/src/bytes.rs"]
#[allow(dead_code, reason = "some of it is for the fuzzer alone")]
mod bytes;
mod fixture;
#[path = "../fuzz/src/scene.rs"]
#[allow(dead_code, reason = "some of it is for the fuzzer alone")]
mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Link, push_frame, record};
use scene::Scene;
use serde_json::json;

/// Counts what is allocated, and the most that was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    MOST.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: everything is left to the system's allocator; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is allocated at most while something is done, beside what was before.
fn taken<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let done = act();
    (MOST.load(Relaxed) - before, done)
}

/// What using a small cohort takes: windows of a scan, a piece of a segment that is searched for frames, and the like.
const USUAL: usize = 4 << 20;

/// Everything a user may do. Whether anything was refused.
fn use_it(scene: &Scene) -> bool {
    let Ok(cohort) = scene.open() else { return true };
    let records = scene::records(&cohort, 1).1.is_none();
    let view = cohort.view().and_then(|view| scene::state(&view)).is_ok();
    let sound = cohort.verify().is_ok_and(|report| report.findings.is_empty());
    let written = cohort.append("k", &json!({"a": 1})).is_ok() && cohort.compact().is_ok();
    !(records && view && sound && written)
}

fn whole(scene: &Scene) -> Vec<u8> {
    let mut segment = bytes::segment(1, 7, Link { epoch: 1, first_seq: 1, ..Link::default() });
    push_frame(&mut segment, 1, 0, &[record(1, "k", b"{\"a\":0}")]);
    scene.put_segment(1, &segment);
    segment
}

/// A frame that says these things, with CRCs that hold.
fn claiming(segment: &mut Vec<u8>, body_len: u32, count: u32, body: &[u8]) {
    let begin = segment.len();
    segment.extend(body_len.to_le_bytes());
    segment.extend(count.to_le_bytes());
    for word in [2u64, 1, 0] {
        segment.extend(word.to_le_bytes());
    }
    segment.extend(bytes::crc(body, 0).to_le_bytes());
    let sum = bytes::crc(&segment[begin..], 7);
    segment.extend(sum.to_le_bytes());
    segment.extend(body);
    segment.resize(segment.len().next_multiple_of(8), 0);
}

fn make_long(scene: &Scene, name: &str) {
    let path = scene.cohort_path().join(name);
    fs::OpenOptions::new().append(true).open(path).unwrap().set_len(5 << 30).unwrap();
}

#[test]
fn for_what_claims_gigabytes_nothing_is_allocated() {
    let settings = scene::settings("latest", "file");
    let mut cases: Vec<(&str, Scene)> = Vec::new();
    let mut case = |name, make: &dyn Fn(&Scene, Vec<u8>)| {
        let scene = Scene::new(&settings);
        let segment = whole(&scene);
        make(&scene, segment);
        cases.push((name, scene));
    };
    for (name, len) in [("a frame of 4 GiB", u32::MAX), ("a frame of 1 GiB", 1 << 30)] {
        case(name, &|scene, mut segment| {
            claiming(&mut segment, len, 1, b"");
            scene.put_segment(1, &segment);
        });
    }
    case("a frame of 4 GiB in a file of 5 GiB", &|scene, mut segment| {
        claiming(&mut segment, u32::MAX, 1, b"");
        scene.put_segment(1, &segment);
        make_long(scene, "00000001.journal");
    });
    case("a batch of 2³² records", &|scene, mut segment| {
        let body = record(1, "k", b"1");
        claiming(&mut segment, body.len() as u32, u32::MAX, &body);
        scene.put_segment(1, &segment);
    });
    for (name, at) in [("a key of 4 GiB", 1), ("a value of 4 GiB", 10)] {
        case(name, &|scene, mut segment| {
            let mut body = record(1, "k", b"1");
            body[at..at + 8].copy_from_slice(&(4u64 << 30).to_le_bytes());
            claiming(&mut segment, body.len() as u32, 1, &body);
            scene.put_segment(1, &segment);
        });
    }
    let first = "{\"tallyfold\":1,\"cohort\":\"c\",\"fold\":{\"kind\":\"latest\"},\"epoch\":1,\"seq\":1,\"state\":{\n";
    for (name, entries, at) in [
        ("a snapshot of 2³² entries", 1u64 << 32, first.len()),
        ("a snapshot with a block at 4 GiB", 1, 4 << 30),
    ] {
        case(name, &|scene, _| {
            let line = "\"k\":{\"seq\":1,\"value\":{\"a\":0}}\n";
            let block = format!("[\"k\",{at},\"{:08x}\"]", bytes::crc(line.as_bytes(), 0));
            let last = format!("}},\"entries\":{entries},\"blocks\":[{block}]");
            let sum = bytes::crc(last.as_bytes(), bytes::crc(first.as_bytes(), 0));
            scene.put("snapshot.json", format!("{first}{line}{last},\"crc32\":\"{sum:08x}\"}}\n").as_bytes());
        });
    }
    case("a cohort.json of 5 GiB", &|scene, _| make_long(scene, "cohort.json"));
    case("a store.json of 5 GiB", &|scene, _| make_long(scene, "../store.json"));
    case("a lock of 5 GiB", &|scene, _| make_long(scene, "lock"));

    let scene = Scene::new(&settings);
    whole(&scene);
    let (usual, refused) = taken(|| use_it(&scene));
    println!("{usual:>9} bytes at most: nothing wrong");
    assert!(!refused && usual < USUAL, "{usual}");
    for (name, scene) in &cases {
        let (bytes, refused) = taken(|| use_it(scene));
        println!("{bytes:>9} bytes at most: {name}");
        assert!(bytes < USUAL, "{name}: {bytes} bytes");
        assert!(refused || *name == "a lock of 5 GiB", "{name}: accepted without a word");
    }
    // That the allocator counts: what is really there does take memory.
    let (bytes, body) = taken(|| vec![1u8; 2 * USUAL]);
    assert!(bytes >= body.len());
}
