//! What the functions of this module may be told.

use std::time::Duration;

use super::LockName;

/// How files are locked and written. Each function says what of it it heeds.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) durable: bool,
    pub(super) parents: bool,
    pub(super) indent: Option<usize>,
    pub(super) ensure_ascii: bool,
    pub(super) nonfinite: Nonfinite,
    pub(super) lock: LockName,
    pub(super) timeout: Duration,
    pub(super) create: bool,
}

/// What becomes of NaN and the infinities, which JSON cannot write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonfinite {
    /// An error names the place of the first one, and nothing is written.
    #[default]
    Refuse,
    /// They are written as `null`, and so are lost.
    Null,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// What is said at each method.
    pub const fn new() -> Options {
        Options {
            durable: true,
            parents: true,
            indent: Some(2),
            ensure_ascii: false,
            nonfinite: Nonfinite::Refuse,
            lock: LockName::Appended,
            timeout: Duration::from_secs(30),
            create: true,
        }
    }

    /// Whether what is written is synced, the file before it replaces the old one and the directory after; `true` unless set.
    /// Without it a power cut can leave the old file, the new one or an empty one. The death of a process leaves the old or
    /// the new one in any case.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Options {
        self.durable = durable;
        self
    }

    /// Whether directories that are missing above the file are made; `true` unless set.
    #[must_use]
    pub fn parents(mut self, parents: bool) -> Options {
        self.parents = parents;
        self
    }

    /// How many spaces each level of JSON is indented by; 2 unless set. `None`: all in one line, without white space.
    #[must_use]
    pub fn indent(mut self, indent: impl Into<Option<usize>>) -> Options {
        self.indent = indent.into();
        self
    }

    /// Whether every character beyond ASCII is written as `\uXXXX`; `false` unless set.
    #[must_use]
    pub fn ensure_ascii(mut self, ensure_ascii: bool) -> Options {
        self.ensure_ascii = ensure_ascii;
        self
    }

    /// What becomes of NaN and the infinities; they are refused unless set.
    #[must_use]
    pub fn nonfinite(mut self, nonfinite: Nonfinite) -> Options {
        self.nonfinite = nonfinite;
        self
    }

    /// How the lock file is named; `Appended` unless set.
    #[must_use]
    pub fn lock(mut self, lock: LockName) -> Options {
        self.lock = lock;
        self
    }

    /// How long to wait for the lock, by the monotonic clock; 30 s unless set. Zero: try once.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Options {
        self.timeout = timeout;
        self
    }

    /// Whether an update makes the file if it is missing; `true` unless set. Else that is an error (`is_not_found`).
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }
}
