//! The bytes of docs/format.md once more, by hand: to mend CRCs that a fuzzer has broken, so that it gets past them, and to tell
//! what a reader may find. Nothing here uses the crate's own decoder.

use std::ops::Range;

pub const STORE_ID: [u8; 16] =
    [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x43, 0x33, 0x84, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55];
pub const STORE_JSON: &str = "{\"tallyfold\":1,\"id\":\"11111111-2222-4333-8444-555555555555\"}\n";
/// The cohort of all targets.
pub const COHORT: &str = "c";

const BLOCK: usize = 512;
const BLOCK_CRC: usize = 508;
const FRAMES: usize = 1024;
/// What claims a higher seq is damaged.
const MAX_NUMBER: u64 = 1 << 62;
const HEADER: usize = 40;
const HEADER_CRC: usize = 36;

pub fn crc(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn put(bytes: &mut [u8], at: usize, word: &[u8]) {
    bytes[at..at + word.len()].copy_from_slice(word);
}

/// The salt of a segment, whatever its identity is worth.
fn salt(segment: &[u8]) -> u32 {
    if segment.len() < BLOCK { 0 } else { u32_at(segment, 48) }
}

/// The link of a segment: epoch, first seq, previous, previous end, previous CRC, durable seq.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    pub epoch: u64,
    pub first_seq: u64,
    pub previous: u64,
    pub previous_end: u64,
    pub previous_crc: u32,
    pub durable_seq: u64,
}

/// A segment with a valid identity and link and no frames.
pub fn segment(number: u64, salt: u32, link: Link) -> Vec<u8> {
    let mut bytes = vec![0; FRAMES];
    put(&mut bytes, 48, &salt.to_le_bytes());
    put_link(&mut bytes, link);
    mend(&mut bytes, number);
    bytes
}

fn put_link(bytes: &mut [u8], link: Link) {
    for (at, word) in [
        (520, link.epoch),
        (528, link.first_seq),
        (536, link.previous),
        (544, link.previous_end),
        (560, link.durable_seq),
    ] {
        put(bytes, at, &word.to_le_bytes());
    }
    put(bytes, 552, &link.previous_crc.to_le_bytes());
}

pub fn record(kind: u8, key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for part in [key.as_bytes(), value] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    bytes
}

/// Appends a frame to a segment.
pub fn push_frame(segment: &mut Vec<u8>, first_seq: u64, durable_seq: u64, records: &[Vec<u8>]) {
    let (body, salt) = (records.concat(), salt(segment));
    let begin = segment.len();
    segment.extend((body.len() as u32).to_le_bytes());
    segment.extend((records.len() as u32).to_le_bytes());
    for word in [first_seq, durable_seq, 1_767_871_234_123_456] {
        segment.extend(word.to_le_bytes());
    }
    segment.extend(crc(&body, 0).to_le_bytes());
    let sum = crc(&segment[begin..], salt);
    segment.extend(sum.to_le_bytes());
    segment.extend(body);
    segment.resize(segment.len().next_multiple_of(8), 0);
}

/// Makes the identity that of a segment of this number of our cohort, and all CRCs right: of both blocks and of every frame
/// whose length fits. What the link and the frames claim stays as it is, and so do salt, version and feature bits.
pub fn mend(segment: &mut [u8], number: u64) {
    if segment.len() < FRAMES {
        return;
    }
    put(segment, 0, b"TALLYSEG");
    // A newer version or unknown features are one way to be refused, and leave nothing to be found behind it.
    if u32_at(segment, 8) > 8 {
        put(segment, 8, &1u32.to_le_bytes());
    }
    put(segment, 20, &(COHORT.len() as u32).to_le_bytes());
    put(segment, 24, &number.to_le_bytes());
    put(segment, 32, &STORE_ID);
    put(segment, 56, COHORT.as_bytes());
    seal_block(&mut segment[..BLOCK], 0);
    let salt = salt(segment);
    if segment[BLOCK..FRAMES].iter().any(|byte| *byte != 0) {
        put(segment, BLOCK, b"TALLYLNK");
        seal_block(&mut segment[BLOCK..FRAMES], salt);
    }
    let mut at = FRAMES;
    while let Some(frame) = place(segment, at) {
        let sum = crc(&segment[frame.start + HEADER..][..u32_at(segment, at) as usize], 0);
        put(segment, at + 32, &sum.to_le_bytes());
        let sum = crc(&segment[at..at + HEADER_CRC], salt);
        put(segment, at + HEADER_CRC, &sum.to_le_bytes());
        at = frame.end;
    }
}

