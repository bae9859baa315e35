//! What stands in place of a file that tallyfold owns: links, fifos, devices, sockets, directories. Each of them in place of each
//! file, met by each thing that can be done with a cohort.
#![cfg(all(unix, not(tallyfold_portable)))]
#![allow(clippy::disallowed_methods, reason = "tests put odd things into stores")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use fixture::{Fixture, names, shares_memory};
use tallyfold::{Error, Finding, LockClass, Settings, Severity, Store};

/// What stands there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    /// A symbolic link to the file, which has another name in the same directory now.
    LinkInside,
    /// The same, and the file is outside of the store now.
    LinkOutside,
    /// A symbolic link to a name outside of the store that is free.
    LinkNowhere,
    /// The file itself, with a second name outside of the store.
    SecondName,
    Fifo,
    Socket,
    Device,
    Directory,
}

use Odd::{Device, Directory, Fifo, LinkInside, LinkNowhere, LinkOutside, SecondName, Socket};

const ODDITIES: [Odd; 8] =
    [LinkInside, LinkOutside, LinkNowhere, SecondName, Fifo, Socket, Device, Directory];

/// What can be done with a cohort, and with a store that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Open,
    Append,
    AppendDurable,
    Read,
    Verify,
    Compact,
    MakeAnother,
}

use Act::{Append, AppendDurable, Compact, MakeAnother, Open, Read, Verify};

const ACTS: &[Act] = &[Open, Append, AppendDurable, Read, Verify, Compact, MakeAnother];
/// Acts on the same copy: those that change nothing.
const TOGETHER: [&[Act]; 5] =
    [&[Open, Read, Verify], &[Append], &[AppendDurable], &[Compact], &[MakeAnother]];

/// Does it; the text of what is refused, if something is.
fn act(store: &Path, act: Act) -> Option<String> {
    match try_act(store, act) {
        Ok(findings) => {
            for finding in &findings {
                assert!(finding.what.starts_with("refused: "), "{finding:?}");
            }
            findings.into_iter().next().map(|finding| format!("{} {:?}", finding.what, finding.path))
        }
        Err(e) => {
            assert!(e.is_unsafe_file() && e.advice().is_some(), "{e:?}");
            Some(e.to_string())
        }
    }
}

/// What is damaged is no error of a check but its result.
fn try_act(store: &Path, act: Act) -> Result<Vec<Finding>, Error> {
    let store = Store::open(store)?;
    if act == MakeAnother {
        store.create("another", Settings::log())?;
        return Ok(Vec::new());
    }
    let cohort = store.cohort("c")?;
    match act {
        Append => drop(cohort.append("k", &1)?),
        AppendDurable => drop(cohort.append_durable("k", &1)?),
        Read => {
            cohort.view()?;
            cohort.cursor(cohort.stats()?.watermark + 1)?.try_for_each(|record| record.map(drop))?;
        }
        Verify => {
            let findings = cohort.verify()?.findings.into_iter();
            return Ok(findings.filter(|finding| finding.severity == Severity::Damage).collect());
        }
        Compact => drop(cohort.compact()?),
        Open | MakeAnother => {}
    }
    Ok(Vec::new())
}

/// The same, with a word if it never ends: who opens a fifo may wait for ever.
fn act_in_time(store: &Path, what: Act) -> Option<String> {
    let (send, receive) = channel();
    let path = store.to_path_buf();
    let acting = std::thread::spawn(move || drop(send.send(act(&path, what))));
    match receive.recv_timeout(Duration::from_secs(60)) {
        Err(RecvTimeoutError::Timeout) => panic!("{what:?} hangs"),
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(acting.join().unwrap_err()),
        Ok(refused) => refused,
    }
}

/// A file that is ours, and what cannot be done while something else stands there. What else can be done is done.
struct Owned {
    name: String,
    stops: &'static [Act],
    /// What may stand there all the same.
    allows: &'static [Odd],
}

