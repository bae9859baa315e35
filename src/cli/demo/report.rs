//! What the demo shows at its end: the runs, their curves, and where to look next.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::{Serialize, Serializer};
use tallyfold::{Cohort, Store};

use super::check::Known;
use super::crew::Worker;
use super::plot::{self, curves, letter};
use super::worker::Standing;
use super::{INDEX, METRICS, index_key};
use crate::cli::output::Escaped;

/// The plot's columns and lines.
const PLOT: (usize, usize) = (78, 14);

/// What has become of a run, as the journals have it.
#[derive(Serialize)]
pub(super) struct Run {
    #[serde(rename = "run_id")]
    id: String,
    killed: bool,
    steps: usize,
    /// One for each epoch. Programs are told the last.
    #[serde(rename = "last", serialize_with = "last")]
    standings: Vec<Standing>,
}

fn last<S: Serializer>(standings: &[Standing], serializer: S) -> Result<S::Ok, S::Error> {
    standings.last().serialize(serializer)
}

/// The runs of the workers, from what was found in the two journals.
pub(super) fn runs(
    workers: &[Worker],
    metrics: &BTreeMap<String, Vec<Known>>,
    index: &BTreeMap<String, Vec<Known>>,
) -> Vec<Run> {
    let run = |worker: &Worker| Run {
        id: worker.run.clone(),
        killed: worker.is_doomed(),
        steps: metrics.get(&worker.run).map_or(0, Vec::len),
        // What is no standing is not what was acknowledged, and a fault already.
        standings: (index.get(&index_key(&worker.run)).into_iter().flatten())
            .filter_map(|known| serde_json::from_str(&known.json).ok())
            .collect(),
    };
    workers.iter().map(run).collect()
}

/// A line for each run: its settings, and how it ended.
pub(super) fn table(runs: &[Run]) -> String {
    let header = ["", "run", "rate", "l2", "batch", "steps", "loss", "acc", "state"];
    let row = |(number, run): (usize, &Run)| {
        let mut row = vec![letter(number).to_string(), run.id.clone()];
        if let Some(end) = run.standings.last() {
            row.extend([end.config.learning_rate, end.config.l2].map(|setting| setting.to_string()));
            row.extend([end.config.batch, run.steps].map(|count| count.to_string()));
            row.extend([format!("{:.4}", end.loss), format!("{:.1}%", 100.0 * end.test_acc)]);
            row.push(if run.killed { "killed" } else { "done" }.to_string());
        }
        row
    };
    plot::table(&header, &runs.iter().enumerate().map(row).collect::<Vec<_>>()) + "\n"
}

/// How the loss of each run fell.
pub(super) fn plot(runs: &[Run]) -> String {
    let losses = |run: &Run| run.standings.iter().map(|standing| standing.loss).collect();
    curves(&runs.iter().map(losses).collect::<Vec<_>>(), PLOT.0, PLOT.1) + "\n"
}

/// Where the files are, and commands to look at them.
pub(super) fn whereabouts(store: &Store, index: &Cohort, runs: &[Run]) -> String {
    let program = std::env::args_os().next().unwrap_or_else(|| OsString::from("tallyfold"));
    let (program, path) = (quoted(&program.to_string_lossy()), quoted(&store.path().to_string_lossy()));
    let key = runs.first().map_or(String::new(), |run| index_key(&run.id));
    format!(
        "store     {}\n\
         snapshot  {}\n\n\
         Try next:\n  \
           {program} --store {path} get {INDEX} {key}\n  \
           {program} --store {path} log {METRICS} -n 3\n  \
           {program} --store {path} verify\n\n",
        Escaped(&store.path().to_string_lossy()),
        Escaped(&index.path().join("snapshot.json").to_string_lossy()),
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/.-_+:@%,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        for (word, expected) in [
            ("target/debug/tallyfold", "target/debug/tallyfold"),
            ("/tmp/my store", "'/tmp/my store'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
