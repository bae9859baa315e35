//! Every name tallyfold owns in a file system, each spelled once: formatter beside parser.
//!
//! ```text
//! <store>/store.json
//!         .new-<16 hex>/                      a cohort being made; renamed into place whole
//!         .doctor-<16 hex>/                   what `tallyfold doctor` tries in any directory, and removes: lock …
//!         <cohort>/cohort.json  lock  compact.lock  control
//!                  user.lock                  for users of the cohort; no part of the store takes it
//!                  00000001.journal           segments, 8 digits or more
//!                  00000001.poison            a sync of that segment failed
//!                  snapshot.json  snapshot.prev.json
//!                  <purpose>.<16 hex>.tmp     temporary files
//!                  quarantine/                segments with cut-off bytes, snapshot.<16 hex>.json
//!                  bundles/<key>/             the versions of a key's bundle: <seq>-<16 hex>/manifest.json and files
//!                                lock  latest  .latest-<16 hex>  .old-<16 hex>/
//!                          .new-<16 hex>/     a version being staged: lock  place.json  files/
//!                  once/<key>.lock            held by who computes the value of that key
//! ```

use crate::error::{Error, Result};
use crate::format::MAX_NUMBER;

pub(crate) const STORE: &str = "store.json";
pub(crate) const COHORT: &str = "cohort.json";
pub(crate) const LOCK: &str = "lock";
pub(crate) const COMPACT_LOCK: &str = "compact.lock";
pub(crate) const USER_LOCK: &str = "user.lock";
#[cfg_attr(
    any(not(target_os = "linux"), tallyfold_portable),
    allow(dead_code, reason = "for the class memory")
)]
pub(crate) const CONTROL: &str = "control";
pub(crate) const SNAPSHOT: &str = "snapshot.json";
pub(crate) const SNAPSHOT_PREV: &str = "snapshot.prev.json";
/// The last document of a backup.
pub(crate) const BACKUP: &str = "backup.json";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const BUNDLES: &str = "bundles";
pub(crate) const MANIFEST: &str = "manifest.json";
/// The link to the newest version of a bundle.
pub(crate) const LATEST: &str = "latest";
/// In a staging directory: what becomes the version directory, and where that goes.
pub(crate) const STAGED_FILES: &str = "files";
pub(crate) const STAGED_PLACE: &str = "place.json";
pub(crate) const ONCE: &str = "once";

const JOURNAL_SUFFIX: &str = ".journal";
const POISON_SUFFIX: &str = ".poison";
const TEMPORARY_SUFFIX: &str = ".tmp";
const NEW_COHORT_PREFIX: &str = ".new-";
const SCRATCH_PREFIX: &str = ".doctor-";
const STAGING_PREFIX: &str = ".new-";
const RETIRED_PREFIX: &str = ".old-";
const FRESH_LATEST_PREFIX: &str = ".latest-";
const KEY_LOCK_SUFFIX: &str = ".lock";
/// What an encoded key never begins with: `x` is no hexadecimal digit.
const HASHED_KEY_PREFIX: &str = "%x";
/// The directory of the empty key; no other key is encoded so.
const EMPTY_KEY: &str = "%";

/// The longest cohort name, in bytes of UTF-8.
pub(crate) const MAX_COHORT_NAME: usize = 128;
/// The longest encoded name: file systems take 255 bytes, and something may have to be put around it.
pub(crate) const MAX_ENCODED: usize = 240;

/// What a temporary file will become. A compactor removes what dead processes left in its cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Segment,
    Snapshot,
    Json,
}

