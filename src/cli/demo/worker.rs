//! One worker process: it trains a model, appends what it measures, and says what was acknowledged.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tallyfold::{Batch, Cohort, Store};

use super::check::Known;
use super::iris;
use super::train::{self, Config, Model};
use super::{INDEX, METRICS, STAGE, index_key};
use crate::cli::exit::{self, Failure};
use crate::cli::random::Random;

/// All runs see the same split of the flowers, so that their results can be compared.
const SPLIT_SEED: u64 = 5;

/// What the demo starts its workers with.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The store
    path: PathBuf,
    /// The run's id
    run: String,
    /// How often to see all flowers
    #[arg(long)]
    epochs: u32,
    #[command(flatten)]
    config: Config,
}

/// A record of `demo-metrics`: one step.
#[derive(Serialize)]
struct Point<'a> {
    run_id: &'a str,
    stage: &'static str,
    step: u64,
    loss: f64,
    acc: f64,
    ts: f64,
}

/// A record of `demo-index`: how a run stands at the end of an epoch.
#[derive(Serialize, Deserialize)]
pub(super) struct Standing {
    run_id: String,
    stage: String,
    epoch: u32,
    step: u64,
    #[serde(flatten)]
    pub(super) config: Config,
    pub(super) loss: f64,
    acc: f64,
    pub(super) test_acc: f64,
    /// `running`, and at the end `done`.
    state: String,
}

pub(crate) fn work(args: &WorkerArgs) -> Result<(), Failure> {
    let store = Store::open_existing(&args.path)?;
    let (metrics, index) = (store.cohort(METRICS)?, store.cohort(INDEX)?);
    let flowers = iris::parse(iris::FILE)
        .map_err(|e| Failure::new(exit::FAILURE, format!("examples/iris.csv: {e}")))?;
    let data = iris::split(&flowers, SPLIT_SEED);
    // All begin at once, when the last one has been started. No word means that the demo has ended.
    if io::stdin().read_line(&mut String::new())? == 0 {
        return Ok(());
    }

    let Config { batch, seed, .. } = args.config;
    let mut random = Random::new(seed);
    let mut model = Model::new(&args.config, &mut random);
    let mut step = 0;
    for epoch in 1..=args.epochs {
        for batch in train::epoch(&data.train, batch, &mut random) {
            let learned = model.learn(&batch);
            step += 1;
            let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let point = Point {
                run_id: &args.run,
                stage: STAGE,
                step,
                loss: learned.loss,
                acc: learned.accuracy,
                ts,
            };
            append(&metrics, &args.run, &point)?;
        }
        let (train, test) = (model.measure(&data.train), model.measure(&data.test));
        let standing = Standing {
            run_id: args.run.clone(),
            stage: STAGE.to_string(),
            epoch,
            step,
            config: args.config.clone(),
            loss: train.loss,
            acc: train.accuracy,
            test_acc: test.accuracy,
            state: if epoch == args.epochs { "done" } else { "running" }.to_string(),
        };
        append(&index, &index_key(&args.run), &standing)?;
    }
    metrics.detach()?;
    index.detach()?;
    Ok(())
}

/// Appends a value, and says so once the append has returned.
fn append(cohort: &Cohort, key: &str, value: &impl Serialize) -> Result<(), Failure> {
    let json = to_json(value)?;
    let mut batch = Batch::new();
    batch.put_json(key, &json)?;
    let seq = cohort.append_batch(batch)?;
    let known = Known { cohort: cohort.name().to_string(), seq, key: key.to_string(), json };
    // In one write, straight into the pipe: whenever this process is killed, the line has been said or it has not.
    io::stdout().write_all((to_json(&known)? + "\n").as_bytes())?;
    Ok(())
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|e| Failure::new(exit::FAILURE, e.to_string()))
}
