//! The bytes of a segment: encode to `Vec<u8>`, decode from `&[u8]`, open nothing. `docs/format.md` is the specification.
//!
//! ```text
//! segment:  identity (512) · link (512) · frame · frame · … · zeros
//! frame:    header (40) · body (body_len) · zeros to a multiple of 8
//! header:   0 body_len u32 · 4 count u32 · 8 first_seq u64 · 16 durable_seq u64 · 24 time_us i64 · 32 body_crc u32 · 36 header_crc u32
//! body:     count × ( kind u8 · key_len u64 · key · value_len u64 · value )
//! ```
//!
//! Everything is little-endian. bincode writes the integers and reads the blocks, and only this file knows it; headers and records
//! are read by hand, for a scan reads millions of them.

use bincode::config::{Configuration, Fixint, LittleEndian};
use bincode::de::BorrowDecode;
use bincode::enc::Encode;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;

use crate::record::{Kind, RecordRef};

/// The version this code writes and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// Identity and link each take one sector: a disk writes it whole or not at all.
pub(crate) const BLOCK: usize = 512;
/// Where the first frame of a segment begins.
pub(crate) const FRAMES_BEGIN: u64 = 2 * BLOCK as u64;
pub(crate) const HEADER: usize = 40;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// The largest body any setting allows, in bytes: what a reader believes at most.
pub(crate) const MAX_BODY: u32 = 1 << 30;
/// The highest seq, epoch and segment number that is believed. Nobody gets there by counting, and whoever adds to a number below it
/// need not fear the end of 64 bits.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;
/// The longest segment that any setting allows.
pub(crate) const MAX_SEGMENT: u64 = 1 << 40;

const IDENTITY_MAGIC: [u8; 8] = *b"TALLYSEG";
const LINK_MAGIC: [u8; 8] = *b"TALLYLNK";
const BLOCK_CRC_AT: usize = BLOCK - 4;
const HEADER_CRC_AT: usize = HEADER - 4;
const COHORT_NAME: usize = 128;

/// Bits of `incompatible` this version understands: a segment with any other must not be read.
const KNOWN_INCOMPATIBLE: u32 = 0;
/// Bits of `compatible` this version understands: a segment with any other may be read, not written.
const KNOWN_COMPATIBLE: u32 = 0;

const NONFINITE_BIT: u8 = 0b1000;

/// A limit on what one decode may claim, above every body.
const DECODE_LIMIT: usize = MAX_BODY as usize + BLOCK;
const CONFIG: Configuration<LittleEndian, Fixint, bincode::config::Limit<DECODE_LIMIT>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<DECODE_LIMIT>();

/// The first block of a segment: which segment of which cohort of which store it is. Written and synced before the segment
/// gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) number: u64,
    pub(crate) store: [u8; 16],
    /// Seeds the CRC of the link and of every frame's header, so that bytes of another segment never validate here.
    pub(crate) salt: u32,
    pub(crate) cohort: String,
    /// Unknown compatible features: read only.
    pub(crate) read_only: bool,
}

/// The second block: makes the segment a part of the journal. Zeros until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Of this segment and all after it, until a cut.
    pub(crate) epoch: u64,
    /// The seq of the first record here.
    pub(crate) first_seq: u64,
    /// The predecessor: its number (0: none), the length at which it ends, and the CRC found last in it.
    pub(crate) previous: u64,
    pub(crate) previous_end: u64,
    pub(crate) previous_crc: u32,
    /// The highest seq known durable when this was written.
    pub(crate) durable_seq: u64,
    pub(crate) time_us: i64,
    /// The boot of the system in which this was written; zeros: not known.
    pub(crate) boot: [u8; 16],
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u32,
    pub(crate) count: u32,
    pub(crate) first_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) time_us: i64,
    pub(crate) body_crc: u32,
    pub(crate) header_crc: u32,
}

/// Why a block was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadBlock {
    /// Nothing but zeros.
    Blank,
    /// Not what was written.
    Damaged(&'static str),
    /// A later version, or a feature that this one does not know.
    Newer(String),
}

