//! Names, keys and values that somebody may have meant badly: none leaves the store, forges a line or ends a process.
#![allow(clippy::disallowed_methods, reason = "tests look at files directly")]

mod common;
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use common::Ended;
use fixture::Fixture;
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Value, json};
use tallyfold::{Batch, Settings, Store};

/// Names that are no plain names, and `None` or why they are refused.
fn odd_names() -> Vec<(String, Option<&'static str>)> {
    let taken = [
        "../x",
        "../../../../etc/cron.d/x",
        "a/b",
        "a\\b",
        "..",
        ".",
        "...",
        "./c",
        "c/",
        "c/.",
        "/abs",
        "~",
        "-rf",
        "--store",
        "a\0b",
        "\0",
        "a\nb",
        "\r\n",
        "\t",
        " ",
        "c ",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{9b}2J",
        "\u{202e}gpj",
        "\u{feff}",
        "ü",
        "CON",
        "con",
        "Con.txt",
        "PRN",
        "aux.json",
        "NUL",
        "nul.",
        "COM1",
        "com9.log",
        "LPT1",
        "lpt9",
        "COM0",
        "CONSOLE",
        "store.json",
        "STORE.JSON",
        "lock",
        "control",
        "snapshot.json",
        "quarantine",
        ".new-0123456789abcdef",
        "json.0123456789abcdef.tmp",
        "%",
        "%%",
        "%4",
        "%41",
        "%2F",
        "%2e%2e",
        "%00",
        "%zz",
        "*?",
        "a:b",
        "c:stream",
        "\"'`$(id)",
    ];
    let refused = [
        (String::new(), Some("empty")),
        ("x".repeat(129), Some("at most 128 bytes")),
        ("x".repeat(1 << 20), Some("at most 128 bytes")),
        ("/".repeat(81), Some("243 bytes as a directory name")),
        ("ü".repeat(64), Some("384 bytes as a directory name")),
    ];
    let longest = ["x".repeat(128), "/".repeat(80)].map(|name| (name, None));
    taken.iter().map(|name| (name.to_string(), None)).chain(longest).chain(refused).collect()
}

/// Every path below a directory, relative to it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            all.extend(below(&path));
        }
        all.push(path);
    }
    all.sort();
    all
}

#[test]
fn odd_cohort_names_are_encoded_inside_the_store_or_refused() {
    let fixture = Fixture::in_memory();
    let mut expected = Vec::new();
    for (name, refused) in odd_names() {
        if let Some(why) = refused {
            for error in [
                fixture.store.create(&name, Settings::latest()).unwrap_err(),
                fixture.store.cohort(&name).unwrap_err(),
            ] {
                assert!(error.is_invalid() && error.to_string().contains(why), "{error}");
            }
            continue;
        }
        assert!(
            fixture.store.cohort(&name).unwrap_err().is_not_found(),
            "{name:?}: no other name leads to it"
        );
        let cohort = fixture.store.create(&name, Settings::latest()).unwrap();
        cohort.append("k", &name).unwrap();
        cohort.compact().unwrap();
        let path = cohort.path();
        assert_eq!(path.parent(), Some(fixture.store.path()), "{name:?}");
        let last = path.components().next_back();
        let Some(Component::Normal(directory)) = last else { panic!("{name:?}: {last:?}") };
        let directory = directory.to_str().unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
        assert!(directory.chars().all(plain) && !directory.starts_with('.'), "{name:?}: {directory}");
        let entry = fixture.reopen(&name).view().unwrap().get("k").unwrap().unwrap();
        assert_eq!(entry.to::<String>().unwrap(), name);
        assert!(!fixture.reopen(&name).verify().unwrap().is_damaged());
        expected.push(name);
    }
    expected.sort();
    assert_eq!(fixture.store.cohorts().unwrap(), expected);
    assert_eq!(fixture::names(fixture.dir.path()), ["store"], "nothing left the store");
}

