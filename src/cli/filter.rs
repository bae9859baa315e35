//! What is asked for: fields of values (`--where`), keys, seqs and times.

use std::ops::RangeInclusive;

use tallyfold::{Compare, Query, RecordRef, Seq};

use super::time;

/// What `--where` means, for the help of every verb that has it.
pub(crate) const WHERE: &str = "\
--where compares a field with a value: FIELD=VALUE, or with !=, <, <=, > or >=. FIELD is the names that lead to it, joined \
by dots (outputs.auc; \\. is a dot in a name, \\= an equals sign). VALUE is a string or any other JSON value, whichever the \
field holds: stage=TRAINING is the string, and n=5 finds 5, 5.0 and \"5\". NaN, Infinity and -Infinity find the numbers too. \
Numbers are compared by what they are, strings by their bytes, and with <, <=, > and >= a VALUE that is a number is compared \
with numbers only, any other with strings only. A field that is not there is nothing, so that != does not find it either.";

/// A field, how it is compared, and with what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    field: String,
    compare: Compare,
    word: String,
}

/// Takes `FIELD=VALUE` apart, and sees that it can be asked. The first sign of comparison counts: a field's name may hold one
/// behind a backslash, a value may in any case.
pub(crate) fn condition(text: &str) -> Result<Condition, String> {
    let wrong = || "it must be FIELD=VALUE, or with !=, <, <=, > or >= in the place of =".to_string();
    let mut field = String::new();
    let mut rest = text;
    let (compare, word) = loop {
        if let Some(found) = comparison(rest) {
            break found;
        }
        let mut chars = rest.chars();
        match (chars.next().ok_or_else(wrong)?, chars.clone().next()) {
            ('\\', Some(escaped @ ('=' | '!' | '<' | '>'))) => {
                field.push(escaped);
                chars.next();
            }
            // What the path of a field makes of it is not known here.
            ('\\', Some(escaped)) => {
                field.extend(['\\', escaped]);
                chars.next();
            }
            (char, _) => field.push(char),
        }
        rest = chars.as_str();
    };
    if compare == Compare::Equal && word.starts_with('=') {
        return Err(format!(
            "equality is one =: write {}={}, or {}=\"{word}\" for a string that begins with =",
            field.trim(),
            word.trim_start_matches('='),
            field.trim()
        ));
    }
    let condition = Condition { field: field.trim().into(), compare, word: word.trim().into() };
    condition.add(Query::new(), true).map_err(|e| e.to_string())?;
    Ok(condition)
}

/// The comparison that a text begins with, and what comes after it.
fn comparison(text: &str) -> Option<(Compare, &str)> {
    let signs = [
        ("!=", Compare::Unequal),
        ("<=", Compare::AtMost),
        (">=", Compare::AtLeast),
        ("=", Compare::Equal),
        ("<", Compare::Less),
        (">", Compare::More),
    ];
    signs.into_iter().find_map(|(sign, compare)| Some((compare, text.strip_prefix(sign)?)))
}

impl Condition {
    /// The query with this in it too; `wanted`: it has to hold, else it must not.
    pub(crate) fn add(&self, query: Query, wanted: bool) -> tallyfold::Result<Query> {
        match wanted {
            true => query.compared(&self.field, self.compare, &self.word),
            false => query.not_compared(&self.field, self.compare, &self.word),
        }
    }
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct WhereArgs {
    /// Only where the field is so (such as stage=TRAINING or auc>=0.6); all of these have to hold
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = condition, requires = "cohort")]
    wanted: Vec<Condition>,
}

impl WhereArgs {
    /// Puts them all into a query.
    pub(crate) fn add(&self, query: Query) -> tallyfold::Result<Query> {
        self.wanted.iter().try_fold(query, |query, condition| condition.add(query, true))
    }

    /// `None` if nothing is asked.
    pub(crate) fn query(&self) -> tallyfold::Result<Option<Query>> {
        if self.wanted.is_empty() {
            return Ok(None);
        }
        self.add(Query::new()).map(Some)
    }
}