/// CRC-32 (zlib's polynomial) with a seed: the same as Python's `zlib.crc32(bytes, seed)`.
pub(crate) fn crc(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Whether there is nothing but zeros. By pieces, so that many bytes are compared at once: a reader looks at the whole rest of
/// the active segment.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    let (pieces, rest) = bytes.as_chunks::<128>();
    let no_bit = |bytes: &[u8]| bytes.iter().fold(0, |bits, byte| bits | byte) == 0;
    pieces.iter().all(|piece| no_bit(piece)) && no_bit(rest)
}

impl Identity {
    pub(crate) fn encode(&self) -> [u8; BLOCK] {
        let mut cohort = [0; COHORT_NAME];
        // Names are checked against the same bound when a cohort is made.
        let len = self.cohort.len().min(COHORT_NAME);
        cohort[..len].copy_from_slice(&self.cohort.as_bytes()[..len]);
        let mut out = Vec::with_capacity(BLOCK);
        put(&mut out, (IDENTITY_MAGIC, VERSION, KNOWN_INCOMPATIBLE, KNOWN_COMPATIBLE, len as u32));
        put(&mut out, (self.number, self.store, self.salt, 0u32, cohort));
        block(out, 0)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Identity, BadBlock> {
        let bytes = checked_block(bytes, 0, IDENTITY_MAGIC)?;
        type Fields = ([u8; 8], u32, u32, u32, u32, u64, [u8; 16], u32, u32, [u8; COHORT_NAME]);
        let ((_, version, incompatible, compatible, len, number, store, salt, _, cohort), _) =
            get::<Fields>(bytes).ok_or(BadBlock::Damaged("the identity is cut short"))?;
        if version > VERSION {
            return Err(BadBlock::Newer(format!("format version {version}, this is version {VERSION}")));
        }
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            return Err(BadBlock::Newer(format!("unknown incompatible feature bits {incompatible:#x}")));
        }
        let cohort = cohort.get(..len as usize).and_then(|name| std::str::from_utf8(name).ok());
        Ok(Identity {
            number,
            store,
            salt,
            cohort: cohort.ok_or(BadBlock::Damaged("the identity names no cohort"))?.to_string(),
            read_only: compatible & !KNOWN_COMPATIBLE != 0,
        })
    }
}

impl Link {
    /// The link of a cohort's first segment.
    pub(crate) fn first(time_us: i64, boot: [u8; 16]) -> Link {
        Link {
            epoch: 1,
            first_seq: 1,
            previous: 0,
            previous_end: 0,
            previous_crc: 0,
            durable_seq: 0,
            time_us,
            boot,
        }
    }

    pub(crate) fn encode(&self, salt: u32) -> [u8; BLOCK] {
        let mut out = Vec::with_capacity(BLOCK);
        put(&mut out, (LINK_MAGIC, self.epoch, self.first_seq, self.previous, self.previous_end));
        put(&mut out, (self.previous_crc, 0u32, self.durable_seq, self.time_us, self.boot));
        block(out, salt)
    }

    pub(crate) fn decode(bytes: &[u8], salt: u32) -> Result<Link, BadBlock> {
        let bytes = checked_block(bytes, salt, LINK_MAGIC)?;
        type Fields = ([u8; 8], u64, u64, u64, u64, u32, u32, u64, i64, [u8; 16]);
        let ((_, epoch, first_seq, previous, previous_end, previous_crc, _, durable_seq, time_us, boot), _) =
            get::<Fields>(bytes).ok_or(BadBlock::Damaged("the link is cut short"))?;
        if first_seq == 0 {
            return Err(BadBlock::Damaged("the link begins with seq 0"));
        }
        if epoch.max(first_seq).max(durable_seq) > MAX_NUMBER || previous_end > MAX_SEGMENT {
            return Err(BadBlock::Damaged("the link has a number that nobody has counted to"));
        }
        Ok(Link { epoch, first_seq, previous, previous_end, previous_crc, durable_seq, time_us, boot })
    }

    /// The block's own CRC: what a successor names when no frame stands in this segment.
    pub(crate) fn crc(&self, salt: u32) -> u32 {
        let bytes = self.encode(salt);
        crc(&bytes[..BLOCK_CRC_AT], salt)
    }
}

/// Fills a block up with zeros and ends it with the CRC of all before.
fn block(mut out: Vec<u8>, seed: u32) -> [u8; BLOCK] {
    out.resize(BLOCK_CRC_AT, 0);
    let sum = crc(&out, seed);
    put(&mut out, sum);
    let mut block = [0; BLOCK];
    block.copy_from_slice(&out);
    block
}

