//! What bytes that nobody wrote may lead to: the bodies of the fuzz targets.
//!
//! Each puts its input where tallyfold will read it, through nothing but files and the public interface, uses the cohort as
//! anybody would, and panics if what comes of it is wrong. `make fuzz` lets libFuzzer find inputs; `tests/hostile.rs`, which
//! includes this file, replays `corpus/` and random inputs with a stable compiler.
#![allow(clippy::disallowed_methods, reason = "it damages files on purpose")]

pub mod bytes;
pub mod documents;
pub mod names;
pub mod operations;
pub mod scene;
pub mod seeds;
pub mod segment;
pub mod snapshot;
