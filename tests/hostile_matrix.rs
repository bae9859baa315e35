//! Every file of a cohort damaged in many ways, one file at a time: what is read is what was written, or an error names a file. A
//! second reading of docs/design.md tells which damage is a torn tail and which is corruption.
//!
//! `cargo test --test hostile_matrix -- --nocapture` prints how many cases of each kind were tried and what came of them;
//! `TALLYFOLD_HOSTILE=10` tries ten times as many.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

#[path = "../fuzz/src/bytes.rs"]
#[allow(dead_code, reason = "some of it is for the fuzzer alone")]
mod bytes;
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fixture::{Fixture, state};
use quickcheck::{Arbitrary, Gen};
use serde_json::json;
use tallyfold::{Cohort, Error, Fold, Kind, LockClass, Settings, Store};
use tempfile::TempDir;

const SECTOR: usize = 512;
/// Of each kind of damage to each file, at most.
const CASES: usize = 24;

type State = BTreeMap<String, (u64, String)>;
/// Path in the store → content.
type Files = BTreeMap<String, Vec<u8>>;

/// A store with a cohort `c` and another one, as a process left it that was killed; and what was written to `c`.
struct Base {
    files: Files,
    fold: Fold,
    /// Key and JSON text of each record; a delete has none.
    written: Vec<(String, Option<String>)>,
    /// After each seq.
    states: Vec<State>,
    /// What the last durable append returned.
    durable: u64,
}

impl Base {
    fn make(settings: Settings) -> Base {
        let fixture = Fixture::in_memory();
        let fold = settings.fold().clone();
        let settings = settings.segment_bytes(4096).compact_bytes(0).sync_interval(std::time::Duration::ZERO);
        // The same shape, so that what is spliced in stands where something of the kind stood.
        let other = fixture.store.create("other", settings.clone()).unwrap();
        let (cohort, mut base) = (fixture.store.create("c", settings).unwrap(), Base::empty(fold.clone()));
        for i in 1..=46u64 {
            base.put(&cohort, i);
            let mut another = Base::empty(fold.clone());
            another.put(&other, i + 1000);
            if i == 14 || i == 26 {
                cohort.compact().unwrap();
                other.compact().unwrap();
            }
        }
        base.durable = cohort.last_seq().unwrap();
        cohort.sync().unwrap();
        // The first frame behind it says so.
        for i in 47..=52 {
            base.put(&cohort, i);
        }
        drop(fixture.die(cohort));
        drop(fixture.die(other));
        load(fixture.store.path(), "", &mut base.files);
        base.spare();
        base
    }

    fn empty(fold: Fold) -> Base {
        Base { files: Files::new(), fold, written: Vec::new(), states: vec![State::new()], durable: 0 }
    }

    fn put(&mut self, cohort: &Cohort, i: u64) {
        let key = format!("k{:02}", i % 17);
        let mut state = self.states.last().unwrap().clone();
        let seq = self.states.len() as u64;
        let value = (!i.is_multiple_of(9)).then(|| json!({"i": i, "pad": "x".repeat(150 + i as usize % 90)}));
        match &value {
            None => {
                cohort.delete(&key).unwrap();
                state.remove(&key);
            }
            Some(value) => {
                cohort.append(&key, value).unwrap();
                state.insert(key.clone(), (seq, value.to_string()));
            }
        }
        self.written.push((key, value.map(|value| value.to_string())));
        self.states.push(if self.fold == Fold::Log { State::new() } else { state });
    }

    /// A segment behind the active one that is no part of the journal, unless the background made one.
    fn spare(&mut self) {
        let (last, bytes) =
            self.segments().last().map(|(name, bytes)| (name.clone(), bytes.to_vec())).unwrap();
        if kind_of(&last, self) == "spare" {
            return;
        }
        let number: u64 = last[2..10].parse::<u64>().unwrap() + 1;
        let mut spare = bytes[..SECTOR].to_vec();
        spare[24..32].copy_from_slice(&number.to_le_bytes());
        let sum = bytes::crc(&spare[..508], 0);
        spare[508..].copy_from_slice(&sum.to_le_bytes());
        spare.resize(4096, 0);
        self.files.insert(format!("c/{number:08}.journal"), spare);
    }

