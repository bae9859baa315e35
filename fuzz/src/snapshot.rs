//! Bytes in place of `snapshot.json`.
//!
//! The first byte of an input says what is done to the others: bit 0, the last line is made anew, so that it fits the lines; bit 1,
//! only the CRC at the end is made right; bit 2, each line gets a block of its own; bits 3 and 4, under which of its names the
//! snapshot stands; bit 5, the fold.

use std::ops::Range;

use serde_json::Value;

use super::bytes::{self, Link, crc};
use super::scene::{self, Scene, go_on, must_be_placed};

pub fn run(input: &[u8]) {
    let Some((&flags, text)) = input.split_first() else { return };
    let text = match flags & 3 {
        1 | 3 => with_a_new_last_line(text, flags & 4 != 0),
        2 => with_a_new_crc(text),
        _ => text.to_vec(),
    };
    let fold = if flags & 32 == 0 { "latest" } else { "merge" };
    let scene = Scene::new(&scene::settings(fold, "file"));
    let names: &[&str] = match flags >> 3 & 3 {
        0 | 1 => &["snapshot.json"],
        2 => &["snapshot.prev.json"],
        _ => &["snapshot.json", "snapshot.prev.json"],
    };
    for name in names {
        scene.put(name, &text);
    }
    // The journal goes on behind the watermark, and a key of the snapshot is patched there.
    let watermark = head(&text).and_then(|head| head["seq"].as_u64()).unwrap_or(0);
    let first_seq = watermark.saturating_add(1);
    let link = Link { epoch: 1, first_seq, previous: 1, previous_end: 1024, ..Link::default() };
    let mut segment = bytes::segment(2, 7, if watermark == 0 { Link { previous: 0, ..link } } else { link });
    bytes::push_frame(&mut segment, first_seq, watermark, &[bytes::record(1, "run-1", b"{\"patched\":1}")]);
    scene.put_segment(2, &segment);

    let cohort = scene.open().expect("its document is whole");
    let verified = cohort.verify();
    let sound = verified.is_ok_and(|report| !report.is_damaged());
    match cohort.view() {
        Err(e) => must_be_placed(&e),
        Ok(view) => match scene::state(&view) {
            Err(e) => must_be_placed(&e),
            Ok(state) if view.damage().is_none() && !(watermark == 0 && head(&text).is_none()) => {
                for (key, entry) in &state {
                    let patched = key == "run-1" && entry.0 == first_seq;
                    assert!(patched || is_line(&text, key, entry), "an entry that no line holds: {key:?}");
                    if sound {
                        let got = view.get(key).expect("all of it could be read").expect("it was seen");
                        assert_eq!((got.seq(), got.json()), (entry.0, &entry.1[..]), "{key:?}");
                    }
                }
            }
            Ok(_) => {}
        },
    }
    drop(cohort);
    go_on(&scene, sound).expect("its document is whole");
}

fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = text[at..].iter().position(|byte| *byte == b'\n')? + 1;
        at += len;
        Some(at - len..at)
    })
}

/// What the first line says.
fn head(text: &[u8]) -> Option<Value> {
    let first = lines(text).next()?;
    let mut head = text[first].to_vec();
    head.extend(b"}}");
    serde_json::from_slice(&head).ok()
}

/// Whether some line is this entry.
fn is_line(text: &[u8], key: &str, (seq, json): &(u64, String)) -> bool {
    lines(text).skip(1).any(|line| {
        let line = String::from_utf8_lossy(&text[line]);
        let line = line.trim_end_matches('\n');
        let line = line.strip_suffix(',').unwrap_or(line);
        let Some(end) = key_end(line.as_bytes()) else { return false };
        let value = [format!(":{{\"seq\":{seq},\"value\":{json}}}"), String::new()];
        let flagged = format!(":{{\"seq\":{seq},\"nonfinite\":true,\"value\":{json}}}");
        let rest = without_leading_zeros(&line[end..]);
        serde_json::from_str::<String>(&line[..end]).is_ok_and(|found| found == key)
            && (rest == value[0] || rest == flagged)
    })
}

/// A number may be spelled with zeros in front of it.
fn without_leading_zeros(rest: &str) -> String {
    let Some(digits) = rest.strip_prefix(":{\"seq\":") else { return rest.to_string() };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number = digits[..end].trim_start_matches('0');
    format!(":{{\"seq\":{}{}", if number.is_empty() { "0" } else { number }, &digits[end..])
}

/// Where the JSON string at the beginning of a line ends.
fn key_end(line: &[u8]) -> Option<usize> {
    let mut at = 1;
    line.starts_with(b"\"").then_some(())?;
    while line.get(at)? != &b'"' {
        at += if line[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn with_a_new_crc(text: &[u8]) -> Vec<u8> {
    let (Some(first), Some(last)) = (lines(text).next(), lines(text).last()) else { return text.to_vec() };
    let covered = text[last.clone()].windows(9).rposition(|window| window == b",\"crc32\":");
    let Some(covered) = covered.map(|at| last.start + at) else { return text.to_vec() };
    let sum = crc(&text[last.start..covered], crc(&text[first], 0));
    let mut mended = text[..covered].to_vec();
    mended.extend(format!(",\"crc32\":\"{sum:08x}\"}}\n").bytes());
    mended
}

/// The first line and the lines, with a last line that fits them.
pub fn with_a_new_last_line(text: &[u8], a_block_a_line: bool) -> Vec<u8> {
    let mut all: Vec<_> = lines(text).collect();
    if all.last().is_some_and(|last| text[last.clone()].starts_with(b"},\"entries\":")) {
        all.pop();
    }
    let [_, entries @ ..] = &all[..] else { return text.to_vec() };
    let end = all.last().map_or(0, |line| line.end);
    let mut blocks = Vec::new();
    for (i, line) in entries.iter().enumerate() {
        if i == 0 || a_block_a_line {
            let to = if a_block_a_line { line.end } else { end };
            let key = key_end(&text[line.clone()]).map_or(&b"\"\""[..], |end| &text[line.clone()][..end]);
            let sum = crc(&text[line.start..to], 0);
            blocks.push(format!("[{},{},\"{sum:08x}\"]", String::from_utf8_lossy(key), line.start));
        }
    }
    let mut whole = text[..end].to_vec();
    let last = format!("}},\"entries\":{},\"blocks\":[{}],\"crc32\":", entries.len(), blocks.join(","));
    whole.extend(last.bytes());
    whole.push(b'\n');
    with_a_new_crc(&whole)
}
