//! Which entries of a state, and in which order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::{self, IsTerminal};

use tallyfold::process::{Rank, Ranked};
use tallyfold::{EntryRef, Order, View};

use super::exit::Failure;
use super::filter::{KeyArgs, WhereArgs};
use super::progress::Progress;

/// So many entries are read between two looks at the bar.
const STRIDE: u64 = 1024;

/// What `--sort` means, for the help of every verb that has it.
pub(crate) const SORT: &str = "\
--sort takes a field as --where does, or key, or seq (.key and .seq are the fields of these names), and :desc behind it for the \
greatest first; a second --sort orders what the first finds alike. Numbers come before strings, strings before booleans, \
whichever way, and what has no such value comes last; what is alike stays in the order of keys.";

#[derive(Debug, clap::Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    keys: KeyArgs,

    #[command(flatten)]
    wanted: WhereArgs,

    /// Sort by this field, by key or by seq; without it by key
    #[arg(long, value_name = "FIELD[:desc]", value_parser = sort, requires = "cohort")]
    sort: Vec<Sort>,

    /// Only the first N
    #[arg(long, value_name = "N", requires = "cohort")]
    limit: Option<usize>,
}

/// What to sort by.
#[derive(Clone, Debug)]
enum Sort {
    Key { descending: bool },
    Seq { descending: bool },
    Field(Rank),
}

fn sort(text: &str) -> Result<Sort, String> {
    let (field, descending) = match text.rsplit_once(':') {
        None => (text, false),
        Some((field, "asc")) => (field, false),
        Some((field, "desc")) => (field, true),
        Some((_, other)) => {
            return Err(format!(
                "{other:?} is no direction: behind the last colon stands asc or desc (behind a field with a colon in its name, too)"
            ));
        }
    };
    Ok(match field {
        "key" => Sort::Key { descending },
        "seq" => Sort::Seq { descending },
        field => {
            let order = if descending { Order::Descending } else { Order::Ascending };
            let name = if matches!(field, ".key" | ".seq") { &field[1..] } else { field };
            Sort::Field(Rank::by(name, order).map_err(|e| e.to_string())?)
        }
    })
}

type Entry<'a> = (Cow<'a, str>, EntryRef<'a>);

/// An entry, and what the fields to sort by have in it.
struct Sortable<'a> {
    entry: Entry<'a>,
    ranked: Vec<Ranked>,
}

impl SelectArgs {
    /// Hands out the entries that are wanted, in order. As it goes over a state once, it takes memory only for what it has to
    /// sort: the limit, or all.
    pub(crate) fn each<'a>(
        &self,
        view: &'a View,
        mut take: impl FnMut(&str, EntryRef<'a>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let limit = self.limit.unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(());
        }
        let query = self.wanted.query()?;
        let prefix = self.keys.prefix().unwrap_or_default();
        let mut first = First { sort: &self.sort, limit, kept: Vec::new() };
        // Between lines on a terminal a bar would be in the way.
        let bar = !(self.sort.is_empty() && io::stdout().is_terminal());
        let mut progress = bar.then(|| Progress::new("reading", None));
        let (mut taken, mut seen) = (0, 0);
        for item in candidates(view, &self.keys.parts(), prefix) {
            let (key, entry) = item?;
            seen += 1;
            if let Some(progress) = progress.as_mut().filter(|_| seen % STRIDE == 0) {
                progress.at(seen);
            }
            let wanted = query.as_ref().is_none_or(|query| query.matches(entry.json(), entry.nonfinite()));
            if !wanted || !key.starts_with(prefix) {
                continue;
            }
            if !self.sort.is_empty() {
                first.add((key, entry));
                continue;
            }
            take(&key, entry)?;
            taken += 1;
            if taken == limit {
                break;
            }
        }
        drop(progress);
        first.sorted().into_iter().try_for_each(|Sortable { entry: (key, entry), .. }| take(&key, entry))
    }
}