fn owned(class: LockClass, segments: &[u64]) -> Vec<Owned> {
    const USES: &[Act] = &[Open, Append, AppendDurable, Read, Verify, Compact];
    const READS_JOURNAL: &[Act] = &[Append, AppendDurable, Read, Verify, Compact];
    const WRITES: &[Act] = &[Append, AppendDurable, Compact];
    const ALL: &[Odd] = &ODDITIES;
    // Removed by its name, whatever it is; only a directory cannot be.
    const REMOVABLE: &[Odd] = &[LinkInside, LinkOutside, LinkNowhere, SecondName, Fifo, Socket, Device];
    let segment = |number: u64| format!("c/{number:08}.journal");
    let [.., sealed, active] = segments else { panic!("two segments") };
    let row = |name: &str, stops, allows| Owned { name: name.to_string(), stops, allows };
    vec![
        row("store.json", ACTS, &[SecondName]),
        row("c", USES, &[]),
        row("c/cohort.json", USES, &[]),
        row("c/lock", &[Append, AppendDurable, Verify, Compact], &[]),
        row("c/compact.lock", &[Verify, Compact], &[]),
        // In the other class it is nobody's.
        row("c/control", WRITES, if class == LockClass::Memory { &[] } else { ALL }),
        row(&segment(*sealed), &[Verify, Compact], &[]),
        row(&segment(*active), READS_JOURNAL, &[]),
        row(&segment(*active + 1), READS_JOURNAL, &[]),
        // That it is there is all that it says.
        row(&format!("c/{active:08}.poison"), &[], &[]),
        row(&format!("c/{sealed:08}.poison"), &[Compact], REMOVABLE),
        row("c/snapshot.json", READS_JOURNAL, &[SecondName]),
        row("c/snapshot.prev.json", &[Verify, Compact], &[SecondName]),
        row("c/snapshot.0123456789abcdef.tmp", &[Compact], REMOVABLE),
        row("c/segment.0123456789abcdef.tmp", &[Compact], REMOVABLE),
        row("c/quarantine", &[Read], &[Directory]),
        // What somebody seems to have left who made a cohort is removed only if it is what he would have left.
        row(".new-0123456789abcdef", &[], &[]),
    ]
}

/// A cohort with a snapshot, a previous one, a sealed segment that is needed, and records that are not folded.
fn store(class: LockClass) -> Fixture {
    let fixture = Fixture::in_memory();
    let cohort = fixture.store.create("c", Settings::latest().lock(class).compact_bytes(0)).unwrap();
    for i in 0..3 {
        cohort.append(&format!("k{i}"), &i).unwrap();
        cohort.compact().unwrap();
    }
    cohort.append("k", &0).unwrap();
    cohort.detach().unwrap();
    fixture.store.create("other", Settings::latest().lock(class)).unwrap().append("k", &1).unwrap();
    fixture
}

/// What stands in place of something that is not there: what a link may lead to.
fn make_for(path: &Path, away: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name == "quarantine" || name.starts_with(".new-") {
        true => {
            fs::create_dir(away).unwrap();
            fs::write(away.join("lock"), b"somebody's").unwrap();
        }
        false => fs::write(away, b"somebody's").unwrap(),
    }
}

/// Puts an odd thing in place of a file. `false`: this file cannot be that here.
fn put(odd: Odd, path: &Path, outside: &Path) -> bool {
    let is_there = path.symlink_metadata();
    let is_dir = is_there.as_ref().is_ok_and(|meta| meta.is_dir());
    let away = outside.join("away");
    match odd {
        SecondName if is_dir => return false,
        Directory if is_dir => return false,
        SecondName => {
            if is_there.is_err() {
                fs::write(path, b"somebody's").unwrap();
            }
            fs::hard_link(path, &away).unwrap();
            return true;
        }
        LinkInside => {
            let inside = path.with_file_name("elsewhere");
            match is_there.is_ok() {
                true => fs::rename(path, &inside).unwrap(),
                false => make_for(path, &inside),
            }
            symlink("elsewhere", path).unwrap();
            return true;
        }
        _ => {}
    }
    match is_there.is_ok() {
        true => fs::rename(path, &away).unwrap(),
        false => make_for(path, &away),
    }
    match odd {
        LinkOutside => symlink(&away, path).unwrap(),
        LinkNowhere => symlink(outside.join("free"), path).unwrap(),
        Fifo => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        Socket => drop(UnixListener::bind(path).unwrap()),
        Directory => fs::create_dir(path).unwrap(),
        Device => {
            let made = Command::new("mknod").arg(path).args(["c", "1", "3"]).output().unwrap();
            if !made.status.success() {
                return false;
            }
        }
        LinkInside | SecondName => unreachable!(),
    }
    true
}

