//! The fields of a value that a plot is about, found in one pass over its text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The path that stands for the value itself.
const ITSELF: &str = ".";
/// At most so many names of metrics are collected.
const MOST_NAMES: usize = 40;
/// What stands for numbers that JSON cannot write.
const NONFINITE: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// The names of members that lead to a field, from the outside in. As text they are joined by dots; a dot that belongs to a name
/// is `\.`, a backslash `\\`. A dot alone is the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    names: Vec<String>,
    text: String,
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Path, String> {
        let mut names = Vec::new();
        if text != ITSELF {
            let mut name = String::new();
            let mut letters = text.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '.' => names.push(std::mem::take(&mut name)),
                    '\\' => match letters.next() {
                        Some(escaped @ ('.' | '\\')) => name.push(escaped),
                        _ => return Err("a backslash stands before a dot or a backslash only".into()),
                    },
                    other => name.push(other),
                }
            }
            names.push(name);
            if names.iter().any(String::is_empty) {
                return Err(
                    "it must be names joined by dots, none of them empty, or a dot for the value".into()
                );
            }
        }
        Ok(Path { names, text: text.to_string() })
    }

    /// As one name: a series has no others.
    pub(crate) fn flat(&self) -> String {
        self.names.join(".")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands in a field, if that is neither null nor a list or an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Number(f64),
    Text(String),
    Bool(bool),
}

impl Scalar {
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(_) | Scalar::Bool(_) => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Number(number) => write!(f, "{number}"),
            Scalar::Text(text) => f.write_str(text),
            Scalar::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// A set of paths, by their places in a list: at most 64.
type Paths = u64;

/// Finds what stands at each path; of members of the same name the last counts. Text that is no JSON has no fields.
pub(crate) fn find(paths: &[Path], json: &str, nonfinite: bool) -> Vec<Option<Scalar>> {
    let mut found = vec![None; paths.len()];
    let (mut here, mut below) = (0, 0);
    for (i, path) in paths.iter().enumerate().take(Paths::BITS as usize) {
        *(if path.names.is_empty() { &mut here } else { &mut below }) |= 1 << i;
    }
    let look = Look { paths, nonfinite, depth: 0, here, below, found: &mut found };
    match look.deserialize(&mut serde_json::Deserializer::from_str(json)) {
        Ok(()) => found,
        Err(_) => vec![None; paths.len()],
    }
}

/// A look at a value that is `here` for some paths, and holds what others are about.
struct Look<'a> {
    paths: &'a [Path],
    nonfinite: bool,
    depth: usize,
    here: Paths,
    below: Paths,
    found: &'a mut [Option<Scalar>],
}