/// The CRC stands at the same place in every version, so damage is told from a newer format.
fn checked_block(bytes: &[u8], seed: u32, magic: [u8; 8]) -> Result<&[u8], BadBlock> {
    let bytes = bytes.get(..BLOCK).ok_or(BadBlock::Damaged("the file ends inside the block"))?;
    if is_blank(bytes) {
        return Err(BadBlock::Blank);
    }
    let (content, sum) = bytes.split_at(BLOCK_CRC_AT);
    if !content.starts_with(&magic) {
        return Err(BadBlock::Damaged("the block does not begin with its magic number"));
    }
    if sum != crc(content, seed).to_le_bytes() {
        return Err(BadBlock::Damaged("the block's CRC does not match"));
    }
    Ok(bytes)
}

impl Header {
    /// The header of a frame around `body`, with everything but the salted CRC.
    pub(crate) fn new(body: &Body, first_seq: u64, durable_seq: u64, time_us: i64) -> Header {
        let body_len = body.bytes.len() as u32;
        Header {
            body_len,
            count: body.count,
            first_seq,
            durable_seq,
            time_us,
            body_crc: body.crc,
            header_crc: 0,
        }
    }

    /// The header's bytes in a segment with this salt, and its CRC.
    pub(crate) fn encode(&self, salt: u32) -> ([u8; HEADER], u32) {
        let mut out = [0; HEADER];
        let fields =
            (self.body_len, self.count, self.first_seq, self.durable_seq, self.time_us, self.body_crc);
        put_at(&mut out, 0, fields);
        let sum = crc(&out[..HEADER_CRC_AT], salt);
        put_at(&mut out, HEADER_CRC_AT, sum);
        (out, sum)
    }

    /// The header at the beginning of `bytes`, if its CRC holds and what it claims fits into the `left` bytes of its segment
    /// (header included). Nothing it claims is believed before that.
    #[inline]
    pub(crate) fn decode(bytes: &[u8], salt: u32, left: u64) -> Option<Header> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let (body_len, count) = (u32_at(bytes, 0), u32_at(bytes, 4));
        let (first_seq, durable_seq, time_us) =
            (u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24) as i64);
        let (body_crc, header_crc) = (u32_at(bytes, 32), u32_at(bytes, HEADER_CRC_AT));
        // Zeros are refused by value, whatever the salt makes of their CRC.
        if first_seq == 0 || crc(&bytes[..HEADER_CRC_AT], salt) != header_crc {
            return None;
        }
        if first_seq > MAX_NUMBER || durable_seq > MAX_NUMBER {
            return None;
        }
        let header = Header { body_len, count, first_seq, durable_seq, time_us, body_crc, header_crc };
        (body_len <= MAX_BODY && header.frame_len() <= left).then_some(header)
    }

    /// Bytes of the whole frame, padding included.
    pub(crate) fn frame_len(&self) -> u64 {
        frame_len(self.body_len as usize)
    }

    /// The seq after this frame's last.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }

    /// Whether `frame`, the bytes of the whole frame, holds the body that this header describes.
    #[inline]
    pub(crate) fn body_is_whole(&self, frame: &[u8]) -> bool {
        let end = HEADER + self.body_len as usize;
        frame.len() as u64 == self.frame_len()
            && crc(&frame[HEADER..end], 0) == self.body_crc
            && is_blank(&frame[end..])
    }
}

/// Bytes of a frame whose body takes `body_len`.
pub(crate) fn frame_len(body_len: usize) -> u64 {
    (HEADER as u64 + body_len as u64).next_multiple_of(ALIGN)
}

/// An encoded batch: what is made before the lock is taken.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) crc: u32,
}

impl Body {
    /// No records: carries a `durable_seq` to the disk, and nothing else.
    pub(crate) fn empty() -> Body {
        Body::seal(Vec::new(), 0)
    }

    pub(crate) fn seal(bytes: Vec<u8>, count: u32) -> Body {
        let crc = crc(&bytes, 0);
        Body { bytes, count, crc }
    }

