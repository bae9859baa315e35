//! Whether what was acknowledged is in the journal: once, as it was acknowledged, and in order.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tallyfold::{Record, Seq};

/// What is known of a record, from its acknowledgement or from the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) cohort: String,
    pub(super) seq: Seq,
    pub(super) key: String,
    pub(super) json: String,
}

impl Known {
    /// What the journal of a cohort says.
    pub(super) fn from_journal(cohort: &str, record: &Record) -> Known {
        let json = record.json().unwrap_or_default().to_string();
        Known { cohort: cohort.to_string(), seq: record.seq(), key: record.key().to_string(), json }
    }
}

/// What all records of the demo have.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

/// What a check has come to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) acknowledged: usize,
    /// How many of those are in the journal, as they were acknowledged.
    pub(super) found: usize,
    /// Whether the killed worker has written a record that it did not come to say.
    pub(super) unsaid: bool,
    /// What is wrong, in sentences.
    pub(super) faults: Vec<String>,
    /// The records that the workers wrote, by key.
    pub(super) written: BTreeMap<String, Vec<Known>>,
}

/// Compares what each worker was acknowledged in one cohort with its journal, read from seq 1. What others wrote there may
/// be among it. The killed worker, whose key is `killed`, may have written one record more than it said.
pub(super) fn journal<'a, E: ToString>(
    workers: impl IntoIterator<Item = &'a [Known]>,
    journal: impl IntoIterator<Item = Result<Known, E>>,
    killed: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut missing = acknowledged(workers, &mut outcome);
    let keys: HashSet<&str> = missing.values().map(|known| known.key.as_str()).collect();
    let mut fault = |sentence: String| outcome.faults.push(sentence);

    let mut steps: HashMap<(String, u64), Seq> = HashMap::new();
    let mut next_seq = 1;
    for record in journal {
        let record = match record {
            Ok(record) => record,
            Err(e) => {
                fault(e.to_string());
                break;
            }
        };
        if record.seq != next_seq {
            fault(format!("seq {} stands where {next_seq} should", record.seq));
        }
        next_seq = record.seq + 1;
        match missing.remove(&record.seq) {
            Some(known) if *known == record => outcome.found += 1,
            Some(known) => fault(format!("seq {} is wrong: {record:?} instead of {known:?}", record.seq)),
            None if record.key == killed && !outcome.unsaid => outcome.unsaid = true,
            None if keys.contains(record.key.as_str()) => {
                fault(format!("seq {} of {} was not acknowledged", record.seq, record.key));
            }
            None => continue,
        }
        match serde_json::from_str(&record.json) {
            Ok(Step { step }) => {
                if let Some(earlier) = steps.insert((record.key.clone(), step), record.seq) {
                    let (key, seq) = (&record.key, record.seq);
                    fault(format!("step {step} of {key} is there twice: as seq {earlier} and as seq {seq}"));
                }
            }
            Err(e) => fault(format!("seq {} is wrong: {e}", record.seq)),
        }
        outcome.written.entry(record.key.clone()).or_default().push(record);
    }
    for known in missing.values() {
        fault(format!("seq {} of {} is lost", known.seq, known.key));
    }
    outcome
}

/// What was acknowledged, by seq: each was given once, and to each worker in order.
fn acknowledged<'a>(
    workers: impl IntoIterator<Item = &'a [Known]>,
    outcome: &mut Outcome,
) -> BTreeMap<Seq, &'a Known> {
    let mut by_seq = BTreeMap::new();
    for said in workers {
        outcome.acknowledged += said.len();
        let mut last = 0;
        for known in said {
            let Known { key, seq, .. } = known;
            if *seq <= last {
                outcome.faults.push(format!("{key} was given seq {seq} after seq {last}"));
            }
            if by_seq.insert(*seq, known).is_some() {
                outcome.faults.push(format!("seq {seq} was acknowledged twice"));
            }
            last = *seq;
        }
    }
    by_seq
}

