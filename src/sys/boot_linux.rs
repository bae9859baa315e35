//! Which start of the system this is, from `/proc/sys/kernel/random/boot_id` (see random(4)).

use super::PerProcess;
use super::seam::Seam;
use super::seam_here::Here;

/// A number that every start of the system draws anew; zeros if it is not told.
pub(crate) fn boot_id() -> [u8; 16] {
    static BOOT: PerProcess<[u8; 16]> = PerProcess::new();
    Here::boot(*BOOT.get(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
        u128::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes()
    }))
}
