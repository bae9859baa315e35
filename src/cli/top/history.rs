//! What the cohorts have done in the last minutes, for the curves of the detail view.

use std::collections::{BTreeMap, VecDeque};

use super::sample::{Sample, Seen};

/// So many looks are kept: ten minutes of one a second.
const KEPT: usize = 600;

/// What is drawn as a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Records,
    Bytes,
    Tail,
    Wait,
    Syncs,
}

impl Line {
    pub(super) const ALL: [Line; 5] = [Line::Records, Line::Bytes, Line::Tail, Line::Wait, Line::Syncs];

    pub(super) fn title(self) -> &'static str {
        match self {
            Line::Records => "records/s",
            Line::Bytes => "bytes/s",
            Line::Tail => "tail, bytes",
            Line::Wait => "wait p99",
            Line::Syncs => "syncs/s",
        }
    }

    fn value(self, seen: &Seen) -> Option<f64> {
        match self {
            Line::Records => seen.rates.as_ref().map(|rates| rates.records),
            Line::Bytes => seen.rates.as_ref()?.bytes,
            Line::Tail => seen.tail().map(|(bytes, _)| bytes as f64),
            // Nobody has waited: that is no time at all.
            Line::Wait => seen.counters().map(|counted| counted.wait_p99.unwrap_or(0) as f64),
            Line::Syncs => seen.counters().map(|counted| counted.syncs),
        }
    }
}

/// The values of one cohort, oldest first.
#[derive(Debug, Default)]
pub(super) struct Lines([VecDeque<Option<f64>>; Line::ALL.len()]);

impl Lines {
    fn add(&mut self, seen: Option<&Seen>) {
        for (line, values) in Line::ALL.into_iter().zip(&mut self.0) {
            values.push_back(seen.and_then(|seen| line.value(seen)));
            if values.len() > KEPT {
                values.pop_front();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|values| values.iter().all(Option::is_none))
    }

    /// How many looks there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).max().unwrap_or(0)
    }

    /// In so many columns, the newest in the last: of several looks in a column the greatest value.
    pub(super) fn columns(&self, line: Line, columns: usize) -> Vec<Option<f64>> {
        let at = Line::ALL.iter().position(|other| *other == line).unwrap_or(0);
        let Some(values) = self.0.get(at) else { return Vec::new() };
        let in_one = values.len().div_ceil(columns.max(1)).max(1);
        let values: Vec<Option<f64>> = values.iter().copied().collect();
        let greatest = |looks: &[Option<f64>]| looks.iter().flatten().copied().reduce(f64::max);
        values.rchunks(in_one).rev().map(greatest).collect()
    }
}

/// Those of all cohorts.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<String, Lines>);

impl History {
    pub(super) fn add(&mut self, sample: &Sample) {
        for seen in &sample.cohorts {
            if !self.0.contains_key(&seen.name) {
                self.0.insert(seen.name.clone(), Lines::default());
            }
        }
        for (name, lines) in &mut self.0 {
            lines.add(sample.cohorts.iter().find(|seen| seen.name == *name));
        }
        // What was not seen for so long is not coming back.
        self.0
            .retain(|name, lines| !lines.is_empty() || sample.cohorts.iter().any(|seen| seen.name == *name));
    }

    pub(super) fn of(&self, name: &str) -> Option<&Lines> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::seen;
    use super::*;

    fn sample(cohorts: Vec<Seen>) -> Sample {
        Sample { interval: None, cohorts, failure: None }
    }

    #[test]
    fn of_several_looks_in_a_column_the_greatest_is_seen_and_a_gap_stays_one() {
        let mut history = History::default();
        for records in [1.0, 9.0, 2.0, 3.0, 4.0] {
            history.add(&sample(vec![seen("a", records, None)]));
        }
        let lines = history.of("a").unwrap();
        assert_eq!(lines.columns(Line::Records, 10), [1.0, 9.0, 2.0, 3.0, 4.0].map(Some));
        assert_eq!(lines.columns(Line::Records, 3), [Some(1.0), Some(9.0), Some(4.0)]);
        assert_eq!(lines.columns(Line::Syncs, 3), [None; 3]);
        assert!(lines.columns(Line::Records, 0).len() == 1);
    }

    #[test]
    fn it_is_bounded_and_a_cohort_that_is_gone_is_forgotten_with_its_last_value() {
        let mut history = History::default();
        history.add(&sample(vec![seen("a", 1.0, None), seen("b", 1.0, None)]));
        for _ in 0..KEPT {
            history.add(&sample(vec![seen("a", 2.0, None)]));
        }
        assert_eq!(history.of("a").unwrap().len(), KEPT);
        assert!(history.of("b").is_none());
    }
}