    /// The frame's bytes in a segment with this salt, padding included, and the header's CRC.
    pub(crate) fn frame(&self, header: &Header, salt: u32) -> (Vec<u8>, u32) {
        let (head, sum) = header.encode(salt);
        let mut frame = Vec::with_capacity(header.frame_len() as usize);
        frame.extend_from_slice(&head);
        frame.extend_from_slice(&self.bytes);
        frame.resize(header.frame_len() as usize, 0);
        (frame, sum)
    }
}

/// Appends one record to a body. `value` appends the value's bytes, about `size` of them, and says whether they are nonfinite;
/// if it fails or panics, the body is as it was.
pub(crate) fn put_record<E>(
    out: &mut Vec<u8>,
    kind: Kind,
    key: &str,
    size: usize,
    value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
) -> Result<(), E> {
    let start = out.len();
    let Unfinished { out, end } = &mut Unfinished { out, end: start };
    out.reserve(RECORD_OVERHEAD + key.len() + size);
    // The value is made where it stays, so its length is known last.
    put(out, (kind as u8, key, 0u64));
    let begin = out.len();
    if value(out)? {
        out[start] |= NONFINITE_BIT;
    }
    let len = (out.len() - begin) as u64;
    put_at(out, begin - VALUE_LEN, len);
    *end = out.len();
    Ok(())
}

/// A body behind whose last record something may stand that is none yet.
struct Unfinished<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.end);
    }
}

/// The bytes of one record's key and value beside their content.
pub(crate) const RECORD_OVERHEAD: usize = 1 + 8 + VALUE_LEN;
const VALUE_LEN: usize = 8;

/// How far the records of a body have been read. The body is given at each step, so that it may lie where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread {
    at: usize,
    count: u32,
    left: u32,
    seq: u64,
    time_us: i64,
}

impl Unread {
    pub(crate) fn of(header: &Header) -> Unread {
        let (count, seq, time_us) = (header.count, header.first_seq, header.time_us);
        Unread { at: 0, count, left: count, seq, time_us }
    }

    /// Of records that are not in a frame yet: numbered from 1.
    pub(crate) fn of_batch(count: usize) -> Unread {
        let count = count as u32;
        Unread { at: 0, count, left: count, seq: 1, time_us: 0 }
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.left == self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next record of `body`, which must be the same each time. An error is a body that the CRC vouches for and that still
    /// makes no sense; it is told before the last record is returned, and again each time.
    #[inline]
    pub(crate) fn next<'a>(&mut self, body: &'a [u8]) -> Option<Result<RecordRef<'a>, &'static str>> {
        if self.left == 0 {
            return None;
        }
        Some(record(&body[self.at..]).and_then(|(kind, nonfinite, key, value, used)| {
            let record = RecordRef { seq: self.seq, time_us: self.time_us, kind, nonfinite, key, value };
            if self.left == 1 && self.at + used != body.len() {
                return Err("bytes are left after the last record");
            }
            self.at += used;
            self.left -= 1;
            self.seq += 1;
            Ok(record)
        }))
    }

    /// Whether all that is left of `body` makes sense.
    pub(crate) fn check(&self, body: &[u8]) -> Result<(), &'static str> {
        if self.count == 0 && !body.is_empty() {
            return Err("bytes are left after the last record");
        }
        let mut unread = *self;
        while let Some(record) = unread.next(body) {
            record?;
        }
        Ok(())
    }

    /// Goes past the records before `seq`, in a body that has been checked.
    pub(crate) fn skip_to(&mut self, seq: u64, body: &[u8]) {
        while self.seq < seq && matches!(self.next(body), Some(Ok(_))) {}
    }
}

/// One record at the beginning of `bytes`, and how many bytes it takes.
fn record(bytes: &[u8]) -> Result<(Kind, bool, &str, &[u8], usize), &'static str> {
    let whole = || {
        let (&kind, rest) = bytes.split_first()?;
        let (key, rest) = split_long(rest)?;
        let (value, rest) = split_long(rest)?;
        Some((kind, std::str::from_utf8(key).ok()?, value, bytes.len() - rest.len()))
    };
    let (kind, key, value, used) = whole().ok_or("a record is cut short or its key is not UTF-8")?;
    let nonfinite = kind & NONFINITE_BIT != 0;
    match kind & !NONFINITE_BIT {
        1 => Ok((Kind::Put, nonfinite, key, value, used)),
        2 => Ok((Kind::Delete, nonfinite, key, value, used)),
        3 => Ok((Kind::Raw, nonfinite, key, value, used)),
        _ => Err("a record is of no known kind"),
    }
}

