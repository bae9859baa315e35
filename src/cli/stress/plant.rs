//! Faults that are planted before the check, to show that it finds them.
#![allow(clippy::disallowed_methods, reason = "damages the scratch cohort from outside, as a bad disk would")]

use std::fs;
use std::io;

use clap::ValueEnum;
use tallyfold::{Batch, Cohort, Record};

use super::board::Board;
use super::plan::Plan;
use crate::cli::exit::{self, Failure};

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// An acknowledgement of something that nobody has appended
    Lost,
    /// The first record, appended once more
    Duplicated,
    /// A byte of the first record, changed in its segment
    Corrupted,
}

pub(super) fn plant(what: Plant, cohort: &Cohort, board: &Board, plan: &Plan) -> Result<(), Failure> {
    let nothing =
        || Failure::new(exit::FAILURE, "nothing was appended: there is nothing to plant a fault in");
    let first = || -> Result<Record, Failure> { cohort.cursor(1)?.next_record()?.ok_or_else(nothing) };
    match what {
        Plant::Lost => {
            let lane = board.lane(0);
            let n = lane.acknowledged();
            lane.acknowledge(n, cohort.last_seq()? + plan.act(0, n).records);
        }
        Plant::Duplicated => {
            let first = first()?;
            let mut batch = Batch::new();
            batch.put_json(first.key(), first.json().unwrap_or_default())?;
            cohort.append_batch(batch)?;
            cohort.detach()?;
        }
        Plant::Corrupted => {
            let first = first()?;
            let text = first.json().unwrap_or_default().as_bytes().to_vec();
            // Its segment is the oldest: retention keeps all.
            let mut segments: Vec<_> = fs::read_dir(cohort.path())?
                .collect::<io::Result<Vec<_>>>()?
                .into_iter()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
                .collect();
            segments.sort();
            let path = segments.first().ok_or_else(nothing)?;
            let mut bytes = fs::read(path)?;
            let at = bytes.windows(text.len()).position(|window| window == text).ok_or_else(nothing)?;
            bytes[at + text.len() / 2] ^= 1;
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}
