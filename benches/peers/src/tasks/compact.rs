//! A process that only compacts, and says what that took.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tallyfold::Compaction;

use crate::Result;
use crate::children::{Children, Role};
use crate::peers;

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub dir: PathBuf,
    /// It begins again until so much time is over.
    pub seconds: f64,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Done {
    /// Compactions that made a new snapshot.
    pub times: u32,
    /// The size of the last snapshot.
    pub snapshot_bytes: u64,
    /// How long the compactions took, all together.
    pub duration: Duration,
    /// The most memory that was resident, mapped files included.
    pub peak_bytes: u64,
    /// The most of it that was its own, as far as looking every few milliseconds shows.
    pub peak_own_bytes: u64,
}

const STATUS: &str = "/proc/self/status";
/// How often a process looks at its own memory.
const LOOK: Duration = Duration::from_millis(5);

/// The most a compaction may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Compacts in a process of its own: at least once, and for so many seconds.
pub fn in_a_process(dir: &Path, seconds: f64) -> Result<Done> {
    Children::result_of(Role::Compact(Task { dir: dir.to_path_buf(), seconds }), PATIENCE)
}

impl Task {
    pub fn run(&self) -> Result<Done> {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| watch_memory(&ended));
            let compacted = self.compact();
            ended.store(true, Ordering::Relaxed);
            let peak_own_bytes = watch.join().map_err(|_| "the watch panicked")??;
            Ok(Done { peak_bytes: field(STATUS, "VmHWM:")? * 1024, peak_own_bytes, ..compacted? })
        })
    }

    fn compact(&self) -> Result<Done> {
        let cohort = peers::tallyfold::cohort(&self.dir)?;
        let begun = Instant::now();
        let mut done = Done::default();
        loop {
            if let Compaction::Folded { bytes, .. } = cohort.compact()? {
                done.times += 1;
                done.snapshot_bytes = bytes;
            }
            done.duration = begun.elapsed();
            if done.duration >= Duration::from_secs_f64(self.seconds) {
                return Ok(done);
            }
        }
    }
}

/// All bytes that this process has given to `write`: a snapshot is made so, and a frame that is stored in a mapping is not.
pub fn written_bytes() -> Result<u64> {
    field("/proc/self/io", "wchar:")
}

/// The kernel keeps the peak of all resident pages, but not of those that no file backs.
fn watch_memory(ended: &AtomicBool) -> Result<u64> {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        peak = peak.max(field(STATUS, "RssAnon:")? * 1024);
        std::thread::sleep(LOOK);
    }
    Ok(peak)
}

/// A number behind its name in a file of the kernel's.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("{path} has no {name}").into())
}