    fn last(&self) -> u64 {
        self.written.len() as u64
    }

    /// The segments of `c`, oldest first.
    fn segments(&self) -> impl Iterator<Item = (&String, &[u8])> {
        let ours = |name: &String| name.starts_with("c/") && name.ends_with(".journal");
        self.files.iter().filter(move |(name, _)| ours(name)).map(|(name, bytes)| (name, &bytes[..]))
    }
}

fn load(dir: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => load(&entry.path(), &format!("{name}/"), files),
            false => drop(files.insert(name, fs::read(entry.path()).unwrap())),
        }
    }
}

fn kind_of(name: &str, base: &Base) -> &'static str {
    if !name.ends_with(".journal") {
        return ["snapshot.json", "snapshot.prev.json", "cohort.json", "store.json", "control"]
            .into_iter()
            .find(|known| name.ends_with(known))
            .unwrap();
    }
    let blank = |bytes: &[u8]| bytes[SECTOR..2 * SECTOR].iter().all(|byte| *byte == 0);
    let active = base.segments().filter(|(_, bytes)| !blank(bytes)).last().map(|(active, _)| active.clone());
    match base.files.get(name) {
        Some(bytes) if blank(bytes) => "spare",
        _ if active.as_deref() == Some(name) => "active",
        _ => "sealed",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Bit,
    Truncated,
    SectorRepeated,
    SectorsSwapped,
    SectorOfAnotherFile,
    SectorOfAnotherCohort,
    SectorOfZeros,
    SectorOfAnything,
    SplicedWithAnotherFile,
    SplicedWithAnotherCohort,
    WholeOtherFile,
    WholeOtherCohort,
}

use Damage::{
    Bit, SectorOfAnotherCohort, SectorOfAnotherFile, SectorOfAnything, SectorOfZeros, SectorRepeated,
    SectorsSwapped, SplicedWithAnotherCohort, SplicedWithAnotherFile, Truncated, WholeOtherCohort,
    WholeOtherFile,
};

const DAMAGES: [Damage; 12] = [
    Bit,
    Truncated,
    SectorRepeated,
    SectorsSwapped,
    SectorOfAnotherFile,
    SectorOfAnotherCohort,
    SectorOfZeros,
    SectorOfAnything,
    SplicedWithAnotherFile,
    SplicedWithAnotherCohort,
    WholeOtherFile,
    WholeOtherCohort,
];

impl Damage {
    /// The file's content with one damage of this kind; `None` if it comes out the same.
    fn apply(self, base: &Base, name: &str, g: &mut Gen) -> Option<Vec<u8>> {
        let bytes = &base.files[name];
        let mut damaged = bytes.clone();
        let mut random = |below: usize| usize::arbitrary(g) % below.max(1);
        // Space that is reserved and blank is damaged too, but not as often as what was written.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let reach = if random(8) == 0 { bytes.len() } else { used };
        let sectors = reach.div_ceil(SECTOR);
        let sector = |bytes: &[u8], i: usize| {
            let from = (i * SECTOR).min(bytes.len());
            bytes[from..(from + SECTOR).min(bytes.len())].to_vec()
        };
        let put = |damaged: &mut Vec<u8>, i: usize, sector: &[u8]| {
            let end = (i * SECTOR + sector.len()).min(damaged.len());
            damaged[i * SECTOR..end].copy_from_slice(&sector[..end - i * SECTOR]);
        };
        match self {
            Bit => damaged[random(reach)] ^= 1 << random(8),
            Truncated => damaged.truncate(random(reach + 1)),
            SectorRepeated => {
                let copy = sector(bytes, random(sectors));
                put(&mut damaged, random(sectors), &copy);
            }
            SectorsSwapped => {
                let (i, j) = (random(sectors), random(sectors));
                if (i + 1) * SECTOR <= bytes.len() && (j + 1) * SECTOR <= bytes.len() {
                    put(&mut damaged, i, &sector(bytes, j));
                    put(&mut damaged, j, &sector(bytes, i));
                }
            }
            SectorOfZeros => put(&mut damaged, random(sectors), &[0; SECTOR]),
            SectorOfAnything => {
                let anything: Vec<u8> = (0..SECTOR).map(|_| random(256) as u8).collect();
                put(&mut damaged, random(sectors), &anything);
            }
            _ => {
                let ours = matches!(self, SectorOfAnotherFile | SplicedWithAnotherFile | WholeOtherFile);
                let others: Vec<_> = base.others(name, ours);
                let other = others.get(random(others.len()))?;
                match self {
                    SectorOfAnotherFile | SectorOfAnotherCohort => {
                        // From the same place, mostly: there the same kind of bytes stand.
                        let i = random(sectors);
                        let from = if random(3) == 0 { random(other.len().div_ceil(SECTOR)) } else { i };
                        put(&mut damaged, i, &sector(other, from));
                    }
                    SplicedWithAnotherFile | SplicedWithAnotherCohort => {
                        let at = random(sectors + 1) * SECTOR;
                        let (mut head, tail) = (&bytes[..at.min(bytes.len())], &other[at.min(other.len())..]);
                        let tail = if random(2) == 0 { tail } else { &bytes[at.min(bytes.len())..] };
                        if tail.as_ptr_range().end == bytes.as_ptr_range().end {
                            head = &other[..at.min(other.len())];
                        }
                        damaged = [head, tail].concat();
                    }
                    _ => damaged.clone_from(other),
                }
            }
        }
        (damaged != *bytes).then_some(damaged)
    }
}

