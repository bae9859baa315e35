//! JSON merge patch (RFC 7396) on text.

use super::nonfinite::{escape, has_nonfinite, unescape};
use super::object::pairs;
use super::{Fault, Text, key_of};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// serde_json parses nothing as deep as this, so no checked value is.
const DEPTH_LIMIT: usize = 128;

/// Merges a patch into a value. Both come as text and flag, and have been checked on append.
///
/// - Members of a patch replace members of the value, or are merged into them where both are
///   objects; `null` removes one.
/// - A patch that is not an object replaces the value, whatever it was. So a patch that is `null`
///   leaves `null`, not nothing: only a member can be removed.
/// - The first patch is merged onto nothing, which takes the `null` members out of it, at any
///   depth.
///
/// The bytes of the result depend on nothing but the two texts. A member of the old value keeps its
/// place and the text of its key; new members follow in the order of the patch. Keys are equal if
/// they mean the same string. Of members with equal keys the last counts, at the place of the
/// first. What need not be taken apart is carried as text.
///
/// The result is under the flag if, and only if, it holds a non-finite number. Text that is not
/// JSON is a [`Fault`]; what else a check refuses is not looked for again.
pub(crate) fn merge(old: Option<(&str, bool)>, patch: (&str, bool)) -> Result<Text, Fault> {
    let flagged = patch.1 || old.is_some_and(|(_, nonfinite)| nonfinite);
    let old = old.map(|old| bring_under(flagged, old));
    let patch = bring_under(flagged, patch);

    let mut text = String::new();
    merge_json(old.as_deref().map(parse).transpose()?, parse(&patch)?, 0, &mut text)?;

    let nonfinite = flagged && has_nonfinite(&text);
    if flagged
        && !nonfinite
        && let Cow::Owned(unescaped) = unescape(&text)
    {
        text = unescaped;
    }
    Ok(Text { text, nonfinite })
}

/// A text as it is under the flag if it has to be: texts can be merged only if their strings are
/// spelled alike.
fn bring_under(flag: bool, (text, nonfinite): (&str, bool)) -> Cow<'_, str> {
    if flag && !nonfinite { escape(text) } else { Cow::Borrowed(text) }
}

/// One JSON text, without taking it apart.
fn parse(text: &str) -> Result<&str, Fault> {
    Ok(serde_json::from_str::<&RawValue>(text)?.get())
}

/// Appends to `out` what RFC 7396 calls `MergePatch(old, patch)`; `depth` objects are open around
/// both.
fn merge_json(old: Option<&str>, patch: &str, depth: usize, out: &mut String) -> Result<(), Fault> {
    if !is_object(patch) {
        out.push_str(patch);
        return Ok(());
    }
    if depth == DEPTH_LIMIT {
        return Err(Fault::whole("recursion limit exceeded"));
    }

    let mut members = Members::default();
    if let Some(old) = old.filter(|old| is_object(old)) {
        for (key, value) in pairs(old)? {
            members.with_key(key)?.old = Some(value);
        }
    }
    for (key, value) in pairs(patch)? {
        members.with_key(key)?.patch = Some(value);
    }

    out.push('{');
    let mut separator = "";
    for member in members.in_order {
        if member.patch == Some("null") {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        out.push_str(member.key);
        out.push(':');
        match (member.old, member.patch) {
            (old, Some(patch)) => merge_json(old, patch, depth + 1, out)?,
            (Some(old), None) => out.push_str(old),
            // A member is made for the one or the other.
            (None, None) => return Err(Fault::whole("a member without a value")),
        }
    }
    out.push('}');
    Ok(())
}

/// Whether a JSON text without white space around it is an object.
fn is_object(text: &str) -> bool {
    text.starts_with('{')
}

/// The members of an old value and a patch, each where its key stands first.
#[derive(Default)]
struct Members<'a> {
    /// One for each key.
    in_order: Vec<Member<'a>>,
    /// Where in `in_order` a key is, by the string that it means.
    places: HashMap<Cow<'a, str>, usize>,
}

/// What stands under one key, all of it as text.
struct Member<'a> {
    /// The key as it was written first.
    key: &'a str,
    /// The last value of the old object, if it has any.
    old: Option<&'a str>,
    /// The last value of the patch, if it has any.
    patch: Option<&'a str>,
}