impl Look<'_> {
    fn put(self, scalar: &Scalar) {
        for (i, place) in self.found.iter_mut().enumerate() {
            if self.here & (1 << i) != 0 {
                *place = Some(scalar.clone());
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.put(&Scalar::Number(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.put(&Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.put(&Scalar::Number(number as f64));
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.put(&Scalar::Bool(truth));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let scalar = match self.nonfinite {
            true => meaning(text),
            false => Scalar::Text(text.to_string()),
        };
        self.put(&scalar);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((here, below)) =
            members.next_key_seed(Name { paths: self.paths, depth: self.depth, among: self.below })?
        {
            if here | below == 0 {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            for (i, place) in self.found.iter_mut().enumerate() {
                if (here | below) & (1 << i) != 0 {
                    *place = None;
                }
            }
            let found = &mut *self.found;
            let (paths, nonfinite, depth) = (self.paths, self.nonfinite, self.depth + 1);
            members.next_value_seed(Look { paths, nonfinite, depth, here, below, found })?;
        }
        Ok(())
    }
}

/// A string under the flag: a number that is not finite, or text, with one `~` less where one was put in front.
fn meaning(text: &str) -> Scalar {
    let bare = text.trim_start_matches('~');
    match NONFINITE.iter().find(|(name, _)| *name == bare) {
        Some((_, number)) if bare.len() == text.len() => Scalar::Number(*number),
        Some(_) => Scalar::Text(text.strip_prefix('~').unwrap_or(text).to_string()),
        None => Scalar::Text(text.to_string()),
    }
}

/// The name of a member: which paths end there, and which go on below.
struct Name<'a> {
    paths: &'a [Path],
    depth: usize,
    among: Paths,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (Paths, Paths);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(Paths, Paths), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = (Paths, Paths);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<(Paths, Paths), E> {
        let (mut here, mut below) = (0, 0);
        for (i, path) in self.paths.iter().enumerate().take(Paths::BITS as usize) {
            if self.among & (1 << i) != 0 && path.names.get(self.depth).is_some_and(|wanted| wanted == name) {
                *(if path.names.len() == self.depth + 1 { &mut here } else { &mut below }) |= 1 << i;
            }
        }
        Ok((here, below))
    }
}

/// Names of the fields that are numbers, as a path would have them: for whoever has asked for one that is not there.
#[derive(Debug, Default)]
pub(crate) struct Names(std::collections::BTreeSet<String>);

impl Names {
    /// Adds those of a value.
    pub(crate) fn add(&mut self, json: &str, nonfinite: bool) {
        if let Ok(value) = serde_json::from_str(json) {
            self.walk(&mut String::new(), &value, nonfinite);
        }
    }

    pub(crate) fn insert(&mut self, name: &str) {
        if self.0.len() < MOST_NAMES {
            self.0.insert(escaped(name));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn walk(&mut self, path: &mut String, value: &Value, nonfinite: bool) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let end = path.len();
                    if end > 0 {
                        path.push('.');
                    }
                    path.push_str(&escaped(name));
                    self.walk(path, value, nonfinite);
                    path.truncate(end);
                }
            }
            Value::Number(_) => self.note(path),
            Value::String(text) if nonfinite && meaning(text).number().is_some() => self.note(path),
            _ => {}
        }
    }

    fn note(&mut self, path: &str) {
        if self.0.len() < MOST_NAMES {
            self.0.insert(if path.is_empty() { ITSELF.into() } else { path.to_string() });
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('\\', r"\\").replace('.', r"\.")
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(String::as_str).collect();
        f.write_str(&names.join(", "))?;
        if names.len() == MOST_NAMES { f.write_str(", …") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(paths: &[&str], json: &str) -> Vec<Option<Scalar>> {
        let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        find(&paths, json, false)
    }

    #[test]
    fn fields_are_found_at_any_depth_and_all_else_is_passed_over() {
        let json = r#"{"x":[1,{"a":9}],"a":{"b":2.5,"c":{"d":-3}},"s":"run","t":true,"n":null,"a.b":7}"#;
        let number = |number| Some(Scalar::Number(number));
        assert_eq!(at(&["a.b", "a.c.d", r"a\.b"], json), [number(2.5), number(-3.0), number(7.0)]);
        assert_eq!(at(&["s", "t"], json), [Some(Scalar::Text("run".into())), Some(Scalar::Bool(true))]);
        assert_eq!(at(&["n", "x", "a", "a.c", "a.b.c", "x.a", "nowhere"], json), vec![None; 7]);
    }

    #[test]
    fn the_value_itself_is_a_dot() {
        assert_eq!(at(&[".", "a"], "0.5"), [Some(Scalar::Number(0.5)), None]);
        assert_eq!(at(&["."], r#"{"a":1}"#), [None]);
    }

    #[test]
    fn one_path_may_be_the_beginning_of_another() {
        assert_eq!(at(&["a", "a.b"], r#"{"a":{"b":1}}"#), [None, Some(Scalar::Number(1.0))]);
        assert_eq!(at(&["a", "a.b"], r#"{"a":1}"#), [Some(Scalar::Number(1.0)), None]);
    }

    #[test]
    fn of_a_member_given_twice_the_last_counts() {
        assert_eq!(
            at(&["a", "b.c"], r#"{"a":1,"b":{"c":2},"a":3,"b":{}}"#),
            [Some(Scalar::Number(3.0)), None]
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_strings_under_the_flag() {
        let paths = ["a", "b", "c"].map(|path| Path::parse(path).unwrap());
        let json = r#"{"a":"-Infinity","b":"~NaN","c":"~"}"#;
        let text = |text: &str| Some(Scalar::Text(text.into()));
        let flagged = find(&paths, json, true);
        assert_eq!(flagged, [Some(Scalar::Number(f64::NEG_INFINITY)), text("NaN"), text("~")]);
        assert_eq!(find(&paths, json, false), [text("-Infinity"), text("~NaN"), text("~")]);
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        for path in ["", "a.", ".a", "a..b", r"a\b", r"a\"] {
            assert!(Path::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn names_of_numbers_are_spelled_as_a_path_would_have_them() {
        let mut names = Names::default();
        names.add(r#"{"a":{"b":1,"s":"x"},"c.d":2,"e":"NaN","l":[1]}"#, true);
        names.add("5", false);
        assert_eq!(names.to_string(), r"., a.b, c\.d, e");
    }
}
