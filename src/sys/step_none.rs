//! Places where a test lets a process die. There are none outside of tests.

#[inline(always)]
pub(crate) fn reached(_: &'static str) {}
