//! Where the directory is: the file system, how it is mounted, and what follows for the locks.

use super::check::Check;
use super::{Examination, store};
use crate::error::Result;
use crate::names;
use crate::sys::{self, Mount, Reach};

/// Less than this, and a store of a few cohorts with their first segments may not fit.
const LITTLE_SPACE: u64 = 64 << 20;
/// A cohort takes about ten, and more with each bundle.
const FEW_INODES: u64 = 1000;

pub(super) fn file_system(examination: &Examination) -> Result<Vec<Check>> {
    let system = &examination.system;
    let name = &system.name;
    let mut said = name.clone();
    if let Some(Mount { kind, device, point, .. }) = &examination.mount {
        // `fuse.sshfs` says more than `fuse`, and `ext3` is another thing than `ext4`.
        let kind = if kind == name { String::new() } else { format!(" ({kind})") };
        said = format!("{name}{kind}, {device} on {point}");
    }
    let check = match system.reach {
        Reach::Local if is_memory(name) => Check::warning(
            "file-system",
            format!("{said}: it is memory, and nothing on it survives a restart or a power cut"),
            "for what must outlive them take a directory on a disk",
        ),
        Reach::Local => Check::ok("file-system", said),
        Reach::Unknown => Check::warning(
            "file-system",
            format!("{said}: it is not known here, and taken for a local one"),
            "if other hosts can write to it, write from one host only",
        ),
        Reach::Network => network(examination, said),
    };
    let check = check.with("file_system", name.as_str()).with("reach", reach(system.reach));
    Ok(vec![match &examination.mount {
        Some(Mount { kind, device, point, .. }) => check
            .with("type", kind.as_str())
            .with("device", device.as_str())
            .with("mount_point", point.as_str()),
        None => check,
    }])
}

fn network(examination: &Examination, said: String) -> Check {
    let said =
        format!("{said}: other hosts may write there, and whether its locks exclude them was not tried");
    match store::trust(examination) {
        store::Trust::All => Check::warning(
            "file-system",
            format!("{said}; every cohort here trusts them"),
            "be sure that the locks reach all hosts: docs/file-systems.md says how for each file system",
        ),
        trust => Check::not_safe(
            "file-system",
            match trust {
                store::Trust::Some => format!("{said}; cohorts that do not trust them refuse every write"),
                _ => format!("{said}; a cohort refuses every write there"),
            },
            "put the store on a local file system; or, if its locks do exclude all hosts, make each cohort with \
             \"lock\": \"file\" and \"trust_network_locks\": true",
        ),
    }
}

fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Local => "local",
        Reach::Network => "network",
        Reach::Unknown => "unknown",
    }
}

fn is_memory(name: &str) -> bool {
    matches!(name, "tmpfs" | "ramfs")
}

/// An option of a mount that changes what the store may rely on.
struct Known {
    /// Of which types, by how their names begin.
    kinds: &'static [&'static str],
    option: &'static str,
    said: &'static str,
    advice: &'static str,
    /// Whether many writers are not safe with it.
    not_safe: bool,
}

const LOCAL_LOCKS: &str = "locks on it exclude processes of this host only";
const WITHOUT: &str =
    "mount it without that option, or write from one host only and never set trust_network_locks";
const NO_SYNC: &str =
    "every sync is left out, so a power cut may take anything, and the upper directory with it";
const NO_BARRIER: &str =
    "the disk's cache is not flushed by a sync, so a power cut may take what was durable";