/// Not more entries than have to be looked at.
fn candidates<'p, 'a: 'p>(
    view: &'a View,
    parts: &[&str],
    prefix: &'p str,
) -> Box<dyn Iterator<Item = tallyfold::Result<Entry<'a>>> + 'p> {
    if !parts.is_empty() {
        return Box::new(view.prefix(parts));
    }
    let from = view.iter_from(prefix);
    Box::new(from.take_while(move |item| !item.as_ref().is_ok_and(|(key, _)| !key.starts_with(prefix))))
}

/// The first of all, as many as are wanted: of the others none is kept for long.
struct First<'a, 's> {
    sort: &'s [Sort],
    limit: usize,
    kept: Vec<Sortable<'a>>,
}

impl<'a> First<'a, '_> {
    fn add(&mut self, (key, entry): Entry<'a>) {
        let ranks = self.sort.iter().filter_map(|sort| match sort {
            Sort::Field(rank) => Some(rank.of(entry.json(), entry.nonfinite())),
            Sort::Key { .. } | Sort::Seq { .. } => None,
        });
        let ranked = ranks.collect();
        self.kept.push(Sortable { entry: (key, entry), ranked });
        // Twice as many are gathered before the worse half goes: so each costs no more than sorting all.
        if self.kept.len() / 2 >= self.limit {
            self.cut();
        }
    }

    /// Sorting is stable, and those kept before came before those added since.
    fn cut(&mut self) {
        let sort = self.sort;
        self.kept.sort_by(|a, b| compare(sort, a, b));
        self.kept.truncate(self.limit);
    }

    fn sorted(mut self) -> Vec<Sortable<'a>> {
        self.cut();
        self.kept
    }
}

fn compare(sort: &[Sort], a: &Sortable<'_>, b: &Sortable<'_>) -> Ordering {
    let directed = |order: Ordering, descending: bool| if descending { order.reverse() } else { order };
    let mut ranked = a.ranked.iter().zip(&b.ranked);
    let orders = sort.iter().map(|sort| match sort {
        Sort::Key { descending } => directed(a.entry.0.cmp(&b.entry.0), *descending),
        Sort::Seq { descending } => directed(a.entry.1.seq().cmp(&b.entry.1.seq()), *descending),
        // Each field has its place among those ranked.
        Sort::Field(rank) => ranked.next().map_or(Ordering::Equal, |(a, b)| rank.compare(a, b)),
    });
    // Not to be stopped early: the places of fields are counted.
    orders.fold(Ordering::Equal, Ordering::then)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tallyfold::{Settings, Store};

    #[test]
    fn a_sort_names_a_field_and_a_direction() {
        assert!(matches!(sort("key").unwrap(), Sort::Key { descending: false }));
        assert!(matches!(sort("seq:desc").unwrap(), Sort::Seq { descending: true }));
        assert!(matches!(sort(".key:asc").unwrap(), Sort::Field(_)));
        assert!(sort("auc:dsc").unwrap_err().contains("asc or desc"));
        assert!(sort("a..b").unwrap_err().contains("empty name"));
    }

    #[test]
    fn no_more_than_twice_the_limit_is_kept_and_the_first_are_those_of_a_stable_sort() {
        let temporary = tempfile::tempdir().unwrap();
        let cohort = Store::open(temporary.path().join("store")).unwrap();
        let cohort = cohort.create("c", Settings::latest()).unwrap();
        for i in 0..500u64 {
            cohort.append(&format!("{i:03}"), &json!({"n": i * 7919 % 50})).unwrap();
        }
        let view = cohort.view().unwrap();
        let sort = [sort("n:desc").unwrap()];
        for limit in [1, 3, 40, 499, 1000] {
            let mut first = First { sort: &sort, limit, kept: Vec::new() };
            for item in view.iter() {
                first.add(item.unwrap());
                assert!(first.kept.len() < 2 * limit.max(1), "{limit}");
            }
            let found: Vec<String> =
                first.sorted().into_iter().map(|Sortable { entry: (key, _), .. }| key.into_owned()).collect();
            let mut expected: Vec<u64> = (0..500).collect();
            expected.sort_by_key(|i| std::cmp::Reverse(i * 7919 % 50));
            let expected: Vec<String> = expected.into_iter().take(limit).map(|i| format!("{i:03}")).collect();
            assert_eq!(found, expected, "{limit}");
        }
    }
}