impl Base {
    /// Files of the same sort: of this cohort, or of another one.
    fn others(&self, name: &str, ours: bool) -> Vec<&Vec<u8>> {
        let sort = |name: &str| name.rsplit(['.', '/']).next().unwrap_or_default().to_string();
        let fits = |other: &String| {
            other != name && sort(other) == sort(name) && other.starts_with("other/") != ours
        };
        self.files.iter().filter(|(other, _)| fits(other)).map(|(_, bytes)| bytes).collect()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Came {
    cases: usize,
    /// All that was written is read.
    whole: usize,
    /// A torn tail: what is read ends earlier, at a place that nothing calls durable.
    earlier: usize,
    refused: usize,
    /// Of those, the error is about the damaged file.
    named: usize,
    repaired: usize,
}

/// Repairs a copy, if anything is damaged: afterwards what is read was written, and the cohort goes on as if nothing were. One
/// file was damaged, so no state is guessed at. Whether it was needed, and could be done.
fn repaired(base: &Base, files: &Files, what: &str) -> bool {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    write_out(&dir, files);
    let Ok(store) = Store::open_existing(dir.path()) else { return false };
    let plan = match store.repair_plan("c", None) {
        Ok(plan) => plan,
        Err(e) => {
            assert!(e.is_corruption() || e.is_unsupported() || e.is_invalid(), "{what}: no plan: {e:?}");
            assert!(
                e.path().is_some() || e.segment().is_some() || e.is_invalid(),
                "{what}: which file? {e:?}"
            );
            return false;
        }
    };
    if !plan.is_needed() {
        return false;
    }
    assert!(plan.lost_keys().is_empty(), "{what}: {:?}", plan.lost_keys());
    for record in plan.rescue() {
        let record = record.unwrap();
        let (key, json) = &base.written[record.seq() as usize - 1];
        assert_eq!((record.key(), record.json()), (&key[..], json.as_deref()), "{what}: wrong data rescued");
    }
    let (next, told) = (plan.next_seq(), format!("{plan:?}"));
    let done = plan.carry_out().unwrap_or_else(|e| panic!("{what}: {e:?}: {told}"));
    assert!(!done.report.is_damaged(), "{what}: {:?}: {told}", done.report.findings);
    let cohort = store.cohort("c").unwrap();
    let view = cohort.view().unwrap();
    assert_eq!(state(&view), base.states[view.seq() as usize], "{what}: wrong data after a repair: {told}");
    for record in cohort.history(None, ..).unwrap() {
        let record = record.unwrap();
        let (key, json) = &base.written[record.seq() as usize - 1];
        assert_eq!((record.key(), record.json()), (&key[..], json.as_deref()), "{what}: wrong data: {told}");
    }
    assert_eq!(cohort.last_seq().unwrap() + 1, next, "{what}: {told}");
    assert_eq!(cohort.append("after", &1).unwrap(), next, "{what}: {told}");
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged(), "{what}: {told}");
    true
}

/// Judges one case. Panics if anything is read that was not written, or what is a torn tail is called corruption or the reverse.
fn judge(base: &Base, name: &str, damaged: &[u8], came: &mut Came, what: &str) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut files = base.files.clone();
    files.insert(name.to_string(), damaged.to_vec());
    write_out(&dir, &files);
    came.cases += 1;
    came.repaired += usize::from(repaired(base, &files, what));
    let open = || Store::open_existing(dir.path()).and_then(|store| store.cohort("c"));
    let refused = |came: &mut Came, e: &Error| {
        assert!(
            e.is_corruption() || e.is_unsupported() || e.is_not_found() || e.is_unsafe_file_system(),
            "{what}: {e:?}"
        );
        assert!(e.path().is_some() || e.segment().is_some(), "{what}: which file? {e:?}");
        let file = name.rsplit('/').next().unwrap();
        came.refused += 1;
        came.named += usize::from(e.path().is_some_and(|path| path.ends_with(file)));
    };
    let cohort = match open() {
        Ok(cohort) => cohort,
        Err(e) => return refused(came, &e),
    };