/// Every name, mode and content below a directory.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(name);
        let meta = path.symlink_metadata().unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            all.extend(everything(&path));
        }
        all.insert(path, (meta.permissions().mode(), content));
    }
    all
}

fn classes() -> Vec<LockClass> {
    let mut classes = vec![LockClass::File];
    if shares_memory() {
        classes.push(LockClass::Memory);
    }
    classes
}

/// A copy of a store. A device may be opened only where the file system lets it be.
fn copy(whole: &Fixture, odd: Odd) -> Fixture {
    let copy = if odd == Device { Fixture::new() } else { Fixture::in_memory() };
    fs::remove_dir_all(copy.store.path()).unwrap();
    fixture::copy_all(whole.store.path(), copy.store.path());
    fs::create_dir(copy.dir.path().join("outside")).unwrap();
    copy
}

#[test]
fn whatever_stands_in_place_of_any_owned_file_stops_who_needs_that_file_with_its_name_and_nobody_else() {
    let (mut done, mut refused) = (0, 0);
    for class in classes() {
        let whole = store(class);
        let segments = fixture::segments(&whole.reopen("c"));
        for (file, odd) in owned(class, &segments).iter().flat_map(|file| ODDITIES.map(|odd| (file, odd))) {
            for acts in TOGETHER {
                let copy = copy(&whole, odd);
                let (store, outside) = (copy.store.path(), copy.dir.path().join("outside"));
                if !put(odd, &store.join(&file.name), &outside) {
                    continue;
                }
                let (before, inside) = (everything(&outside), everything(store));
                for what in acts {
                    let stopped = act_in_time(store, *what);
                    let this = format!("{odd:?} in place of {}, {what:?}, class {class:?}", file.name);
                    let expected = file.stops.contains(what) && !file.allows.contains(&odd);
                    assert_eq!(stopped.is_some(), expected, "{this}: {stopped:?}");
                    done += 1;
                    if let Some(text) = stopped {
                        let name = Path::new(&file.name).file_name().unwrap().to_str().unwrap();
                        assert!(text.contains(name), "{this} is not named: {text}");
                        refused += 1;
                    }
                    assert_eq!(everything(&outside), before, "{this}: what is outside is as it was");
                }
                if acts.len() > 1 {
                    assert_eq!(everything(store), inside, "{odd:?} in place of {}: who reads", file.name);
                }
                if file.name != "store.json" {
                    let other = copy.reopen("other");
                    assert_eq!(other.append("k", &2).unwrap(), 2, "{odd:?} in place of {}", file.name);
                    assert!(!other.verify().unwrap().is_damaged());
                }
            }
        }
    }
    println!("{done} acts beside something odd, {refused} refused");
}

#[test]
fn nothing_is_kept_in_a_quarantine_that_is_not_ours() {
    for (class, odd) in classes().into_iter().flat_map(|class| ODDITIES.map(|odd| (class, odd))) {
        let copy = copy(&store(class), odd);
        let (path, outside) = (copy.store.path().join("c"), copy.dir.path().join("outside"));
        // A damaged snapshot would go there.
        fixture::flip(&path.join("snapshot.json"), 20);
        if odd == Directory || !put(odd, &path.join("quarantine"), &outside) {
            continue;
        }
        let before = everything(&outside);
        let text = act_in_time(copy.store.path(), Compact).unwrap();
        assert!(text.contains("c/quarantine]"), "{odd:?}: {text}");
        assert_eq!(everything(&outside), before);
        assert_eq!(
            copy.reopen("c").view().unwrap().iter().count(),
            4,
            "the damaged snapshot is where it was"
        );
        // Moved away, as the message says, it is made anew.
        fs::remove_file(path.join("quarantine")).unwrap();
        assert_eq!(act_in_time(copy.store.path(), Compact), None);
        assert_eq!(names(&path.join("quarantine")).len(), 1);
    }
}
