//! The columns of the list: what each shows, and which of them are left out first where there is little room.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::sample::{Seen, State};
use super::units::{age, bytes, count, nanoseconds, share};
use crate::cli::output::Escaped;

/// What cannot be known.
const UNKNOWN: &str = "-";

/// In the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// The cohort's name
    Name,
    /// Fine, poisoned, damaged, or files in quarantine
    State,
    /// Records a second
    Records,
    /// Appends a second
    Appends,
    /// Bytes a second
    Bytes,
    /// Bytes that are not folded yet
    Tail,
    /// Records that are not folded yet
    Behind,
    /// Which part of the turns under the lock had to be waited for
    Contended,
    /// What 99 of 100 waits for the lock did not exceed
    Wait,
    /// Syncs a second
    Syncs,
    /// Records that a sync makes durable
    Group,
    /// Handles that are attached
    Attached,
    /// Bytes of the snapshot
    Snapshot,
    /// How long ago the snapshot was written
    Age,
    /// Bytes of the segments
    Journal,
    /// The last seq
    Seq,
}

/// As they are left out, the last one first. The name stays.
const BY_IMPORTANCE: [Column; 15] = [
    Column::State,
    Column::Records,
    Column::Tail,
    Column::Bytes,
    Column::Wait,
    Column::Syncs,
    Column::Contended,
    Column::Behind,
    Column::Appends,
    Column::Group,
    Column::Attached,
    Column::Age,
    Column::Snapshot,
    Column::Journal,
    Column::Seq,
];

/// Between two columns.
pub(super) const GAP: usize = 2;
/// What a number takes at most.
const NUMBER: usize = 6;
/// What a name may take before other columns have to go.
const MOST_OF_A_NAME: usize = 24;

/// A value to be sorted by.
#[derive(Clone, Debug, PartialEq)]
enum Weight {
    Text(String),
    Number(Option<f64>),
}

impl Column {
    pub(super) fn title(self) -> &'static str {
        match self {
            Column::Name => "COHORT",
            Column::State => "STATE",
            Column::Records => "RECORDS/S",
            Column::Appends => "APPENDS/S",
            Column::Bytes => "BYTES/S",
            Column::Tail => "TAIL",
            Column::Behind => "BEHIND",
            Column::Contended => "CONTENDED",
            Column::Wait => "WAIT P99",
            Column::Syncs => "SYNCS/S",
            Column::Group => "PER SYNC",
            Column::Attached => "ATTACHED",
            Column::Snapshot => "SNAPSHOT",
            Column::Age => "AGE",
            Column::Journal => "JOURNAL",
            Column::Seq => "SEQ",
        }
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self, Column::Name | Column::State)
    }

    /// Columns of the screen that it takes, with room for the mark of the one that is sorted by.
    pub(super) fn width(self) -> usize {
        match self {
            Column::State => "quarantine".len(),
            Column::Seq => 10,
            other => (other.title().len() + 1).max(NUMBER),
        }
    }

    fn number(self, seen: &Seen) -> Option<f64> {
        let (rates, counted, look) = (seen.rates.as_ref(), seen.counters(), seen.look.as_ref());
        let stats = look.map(|look| &look.stats);
        match self {
            Column::Name | Column::State => None,
            Column::Records => rates.map(|rates| rates.records),
            Column::Appends => counted.map(|counted| counted.appends),
            Column::Bytes => rates?.bytes,
            Column::Tail => seen.tail().map(|(bytes, _)| bytes as f64),
            Column::Behind => seen.tail().map(|(_, records)| records as f64),
            Column::Contended => counted?.contended,
            Column::Wait => counted?.wait_p99.map(|ns| ns as f64),
            Column::Syncs => counted.map(|counted| counted.syncs),
            Column::Group => counted?.records_per_sync,
            Column::Attached => seen.attached().map(|attached| attached as f64),
            Column::Snapshot => stats.map(|stats| stats.snapshot_bytes as f64),
            Column::Age => look?.snapshot_age.map(|age| age.as_secs_f64()),
            Column::Journal => stats.map(|stats| stats.segment_bytes as f64),
            Column::Seq => stats.map(|stats| stats.seq as f64),
        }
    }

    pub(super) fn cell(self, seen: &Seen) -> String {
        let text: fn(f64) -> String = match self {
            Column::Name => return Escaped(&seen.name).to_string(),
            Column::State => {
                return match seen.state {
                    State::Quarantine(_) => "quarantine".into(),
                    ref state => state.word().into(),
                };
            }
            Column::Bytes | Column::Tail | Column::Snapshot | Column::Journal => bytes,
            Column::Contended => share,
            Column::Wait => |ns| nanoseconds(if ns >= u64::MAX as f64 { u64::MAX } else { ns as u64 }),
            Column::Age => age,
            Column::Seq => |seq| format!("{seq}"),
            Column::Records
            | Column::Appends
            | Column::Behind
            | Column::Syncs
            | Column::Group
            | Column::Attached => count,
        };
        self.number(seen).map_or(UNKNOWN.into(), text)
    }

    fn weight(self, seen: &Seen) -> Weight {
        match self {
            Column::Name => Weight::Text(seen.name.clone()),
            // What needs a look comes first if the greatest does.
            Column::State => Weight::Number(Some(match seen.state {
                State::Damaged(_) => 5.0,
                State::Poisoned => 4.0,
                State::Failing(_) => 3.0,
                State::Quarantine(_) => 2.0,
                State::Gone => 1.0,
                State::Fine => 0.0,
            })),
            _ => Weight::Number(self.number(seen)),
        }
    }

    /// The next one, round and round.
    pub(super) fn step(self, forward: bool) -> Column {
        let all = Column::value_variants();
        let at = all.iter().position(|column| *column == self).unwrap_or(0);
        let next = if forward { at + 1 } else { at + all.len() - 1 };
        all.get(next % all.len()).copied().unwrap_or(self)
    }

    /// The columns that fit, in the order in which they stand, with their widths; the one sorted by is not left out.
    pub(super) fn that_fit(width: usize, longest_name: usize, sorted: Column) -> Vec<(Column, usize)> {
        let name = longest_name.clamp(Column::Name.width(), MOST_OF_A_NAME);
        let mut left = width.saturating_sub(name);
        let mut chosen = vec![Column::Name];
        for column in [sorted].into_iter().chain(BY_IMPORTANCE) {
            if !chosen.contains(&column) && column.width() + GAP <= left {
                left -= column.width() + GAP;
                chosen.push(column);
            }
        }
        // What is left makes a name longer that was cut.
        let name = (name + left).min(longest_name.max(name));
        let width = |column: Column| if column == Column::Name { name.min(width) } else { column.width() };
        Column::value_variants()
            .iter()
            .filter(|column| chosen.contains(column))
            .map(|column| (*column, width(*column)))
            .collect()
    }
}

