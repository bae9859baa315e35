//! Values for the tests: JSON text as people write it, and Rust values of every shape.

use super::{Fault, Text, check, encode};
use quickcheck::{Arbitrary, Gen};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// What [`check`] makes of a text.
pub(super) fn checked(text: &str) -> Result<String, Fault> {
    let mut out = Vec::new();
    check(text, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// What [`encode`] makes of a value.
pub(super) fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Text, Fault> {
    let mut out = Vec::new();
    let nonfinite = encode(value, &mut out)?;
    Ok(Text { text: String::from_utf8(out).unwrap(), nonfinite })
}

/// JSON as people write it: odd white space, numbers, escapes, equal keys. Not all of it is a
/// value.
#[derive(Clone, Debug)]
pub(crate) struct Json(pub(crate) String);

impl Arbitrary for Json {
    fn arbitrary(g: &mut Gen) -> Json {
        let mut text = String::new();
        json(g, 4, &mut text);
        Json(text)
    }
}

/// [`Json`] with a few characters lost, put in or changed.
#[derive(Clone, Debug)]
pub(crate) struct Mutated(pub(crate) String);

impl Arbitrary for Mutated {
    fn arbitrary(g: &mut Gen) -> Mutated {
        let put: Vec<char> = "\"\\{}[],:0-.eud8n \n\t\u{b}\u{0}\u{a0}é🦀".chars().collect();
        let mut chars: Vec<char> = Json::arbitrary(g).0.chars().collect();
        for _ in 0..u8::arbitrary(g) % 3 {
            let at = usize::arbitrary(g) % (chars.len() + 1);
            match u8::arbitrary(g) % 3 {
                0 if at < chars.len() => chars[at] = pick(g, &put),
                1 if at < chars.len() => drop(chars.remove(at)),
                _ => chars.insert(at, pick(g, &put)),
            }
        }
        Mutated(chars.into_iter().collect())
    }
}

const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.50",
    "1E2",
    "1e+2",
    "1e308",
    "1e-999",
    "1e999",
    "-1e400",
    "18446744073709551615",
    "18446744073709551616",
    "0.1000000000000000055511151",
    "00",
    "-",
    ".5",
    "5.",
];

const STRINGS: [&str; 23] = [
    "a",
    "a",
    "\\u0061",
    "b",
    "c",
    "",
    " a : b ",
    "é🦀",
    "\\n",
    "\\\\",
    "\\\"",
    "[{,:",
    "\\ud83e\\udd80",
    "\\ud83e",
    "\\x",
    "NaN",
    "~NaN",
    "\\u007eNaN",
    "N\\u0061N",
    "Infinity",
    "-Infinity",
    "~~-Infinity",
    "~",
];

fn pick<T: Copy>(g: &mut Gen, from: &[T]) -> T {
    *g.choose(from).unwrap()
}

fn space(g: &mut Gen, out: &mut String) {
    out.push_str(pick(g, &["", "", "", " ", "\n", "\t\r\n "]));
}

fn quoted(g: &mut Gen, out: &mut String) {
    out.push('"');
    out.push_str(pick(g, &STRINGS));
    out.push('"');
}

fn json(g: &mut Gen, depth: u8, out: &mut String) {
    space(g, out);
    match u8::arbitrary(g) % if depth == 0 { 4 } else { 8 } {
        0 => out.push_str(pick(g, &["null", "true", "false"])),
        1 => out.push_str(pick(g, &NUMBERS)),
        2 => quoted(g, out),
        3 => out.push_str(&u32::arbitrary(g).to_string()),
        4 | 5 => {
            out.push('[');
            for at in 0..u8::arbitrary(g) % 4 {
                out.push_str(if at == 0 { "" } else { "," });
                json(g, depth - 1, out);
            }
            out.push(']');
        }
        _ => {
            out.push('{');
            for at in 0..u8::arbitrary(g) % 5 {
                out.push_str(if at == 0 { "" } else { "," });
                space(g, out);
                quoted(g, out);
                space(g, out);
                out.push(':');
                json(g, depth - 1, out);
            }
            space(g, out);
            out.push('}');
        }
    }
    space(g, out);
}

/// Every shape of serde's data model, and what its derives make of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Shape {
    Unit,
    NaN,
    #[serde(rename = "~NaN")]
    Tilde,
    Infinity(Box<Shape>),
    Bool(bool),
    Signed((i8, i16, i32, i64, i128)),
    Unsigned((u8, u16, u32, u64, u128)),
    Single(f32),
    Double(f64),
    Doubles(Vec<f64>, Option<f64>, BTreeMap<String, f64>),
    Char(char),
    String(String),
    Bytes(Bytes),
    Empty(Empty),
    Free(Free),
    Tagged(Tagged),
    Option(Option<Box<Shape>>),
    Newtype(Newtype),
    Seq(Vec<Shape>),
    Tuple(((), Box<Shape>)),
    Pair(Pair),
    Map(BTreeMap<String, Shape>),
    NumberKeys(BTreeMap<i64, Shape>),
    BoolKeys(BTreeMap<bool, Shape>),
    NameKeys(BTreeMap<Name, Shape>),
    Flat(Box<Flat>),
    Fields {
        a: Box<Shape>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
    },
    NoFields {},
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Empty;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Newtype(Box<Shape>);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair(Box<Shape>, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Name {
    NaN,
    #[serde(rename = "~NaN")]
    Tilde,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flat {
    a: Shape,
    #[serde(rename = "a\nb")]
    odd: Tagged,
    #[serde(flatten)]
    rest: BTreeMap<String, Free>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(super) enum Tagged {
    Score { it: f64, of: String },
    Nothing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Free {
    Number(f64),
    Text(String),
    Many(Vec<Free>),
    Named(BTreeMap<String, Free>),
}

/// A [`Shape`] that may hold NaN and infinities.
#[derive(Clone, Debug)]
pub(super) struct Any(pub(super) Shape);

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Any {
        Any(Shaper { g, finite: false }.shape(4))
    }
}

/// A [`Shape`] that JSON can hold as it is.
#[derive(Clone, Debug)]
pub(super) struct Finite(pub(super) Shape);

impl Arbitrary for Finite {
    fn arbitrary(g: &mut Gen) -> Finite {
        Finite(Shaper { g, finite: true }.shape(4))
    }
}

/// Makes shapes.
struct Shaper<'g> {
    g: &'g mut Gen,
    finite: bool,
}

impl Shaper<'_> {
    fn any<T: Arbitrary>(&mut self) -> T {
        T::arbitrary(self.g)
    }

    fn several<T, C: FromIterator<T>>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> C {
        (0..self.any::<u8>() % 4).map(|_| one(self)).collect()
    }

    fn double(&mut self) -> f64 {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        match self.any() {
            it if f64::is_finite(it) => it,
            _ if self.finite => 0.1,
            _ => pick(self.g, &odd),
        }
    }

    fn single(&mut self) -> f32 {
        match self.any() {
            it if f32::is_finite(it) => it,
            _ if self.finite => 0.1,
            it => it,
        }
    }

    fn string(&mut self) -> String {
        match self.any::<u8>() % 3 {
            0 => pick(self.g, &["NaN", "~NaN", "~~-Infinity", "Infinity", "~"]).to_owned(),
            _ => self.any(),
        }
    }

    fn tagged(&mut self) -> Tagged {
        match self.any() {
            true => Tagged::Nothing,
            false => Tagged::Score { it: self.double(), of: self.string() },
        }
    }

    fn free(&mut self, depth: u8) -> Free {
        match self.any::<u8>() % if depth == 0 { 2 } else { 4 } {
            0 => Free::Number(self.double()),
            1 => Free::Text(self.string()),
            2 => Free::Many(self.several(|it| it.free(depth - 1))),
            _ => Free::Named(self.several(|it| (it.string(), it.free(depth - 1)))),
        }
    }

    fn boxed(&mut self, depth: u8) -> Box<Shape> {
        Box::new(self.shape(depth))
    }

    fn shape(&mut self, depth: u8) -> Shape {
        let inner = depth.saturating_sub(1);
        match self.any::<u8>() % if depth == 0 { 15 } else { 28 } {
            0 => Shape::Unit,
            1 => Shape::NaN,
            2 => Shape::Tilde,
            3 => Shape::Bool(self.any()),
            4 => Shape::Signed(self.any()),
            5 => Shape::Unsigned(self.any()),
            6 => Shape::Single(self.single()),
            7 => Shape::Double(self.double()),
            8 => Shape::Doubles(
                self.several(Self::double),
                self.any::<bool>().then(|| self.double()),
                self.several(|it| (it.string(), it.double())),
            ),
            9 => Shape::Char(self.any()),
            10 => Shape::String(self.string()),
            11 => Shape::Bytes(Bytes(self.any())),
            12 => Shape::Empty(Empty),
            13 => Shape::Free(self.free(2)),
            14 => Shape::Tagged(self.tagged()),
            15 => Shape::Infinity(self.boxed(inner)),
            16 => Shape::Option(self.any::<bool>().then(|| self.boxed(inner))),
            17 => Shape::Newtype(Newtype(self.boxed(inner))),
            18 => Shape::Seq(self.several(|it| it.shape(inner))),
            19 => Shape::Tuple(((), self.boxed(inner))),
            20 => Shape::Pair(Pair(self.boxed(inner), self.string())),
            21 => Shape::Map(self.several(|it| (it.string(), it.shape(inner)))),
            22 => Shape::NumberKeys(self.several(|it| (it.any(), it.shape(inner)))),
            23 => Shape::BoolKeys(self.several(|it| (it.any(), it.shape(inner)))),
            24 => Shape::NameKeys(self.several(|it| {
                let name = pick(it.g, &[Name::NaN, Name::Tilde]);
                (name, it.shape(inner))
            })),
            25 => Shape::Flat(Box::new(Flat {
                a: self.shape(inner),
                odd: self.tagged(),
                // The prefix keeps these apart from the fields.
                rest: self.several(|it| (format!("rest {}", it.string()), it.free(2))),
            })),
            26 => Shape::Fields { a: self.boxed(inner), b: self.any() },
            _ => Shape::NoFields {},
        }
    }
}
