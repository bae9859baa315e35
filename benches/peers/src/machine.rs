//! What the numbers were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One line about the machine, the file system of `dir` and the time.
pub fn describe(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_string()))
        .unwrap_or_else(|| "unknown".to_string());
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores ({processor}), Linux {}, {}; load average {} at the start; {}",
        read("/proc/sys/kernel/osrelease"),
        file_system(dir),
        load.split(' ').next().unwrap_or_default(),
        date(),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

fn date() -> String {
    match Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_string(),
        Err(_) => "on an unknown day".to_string(),
    }
}

/// The type of the file system that is mounted closest above a directory.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    read("/proc/self/mountinfo")
        .lines()
        .filter_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let kind = source.split(' ').next()?;
            dir.starts_with(point).then(|| (point.len(), kind.to_string()))
        })
        // A later mount hides an earlier one at the same place.
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "an unknown file system".to_string(), |(_, kind)| kind)
}