/// Bytes behind their length, and what follows them.
fn split_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

struct Tail<'a>(&'a mut Vec<u8>);

impl Writer for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, value: impl Encode) {
    let encoded = bincode::encode_into_writer(value, Tail(out), CONFIG);
    // The writer above never fails, and integers, arrays, strings and slices always encode.
    debug_assert!(encoded.is_ok());
}

/// Writes over the bytes at `at`.
fn put_at(out: &mut [u8], at: usize, value: impl Encode) {
    let encoded = bincode::encode_into_slice(value, &mut out[at..], CONFIG);
    debug_assert!(encoded.is_ok());
}

fn get<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Option<(T, usize)> {
    bincode::borrow_decode_from_slice(bytes, CONFIG).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn records<'a>(header: &Header, body: &'a [u8]) -> Result<Vec<RecordRef<'a>>, &'static str> {
        let mut unread = Unread::of(header);
        unread.check(body)?;
        std::iter::from_fn(|| unread.next(body)).collect()
    }

    fn record(out: &mut Vec<u8>, kind: Kind, nonfinite: bool, key: &str, value: &[u8]) {
        let put = put_record(out, kind, key, value.len(), |out| {
            out.extend_from_slice(value);
            Ok::<_, ()>(nonfinite)
        });
        assert_eq!(put, Ok(()));
    }

    fn body(records: &[(Kind, bool, &str, &[u8])]) -> Body {
        let mut bytes = Vec::new();
        for (kind, nonfinite, key, value) in records {
            record(&mut bytes, *kind, *nonfinite, key, value);
        }
        Body::seal(bytes, records.len() as u32)
    }

    #[test]
    fn a_frame_is_the_bytes_that_to_le_bytes_would_write() {
        let body = body(&[(Kind::Put, true, "k", b"\"NaN\""), (Kind::Delete, false, "", b"")]);
        let header = Header::new(&body, 7, 6, -2);
        let (frame, sum) = body.frame(&header, 0xABCD_EF01);

        let mut records = vec![9];
        records.extend(1u64.to_le_bytes());
        records.extend(b"k");
        records.extend(5u64.to_le_bytes());
        records.extend(b"\"NaN\"");
        records.push(2);
        records.extend(0u64.to_le_bytes());
        records.extend(0u64.to_le_bytes());
        let mut expected = Vec::new();
        expected.extend((records.len() as u32).to_le_bytes());
        expected.extend(2u32.to_le_bytes());
        expected.extend(7u64.to_le_bytes());
        expected.extend(6u64.to_le_bytes());
        expected.extend((-2i64).to_le_bytes());
        expected.extend(crc(&records, 0).to_le_bytes());
        expected.extend(crc(&expected, 0xABCD_EF01).to_le_bytes());
        expected.extend(&records);
        expected.resize(expected.len().next_multiple_of(8), 0);
        assert_eq!(frame, expected);

        let back = Header::decode(&frame, 0xABCD_EF01, frame.len() as u64).unwrap();
        assert_eq!(back, Header { header_crc: sum, ..header });
        assert!(back.body_is_whole(&frame));
        assert_eq!(Header::decode(&frame, 0xABCD_EF02, frame.len() as u64), None, "another segment's salt");
        assert_eq!(Header::decode(&frame, 0xABCD_EF01, frame.len() as u64 - 1), None, "more than is left");
    }

    /// The one salt with which a header's worth of zeros has the CRC 0: the steps of the CRC, backwards.
    fn salt_of_zeros() -> u32 {
        const POLYNOMIAL: u32 = 0xEDB8_8320;
        let back = |state: u32| match state >> 31 {
            0 => state << 1,
            _ => (state ^ POLYNOMIAL) << 1 | 1,
        };
        !(0..HEADER_CRC_AT * 8).fold(u32::MAX, |state, _| back(state))
    }

    #[test]
    fn zeros_never_validate_whatever_the_salt() {
        assert_eq!(crc(&[0; HEADER_CRC_AT], salt_of_zeros()), 0);
        for salt in (0..200_000u32).chain([u32::MAX, salt_of_zeros()]) {
            assert_eq!(Header::decode(&[0; HEADER], salt, u64::MAX), None);
        }
        assert_eq!(Identity::decode(&[0; BLOCK]), Err(BadBlock::Blank));
        assert_eq!(Link::decode(&[0; BLOCK], 1), Err(BadBlock::Blank));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_and_of_both_blocks_is_noticed() {
        let body = body(&[(Kind::Put, false, "key", b"{\"a\":1}")]);
        let (frame, _) = body.frame(&Header::new(&body, 1, 0, 3), 5);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let accepted = Header::decode(&bad, 5, bad.len() as u64).is_some_and(|h| h.body_is_whole(&bad));
            assert!(!accepted, "bit {bit}");
        }
        let identity = Identity { number: 1, store: [7; 16], salt: 5, cohort: "c".into(), read_only: false };
        let link = Link::first(9, [3; 16]);
        for bit in 0..BLOCK * 8 {
            let (mut a, mut b) = (identity.encode(), link.encode(5));
            a[bit / 8] ^= 1 << (bit % 8);
            b[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Identity::decode(&a), Err(BadBlock::Damaged(_))), "identity bit {bit}");
            assert!(matches!(Link::decode(&b, 5), Err(BadBlock::Damaged(_))), "link bit {bit}");
        }
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        assert_eq!(Link::decode(&link.encode(5), 5), Ok(link));
    }

    /// The story: a link called the last number there is durable, and who added one to it panicked.
    #[test]
    fn a_number_that_nobody_has_counted_to_is_damage_though_the_crc_holds() {
        let body = body(&[(Kind::Put, false, "k", b"1")]);
        let frame = |first_seq, durable_seq| {
            let (frame, _) = body.frame(&Header::new(&body, first_seq, durable_seq, 0), 5);
            Header::decode(&frame, 5, frame.len() as u64)
        };
        assert!(frame(MAX_NUMBER, MAX_NUMBER).is_some());
        assert_eq!((frame(MAX_NUMBER + 1, 0), frame(1, u64::MAX)), (None, None));
        let first = Link::first(9, [3; 16]);
        for (link, whole) in [
            (Link { epoch: MAX_NUMBER, durable_seq: MAX_NUMBER, previous_end: MAX_SEGMENT, ..first }, true),
            (Link { epoch: u64::MAX, ..first }, false),
            (Link { first_seq: u64::MAX, ..first }, false),
            (Link { durable_seq: u64::MAX, ..first }, false),
            (Link { previous_end: u64::MAX, ..first }, false),
        ] {
            assert_eq!(Link::decode(&link.encode(5), 5).is_ok(), whole, "{link:?}");
        }
    }

    #[test]
    fn a_newer_version_and_unknown_features_are_told_from_damage() {
        let identity = Identity { number: 1, store: [7; 16], salt: 5, cohort: "c".into(), read_only: false };
        let with = |at: usize, value: u32| {
            let mut bytes = identity.encode()[..BLOCK_CRC_AT].to_vec();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            Identity::decode(&block(bytes, 0))
        };
        assert_eq!(with(8, 2), Err(BadBlock::Newer("format version 2, this is version 1".into())));
        assert_eq!(with(12, 4), Err(BadBlock::Newer("unknown incompatible feature bits 0x4".into())));
        assert!(with(16, 1).unwrap().read_only, "unknown compatible features: read only");
    }

    quickcheck! {
        fn records_come_back_as_they_were_put(records: Vec<(bool, String, Vec<u8>)>) -> bool {
            let mut bytes = Vec::new();
            for (nonfinite, key, value) in &records {
                record(&mut bytes, Kind::Raw, *nonfinite, key, value);
            }
            let body = Body::seal(bytes, records.len() as u32);
            let header = Header::new(&body, 11, 0, 0);
            let back = super::tests::records(&header, &body.bytes).map(|back| {
                back.into_iter().map(|r| (r.nonfinite, r.key.to_string(), r.value.to_vec())).collect()
            });
            back == Ok(records)
        }

        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, count: u32) -> bool {
            let header = Header { body_len: bytes.len() as u32, count, first_seq: 1, durable_seq: 0, time_us: 0, body_crc: 0, header_crc: 0 };
            let _ = super::tests::records(&header, &bytes);
            let _ = Header::decode(&bytes, 0, u64::MAX);
            let _ = Identity::decode(&bytes);
            true
        }
    }
}