    // Records first: whatever can be read one by one was written so.
    let (first, mut error) = match cohort.cursor(1) {
        Ok(_) => (1, None),
        Err(e) if e.is_compacted() => (e.seq().unwrap(), None),
        Err(e) => (1, Some(e)),
    };
    let mut next = first;
    if error.is_none() {
        let from = cohort.cursor(first);
        let records = from.map_or_else(|e| vec![Err(e)], |cursor| cursor.collect());
        for record in records {
            match record {
                Err(e) => error = Some(e),
                Ok(record) => {
                    let (key, json) = &base.written[record.seq() as usize - 1];
                    let found = (record.seq(), record.key(), record.json(), record.kind() == Kind::Delete);
                    assert_eq!(
                        found,
                        (next, &key[..], json.as_deref(), json.is_none()),
                        "{what}: wrong data"
                    );
                    next += 1;
                }
            }
        }
    }
    let read = match (&base.fold, error) {
        (Fold::Log, None) => Ok(next - 1),
        (Fold::Log, Some(e)) => Err(e),
        _ => cohort.view().and_then(|view| {
            let all: Result<Vec<_>, Error> = view.iter().map(|item| item.map(drop)).collect();
            all?;
            assert_eq!(state(&view), base.states[view.seq() as usize], "{what}: wrong data");
            for i in 0..17 {
                let key = format!("k{i:02}");
                let expected = base.states[view.seq() as usize].get(&key);
                let found = view.get(&key)?.map(|entry| (entry.seq(), entry.json().to_string()));
                assert_eq!(found.as_ref(), expected, "{what}: wrong data");
            }
            Ok(view.seq())
        }),
    };
    if let Ok((view, _)) = cohort.view_until_damage()
        && let Ok(found) = view.iter().map(|item| item.map(|(key, e)| (key.into_owned(), e.seq()))).collect()
    {
        let found: Vec<(String, u64)> = found;
        let expected = base.states[view.seq() as usize].iter().map(|(key, (seq, _))| (key.clone(), *seq));
        assert!(found.into_iter().eq(expected), "{what}: wrong data up to the damage");
    }

    let told = cohort.verify().map_or(true, |report| {
        report.findings.iter().any(|finding| finding.severity != tallyfold::Severity::Note)
    });
    let evidence = |seq: u64| evidence(&files, seq);
    match &read {
        Ok(seq) if *seq == base.last() => came.whole += 1,
        Ok(seq) => {
            assert!(*seq < base.last(), "{what}: more than was written");
            let durable = evidence(seq + 1);
            assert!(seq + 1 > durable, "{what}: called torn at {}, and {durable} is durable", seq + 1);
            // Where only zeros are left, or a file ends where a frame did, there is nothing to tell of.
            assert!(
                told || *seq >= base.durable || is_cut_off(base, name, damaged),
                "{what}: verify says nothing"
            );
            came.earlier += 1;
        }
        Err(e) => {
            if let (true, Some(seq)) = (e.is_corruption() && is_about_a_frame(e), e.seq()) {
                let durable = evidence(seq);
                assert!(seq <= durable, "{what}: called corruption at {seq}, and {durable} is durable: {e}");
            }
            assert!(told, "{what}: refused, and verify says nothing");
            refused(came, e);
        }
    }

