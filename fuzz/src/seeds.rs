//! Inputs to begin with: what tallyfold itself writes, and what comes close to it.

use super::bytes::{self, Link, push_frame, record};
use super::{documents, names, operations, scene, segment, snapshot};

/// A target: its name, its body, and what the fuzzer begins with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 5] = [
    Target { name: "segment", run: segment::run, seeds: segments },
    Target { name: "snapshot", run: snapshot::run, seeds: snapshots },
    Target { name: "names", run: names::run, seeds: cohort_names },
    Target { name: "documents", run: documents::run, seeds: store_documents },
    Target { name: "operations", run: operations::run, seeds: operation_lists },
];

fn segments() -> Vec<Vec<u8>> {
    let first = Link { epoch: 1, first_seq: 1, ..Link::default() };
    let mut one = bytes::segment(1, 0x5EED_1234, first);
    push_frame(&mut one, 1, 0, &[record(1, "run-1", b"{\"loss\":0.25}")]);
    push_frame(
        &mut one,
        2,
        1,
        &[record(1, "run-2", b"[1.50,null]"), record(9, "run-3", b"{\"loss\":\"NaN\"}")],
    );
    push_frame(&mut one, 4, 3, &[record(2, "run-1", b"")]);
    let whole = one.clone();
    push_frame(&mut one, 5, 4, &[]);
    one.extend([0; 64]);
    let mut torn = whole.clone();
    torn.extend(&whole[1024..1060]);
    let mut two = bytes::segment(2, 99, Link::default());
    push_frame(&mut two, 5, 4, &[record(3, "", b"\xFF\x00"), record(1, "run-2", b"2")]);
    let mut three = bytes::segment(3, 7, Link { epoch: 3, durable_seq: 5, ..Link::default() });
    push_frame(&mut three, 7, 0, &[record(1, "run-2", b"{\"a\":{\"b\":null}}")]);
    bytes::join(&mut two, 2, Some((1, &whole)));
    bytes::join(&mut three, 3, Some((2, &two)));
    let spare = {
        let mut spare = bytes::segment(4, 3, Link::default());
        spare[512..1024].fill(0);
        spare
    };
    let journal = [whole.clone(), two, three, spare];
    let mut inputs = Vec::new();
    for flags in [0, 1, 4, 8, 17] {
        inputs.push(segment::input(flags, std::slice::from_ref(&one)));
        inputs.push(segment::input(flags, &journal));
    }
    inputs.push(segment::input(3, &journal));
    // Whoever adds to such a number must not get past the end of 64 bits.
    for link in [
        Link { durable_seq: u64::MAX, ..first },
        Link { epoch: u64::MAX, ..first },
        Link { first_seq: u64::MAX, previous: 1, previous_end: u64::MAX, ..first },
    ] {
        let mut last = bytes::segment(1, 7, link);
        push_frame(&mut last, link.first_seq, 0, &[record(1, "k", b"1")]);
        inputs.push(segment::input(1, std::slice::from_ref(&last)));
        inputs.push(segment::input(17, &[last]));
    }
    let mut said = whole[..1024].to_vec();
    push_frame(&mut said, 1, u64::MAX, &[record(1, "k", b"1")]);
    inputs.push(segment::input(16, &[said]));
    inputs.push(segment::input(0, &[torn]));
    inputs.push(segment::input(0, &[whole[..1100].to_vec()]));
    inputs.push(segment::input(0, &[whole[..600].to_vec()]));
    inputs
}

fn snapshots() -> Vec<Vec<u8>> {
    let first = "{\"tallyfold\":1,\"cohort\":\"c\",\"fold\":{\"kind\":\"latest\"},\"epoch\":1,\"seq\":4,\"state\":{\n";
    let lines = "\"run-1\":{\"seq\":2,\"value\":{\"loss\":0.25,\"patched\":null}},\n\
                 \"run-2\":{\"seq\":3,\"nonfinite\":true,\"value\":[\"NaN\",\"~NaN\"]},\n\
                 \"\u{e4}\\n\\\"\":{\"seq\":4,\"value\":null}\n";
    let texts = [format!("{first}{lines}"), first.to_string(), first.replace("latest", "merge") + lines];
    let mut inputs = Vec::new();
    // A block that is named by another key than its first, and a watermark at the end of 64 bits.
    let blocks = snapshot::with_a_new_last_line(texts[0].as_bytes(), true);
    let blocks = String::from_utf8_lossy(&blocks).replace("[\"run-2\"", "[\"run-3\"");
    inputs.push([&[2], blocks.as_bytes()].concat());
    let last = texts[0].replace("\"seq\":4,\"state\"", "\"seq\":18446744073709551615,\"state\"");
    inputs.push([&[1], last.as_bytes()].concat());
    for (i, text) in texts.iter().enumerate() {
        for a_block_a_line in [false, true] {
            let whole = snapshot::with_a_new_last_line(text.as_bytes(), a_block_a_line);
            for flags in [0u8, 1, 2, 5, 16, 24] {
                let fold = if i == 2 { 32 } else { 0 };
                inputs.push([&[flags | fold][..], &whole].concat());
            }
        }
    }
    inputs
}

fn cohort_names() -> Vec<Vec<u8>> {
    let long = "\u{e4}".repeat(40);
    let names = [
        "TRAINING",
        "../x",
        "a/b",
        ".",
        "..",
        "nul.txt",
        "COM1",
        "store.json",
        "a\0\n%",
        "%41",
        ".new-1",
        &long,
    ];
    let directories =
        ["TRAINING", "%2E%2E", "%2e", "%41", "a%2Fb", ".new-0123456789abcdef", "%C3%A4", "%FF", "%"];
    let of = |flag: u8| move |name: &&str| [&[flag], name.as_bytes()].concat();
    names.iter().map(of(0)).chain(directories.iter().map(of(1))).collect()
}

fn store_documents() -> Vec<Vec<u8>> {
    let cohort = scene::settings("latest", "file");
    let all = "{\"tallyfold\":1,\"fold\":{\"kind\":\"log\"},\"retain\":\"all\",\"segment_bytes\":4096,\"durable\":true,\
               \"lock\":\"memory\",\"lock_timeout_s\":1e300,\"max_body_bytes\":9,\"trust_network_locks\":true,\
               \"sync_interval_ms\":18446744073709551615,\"compact_bytes\":1}";
    let texts = [
        (0, bytes::STORE_JSON),
        (0, "{\"tallyfold\":2,\"id\":\"\"}"),
        (1, &cohort),
        (1, all),
        (1, "{\"fold\":{\"kind\":\"top\",\"n\":3}}"),
        (2, "not zeros"),
    ];
    texts.iter().map(|(flag, text)| [&[*flag], text.as_bytes()].concat()).collect()
}

/// Random bytes are operations too; these are many, of every fold and lock class.
fn operation_lists() -> Vec<Vec<u8>> {
    let mut word = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        // xorshift64, so that the inputs are the same each time.
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word >> 32) as u8
    };
    (0..24u8)
        .map(|i| std::iter::once((i % 3) | (i % 2) << 4).chain((0..160).map(|_| random())).collect())
        .collect()
}
