//! What says that a bundle is there, and what is in it: the record that commits a version, and the version's manifest.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::names;
use crate::settings::DOCUMENT_VERSION;
use crate::sys::{Dir, File, Names};

/// The longest file name in a bundle, in bytes: what file systems take.
const MAX_FILE_NAME: usize = 255;
/// The most that a manifest may hold.
const MANIFEST_BYTES: u64 = 1 << 30;
const BUFFER: usize = 1 << 20;

/// A file of a bundle, as the manifest tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    #[serde(with = "hex")]
    pub(crate) crc32: u32,
}

impl BundleFile {
    /// Its name in the version's directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The CRC-32 of its bytes, the same as Python's `zlib.crc32`.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }
}

/// CRCs as every document has them: 8 lower-case hexadecimal digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(crc: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{crc:08x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        match u32::from_str_radix(&text, 16) {
            Ok(crc) if format!("{crc:08x}") == text => Ok(crc),
            _ => Err(D::Error::custom("a CRC has 8 lower-case hexadecimal digits")),
        }
    }
}

/// What a committing record says of its bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    /// The directory with the files.
    pub(super) version: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
    #[serde(with = "hex")]
    pub(super) manifest_crc32: u32,
    /// Older versions that are kept, newest first. So the state alone tells which directories belong to somebody.
    pub(super) previous: Vec<String>,
}

/// The value of a committing record.
#[derive(Deserialize)]
struct Record<'a> {
    bundle: Committed,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl Committed {
    /// The value of the record: the user's beside where the bundle is.
    pub(super) fn record(&self, value: &str) -> Result<String> {
        Ok(format!("{{\"bundle\":{},\"value\":{value}}}", text(self)?))
    }

    /// What a value says of a bundle, and the user's own value; `None` if it is no record of a bundle.
    pub(super) fn parse(json: &str) -> Option<(Committed, &str)> {
        let record: Record<'_> = serde_json::from_str(json).ok()?;
        let bundle = record.bundle;
        let ours = |version: &String| names::parse_version(version).is_some();
        // A merge whose patch was null has taken the member away.
        let value = record.value.map_or("null", RawValue::get);
        (ours(&bundle.version) && bundle.previous.iter().all(ours)).then_some((bundle, value))
    }

    /// Every version that it names.
    pub(super) fn names(&self, version: &str) -> bool {
        self.version == version || self.previous.iter().any(|previous| previous == version)
    }
}

/// `manifest.json`. The record knows its CRC, and it knows those of the files.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest<'a> {
    tallyfold: u32,
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) nonfinite: bool,
    #[serde(borrow)]
    pub(super) value: &'a RawValue,
    pub(super) files: Vec<BundleFile>,
}

impl<'a> Manifest<'a> {
    /// The text of a manifest.
    pub(super) fn text(key: &str, value: &str, nonfinite: bool, files: &[BundleFile]) -> Result<String> {
        let value: &RawValue = serde_json::from_str(value).map_err(|e| Error::invalid(e.to_string()))?;
        let (key, files) = (key.to_string(), files.to_vec());
        Ok(text(&Manifest { tallyfold: DOCUMENT_VERSION, key, nonfinite, value, files })? + "\n")
    }

    /// What [`text`](Manifest::text) made. What is wrong stands in a sentence about the file.
    pub(super) fn parse(text: &'a str) -> std::result::Result<Manifest<'a>, String> {
        let manifest: Manifest<'a> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if manifest.tallyfold > DOCUMENT_VERSION {
            return Err("a newer version has written it".into());
        }
        match manifest.files.iter().find(|file| check_name(&file.name).is_err()) {
            Some(file) => Err(format!("{:?} is no name of a file", file.name)),
            None => Ok(manifest),
        }
    }
}

/// The bytes of a manifest.
pub(super) fn read_manifest(dir: &Dir) -> Result<Vec<u8>> {
    dir.open_read(names::MANIFEST, Names::Several)?.read_all(MANIFEST_BYTES)
}