/// Parts of a key, as they are written between commas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts(Vec<String>);

/// `\,` is a comma in a part, and `\\` a backslash.
fn parts(text: &str) -> Result<Parts, String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ',' => parts.push(String::new()),
            char => {
                let escaped = chars.next_if(|next| char == '\\' && matches!(next, ',' | '\\'));
                parts.iter_mut().last().into_iter().for_each(|part| part.push(escaped.unwrap_or(char)));
            }
        }
    }
    Ok(Parts(parts))
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct KeyArgs {
    /// Only keys with these first parts: run-1 finds run-1 and run-1:TRAINING, and not run-10
    #[arg(long, value_name = "PART,…", value_parser = parts, requires = "cohort")]
    parts: Vec<Parts>,

    /// Only keys that begin with this text: run-1 finds run-10 too
    #[arg(long, value_name = "TEXT", requires = "cohort")]
    prefix: Option<String>,
}

/// What is said of `--parts` and `--prefix` in the help.
pub(crate) const PARTS: &str = "\
The parts of a key are joined by colons, and a colon or percent sign in a part is spelled %3A or %25 there. --parts takes them as \
they were before that, and may be given again to name more of them: --parts run-1 --parts TRAINING is --parts run-1,TRAINING. A \
part that holds a comma is written with \\, instead, or --prefix is used, which takes the text of the key as it is listed.";

impl KeyArgs {
    /// All parts, however often the option was given.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.parts.iter().flat_map(|Parts(parts)| parts).map(String::as_str).collect()
    }

    pub(crate) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }
}

/// Keys of records: there is no order to look them up by.
#[derive(Debug, Default)]
struct Keys {
    /// One of these, if there are any.
    named: Vec<String>,
    /// With these first parts: alone, and joined to others.
    first: Option<(String, String)>,
    prefix: String,
}

impl Keys {
    fn hold(&self, key: &str) -> bool {
        let named = self.named.is_empty() || self.named.iter().any(|named| named == key);
        let first = |(alone, joined): &(String, String)| key == alone || key.starts_with(joined);
        named && self.first.as_ref().is_none_or(first) && key.starts_with(&self.prefix)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecordArgs {
    /// Begin with this record; one that is folded away is an error that names the first one kept
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<Seq>,

    /// End with this record
    #[arg(long, value_name = "SEQ")]
    to: Option<Seq>,

    /// Only records of this time or later (such as 10m, yesterday or 2026-01-08T12:00:01Z)
    #[arg(long, value_name = "TIME", value_parser = time::moment, allow_hyphen_values = true)]
    since: Option<i64>,

    /// Only records of this time or earlier
    #[arg(long, value_name = "TIME", value_parser = time::moment, allow_hyphen_values = true)]
    until: Option<i64>,

    /// Only records with this key; given again, with one of these
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,

    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    wanted: WhereArgs,
}

/// Which records are wanted.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) to: Seq,
    times: RangeInclusive<i64>,
    keys: Keys,
    query: Option<Query>,
    all: bool,
}

impl RecordArgs {
    pub(crate) fn filter(&self) -> tallyfold::Result<Filter> {
        let parts = self.keys.parts();
        let first = (!parts.is_empty()).then(|| {
            let alone = tallyfold::key(parts);
            let joined = format!("{alone}:");
            (alone, joined)
        });
        let prefix = self.keys.prefix().unwrap_or_default().to_string();
        let query = self.wanted.query()?;
        let times = self.since.unwrap_or(i64::MIN)..=self.until.unwrap_or(i64::MAX);
        let all = self.key.is_empty()
            && first.is_none()
            && prefix.is_empty()
            && query.is_none()
            && times == (i64::MIN..=i64::MAX);
        let keys = Keys { named: self.key.clone(), first, prefix };
        Ok(Filter { to: self.to.unwrap_or(Seq::MAX), times, keys, query, all })
    }
}

impl Filter {
    /// Whether every record up to the last one asked for is wanted.
    pub(crate) fn takes_all(&self) -> bool {
        self.all
    }

