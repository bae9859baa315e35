//! The one error of the crate: opaque, with a predicate for each thing a caller may want to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What every fallible function of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what to do about it.
///
/// The text says all three; the predicates (`is_…`) say what a program can react to; the accessors give the place.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: String,
    path: Option<PathBuf>,
    segment: Option<u64>,
    offset: Option<u64>,
    seq: Option<u64>,
    holder: Option<u32>,
    advice: Option<String>,
    source: Option<io::Error>,
}

/// What a caller can react to; public only through the predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    LockTimeout,
    Corruption,
    NoSpace,
    Conflict,
    Compacted,
    NotFound,
    Invalid,
    Unsupported,
    DurabilityUnknown,
    UnsafeFileSystem,
    UnsafeFile,
    Poisoned,
    NotJson,
    Io,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            what: what.into(),
            path: None,
            segment: None,
            offset: None,
            seq: None,
            holder: None,
            advice: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, what)
    }

    pub(crate) fn corruption(what: impl Into<String>) -> Error {
        Error::new(Kind::Corruption, what)
    }

    /// An operating system call failed; `what` names the act ("cannot open").
    pub(crate) fn io(what: impl Into<String>, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            // A full disk, a full quota and the process's own file size limit ask the same of the caller: make room.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Kind::NoSpace
            }
            _ => Kind::Io,
        };
        let mut error = Error::new(kind, what).at(path);
        if kind == Kind::NoSpace {
            error =
                error.advise("make room (or raise the limit) and try again; earlier records are untouched");
        }
        error.0.source = Some(source);
        error
    }

    /// What somebody else gave us to write to has failed. An error of ours that went through it comes back as itself.
    pub(crate) fn of_output(what: impl Into<String>, e: io::Error) -> Error {
        match e.downcast::<Error>() {
            Ok(ours) => ours,
            Err(e) => {
                let mut error = Error::io(what, Path::new(""), e);
                error.0.path = None;
                // The usual advice is about the store's own files.
                error.0.advice = None;
                error
            }
        }
    }

    pub(crate) fn at(mut self, path: &Path) -> Error {
        self.0.path = Some(path.to_path_buf());
        self
    }

    pub(crate) fn in_segment(mut self, number: u64) -> Error {
        self.0.segment = Some(number);
        self
    }

    pub(crate) fn at_offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn at_seq(mut self, seq: u64) -> Error {
        self.0.seq = Some(seq);
        self
    }

    pub(crate) fn held_by(mut self, pid: Option<u32>) -> Error {
        self.0.holder = pid;
        self
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Error {
        self.0.advice = Some(advice.into());
        self
    }

    /// The same error seen as another kind, with a new first sentence and the old one as its reason.
    pub(crate) fn become_kind(mut self, kind: Kind, what: impl fmt::Display) -> Error {
        self.0.kind = kind;
        self.0.what = format!("{what}: {}", self.0.what);
        self
    }

    /// A name that was to be made is there already.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.source.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::AlreadyExists)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The lock was not had within the time allowed. Nothing was written. [`holder`](Error::holder) names the process.
    pub fn is_lock_timeout(&self) -> bool {
        self.0.kind == Kind::LockTimeout
    }

    /// Bytes that were whole once are damaged. Nothing was changed; the place is in the error.
    pub fn is_corruption(&self) -> bool {
        self.0.kind == Kind::Corruption
    }

    /// No space, no quota, or the file size limit of the process. Nothing was written; a later try may succeed.
    pub fn is_no_space(&self) -> bool {
        self.0.kind == Kind::NoSpace
    }

    /// An expectation did not hold: an `append_if` whose seq has moved on, or settings that differ.
    pub fn is_conflict(&self) -> bool {
        self.0.kind == Kind::Conflict
    }

    /// The records asked for are folded away. [`seq`](Error::seq) is the first one still there.
    pub fn is_compacted(&self) -> bool {
        self.0.kind == Kind::Compacted
    }

    /// The store, cohort or file does not exist.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// The caller's input cannot be taken: a name, a value, a setting.
    pub fn is_invalid(&self) -> bool {
        self.0.kind == Kind::Invalid
    }

    /// A newer format, an unknown incompatible feature, or a setting this version does not support.
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }

    /// Written as [`seq`](Error::seq), and visible; whether it survives a power cut is not known.
    pub fn is_durability_unknown(&self) -> bool {
        self.0.kind == Kind::DurabilityUnknown
    }

    /// The file system does not give the guarantees this cohort's lock needs.
    pub fn is_unsafe_file_system(&self) -> bool {
        self.0.kind == Kind::UnsafeFileSystem
    }

    /// A link, a special file or a file with several names stands where one of ours should.
    pub fn is_unsafe_file(&self) -> bool {
        self.0.kind == Kind::UnsafeFile
    }

    /// A sync failed earlier and moving its records to a new segment failed too. Nothing was written.
    pub fn is_poisoned(&self) -> bool {
        self.0.kind == Kind::Poisoned
    }

    /// A plain file is no JSON text, or not UTF-8. [`offset`](Error::offset) says where; nothing was changed.
    pub fn is_not_json(&self) -> bool {
        self.0.kind == Kind::NotJson
    }

    /// The system refused or failed, for none of the reasons above; the [source](std::error::Error::source) says why.
    pub fn is_io(&self) -> bool {
        self.0.kind == Kind::Io
    }

    /// The file or directory concerned.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The segment's number.
    pub fn segment(&self) -> Option<u64> {
        self.0.segment
    }

    /// Bytes from the beginning of the file.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The seq concerned: the first lost, the one written, the first still there (the predicate says which).
    pub fn seq(&self) -> Option<u64> {
        self.0.seq
    }

    /// The process that holds the lock, where the system tells.
    pub fn holder(&self) -> Option<u32> {
        self.0.holder
    }

    /// The first part of the text: what went wrong, without the place and the advice.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What to do about it, if there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.write_str(&inner.what)?;
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        let mut place = Vec::new();
        if let Some(path) = &inner.path {
            place.push(path.display().to_string());
        }
        place.extend(inner.segment.map(|n| format!("segment {n}")));
        place.extend(inner.offset.map(|n| format!("offset {n}")));
        place.extend(inner.seq.map(|n| format!("seq {n}")));
        if !place.is_empty() {
            write!(f, " [{}]", place.join(", "))?;
        }
        if let Some(advice) = &inner.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            Kind::LockTimeout => io::ErrorKind::TimedOut,
            Kind::Corruption | Kind::NotJson => io::ErrorKind::InvalidData,
            Kind::NoSpace => io::ErrorKind::StorageFull,
            Kind::NotFound => io::ErrorKind::NotFound,
            Kind::Invalid => io::ErrorKind::InvalidInput,
            Kind::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_where_and_what_to_do() {
        let error = Error::io("cannot write", Path::new("s/c"), io::Error::from(io::ErrorKind::StorageFull))
            .in_segment(3)
            .at_offset(1024)
            .at_seq(7);
        assert!(error.is_no_space() && !error.is_corruption());
        let text = error.to_string();
        assert!(text.starts_with("cannot write: "), "{text}");
        assert!(text.contains("[s/c, segment 3, offset 1024, seq 7]; make room"), "{text}");
    }

    #[test]
    fn a_full_disk_a_full_quota_and_a_file_size_limit_are_all_no_space() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            assert!(Error::io("x", Path::new("p"), io::Error::from(kind)).is_no_space(), "{kind:?}");
        }
    }
}