/// A directory that no encoding made is no cohort, whatever is in it.
#[test]
fn a_directory_under_a_name_that_is_not_encoded_is_no_cohort() {
    let fixture = Fixture::in_memory();
    let made = fixture.store.create("a", Settings::log()).unwrap();
    for name in ["%61", "a%2f", "%C3", ".a", "a."] {
        fixture::copy_all(&made.path(), &fixture.store.path().join(name));
    }
    assert_eq!(fixture.store.cohorts().unwrap(), ["a"]);
    assert!(fixture.store.cohort("a/").unwrap_err().is_not_found());
}

fn no_control_characters(ended: &Ended) {
    for text in [&ended.out, &ended.err] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn the_command_takes_odd_names_and_shows_none_of_their_control_characters() {
    let fixture = common::Fixture::new();
    let mut expected = Vec::new();
    for (name, refused) in odd_names() {
        // What no command line can say, and what it takes for something else.
        if name.contains('\0') || name.len() > 1000 {
            continue;
        }
        let mut command = fixture.bare(common::TALLYFOLD, &["append", "--store"]);
        command.arg(fixture.store()).args(["--key", "k", "--", &name]);
        let ended = common::feed(command, b"\"v\"");
        no_control_characters(&ended);
        match refused {
            Some(why) => drop(ended.fails(1, &[why])),
            None => {
                assert_eq!(ended.ok(), "1\n", "{name:?}");
                expected.push(name);
            }
        }
    }
    expected.sort();
    let listed: Vec<_> = fixture.run(&["ls", "--json"]).json();
    let listed: Vec<_> = listed.iter().map(|row| row["cohort"].as_str().unwrap()).collect();
    assert_eq!(listed, expected);
    for verb in ["ls", "verify", "compact", "stats"] {
        let ended = fixture.run(&[verb]);
        assert_eq!(ended.code, 0, "{verb}: {ended:?}");
        no_control_characters(&ended);
    }
    assert_eq!(fixture::names(fixture.dir()), ["store"]);
}

/// Keys and strings with everything that could end a line, a string or a frame.
fn odd_texts() -> Vec<String> {
    let mut texts: Vec<String> = (0..=0x9Fu8).map(|byte| format!("a{}b", byte as char)).collect();
    let more = [
        "",
        "\"",
        "\\",
        "\\\"",
        "\",\"seq\":9",
        "k\":{\"seq\":1,\"value\":1}\n",
        "\n},\"entries\":0",
        "\r\n\r\n",
        "\0\0\0",
        "null",
        "\u{2028}\u{2029}",
        "\u{feff}",
        "\u{10ffff}",
        "~NaN",
        "NaN",
        "TALLYSEG",
        "__proto__",
        "é\u{301}",
    ];
    texts.extend(more.map(String::from));
    texts.push("x".repeat(65_535));
    texts
}

#[test]
fn keys_and_values_of_any_characters_come_back_as_they_were_and_forge_no_line() {
    for settings in [Settings::latest(), Settings::merge()] {
        let fixture = Fixture::in_memory();
        let cohort = fixture.create("c", settings.compact_bytes(0));
        let mut expected = BTreeMap::new();
        for text in odd_texts() {
            let value = json!({"text": text, "again": [text], text.clone(): 1});
            cohort.append(&text, &value).unwrap();
            expected.insert(text, value);
        }
        let entries = |fixture: &Fixture| -> BTreeMap<String, Value> {
            let view = fixture.reopen("c").view().unwrap();
            view.iter()
                .map(|item| item.unwrap())
                .map(|(key, entry)| (key.to_string(), serde_json::from_str(entry.json()).unwrap()))
                .collect()
        };
        assert_eq!(entries(&fixture), expected, "from the journal");
        cohort.compact().unwrap();
        assert_eq!(entries(&fixture), expected, "from the snapshot");
        let text = fs::read_to_string(cohort.path().join("snapshot.json")).unwrap();
        assert_eq!(text.lines().count(), expected.len() + 2, "a line for each entry");
        let snapshot: Value = serde_json::from_str(&text).unwrap();
        let state = snapshot["state"].as_object().unwrap();
        assert_eq!(state.len(), expected.len());
        assert!(expected.iter().all(|(key, value)| state[key]["value"] == *value));
        assert!(!cohort.verify().unwrap().is_damaged());
        let too_long = cohort.append(&"x".repeat(65_536), &1).unwrap_err();
        assert!(too_long.is_invalid() && too_long.to_string().contains("65"), "{too_long}");
    }
}

#[test]
fn the_command_takes_and_prints_keys_of_any_characters() {
    let fixture = common::Fixture::new();
    let texts: Vec<String> = odd_texts().into_iter().filter(|text| !text.contains('\0')).collect();
    let lines: String = texts.iter().map(|text| json!({"id": text}).to_string() + "\n").collect();
    let last = fixture.feed(&["append", "c", "--key-from", "id"], lines).ok();
    assert_eq!(last, format!("{}\n", texts.len()));
    let state: Value = serde_json::from_str(&fixture.ok(&["get", "c"])).unwrap();
    let log = fixture.run(&["log", "c"]).json();
    assert_eq!(log.len(), texts.len(), "a line for each record");
    for (record, text) in log.iter().zip(&texts) {
        assert_eq!(record["value"]["id"], **text);
        assert_eq!(state[record["key"].as_str().unwrap()]["id"], **text);
    }
    for text in texts.iter().filter(|text| text.len() < 100) {
        let key = text.replace('%', "%25").replace(':', "%3A");
        let mut command = fixture.bare(common::TALLYFOLD, &["get", "--store"]);
        command.arg(fixture.store()).args(["--", "c", &key]);
        let value: Value = serde_json::from_str(&Ended::from(command.output().unwrap()).ok()).unwrap();
        assert_eq!(value["id"], **text);
    }
}

/// The story: JSON lets DEL and the characters from U+0080 to U+009F stand in strings as they are, and to some terminals U+009B
/// begins a command as ESC [ does.
#[test]
fn no_value_speaks_to_a_terminal() {
    let fixture = common::Fixture::new();
    let value = "\"\u{9b}31m\u{7f}\u{85}\"";
    fixture.feed(&["append", "c", "--key", "\u{9b}2J"], value).ok();
    assert_eq!(fixture.ok(&["get", "c", "\u{9b}2J"]), format!("{value}\n"), "to a file as it is");
    for args in [&["get", "c", "\u{9b}2J"][..], &["get", "c"], &["log", "c"]] {
        // script gives it a terminal, and writes a carriage return before every newline.
        let line: Vec<String> = [common::TALLYFOLD, "--store", "store"]
            .iter()
            .chain(args)
            .map(|word| format!("'{word}'"))
            .collect();
        let mut command = fixture.bare("script", &["-qec", &line.join(" "), "/dev/null"]);
        let shown = match command.output() {
            Err(e) => return println!("skipped: script cannot be started: {e}"),
            Ok(output) => Ended::from(output).ok(),
        };
        assert!(shown.contains(r"\u009b31m\u007f\u0085"), "{args:?}: {shown:?}");
        // Our own colours are all that may be there.
        let plain = [0, 1, 2, 31, 32, 33]
            .iter()
            .fold(shown.clone(), |shown, code| shown.replace(&format!("\x1b[{code}m"), ""));
        assert!(!plain.contains(|c: char| c.is_control() && !"\r\n".contains(c)), "{args:?}: {shown:?}");
    }
}

/// So many arrays, one in the other.
struct Deep(u32);

impl Serialize for Deep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        if self.0 > 1 {
            array.serialize_element(&Deep(self.0 - 1))?;
        }
        array.end()
    }
}