    // A writer agrees, and harms nothing.
    match (cohort.append("after", &1), &read) {
        (Ok(seq), Ok(end)) => {
            assert_eq!(seq, end + 1, "{what}: the seq goes on where the readers saw the end");
            drop(cohort);
            let view = open().and_then(|cohort| cohort.view()).unwrap();
            let mut expected = base.states[*end as usize].clone();
            if base.fold != Fold::Log {
                expected.insert("after".into(), (seq, "1".into()));
            }
            assert_eq!(state(&view), expected, "{what}: wrong data after an append");
        }
        // A writer of a log does not read what the newest link calls durable.
        (Ok(_), Err(_)) => assert_eq!(base.fold, Fold::Log, "{what}: refused to readers and not to writers"),
        (Err(e), _) => assert!(
            e.is_corruption() || e.is_unsupported() || e.is_unsafe_file_system() || e.is_invalid(),
            "{what}: {e:?}"
        ),
    }
}

fn write_out(dir: &TempDir, files: &Files) {
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Corruption that depends on what is durable; a bad identity or a segment that is gone is corruption in any case.
fn is_about_a_frame(e: &Error) -> bool {
    e.what().starts_with("no whole frame")
}

/// Whether the active segment ends earlier than before, or has zeros where something stood: a limit that docs/design.md names.
fn is_cut_off(base: &Base, name: &str, damaged: &[u8]) -> bool {
    let whole = &base.files[name];
    kind_of(name, base) == "active"
        && (damaged.len() < whole.len() || bytes::frames(damaged).len() < bytes::frames(whole).len())
}

/// The highest seq that the files call durable, seen from a place where the record `seq` should stand: by docs/design.md, "Torn
/// or corrupt", and by nothing of the crate.
fn evidence(files: &Files, seq: u64) -> u64 {
    let mut durable = 0;
    for name in ["c/snapshot.json", "c/snapshot.prev.json"] {
        durable = files.get(name).and_then(|bytes| watermark(bytes)).unwrap_or(0);
        if durable > 0 {
            break;
        }
    }
    let store = files.get("store.json").map(|bytes| String::from_utf8_lossy(bytes).replace('-', ""));
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("c/") && name.ends_with(".journal"))
    {
        let number: u64 = name[2..10].parse().unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let salt = |bytes: &[u8]| u32::from_le_bytes(bytes[48..52].try_into().unwrap());
        let sealed = |block: &[u8], seed| bytes::crc(&block[..508], seed).to_le_bytes() == block[508..];
        if bytes.len() < 2 * SECTOR
            || !sealed(&bytes[..SECTOR], 0)
            || word(24) != number
            || !store.as_ref().is_some_and(|store| {
                store.contains(&bytes[32..48].iter().map(|b| format!("{b:02x}")).collect::<String>())
            })
        {
            continue;
        }
        if bytes[SECTOR..2 * SECTOR].iter().all(|byte| *byte == 0) {
            continue;
        }
        if sealed(&bytes[SECTOR..2 * SECTOR], salt(bytes)) {
            durable = durable.max(word(560));
        }
        for at in (2 * SECTOR..bytes.len().saturating_sub(39)).step_by(8) {
            let (len, first, said) = (word(at) as u32 as usize, word(at + 8), word(at + 16));
            let sums = (word(at + 32) as u32, (word(at + 32) >> 32) as u32);
            let end = (at + 40 + len).next_multiple_of(8);
            if first == 0 || end > bytes.len() || bytes::crc(&bytes[at..at + 36], salt(bytes)) != sums.1 {
                continue;
            }
            let whole = bytes::crc(&bytes[at + 40..][..len], 0) == sums.0;
            // Before the place any counts; behind it those that can have been written there.
            if whole && (first < seq || said < first) {
                durable = durable.max(said);
            }
        }
    }
    durable
}