/// Where a staged version goes: for whoever finds it when its writer is dead.
#[derive(Serialize, Deserialize)]
pub(super) struct Place {
    tallyfold: u32,
    pub(super) key: String,
}

impl Place {
    pub(super) fn text(key: &str) -> Result<String> {
        Ok(text(&Place { tallyfold: DOCUMENT_VERSION, key: key.to_string() })? + "\n")
    }
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::invalid(e.to_string()))
}

/// Refuses what cannot be the name of a file in a bundle.
pub(super) fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "a file needs a name"
    } else if name.len() > MAX_FILE_NAME {
        "it is longer than 255 bytes"
    } else if name.contains(['/', '\0']) || cfg!(windows) && name.contains(['\\', ':']) {
        "a bundle has no directories inside"
    } else if name == "." || name == ".." {
        "it leads to a directory"
    } else if name == names::MANIFEST {
        "the bundle's own list of files has this name"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("refused as the name of a file in a bundle: {name:?}: {why}"))
        .advise("give the file another name in the bundle"))
}

/// The length and the CRC of what is in a file.
pub(super) fn measure(file: &File) -> Result<(u64, u32)> {
    let (mut hasher, mut buffer, mut at) = (crc32fast::Hasher::new(), vec![0; BUFFER], 0);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok((at, hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}

/// Copies a file that nobody writes to meanwhile. Returns its length and CRC.
pub(super) fn copy(from: &File, to: &File) -> Result<(u64, u32)> {
    let before = from.stamp()?;
    let (mut hasher, mut buffer, mut at) = (crc32fast::Hasher::new(), vec![0; BUFFER], 0);
    loop {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_at(&buffer[..read], at).map_err(|short| short.error)?;
        at += read as u64;
        crate::sys::reached("a part of a file copied");
    }
    if before != from.stamp()? || at != before.0 {
        return Err(Error::new(Kind::Conflict, "the file was changed while it was copied")
            .at(from.path())
            .advise("add it when whoever writes it has ended"));
    }
    Ok((at, hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_of_a_bundle_is_none() {
        let version = names::version(3, 7);
        let committed = Committed {
            version: version.clone(),
            files: 1,
            bytes: 2,
            manifest_crc32: 0x00ab_cdef,
            previous: vec![names::version(1, 9)],
        };
        let record = committed.record(r#"{"auc":0.610}"#).unwrap();
        assert_eq!(Committed::parse(&record), Some((committed, r#"{"auc":0.610}"#)));
        for wrong in [
            "1".to_string(),
            r#"{"bundle":{"version":"x"}}"#.into(),
            record.replace(&version, "../../etc"),
            record.replace(&names::version(1, 9), ".."),
            record.replace("00abcdef", "abcdef"),
            record.replace("\"files\":1,", ""),
        ] {
            assert_eq!(Committed::parse(&wrong), None, "{wrong}");
        }
        let without_value = record.replace(r#","value":{"auc":0.610}"#, "");
        assert_eq!(Committed::parse(&without_value).unwrap().1, "null");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused_in_a_bundle_and_in_a_manifest() {
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "manifest.json", &"x".repeat(256)] {
            assert!(check_name(name).unwrap_err().is_invalid(), "{name:?}");
            let file = BundleFile { name: name.into(), bytes: 1, crc32: 2 };
            let text = Manifest::text("k", "1", false, &[file]).unwrap();
            assert!(Manifest::parse(&text).is_err(), "{name:?}");
        }
        for name in ["weights.pt", ".gitattributes", "a b", "ü\n", "...", "latest", "lock"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn a_manifest_of_a_newer_version_is_not_read() {
        let text = Manifest::text("k", "[1.50]", true, &[]).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!((manifest.key.as_str(), manifest.value.get(), manifest.nonfinite), ("k", "[1.50]", true));
        let newer = text.replace(r#""tallyfold":1"#, r#""tallyfold":2"#);
        assert!(Manifest::parse(&newer).is_err_and(|what| what.contains("newer")));
    }
}
