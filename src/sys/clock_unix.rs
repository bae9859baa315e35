//! The wall clock, asked directly: every append does, and std takes twice as long to turn it into a number.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since 1970 by the wall clock: information for people, never an order.
pub(crate) fn wall_clock_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}
