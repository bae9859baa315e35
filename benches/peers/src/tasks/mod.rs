//! What a child process does.

pub mod append;
pub mod compact;
pub mod copy;