impl Purpose {
    const ALL: [(Purpose, &'static str); 3] =
        [(Purpose::Segment, "segment"), (Purpose::Snapshot, "snapshot"), (Purpose::Json, "json")];

    fn word(self) -> &'static str {
        match self {
            Purpose::Segment => "segment",
            Purpose::Snapshot => "snapshot",
            Purpose::Json => "json",
        }
    }
}

pub(crate) fn segment(number: u64) -> String {
    format!("{number:08}{JOURNAL_SUFFIX}")
}

/// The number in a segment's name; `None` for anything that [`segment`] would not have written.
pub(crate) fn parse_segment(name: &str) -> Option<u64> {
    let number = name.strip_suffix(JOURNAL_SUFFIX)?.parse().ok()?;
    ((1..=MAX_NUMBER).contains(&number) && segment(number) == name).then_some(number)
}

pub(crate) fn poison(number: u64) -> String {
    format!("{number:08}{POISON_SUFFIX}")
}

pub(crate) fn parse_poison(name: &str) -> Option<u64> {
    let number = name.strip_suffix(POISON_SUFFIX)?.parse().ok()?;
    (number > 0 && poison(number) == name).then_some(number)
}

pub(crate) fn temporary(purpose: Purpose, random: u64) -> String {
    format!("{}.{random:016x}{TEMPORARY_SUFFIX}", purpose.word())
}

pub(crate) fn parse_temporary(name: &str) -> Option<Purpose> {
    let (word, random) = name.strip_suffix(TEMPORARY_SUFFIX)?.split_once('.')?;
    let random = u64::from_str_radix(random, 16).ok()?;
    let purpose = Purpose::ALL.iter().find(|(_, w)| *w == word)?.0;
    (temporary(purpose, random) == name).then_some(purpose)
}

/// A damaged snapshot in quarantine.
pub(crate) fn damaged_snapshot(random: u64) -> String {
    format!("snapshot.{random:016x}.json")
}

/// A file that a repair has set aside, if its own name is taken in quarantine.
pub(crate) fn set_aside(name: &str, random: u64) -> String {
    format!("{name}.{random:016x}")
}

/// A backup, or a store that is restored from one, while it is filled.
pub(crate) fn incomplete(name: &str, random: u64) -> String {
    format!(".{name}.{random:016x}.incomplete")
}

/// The records in quarantine that a repair could still read.
pub(crate) fn rescued(random: u64) -> String {
    format!("rescued.{random:016x}.jsonl")
}

pub(crate) fn new_cohort(random: u64) -> String {
    format!("{NEW_COHORT_PREFIX}{random:016x}")
}

pub(crate) fn is_new_cohort(name: &str) -> bool {
    name.strip_prefix(NEW_COHORT_PREFIX)
        .and_then(|random| u64::from_str_radix(random, 16).ok())
        .is_some_and(|random| new_cohort(random) == name)
}

/// Where `tallyfold doctor` tries things.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the command makes it"))]
pub(crate) fn scratch(random: u64) -> String {
    format!("{SCRATCH_PREFIX}{random:016x}")
}

pub(crate) fn is_scratch(name: &str) -> bool {
    parse_random(name, SCRATCH_PREFIX).is_some_and(|random| scratch(random) == name)
}

/// A version of a bundle while it is staged.
pub(crate) fn staging(random: u64) -> String {
    format!("{STAGING_PREFIX}{random:016x}")
}

pub(crate) fn is_staging(name: &str) -> bool {
    parse_random(name, STAGING_PREFIX).is_some_and(|random| staging(random) == name)
}

/// A version of a bundle that is being removed.
pub(crate) fn retired(random: u64) -> String {
    format!("{RETIRED_PREFIX}{random:016x}")
}

pub(crate) fn is_retired(name: &str) -> bool {
    parse_random(name, RETIRED_PREFIX).is_some_and(|random| retired(random) == name)
}

/// The link that becomes `latest`.
pub(crate) fn fresh_latest(random: u64) -> String {
    format!("{FRESH_LATEST_PREFIX}{random:016x}")
}

pub(crate) fn is_fresh_latest(name: &str) -> bool {
    parse_random(name, FRESH_LATEST_PREFIX).is_some_and(|random| fresh_latest(random) == name)
}

fn parse_random(name: &str, prefix: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()
}

/// A version of a bundle that was placed when the cohort's last seq was `after`: the record that commits it has a higher one. So
/// the names of a key's versions sort in the order in which they were committed.
pub(crate) fn version(after: u64, random: u64) -> String {
    format!("{after:020}-{random:016x}")
}

/// The seq in a version's name; `None` for anything that [`version`] would not have written.
pub(crate) fn parse_version(name: &str) -> Option<u64> {
    let (after, random) = name.split_once('-')?;
    let (after, random) = (after.parse().ok()?, u64::from_str_radix(random, 16).ok()?);
    (version(after, random) == name).then_some(after)
}

/// The directory of a key's bundles, encoded as a cohort's name is.
pub(crate) fn key_directory(key: &str) -> Result<String> {
    let encoded = encode_key(key);
    if encoded.len() > MAX_ENCODED {
        return Err(Error::invalid(format!(
            "a bundle's key takes at most {MAX_ENCODED} bytes as a directory name, this one takes {}",
            encoded.len()
        ))
        .advise("use a shorter key, or fewer characters outside A-Z a-z 0-9 . _ -"));
    }
    Ok(encoded)
}

/// The key whose directory this is; `None` for a name that [`key_directory`] would not have made.
pub(crate) fn parse_key_directory(name: &str) -> Option<String> {
    let key = match name {
        EMPTY_KEY => String::new(),
        _ => decode(name)?,
    };
    (key_directory(&key).ok()? == name).then_some(key)
}

/// The file that is locked by who computes the value of a key. A key too long for a name is hashed: should two ever meet, they
/// wait for each other, and that is all.
pub(crate) fn once_lock(key: &str) -> String {
    let encoded = encode_key(key);
    match encoded.len() <= MAX_ENCODED {
        true => format!("{encoded}{KEY_LOCK_SUFFIX}"),
        false => format!("{HASHED_KEY_PREFIX}{:032x}{KEY_LOCK_SUFFIX}", fnv(key.as_bytes())),
    }
}

/// FNV-1a with 128 bits: the same in every version of every program, which std's hashers do not promise.
fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

fn encode_key(key: &str) -> String {
    if key.is_empty() { EMPTY_KEY.to_string() } else { encode(key) }
}

/// The directory name of a cohort: letters, digits, `-`, `_` and inner `.` stand as they are, every other byte as `%XX`.
/// So no name leaves the store, hides, collides with one of our files or is a device on Windows.
pub(crate) fn cohort_directory(cohort: &str) -> Result<String> {
    if cohort.is_empty() {
        return Err(
            Error::invalid("a cohort's name cannot be empty").advise("give it a name, such as TRAINING")
        );
    }
    if cohort.len() > MAX_COHORT_NAME {
        return Err(Error::invalid(format!(
            "a cohort's name takes at most {MAX_COHORT_NAME} bytes, this one has {}",
            cohort.len()
        ))
        .advise("shorten it"));
    }
    let encoded = encode(cohort);
    if encoded.len() > MAX_ENCODED {
        return Err(Error::invalid(format!(
            "the cohort's name takes {} bytes as a directory name, {MAX_ENCODED} are allowed",
            encoded.len()
        ))
        .advise("use fewer characters outside A-Z a-z 0-9 . _ -"));
    }
    Ok(encoded)
}

/// The cohort whose directory this is; `None` for a name that [`cohort_directory`] would not have made.
pub(crate) fn parse_cohort_directory(name: &str) -> Option<String> {
    let cohort = decode(name)?;
    (cohort_directory(&cohort).ok()? == name).then_some(cohort)
}

/// One plain component of a path, of any text that is not empty.
fn encode(text: &str) -> String {
    let reserved = is_reserved(text);
    let mut encoded = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b'.' => i != 0 && i + 1 != text.len(),
            _ => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
        };
        // One encoded byte is enough to make a reserved name another name.
        if plain && !(reserved && i == 0) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What was encoded so, or something else: who asks encodes it again.
fn decode(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn is_reserved(cohort: &str) -> bool {
    let stem = cohort.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let device = match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        _ => {
            stem.len() == 4
                && (stem.starts_with("COM") || stem.starts_with("LPT"))
                && stem.ends_with(|c: char| ('1'..='9').contains(&c))
        }
    };
    device || cohort.eq_ignore_ascii_case(STORE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn plain_names_stand_as_they_are_and_others_cannot_leave_the_store() {
        for (cohort, directory) in [
            ("TRAINING", "TRAINING"),
            ("cs_2025Q3_v1-a.b", "cs_2025Q3_v1-a.b"),
            ("../x", "%2E.%2Fx"),
            ("a/b", "a%2Fb"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("a.", "a%2E"),
            ("nul.txt", "%6Eul.txt"),
            ("COM1", "%43OM1"),
            ("store.json", "%73tore.json"),
            ("a\0\n%", "a%00%0A%25"),
            ("Ärger", "%C3%84rger"),
        ] {
            assert_eq!(cohort_directory(cohort).unwrap(), directory);
            assert_eq!(parse_cohort_directory(directory).as_deref(), Some(cohort));
        }
    }

    #[test]
    fn empty_and_overlong_names_are_refused_with_the_reason() {
        assert!(cohort_directory("").unwrap_err().to_string().contains("empty"));
        assert!(cohort_directory(&"x".repeat(300)).unwrap_err().to_string().contains("at most 128 bytes"));
        let error = cohort_directory(&"/".repeat(100)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("300 bytes as a directory name"), "{error}");
    }

    #[test]
    fn a_name_that_no_formatter_wrote_is_not_ours() {
        for name in [
            "1.journal",
            "18446744073709551615.journal",
            "00000000.journal",
            "+0000001.journal",
            "00000001.journal~",
            "00000001",
        ] {
            assert_eq!(parse_segment(name), None, "{name}");
        }
        assert_eq!(parse_segment("123456789.journal"), Some(123_456_789));
        for name in ["%", "%2", "%2e", "a/b", "%41", ".x", "%FF"] {
            assert_eq!(parse_cohort_directory(name), None, "{name}");
        }
        for name in
            ["41-0000000000000001", "00000000000000000041-1", "00000000000000000041", "../x", "latest"]
        {
            assert_eq!(parse_version(name), None, "{name}");
        }
        for name in [".new-1", "new-0000000000000001", ".old-", ".latest-000000000000000g"] {
            assert!(!is_staging(name) && !is_retired(name) && !is_fresh_latest(name), "{name}");
        }
        for name in ["", ".", "..", "%2e", ".new-0000000000000001", "a/b", "%x00"] {
            assert_eq!(parse_key_directory(name), None, "{name}");
        }
        for name in ["snapshot.12.tmp", "other.0000000000000001.tmp", "snapshot.json"] {
            assert_eq!(parse_temporary(name), None, "{name}");
        }
    }

    quickcheck! {
        fn every_formatter_is_undone_by_its_parser(number: u64, random: u64) -> bool {
            let number = number.clamp(1, MAX_NUMBER);
            parse_segment(&segment(number)) == Some(number)
                && parse_poison(&poison(number)) == Some(number)
                && is_new_cohort(&new_cohort(random))
                && is_scratch(&scratch(random))
                && is_staging(&staging(random))
                && is_retired(&retired(random))
                && is_fresh_latest(&fresh_latest(random))
                && parse_version(&version(number, random)) == Some(number)
                && Purpose::ALL.iter().all(|(p, _)| parse_temporary(&temporary(*p, random)) == Some(*p))
        }

        fn every_key_has_a_directory_and_a_lock_of_its_own_or_is_too_long_for_one(key: String, other: String) -> bool {
            let lock = once_lock(&key);
            let own = key == other || lock != once_lock(&other);
            own && !lock.starts_with('.') && lock.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b))
                && match key_directory(&key) {
                    Err(error) => error.is_invalid() && lock.starts_with(HASHED_KEY_PREFIX),
                    Ok(name) => parse_key_directory(&name) == Some(key),
                }
        }

        fn every_encoded_cohort_name_decodes_and_stays_one_plain_component(cohort: String) -> bool {
            match cohort_directory(&cohort) {
                Err(error) => error.is_invalid(),
                Ok(name) => {
                    parse_cohort_directory(&name) == Some(cohort)
                        && !name.starts_with('.')
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b))
                }
            }
        }
    }
}