const KNOWN: [Known; 13] = [
    Known { kinds: &["nfs"], option: "nolock", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known { kinds: &["nfs"], option: "local_lock=flock", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known { kinds: &["nfs"], option: "local_lock=all", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known { kinds: &["cifs", "smb"], option: "nobrl", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known { kinds: &["afs"], option: "flock=local", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known { kinds: &["lustre"], option: "localflock", said: LOCAL_LOCKS, advice: WITHOUT, not_safe: true },
    Known {
        kinds: &["lustre"],
        option: "noflock",
        said: "it has no flock at all",
        advice: "mount it with the option flock",
        not_safe: true,
    },
    Known {
        kinds: &["overlay"],
        option: "volatile",
        said: NO_SYNC,
        advice: "put the store on a volume or a bind mount of a disk",
        not_safe: false,
    },
    // The same as newer kernels tell it.
    Known {
        kinds: &["overlay"],
        option: "fsync=volatile",
        said: NO_SYNC,
        advice: "put the store on a volume or a bind mount of a disk",
        not_safe: false,
    },
    Known {
        kinds: &["ext", "xfs", "btrfs", "reiserfs"],
        option: "nobarrier",
        said: NO_BARRIER,
        advice: "mount it without that option, unless the cache has a battery",
        not_safe: false,
    },
    Known {
        kinds: &["ext"],
        option: "barrier=0",
        said: NO_BARRIER,
        advice: "mount it without that option, unless the cache has a battery",
        not_safe: false,
    },
    Known {
        kinds: &["ext"],
        option: "data=writeback",
        said: "after a power cut a file that was not synced may hold bytes of other files; every record has a CRC, so they \
               are known for what they are",
        advice: "nothing, or mount it with data=ordered",
        not_safe: false,
    },
    Known {
        kinds: &["9p"],
        option: "cache=loose",
        said: "this host does not see what others write while it has it cached",
        advice: "mount it with cache=none, or write and read on one host only",
        not_safe: true,
    },
];

pub(super) fn mount_options(examination: &Examination) -> Result<Vec<Check>> {
    let Some(mount) = &examination.mount else {
        return Ok(vec![Check::skipped("mount-options", "the system does not tell them")]);
    };
    Ok(judge_options(mount))
}

pub(super) fn judge_options(mount: &Mount) -> Vec<Check> {
    let options = mount.options.join(",");
    let applies = |known: &&Known| {
        known.kinds.iter().any(|kind| mount.kind.starts_with(kind)) && mount.has(known.option)
    };
    let mut checks: Vec<Check> = KNOWN
        .iter()
        .filter(applies)
        .map(|known| {
            let said = format!("{}: {}", known.option, known.said);
            match known.not_safe {
                true => Check::not_safe("mount-options", said, known.advice),
                false => Check::warning("mount-options", said, known.advice),
            }
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("mount-options", options));
    }
    checks.into_iter().map(|check| check.with("options", mount.options.clone())).collect()
}

pub(super) fn lock_class(examination: &Examination) -> Result<Vec<Check>> {
    let system = &examination.system;
    let name = &system.name;
    let (class, write, said) = match (system.shares_memory, system.reach) {
        (true, _) => (
            "memory",
            "mapping",
            format!(
                "memory: {name} keeps the space that it has reserved, so processes share memory; frames are stored through \
                 a mapping, durable ones written by pwrite"
            ),
        ),
        (false, Reach::Network) => (
            "file",
            "pwrite",
            "file, where it is trusted: an flock for each append, and a sync before it is given back; nothing is mapped"
                .to_string(),
        ),
        (false, Reach::Local) => (
            "file",
            "pwrite",
            format!(
                "file: an flock for each append; frames are written by pwrite, for {name} may find the disk full in space \
                 that it has reserved, which would end a process that stores to a mapping"
            ),
        ),
        (false, Reach::Unknown) => (
            "file",
            "pwrite",
            format!("file: an flock for each append, and frames written by pwrite; what {name} promises is not known"),
        ),
    };
    Ok(vec![Check::ok("lock-class", said).with("lock", class).with("write", write)])
}

pub(super) fn writable(examination: &Examination) -> Result<Vec<Check>> {
    let Err(error) = &examination.scratch else {
        return Ok(vec![Check::ok("writable", "files and directories can be made")]);
    };
    let readable = match &examination.store {
        Some(Ok(_)) => "the store here can be read: get, ls, log, verify and stats change nothing",
        _ => "a store that is put here can be read, by others too",
    };
    let advice = format!("{readable}; to write, see the mount's options and who owns the directory");
    Ok(vec![Check::not_safe("writable", format!("nothing can be made here: {error}"), advice)])
}

pub(super) fn space(examination: &Examination) -> Result<Vec<Check>> {
    let space = match sys::space(&examination.dir) {
        Err(e) if e.is_unsupported() => return Ok(vec![Check::skipped("space", e.what())]),
        other => other?,
    };
    let mut said = format!("{} of {} free", bytes(space.free_bytes), bytes(space.bytes));
    match space.inodes {
        0 => said += ", and no limit of files",
        _ => said += &format!(", and {} of {} inodes", space.free_inodes, space.inodes),
    }
    let few = space.inodes > 0 && space.free_inodes < FEW_INODES;
    let check = if space.free_bytes < LITTLE_SPACE || few {
        let advice =
            "make room: a writer that finds none is refused, and loses nothing that was acknowledged";
        Check::warning("space", said, advice)
    } else {
        Check::ok("space", said)
    };
    let inodes = (space.inodes > 0).then_some(space.free_inodes);
    Ok(vec![check.with("free_bytes", space.free_bytes).with("free_inodes", inodes)])
}

/// Such as `1.5 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// The longest name that a store makes: an encoded name, and what is put behind it.
pub(super) const LONGEST_NAME: usize = names::MAX_ENCODED + ".lock".len();