/// Sorts by a column, what is not known last, and what is equal by name.
pub(super) fn sort(cohorts: &mut [&Seen], by: Column, reversed: bool) {
    cohorts.sort_by(|a, b| {
        let order = match (by.weight(a), by.weight(b)) {
            (Weight::Text(a), Weight::Text(b)) => turned(a.cmp(&b), reversed),
            (Weight::Number(Some(a)), Weight::Number(Some(b))) => turned(b.total_cmp(&a), reversed),
            (Weight::Number(a), Weight::Number(b)) => b.is_some().cmp(&a.is_some()),
            _ => Ordering::Equal,
        };
        order.then_with(|| a.name.cmp(&b.name))
    });
}

fn turned(order: Ordering, reversed: bool) -> Ordering {
    if reversed { order.reverse() } else { order }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::seen;
    use super::*;

    #[test]
    fn the_less_important_columns_are_left_out_first_and_all_that_stay_fit() {
        let titles = |width, sorted| -> Vec<&str> {
            Column::that_fit(width, 10, sorted).into_iter().map(|(column, _)| column.title()).collect()
        };
        assert_eq!(titles(24, Column::Name), ["COHORT", "STATE"]);
        assert_eq!(titles(24, Column::Age), ["COHORT", "AGE"]);
        assert_eq!(
            titles(80, Column::Records),
            ["COHORT", "STATE", "RECORDS/S", "BYTES/S", "TAIL", "WAIT P99", "SYNCS/S"]
        );
        assert_eq!(titles(1000, Column::Records).len(), Column::value_variants().len());
        for width in 1..300 {
            for longest in [1, 10, 200] {
                let columns = Column::that_fit(width, longest, Column::Records);
                let taken: usize = columns.iter().map(|(_, width)| width + GAP).sum();
                assert!(taken - GAP <= width.max(1), "{width} {longest}: {columns:?}");
            }
        }
    }

    #[test]
    fn the_greatest_comes_first_what_is_not_known_last_and_equal_ones_by_name() {
        let (b, a, c, mut d) =
            (seen("b", 5.0, None), seen("a", 5.0, None), seen("c", 9.0, None), seen("d", 0.0, None));
        d.rates = None;
        let order = |by, reversed| -> String {
            let mut cohorts = vec![&b, &d, &a, &c];
            sort(&mut cohorts, by, reversed);
            cohorts.iter().map(|seen| seen.name.as_str()).collect()
        };
        assert_eq!(order(Column::Records, false), "cabd");
        assert_eq!(order(Column::Records, true), "abcd");
        assert_eq!(order(Column::Name, false), "abcd");
        assert_eq!(order(Column::Name, true), "dcba");
        assert_eq!(order(Column::Wait, false), "abcd");
    }

    #[test]
    fn what_is_not_counted_is_a_dash_and_no_zero() {
        let seen = seen("c\u{1b}[31m", 0.0, None);
        for column in
            [Column::Appends, Column::Contended, Column::Wait, Column::Syncs, Column::Group, Column::Attached]
        {
            assert_eq!(column.cell(&seen), "-");
        }
        assert_eq!(Column::Records.cell(&seen), "0");
        assert_eq!(Column::Name.cell(&seen), r"c\u001b[31m");
    }

    #[test]
    fn each_column_can_be_chosen_in_turn_and_back() {
        let mut column = Column::Name;
        for _ in Column::value_variants() {
            assert_eq!(column.step(true).step(false), column);
            column = column.step(true);
        }
        assert_eq!(column, Column::Name);
    }
}
