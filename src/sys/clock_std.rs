//! The face of `clock_unix.rs` elsewhere.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by the wall clock: information for people, never an order.
pub(crate) fn wall_clock_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}
