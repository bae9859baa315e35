//! The wall clock as it is.

pub(crate) use super::clock::wall_clock_us;