/// Makes a segment follow another: its link names where that one ends, and its frames go on with the seqs.
pub fn join(segment: &mut [u8], number: u64, before: Option<(u64, &[u8])>) {
    if segment.len() < FRAMES {
        return;
    }
    let epoch = u64_at(segment, 520).clamp(1, number);
    let durable_seq = u64_at(segment, 560);
    let mut link = Link { epoch, first_seq: 1, durable_seq, ..Link::default() };
    if let Some((previous, bytes)) = before {
        let end = end(bytes);
        link =
            Link { first_seq: end.next_seq, previous, previous_end: end.at, previous_crc: end.crc, ..link };
    }
    put_link(segment, link);
    let (mut at, mut seq) = (FRAMES, link.first_seq);
    while let Some(frame) = place(segment, at) {
        put(segment, at + 8, &seq.to_le_bytes());
        seq = seq.saturating_add(u64::from(u32_at(segment, at + 4)));
        at = frame.end;
    }
    mend(segment, number);
}

fn seal_block(block: &mut [u8], seed: u32) {
    let sum = crc(&block[..BLOCK_CRC], seed);
    put(block, BLOCK_CRC, &sum.to_le_bytes());
}

/// Where a frame would stand by its length, if it fits and is not blank.
fn place(segment: &[u8], at: usize) -> Option<Range<usize>> {
    let header = segment.get(at..at + HEADER)?;
    if header.iter().all(|byte| *byte == 0) {
        return None;
    }
    let end = (at + HEADER + u32_at(header, 0) as usize).next_multiple_of(8);
    (end <= segment.len()).then_some(at..end)
}

/// A whole frame by docs/format.md, and its records if they make sense.
#[derive(Clone, Debug)]
pub struct Frame {
    pub first_seq: u64,
    pub count: u32,
    pub crc: u32,
    pub end: usize,
    pub records: Option<Vec<Found>>,
}

/// A record in a frame: seq, kind with its flag, key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub seq: u64,
    pub kind: u8,
    pub key: String,
    pub value: Vec<u8>,
}

/// The frames that stand in a segment from the first one on, without asking whether they continue each other.
pub fn frames(segment: &[u8]) -> Vec<Frame> {
    let (mut at, mut frames, salt) = (FRAMES, Vec::new(), salt(segment));
    while let Some(frame) = place(segment, at) {
        let (len, count) = (u32_at(segment, at) as usize, u32_at(segment, at + 4));
        let (first_seq, body) = (u64_at(segment, at + 8), &segment[at + HEADER..][..len]);
        let sums = (u32_at(segment, at + HEADER_CRC), u32_at(segment, at + 32));
        let padding = &segment[at + HEADER + len..frame.end];
        if first_seq == 0
            || first_seq.max(u64_at(segment, at + 16)) > MAX_NUMBER
            || sums != (crc(&segment[at..at + HEADER_CRC], salt), crc(body, 0))
            || padding.iter().any(|byte| *byte != 0)
        {
            break;
        }
        let records = records(body, count, first_seq);
        frames.push(Frame { first_seq, count, crc: sums.0, end: frame.end, records });
        at = frame.end;
    }
    frames
}

fn records(mut body: &[u8], count: u32, first_seq: u64) -> Option<Vec<Found>> {
    fn part<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
        let len = usize::try_from(u64::from_le_bytes(*body.first_chunk()?)).ok()?;
        let (part, rest) = body[8..].split_at_checked(len)?;
        *body = rest;
        Some(part)
    }
    let mut records = Vec::new();
    for i in 0..u64::from(count) {
        let (&kind, rest) = body.split_first()?;
        body = rest;
        let key = String::from_utf8(part(&mut body)?.to_vec()).ok()?;
        let value = part(&mut body)?.to_vec();
        let known = matches!(kind & !8, 1..=3);
        records.push(Found { seq: first_seq.checked_add(i)?, kind, key, value });
        known.then_some(())?;
    }
    body.is_empty().then_some(records)
}

/// Where the frames of a segment end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub at: u64,
    pub next_seq: u64,
    pub crc: u32,
}

/// Where the frames of a segment end that continue each other.
pub fn end(segment: &[u8]) -> End {
    if segment.len() < FRAMES {
        return End { at: FRAMES as u64, next_seq: 1, crc: 0 };
    }
    let link = crc(&segment[BLOCK..BLOCK + BLOCK_CRC], salt(segment));
    let mut end = End { at: FRAMES as u64, next_seq: u64_at(segment, 528), crc: link };
    for frame in frames(segment).iter().take_while(|frame| frame.first_seq != 0) {
        if frame.first_seq != end.next_seq {
            break;
        }
        let next_seq = end.next_seq.saturating_add(u64::from(frame.count));
        end = End { at: frame.end as u64, next_seq, crc: frame.crc };
    }
    end
}