const DEEP: usize = 1_000_000;

/// Names, lengths and contents of all files of a store, but for shared memory.
fn content(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = below(store).into_iter().filter(|path| path.is_file() && !path.ends_with("control"));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn values_nested_a_million_deep_are_refused_before_anything_is_written() {
    let fixture = Fixture::in_memory();
    for settings in [Settings::latest(), Settings::merge(), Settings::log()] {
        let name = format!("{:?}", settings.fold());
        let cohort = fixture.create(&name, settings.compact_bytes(0));
        cohort.append("k", &Deep(127)).unwrap();
        cohort.detach().unwrap();
        let before = content(fixture.store.path());
        let texts = [
            "[".repeat(DEEP) + &"]".repeat(DEEP),
            "{\"a\":".repeat(DEEP) + "1" + &"}".repeat(DEEP),
            "[{\"a\":".repeat(DEEP / 2) + "1" + &"}]".repeat(DEEP / 2),
            "[".repeat(128) + &"]".repeat(128),
            "[".repeat(DEEP),
        ];
        for text in &texts {
            let error = Batch::new().put_json("k", text).map(drop).unwrap_err();
            assert!(error.is_invalid(), "{error}");
        }
        for depth in [128, DEEP as u32] {
            let error = cohort.append("k", &Deep(depth)).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("recursion limit"), "{error}");
            assert!(cohort.update("n", |_| Ok(Some(Deep(depth)))).unwrap_err().is_invalid());
        }
        assert!(content(fixture.store.path()) == before, "nothing was written");
        assert_eq!(cohort.append("k", &1).unwrap(), 2);
    }
}

