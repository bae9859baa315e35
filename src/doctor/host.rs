//! What the host allows and what time it has.

use std::time::Duration;

use super::Examination;
use super::check::Check;
use crate::error::Result;
use crate::sys::{self, Clocks};

/// A process that writes a cohort has about eight files open for it.
const FEW_FILES: u64 = 256;
/// Each segment and snapshot that is looked at is a mapping.
const FEW_MAPPINGS: u64 = 4096;
/// The largest segment unless a cohort's settings say otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;
/// 2020-01-01, in seconds since 1970: no clock that is right says less.
const LONG_AGO: i128 = 1_577_836_800;
/// How often the clocks are read.
const READINGS: u32 = 2000;
/// How far the wall clock may go from the monotonic one meanwhile: it is slowed and hurried by a little, and a process may be held
/// up between two readings.
const SET: i128 = 500_000_000;
/// A clock that goes in larger steps gives many records the same time.
const COARSE: Duration = Duration::from_millis(10);

pub(super) fn limits(_: &Examination) -> Result<Vec<Check>> {
    let (files, mappings, size) = (sys::most_open_files(), sys::most_mappings(), sys::file_size_limit());
    let number = |limit: Option<u64>| limit.map_or("any number of".to_string(), |limit| limit.to_string());
    let mut said = format!("{} open files and {} mappings in a process", number(files), number(mappings));
    if let Some(size) = size {
        said += &format!(", files of at most {size} bytes");
    }
    let check = if files.is_some_and(|files| files < FEW_FILES) {
        Check::warning(
            "limits",
            said,
            "raise the number of open files (ulimit -n): a cohort takes about eight",
        )
    } else if mappings.is_some_and(|mappings| mappings < FEW_MAPPINGS) {
        Check::warning("limits", said, "raise vm.max_map_count: every segment that is read is mapped")
    } else if size.is_some_and(|size| size < SEGMENT_BYTES) {
        let advice = "lift the limit (ulimit -f), or make cohorts with smaller `segment_bytes`: an append beyond it is refused";
        Check::warning("limits", said, advice)
    } else {
        Check::ok("limits", said)
    };
    Ok(vec![check.with("open_files", files).with("mappings", mappings).with("file_size", size)])
}

pub(super) fn kernel(_: &Examination) -> Result<Vec<Check>> {
    let Some(release) = sys::kernel() else {
        return Ok(vec![Check::skipped("kernel", "the system does not tell its version")]);
    };
    Ok(vec![judge_kernel(&release)])
}

pub(super) fn judge_kernel(release: &str) -> Check {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let check = match version {
        (0, _) => Check::skipped("kernel", format!("{release:?} is no version that is understood")),
        // fcntl(2): F_OFD_SETLK.
        _ if version < (3, 15) => Check::not_safe(
            "kernel",
            format!("{release} has no locks of open file descriptions"),
            "use Linux 3.15 or later, or make cohorts with \"lock\": \"file\"",
        ),
        // "errseq: Always report a writeback error once".
        _ if version < (4, 17) => Check::warning(
            "kernel",
            format!("{release} may tell nobody that a sync has failed"),
            "use Linux 4.17 or later",
        ),
        _ if release.to_ascii_lowercase().contains("microsoft") => Check::warning(
            "kernel",
            format!("{release}: the Windows Subsystem for Linux"),
            "keep the store on its own disk, and not below /mnt/c, which is a network file system",
        ),
        _ => Check::ok("kernel", release.to_string()),
    };
    check.with("release", release)
}

pub(super) fn processes(_: &Examination) -> Result<Vec<Check>> {
    let (said, initial) = match sys::initial_pid_namespace() {
        None => return Ok(vec![Check::skipped("processes", "the system does not tell of namespaces")]),
        Some(true) => ("this process sees all of the host's processes", true),
        Some(false) => (
            "this process is in a PID namespace of its own, as in a container: locks reach all others on this host, and one \
             that is held from another namespace is not named",
            false,
        ),
    };
    Ok(vec![Check::ok("processes", said).with("initial_pid_namespace", initial)])
}

pub(super) fn clock(_: &Examination) -> Result<Vec<Check>> {
    let readings: Vec<Clocks> = (0..READINGS).map(|_| sys::clocks()).collect();
    Ok(vec![judge_clock(&readings, sys::clock_tick(), sys::boot_id() != [0; 16])])
}

/// Times are told to people and decide no order, so no clock makes a store unsafe.
pub(super) fn judge_clock(readings: &[Clocks], tick: Duration, boots_known: bool) -> Check {
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else {
        return Check::skipped("clock", "it was not read");
    };
    let monotonic = last.monotonic.saturating_sub(first.monotonic).as_nanos() as i128;
    let set = (last.wall_ns - first.wall_ns) - monotonic;
    let back = readings.iter().zip(readings.iter().skip(1)).any(|(a, b)| b.wall_ns < a.wall_ns);
    let advice = "set the clock: times of records and limits of age follow it, and no order does";
    let check = if first.wall_ns < LONG_AGO * 1_000_000_000 {
        Check::warning("clock", "the wall clock is before 2020", advice)
    } else if back {
        Check::warning("clock", "the wall clock went back while it was watched", advice)
    } else if set.abs() > SET {
        Check::warning("clock", "the wall clock was set while it was watched", advice)
    } else if tick > COARSE {
        Check::warning("clock", format!("the wall clock goes in steps of {tick:?}"), advice)
    } else if !boots_known {
        Check::warning(
            "clock",
            "starts of the system are not told apart",
            "after a power cut, do not trust the seq of a record that was not durable (docs/design.md, Limits)",
        )
    } else {
        Check::ok("clock", format!("after 2020, does not go back, in steps of {tick:?}"))
    };
    check.with("resolution_ns", tick.as_nanos() as u64)
}
