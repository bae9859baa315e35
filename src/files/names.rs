//! The names beside a plain file: its lock file, and the temporary files that will replace it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// How the lock file of a plain file is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockName {
    /// `a.json` is locked by `a.json.lock`.
    #[default]
    Appended,
    /// `a.json` is locked by `a.lock`; so is `a.yaml`.
    Replaced,
}

const LOCK_EXTENSION: &str = "lock";
/// The longest file name, in bytes, that file systems take.
const LONGEST: usize = 255;
const MARK: &str = "tallyfold-";

/// The lock file of a file. Nothing is asked of the file system: a link has the lock file beside itself.
///
/// ```
/// use std::path::Path;
/// use tallyfold::files::{LockName, lock_path};
///
/// assert_eq!(lock_path("runs/a.json", LockName::Appended), Path::new("runs/a.json.lock"));
/// assert_eq!(lock_path("runs/a.json", LockName::Replaced), Path::new("runs/a.lock"));
/// ```
pub fn lock_path(path: impl AsRef<Path>, name: LockName) -> PathBuf {
    let path = path.as_ref();
    match name {
        LockName::Replaced => path.with_extension(LOCK_EXTENSION),
        LockName::Appended => {
            let mut named = path.file_name().map(OsStr::to_os_string).unwrap_or_default();
            named.push(".");
            named.push(LOCK_EXTENSION);
            path.with_file_name(named)
        }
    }
}

/// Whether a name is that of a lock file, as [`lock_path`] makes them.
pub(super) fn is_lock_file(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new(LOCK_EXTENSION))
}

/// `.<stem>.tallyfold-<16 hex>.<extension>`: hidden, in the same directory, and of the same kind for whoever looks at the
/// extension.
pub(super) fn temporary(name: &OsStr, random: u64) -> OsString {
    let path = Path::new(name);
    let mut end = OsString::from(format!(".{MARK}{random:016x}"));
    if let Some(extension) = path.extension() {
        end.push(".");
        end.push(extension);
    }
    let stem = path.file_stem().unwrap_or_default();
    let room = LONGEST.saturating_sub(1 + end.len());
    let mut temporary = OsString::from(".");
    match stem.to_str() {
        Some(text) => {
            let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            temporary.push(&text[..end.unwrap_or_default()]);
        }
        None if stem.len() <= room => temporary.push(stem),
        // What is no text cannot be cut short; the random number is name enough.
        None => {}
    }
    temporary.push(end);
    temporary
}

/// Whether a name is one that [`temporary`] makes.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let is_mark = |part: &OsStr| {
        let Some(random) = part.to_str().and_then(|part| part.strip_prefix(MARK)) else { return false };
        random.len() == 16 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !name.as_encoded_bytes().starts_with(b".") {
        return false;
    }
    let path = Path::new(name);
    // The mark is the last part, or the last but the extension.
    let last = path.extension();
    let before = path.file_stem().and_then(|stem| Path::new(stem).extension());
    last.is_some_and(is_mark) || before.is_some_and(is_mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn named(name: &str, random: u64) -> String {
        temporary(OsStr::new(name), random).into_string().unwrap()
    }

    #[test]
    fn a_temporary_file_is_hidden_beside_its_target_and_has_its_extension() {
        assert_eq!(named("a.json", 0x1f), ".a.tallyfold-000000000000001f.json");
        assert_eq!(named("model.tar.gz", 1), ".model.tar.tallyfold-0000000000000001.gz");
        assert_eq!(named("Makefile", 1), ".Makefile.tallyfold-0000000000000001");
        assert_eq!(named(".bashrc", 1), "..bashrc.tallyfold-0000000000000001");
        assert_ne!(named("a.json", 1), named("a.yaml", 1));
    }

    #[test]
    fn the_longest_names_have_room_for_a_temporary_one() {
        for name in ["x".repeat(250) + ".json", "é".repeat(125) + ".json", "x".repeat(255)] {
            let temporary = named(&name, 7);
            assert!(temporary.len() <= LONGEST && is_temporary(OsStr::new(&temporary)), "{temporary}");
        }
    }

    #[test]
    fn what_no_writer_of_ours_has_named_is_not_taken_for_a_leftover() {
        for name in [
            "a.tallyfold-0000000000000001.json",
            ".a.tallyfold-000000000000001.json",
            ".a.tallyfold-000000000000000G.json",
            ".a.tallyfold-0000000000000001.json.bak",
            ".tallyfold",
            ".a.json",
            "a.json",
        ] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn lock_files_are_named_as_the_pipelines_name_them() {
        for (path, appended, replaced) in [
            ("d/a.json", "d/a.json.lock", "d/a.lock"),
            ("a", "a.lock", "a.lock"),
            (".a", ".a.lock", ".a.lock"),
            ("d.x/a", "d.x/a.lock", "d.x/a.lock"),
            ("a.tar.gz", "a.tar.gz.lock", "a.tar.lock"),
        ] {
            assert_eq!(lock_path(path, LockName::Appended), Path::new(appended));
            assert_eq!(lock_path(path, LockName::Replaced), Path::new(replaced));
            assert!(is_lock_file(lock_path(path, LockName::Appended).file_name().unwrap()));
        }
        assert!(!is_lock_file(OsStr::new("lock")) && !is_lock_file(OsStr::new(".lock")));
    }

    quickcheck! {
        fn every_temporary_name_is_known_for_one_and_is_one_component(name: String, random: u64) -> bool {
            let Some(name) = Path::new(&name).file_name() else { return true };
            let temporary = temporary(name, random);
            is_temporary(&temporary) && Path::new(&temporary).file_name() == Some(&temporary)
        }
    }
}