impl<'a> Members<'a> {
    /// The member with a key, given as text; a new one at the end if there is none.
    fn with_key(&mut self, key: &'a str) -> Result<&mut Member<'a>, Fault> {
        let meaning = key_of(key.as_bytes()).ok_or_else(|| Fault::whole(format!("{key} is not a key")))?;
        let end = self.in_order.len();
        let place = *self.places.entry(meaning).or_insert(end);
        if place == end {
            self.in_order.push(Member { key, old: None, patch: None });
        }
        // `place` is below `end` or is `end`, where a member has just been put.
        Ok(&mut self.in_order[place])
    }
}

#[cfg(test)]
mod tests {
    use super::super::nonfinite::{Meaning, meaning, spelling};
    use super::super::samples::{Json, Mutated, checked, encoded};
    use super::*;
    use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};
    use serde_json::{Value, json};

    /// MergePatch as RFC 7396 writes it down.
    fn reference(old: Option<Value>, patch: Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch;
        };
        let mut target = match old {
            Some(Value::Object(old)) => old,
            _ => serde_json::Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
            } else {
                let merged = reference(target.remove(&key), value);
                target.insert(key, merged);
            }
        }
        Value::Object(target)
    }

    /// What a text means, with non-finite numbers as lists of their name: a merge does not look
    /// into lists.
    fn understood(text: &str, nonfinite: bool) -> Value {
        fn number_or_string(value: Value) -> Value {
            match value {
                Value::String(string) => match meaning(&string) {
                    Meaning::Number(number) => json!([spelling(number)]),
                    Meaning::Text(string) => string.into(),
                },
                Value::Array(elements) => elements.into_iter().map(number_or_string).collect(),
                Value::Object(members) => {
                    members.into_iter().map(|(key, value)| (key, number_or_string(value))).collect()
                }
                other => other,
            }
        }
        let value = serde_json::from_str(text).unwrap();
        if nonfinite { number_or_string(value) } else { value }
    }

    /// A checked text and a flag; most are objects with few keys, so that merges find something to
    /// do.
    #[derive(Clone, Debug)]
    struct Given(String, bool);

    impl Given {
        fn parts(&self) -> (&str, bool) {
            (&self.0, self.1)
        }
    }

    impl Arbitrary for Given {
        fn arbitrary(g: &mut Gen) -> Given {
            loop {
                let Json(text) = Json::arbitrary(g);
                if let Ok(text) = checked(&text)
                    && (text.starts_with('{') || u8::arbitrary(g).is_multiple_of(4))
                {
                    return Given(text, bool::arbitrary(g));
                }
            }
        }
    }

    #[test]
    fn a_merge_means_what_the_rfc_says() {
        fn holds(first: Option<Given>, patches: Vec<Given>) -> bool {
            let mut text = first.as_ref().map(|it| Text { text: it.0.clone(), nonfinite: it.1 });
            let mut value = first.map(|it| understood(&it.0, it.1));
            for patch in patches.iter().take(4) {
                let old = text.as_ref().map(|it| (it.text.as_str(), it.nonfinite));
                let merged = merge(old, patch.parts()).unwrap();
                let expected = reference(value, understood(&patch.0, patch.1));
                let sound = understood(&merged.text, merged.nonfinite) == expected
                    && checked(&merged.text).as_ref() == Ok(&merged.text)
                    && (!merged.nonfinite || has_nonfinite(&merged.text));
                if !sound {
                    return false;
                }
                text = Some(merged);
                value = Some(expected);
            }
            true
        }
        QuickCheck::new().tests(5_000).quickcheck(holds as fn(Option<Given>, Vec<Given>) -> bool);
    }

    #[test]
    fn text_that_is_not_json_never_panics_and_never_gets_in() {
        fn holds(old: Option<Mutated>, patch: Mutated, flags: (bool, bool)) -> TestResult {
            let old = old.as_ref().map(|it| (it.0.as_str(), flags.0));
            match merge(old, (&patch.0, flags.1)) {
                Ok(merged) => TestResult::from_bool(serde_json::from_str::<&RawValue>(&merged.text).is_ok()),
                Err(_) => TestResult::from_bool(
                    checked(&patch.0).is_err() || old.is_some_and(|old| checked(old.0).is_err()),
                ),
            }
        }
        QuickCheck::new()
            .tests(5_000)
            .quickcheck(holds as fn(Option<Mutated>, Mutated, (bool, bool)) -> TestResult);

        let deep = r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000);
        for text in ["", "{", "{\"a\":1", "{\"a\":}", "nul", "1 2", "\"", deep.as_str()] {
            let start: String = text.chars().take(20).collect();
            assert!(merge(None, (text, false)).is_err(), "{start}");
            assert!(merge(Some(("1", true)), (text, false)).is_err(), "{start}");
        }
        assert!(merge(Some(("{", false)), ("{}", false)).is_err());
        assert!(merge(None, (r#"{"\ud800":1}"#, false)).is_err());
    }

    #[track_caller]
    fn merges(old: &str, patch: &str, expected: &str) {
        let merged = merge(Some((old, false)), (patch, false)).unwrap();
        assert_eq!((merged.text.as_str(), merged.nonfinite), (expected, false));
    }

    /// The table at the end of the RFC.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        merges(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        merges(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        merges(r#"{"a":"b"}"#, r#"{"a":null}"#, "{}");
        merges(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        merges(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        merges(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#);
        merges(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        merges(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        merges(r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#);
        merges(r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#);
        merges(r#"{"a":"foo"}"#, "null", "null");
        merges(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        merges(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
        merges("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
        merges("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    }

    #[test]
    fn the_first_patch_loses_its_nulls() {
        let merged = merge(None, (r#"{"a":{"b":null,"c":[null]},"d":null}"#, false)).unwrap();
        assert_eq!(merged.text, r#"{"a":{"c":[null]}}"#);
        assert_eq!(merge(None, ("null", false)).unwrap().text, "null");
    }

    #[test]
    fn members_keep_their_place_and_numbers_their_text() {
        merges(
            r#"{"z":1.50,"a":{"x":1E2},"m":-0}"#,
            r#"{"new":0.10,"m":1e0,"a":{"y":2.0}}"#,
            r#"{"z":1.50,"a":{"x":1E2,"y":2.0},"m":1e0,"new":0.10}"#,
        );
    }

    #[test]
    fn keys_are_equal_if_they_mean_the_same() {
        merges(r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"\u0061":2}"#);
        merges(r#"{"a":1}"#, r#"{"\u0061":null}"#, "{}");
    }

    #[test]
    fn of_equal_keys_the_last_counts_at_the_place_of_the_first() {
        merges(r#"{"a":1,"b":2,"a":3}"#, "{}", r#"{"a":3,"b":2}"#);
        merges(r#"{"b":2}"#, r#"{"a":1,"b":3,"a":null}"#, r#"{"b":3}"#);
        merges(r#"{"b":2}"#, r#"{"b":null,"b":{"c":null}}"#, r#"{"b":{}}"#);
    }

    #[test]
    fn the_flag_lasts_as_long_as_a_number_needs_it() {
        let old = encoded(&json!({"text": "NaN", "tilde": "~NaN"})).unwrap();
        let number = encoded(&HashMap::from([("auc", f64::NAN)])).unwrap();
        let both = merge(Some((&old.text, old.nonfinite)), (&number.text, number.nonfinite)).unwrap();
        let written = |merged: &Text| understood(&merged.text, merged.nonfinite);
        assert!(both.nonfinite);
        assert_eq!(written(&both), json!({"text": "NaN", "tilde": "~NaN", "auc": ["NaN"]}));

        let finite = merge(Some((&both.text, true)), (r#"{"auc":"Infinity"}"#, false)).unwrap();
        assert!(!finite.nonfinite);
        assert_eq!(written(&finite), json!({"text": "NaN", "tilde": "~NaN", "auc": "Infinity"}));
    }

    #[test]
    fn the_deepest_values_merge() {
        let deep = r#"{"a":"#.repeat(127) + "1" + &"}".repeat(127);
        let merged = merge(Some((&deep, false)), (&deep, false)).unwrap();
        assert_eq!(checked(&merged.text).unwrap(), deep);
    }
}
