//! The face of `boot_linux.rs` where starts of the system are not told apart.

use super::seam::Seam;
use super::seam_here::Here;

/// Not known.
pub(crate) fn boot_id() -> [u8; 16] {
    Here::boot([0; 16])
}