#[test]
fn the_command_refuses_values_nested_a_million_deep_and_names_their_line() {
    let fixture = common::Fixture::new();
    fixture.fill("c", &[], &[("k", "1")]);
    let before = content(&fixture.store());
    let deep = "{\"id\":".repeat(DEEP) + "1" + &"}".repeat(DEEP);
    for args in [&["append", "c"][..], &["append", "c", "--key-from", "id"], &["append", "c", "--batch", "9"]]
    {
        let lines = format!("{deep}\n{{\"id\":1}}\n");
        fixture.feed(args, lines).fails(1, &["line 1: ", "nothing was appended before"]);
    }
    let settings = fixture.dir().join("settings");
    fs::write(&settings, "[".repeat(DEEP)).unwrap();
    fixture.run(&["create", "d", "--settings", &format!("@{}", settings.display())]).fails(1, &["settings"]);
    assert!(content(&fixture.store()) == before, "nothing was written");
}

#[test]
fn documents_nested_a_million_deep_are_damage_and_not_the_end_of_the_process() {
    let fixture = Fixture::in_memory();
    let cohort = fixture.store.create("c", Settings::latest().compact_bytes(0)).unwrap();
    cohort.append("k", &1).unwrap();
    cohort.compact().unwrap();
    drop(cohort);
    let deep = "[".repeat(DEEP);
    let spoilt = |name: &str| {
        let copy = fixture.copy();
        fs::write(copy.store.path().join(name), &deep).unwrap();
        copy
    };
    for name in ["store.json", "c/cohort.json"] {
        let copy = spoilt(name);
        let opened = Store::open_existing(copy.store.path()).and_then(|store| store.cohort("c"));
        let error = opened.unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains(name), "{name}: {error:?}");
    }
    let view = spoilt("c/snapshot.json").reopen("c").view().unwrap();
    assert!(view.damage().is_some_and(|damage| damage.to_string().contains("snapshot.json")));
    assert_eq!(view.get("k").unwrap().unwrap().json(), "1", "from the journal");
}

/// What a command line cannot say: an argument ends at its first NUL. So it comes in a file.
#[test]
fn a_nul_in_a_key_comes_through_a_file_and_never_through_an_argument() {
    let fixture = common::Fixture::new();
    fixture.feed(&["append", "c", "--key-from", "id"], r#"{"id":"a\u0000b"}"#).ok();
    assert_eq!(fixture.run(&["log", "c"]).json()[0]["key"], "a\0b");
    assert!(Command::new(common::TALLYFOLD).args(["get", "c", "a\0b"]).output().is_err());
}