    /// Whether nothing is asked of records but their keys.
    pub(crate) fn asks_for_keys_alone(&self) -> bool {
        self.query.is_none() && self.times == (i64::MIN..=i64::MAX) && self.to == Seq::MAX
    }

    /// Whether records of a key may be wanted.
    pub(crate) fn holds_key(&self, key: &str) -> bool {
        self.keys.hold(key)
    }

    /// Whether a record is wanted, whatever its seq. What costs least is asked first: only few values are looked into.
    pub(crate) fn passes(&self, record: &RecordRef<'_>) -> bool {
        self.times.contains(&record.time_us())
            && self.keys.hold(record.key())
            && self
                .query
                .as_ref()
                .is_none_or(|query| record.json().is_some_and(|json| query.matches(json, record.nonfinite())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> (String, Compare, String) {
        let Condition { field, compare, word } = condition(text).unwrap();
        (field, compare, word)
    }

    #[test]
    fn a_condition_is_cut_at_its_first_comparison() {
        for (text, field, compare, word) in [
            ("a.b=c=d", "a.b", Compare::Equal, "c=d"),
            ("a=", "a", Compare::Equal, ""),
            ("a!=b", "a", Compare::Unequal, "b"),
            ("a<5", "a", Compare::Less, "5"),
            ("a<=5", "a", Compare::AtMost, "5"),
            ("a>5", "a", Compare::More, "5"),
            ("a>=5=", "a", Compare::AtLeast, "5="),
            ("a > 0.6 ", "a", Compare::More, "0.6"),
            ("a!b=c", "a!b", Compare::Equal, "c"),
            (r"a\=b=c", "a=b", Compare::Equal, "c"),
            (r"a\<b\>\!=<c", "a<b>!", Compare::Equal, "<c"),
            (r"a\.b\\=c", r"a\.b\\", Compare::Equal, "c"),
            ("a=\"=b\"", "a", Compare::Equal, "\"=b\""),
        ] {
            assert_eq!(taken(text), (field.into(), compare, word.into()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_where_it_is_written() {
        for (text, words) in [
            ("a", "FIELD=VALUE"),
            ("", "FIELD=VALUE"),
            ("=b", "empty name"),
            ("a..b=1", "empty name"),
            ("a==1", "write a=1"),
            ("a<NaN", "nothing is more or less than NaN"),
            (r"a\b=1", "backslash"),
        ] {
            let refusal = condition(text).unwrap_err();
            assert!(refusal.contains(words), "{text}: {refusal}");
        }
    }

    #[test]
    fn parts_are_what_stands_between_commas() {
        for (text, expected) in [
            ("run-1,TRAINING", &["run-1", "TRAINING"][..]),
            ("", &[""]),
            ("a,", &["a", ""]),
            (r"a\,b,c", &["a,b", "c"]),
            (r"a\\,b", &[r"a\", "b"]),
            (r"a\b", &[r"a\b"]),
            (r"a\", &[r"a\"]),
        ] {
            assert_eq!(parts(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn a_key_is_one_of_those_named_and_has_the_first_parts_and_the_prefix() {
        let first = Some(("run-1".to_string(), "run-1:".to_string()));
        let keys = Keys { first, ..Keys::default() };
        assert!(keys.hold("run-1") && keys.hold("run-1:A") && !keys.hold("run-10") && !keys.hold("run-1-b"));
        let keys = Keys { named: vec!["a".into(), "ab".into()], prefix: "ab".into(), ..keys };
        assert!(!keys.hold("ab"), "its first part is another one");
        let keys = Keys { first: None, ..keys };
        assert!(keys.hold("ab") && !keys.hold("a") && !keys.hold("abc"));
    }
}