/// The watermark of a snapshot whose first and last line are whole.
fn watermark(bytes: &[u8]) -> Option<u64> {
    let text = bytes.strip_suffix(b"\n")?;
    let first = text.iter().position(|byte| *byte == b'\n')? + 1;
    let last = text.iter().rposition(|byte| *byte == b'\n')? + 1;
    let covered = text.len().checked_sub(b",\"crc32\":\"00000000\"}".len())?;
    let sum = bytes::crc(text.get(last..covered)?, bytes::crc(&bytes[..first], 0));
    (text[covered..] == *format!(",\"crc32\":\"{sum:08x}\"}}").as_bytes()).then_some(())?;
    let head = String::from_utf8(bytes[..first].to_vec()).ok()? + "}}";
    serde_json::from_str::<serde_json::Value>(&head).ok()?["seq"].as_u64()
}

fn matrix(settings: Settings, title: &str) {
    let base = Base::make(settings);
    assert_eq!((base.last(), base.durable), (52, 46));
    let factor: usize =
        std::env::var("TALLYFOLD_HOSTILE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let mut table: BTreeMap<(&str, Damage), Came> = BTreeMap::new();
    let mut g = Gen::new(100);
    let ours =
        |name: &&String| (name.starts_with("c/") || name.as_str() == "store.json") && !name.ends_with("lock");
    // The first segments serve the snapshots alone; there are many sealed ones, and one of each other file.
    let names: Vec<_> = base.files.keys().filter(ours).cloned().collect();
    for name in &names {
        let kind = kind_of(name, &base);
        for damage in DAMAGES {
            let came = table.entry((kind, damage)).or_default();
            let tries = if matches!(damage, WholeOtherFile | WholeOtherCohort) { 4 } else { CASES };
            for i in 0..tries * factor {
                let Some(damaged) = damage.apply(&base, name, &mut g) else { continue };
                judge(&base, name, &damaged, came, &format!("{title}: {name}, {damage:?}, case {i}"));
            }
        }
    }
    println!(
        "{title}: {:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "cases", "whole", "earlier", "refused", "named", "repaired"
    );
    let mut all = Came::default();
    let line = |what: &str, came: &Came| {
        let Came { cases, whole, earlier, refused, named, repaired } = came;
        println!(
            "{title}: {what:<36} {cases:>6} {whole:>6} {earlier:>6} {refused:>6} {named:>6} {repaired:>6}"
        );
    };
    for ((kind, damage), came) in &table {
        if came.cases > 0 {
            line(&format!("{kind} {damage:?}"), came);
        }
        all = sum(all, *came);
    }
    line("all", &all);
    println!("{title}: wrong data accepted: 0");
    assert_eq!(all.cases, all.whole + all.earlier + all.refused);
    for kind in ["sealed", "active", "spare", "cohort.json", "store.json"] {
        let of: Came =
            table.iter().filter(|((k, _), _)| *k == kind).map(|(_, came)| *came).fold(Came::default(), sum);
        assert!(of.cases > 50, "{title}: {kind} was damaged only {} times", of.cases);
    }
    assert!(all.whole > 0 && all.earlier > 0 && all.refused > 0, "{title}: the matrix meets all outcomes");
    assert!(all.repaired > 100, "{title}: only {} were repaired", all.repaired);
}

fn sum(a: Came, b: Came) -> Came {
    Came {
        cases: a.cases + b.cases,
        whole: a.whole + b.whole,
        earlier: a.earlier + b.earlier,
        refused: a.refused + b.refused,
        named: a.named + b.named,
        repaired: a.repaired + b.repaired,
    }
}

/// The class `memory` where it can be, so that there is a `control` to be damaged.
fn lock() -> LockClass {
    match std::env::var("TALLYFOLD_TEST_LOCK").as_deref() {
        Ok("file") => LockClass::File,
        _ => LockClass::Auto,
    }
}

#[test]
fn whatever_is_done_to_a_file_of_a_state_what_is_read_was_written() {
    matrix(Settings::latest().lock(lock()), "latest");
}

#[test]
fn whatever_is_done_to_a_file_of_a_log_what_is_read_was_written() {
    matrix(Settings::log().lock(lock()), "log");
}