/// Compares the last record of each key with the entries of the view.
pub(super) fn view(written: &BTreeMap<String, Vec<Known>>, entries: &BTreeMap<String, Known>) -> Vec<String> {
    let wrong = written.iter().filter(|(key, records)| entries.get(*key) != records.last());
    wrong.map(|(key, _)| format!("the entry of {key} is not its last record")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(seq: Seq, key: &str, step: u64) -> Known {
        Known { cohort: "c".into(), seq, key: key.into(), json: format!(r#"{{"step":{step},"loss":0.5}}"#) }
    }

    /// Two workers, one after another, in a journal that holds a stranger's record too.
    fn acknowledged() -> Vec<Vec<Known>> {
        vec![vec![known(1, "a", 1), known(4, "a", 2)], vec![known(2, "b", 1), known(5, "b", 2)]]
    }

    fn written() -> Vec<Known> {
        vec![
            known(1, "a", 1),
            known(2, "b", 1),
            Known { json: "7".into(), ..known(3, "stranger", 1) },
            known(4, "a", 2),
            known(5, "b", 2),
        ]
    }

    fn check(acknowledged: &[Vec<Known>], written: Vec<Known>) -> Outcome {
        journal(acknowledged.iter().map(Vec::as_slice), written.into_iter().map(Ok::<_, String>), "b")
    }

    /// How many were found, and what is wrong.
    fn found(acknowledged: &[Vec<Known>], written: Vec<Known>) -> (usize, String) {
        let outcome = check(acknowledged, written);
        assert_eq!(outcome.acknowledged, 4);
        (outcome.found, outcome.faults.join("; "))
    }

    #[test]
    fn a_journal_that_holds_everything_once_has_no_faults() {
        assert_eq!(found(&acknowledged(), written()), (4, String::new()));
    }

    #[test]
    fn a_missing_record_is_lost() {
        let mut journal = written();
        journal.pop();
        assert_eq!(found(&acknowledged(), journal), (3, "seq 5 of b is lost".into()));
    }

    #[test]
    fn a_missing_record_is_lost_though_its_successors_have_moved_up() {
        let mut journal = written();
        journal.remove(1);
        for (seq, record) in (1..).zip(&mut journal) {
            record.seq = seq;
        }
        let (found, faults) = found(&acknowledged(), journal);
        assert_eq!(found, 1);
        assert!(faults.contains("seq 2 is wrong") && faults.contains("seq 5 of b is lost"), "{faults}");
    }

    #[test]
    fn a_gap_is_told() {
        let mut journal = written();
        journal.remove(2);
        assert_eq!(found(&acknowledged(), journal), (4, "seq 4 stands where 3 should".into()));
    }

    #[test]
    fn a_record_that_is_there_twice_is_told() {
        let mut journal = written();
        journal.push(known(6, "a", 2));
        let (found, faults) = found(&acknowledged(), journal);
        assert_eq!(found, 4);
        assert!(faults.contains("step 2 of a is there twice: as seq 4 and as seq 6"), "{faults}");

        let mut journal = written();
        journal.push(known(5, "b", 2));
        assert!(!check(&acknowledged(), journal).faults.is_empty());
    }

    #[test]
    fn other_content_is_wrong_and_does_not_count_as_found() {
        for (seq, key, step) in [(4, "a", 3), (4, "c", 2)] {
            let mut journal = written();
            journal[3] = known(seq, key, step);
            let (found, faults) = found(&acknowledged(), journal);
            assert_eq!(found, 3);
            assert!(faults.starts_with("seq 4 is wrong"), "{faults}");
        }
    }

    #[test]
    fn a_seq_acknowledged_twice_or_out_of_order_is_told() {
        let mut twice = acknowledged();
        twice[1][1].seq = 4;
        assert!(check(&twice, written()).faults.iter().any(|f| f == "seq 4 was acknowledged twice"));

        let mut backwards = acknowledged();
        backwards[0].reverse();
        assert_eq!(found(&backwards, written()), (4, "a was given seq 1 after seq 4".into()));
    }

    #[test]
    fn only_the_killed_worker_may_have_written_what_it_did_not_say_and_only_once() {
        let mut journal = written();
        journal.push(known(6, "b", 3));
        let outcome = check(&acknowledged(), journal.clone());
        assert_eq!((outcome.found, outcome.unsaid, outcome.faults.len()), (4, true, 0));
        journal.push(known(7, "b", 4));
        assert_eq!(found(&acknowledged(), journal), (4, "seq 7 of b was not acknowledged".into()));

        let mut journal = written();
        journal.push(known(6, "a", 3));
        assert_eq!(found(&acknowledged(), journal), (4, "seq 6 of a was not acknowledged".into()));
    }

    #[test]
    fn what_cannot_be_read_is_lost() {
        let mut journal: Vec<_> = written().into_iter().map(Ok).collect();
        journal[3] = Err("damaged");
        let outcome = super::journal(acknowledged().iter().map(Vec::as_slice), journal, "b");
        assert_eq!(outcome.found, 2);
        assert_eq!(outcome.faults, ["damaged", "seq 4 of a is lost", "seq 5 of b is lost"]);
    }

    #[test]
    fn an_entry_that_is_not_the_last_record_is_told() {
        let written = check(&acknowledged(), written()).written;
        let entries = BTreeMap::from([("a".into(), known(4, "a", 2)), ("b".into(), known(5, "b", 2))]);
        assert!(view(&written, &entries).is_empty());

        let mut stale = entries.clone();
        stale.insert("a".into(), known(1, "a", 1));
        assert_eq!(view(&written, &stale), ["the entry of a is not its last record"]);

        let mut absent = entries;
        absent.remove("b");
        assert_eq!(view(&written, &absent), ["the entry of b is not its last record"]);
    }
}
