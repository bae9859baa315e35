//! The worker processes as the demo sees them: started, listened to, one of them killed, all of them reaped.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use super::check::Known;
use super::train::Config;
use super::{INDEX, Story};
use crate::cli::again::Again;
use crate::cli::exit::{self, Failure};

/// A worker process. Dropping it ends it, if it has not ended.
pub(super) struct Worker {
    pub(super) run: String,
    /// After how many epochs it is killed, if it is to be.
    kill_after: Option<u32>,
    child: Again,
    story: Story,
}

/// What a worker has said was acknowledged, in the order in which it said so.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) metrics: Vec<Known>,
    pub(super) index: Vec<Known>,
}

impl Worker {
    /// Starts this program once more as a worker, which waits for [`begin`](Worker::begin).
    pub(super) fn start(
        store: &Path,
        run: String,
        config: &Config,
        epochs: u32,
        kill_after: Option<u32>,
        story: Story,
    ) -> Result<Worker, Failure> {
        let child = Again::start("demo-worker", |command| {
            command
                .args(["--epochs", &epochs.to_string()])
                .args(["--learning-rate", &config.learning_rate.to_string()])
                .args(["--l2", &config.l2.to_string()])
                .args(["--batch", &config.batch.to_string()])
                .args(["--seed", &config.seed.to_string()])
                .arg("--")
                .args([store.as_os_str(), run.as_ref()]);
        })?;
        Ok(Worker { run, kill_after, child, story })
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is to be killed.
    pub(super) fn is_doomed(&self) -> bool {
        self.kill_after.is_some()
    }

    /// Tells it to begin.
    pub(super) fn begin(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // One that has failed does not hear it. What it has to say about that comes when it is listened to.
            let _ = stdin.write_all(b"\n");
        }
    }

    /// Takes down what it says until it has ended, and kills it if it is to be. What it had said by then is in the pipe, and is
    /// taken down too.
    ///
    /// # Errors
    /// If it ended by itself before it was killed, or not well.
    pub(super) fn listen(&mut self) -> Result<Heard, Failure> {
        let pid = self.id();
        let failed = |what: String| Failure::new(exit::FAILURE, format!("worker process {pid}: {what}"));
        let cannot = |e: io::Error| failed(format!("cannot be followed: {e}"));
        let (Some(stdout), Some(mut stderr)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(failed("can be listened to only once".into()));
        };
        let mut stdout = BufReader::new(stdout);
        let mut heard = Heard::default();
        let mut to_be_killed = self.is_doomed();
        let mut line = String::new();
        // A line without its end was not said.
        while stdout.read_line(&mut line).map_err(cannot)? > 0 && line.ends_with('\n') {
            let known: Known = serde_json::from_str(&line).map_err(|e| failed(format!("{e} in {line:?}")))?;
            let part = if known.cohort == INDEX { &mut heard.index } else { &mut heard.metrics };
            part.push(known);
            line.clear();
            if to_be_killed && self.kill_after.is_some_and(|epochs| heard.index.len() >= epochs as usize) {
                self.child.kill().map_err(cannot)?;
                to_be_killed = false;
                let said = heard.metrics.len() + heard.index.len();
                self.story.tell(&format!("killed {pid} ({}) after {said} acknowledgements\n", self.run))?;
            }
        }
        let mut message = String::new();
        stderr.read_to_string(&mut message).map_err(cannot)?;
        let status = self.child.wait().map_err(cannot)?;
        let as_meant = match self.is_doomed() {
            false => status.success(),
            true => !to_be_killed && !status.success() && message.is_empty(),
        };
        if as_meant {
            Ok(heard)
        } else {
            Err(failed(format!("ended by itself, {status}\n{message}").trim_end().to_string()))
        }
    }
}
