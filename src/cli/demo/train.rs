//! Softmax regression, learned by gradient descent in mini-batches with momentum.
//!
//! The smallest model that is honestly trained: its loss falls because it learns, so that good and bad settings make visibly
//! different curves.

use serde::{Deserialize, Serialize};

use super::iris::{FEATURES, Flower, Species};
use crate::cli::random::Random;

/// How many kinds of flower the model tells apart.
const CLASSES: usize = Species::ALL.len();

/// How much of its speed a weight keeps from one step to the next.
const MOMENTUM: f64 = 0.9;

/// The weights begin somewhere between plus and minus this: near 0, where every species is about equally likely.
const FIRST_WEIGHT: f64 = 0.1;

/// A number for each species: one weight per feature, then the bias.
type Weights = [[f64; FEATURES + 1]; CLASSES];

/// The settings of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub(super) struct Config {
    /// How far a step goes down the gradient
    #[arg(long)]
    pub(super) learning_rate: f64,
    /// How strongly large weights are held back; 0 for not at all
    #[arg(long)]
    pub(super) l2: f64,
    /// How many flowers are looked at before each step; 0 counts as 1
    #[arg(long)]
    pub(super) batch: usize,
    /// Decides the first weights and the order in which flowers are seen
    #[arg(long)]
    pub(super) seed: u64,
}

/// How good a model is on some flowers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Mean cross-entropy, without the l2 penalty: runs with different penalties stay comparable.
    pub(super) loss: f64,
    /// The share it names correctly.
    pub(super) accuracy: f64,
}

/// A model in training.
#[derive(Clone)]
pub(super) struct Model {
    config: Config,
    weights: Weights,
    velocity: Weights,
}

impl Model {
    /// A model that has not learned anything.
    pub(super) fn new(config: &Config, random: &mut Random) -> Model {
        let weights =
            Weights::default().map(|row| row.map(|_| FIRST_WEIGHT * (2.0 * random.fraction() - 1.0)));
        Model { config: config.clone(), weights, velocity: Weights::default() }
    }

    /// Measures the model on a mini-batch, then moves the weights once, down its gradient.
    pub(super) fn learn(&mut self, batch: &[&Flower]) -> Measured {
        let measured = self.measure(batch.iter().copied());
        let gradient = self.gradient(batch);
        let weights = self.weights.iter_mut().flatten();
        let velocity = self.velocity.iter_mut().flatten();
        for ((weight, speed), slope) in weights.zip(velocity).zip(gradient.iter().flatten()) {
            *speed = MOMENTUM * *speed - self.config.learning_rate * slope;
            *weight += *speed;
        }
        measured
    }

    /// The slope, for each weight, of the mean cross-entropy over `batch` plus the l2 penalty.
    fn gradient(&self, batch: &[&Flower]) -> Weights {
        let mut gradient = self.weights.map(|row| row.map(|weight| self.config.l2 * weight));
        for row in &mut gradient {
            // The bias is how common a species is, not how sure the model is: nothing to hold back.
            row[FEATURES] = 0.0;
        }
        for flower in batch {
            let likely = self.log_probabilities(flower);
            for ((row, log), species) in gradient.iter_mut().zip(likely).zip(Species::ALL) {
                let truth = if species == flower.species { 1.0 } else { 0.0 };
                let error = (log.exp() - truth) / batch.len() as f64;
                for (slope, input) in row.iter_mut().zip(inputs(flower)) {
                    *slope += error * input;
                }
            }
        }
        gradient
    }

    /// Measures the model on `flowers`.
    pub(super) fn measure<'a>(&self, flowers: impl IntoIterator<Item = &'a Flower>) -> Measured {
        let (mut count, mut loss, mut right) = (0.0, 0.0, 0.0);
        for flower in flowers {
            let likely = self.log_probabilities(flower);
            let truth = likely[flower.species as usize];
            count += 1.0;
            loss -= truth;
            // Counted by "none is likelier", so a model that diverged to NaN is wrong rather than right by comparison.
            if likely.iter().all(|other| *other <= truth) {
                right += 1.0;
            }
        }
        Measured { loss: loss / count, accuracy: right / count }
    }

    /// The logarithm of how likely the model thinks each species is.
    fn log_probabilities(&self, flower: &Flower) -> [f64; CLASSES] {
        let scores = self.weights.map(|row| row.iter().zip(inputs(flower)).map(|(w, x)| w * x).sum::<f64>());
        // With the highest score taken off first, no exponential overflows, and their sum has no logarithm below 0.
        let highest = scores.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
        scores.map(|score| score - highest - total.ln())
    }
}

/// All flowers once, in a new order, in mini-batches of a size.
pub(super) fn epoch<'a>(flowers: &'a [Flower], size: usize, random: &mut Random) -> Vec<Vec<&'a Flower>> {
    let mut order: Vec<&Flower> = flowers.iter().collect();
    random.shuffle(&mut order);
    order.chunks(size.max(1)).map(Vec::from).collect()
}

/// What the weights of a row are multiplied with: the features, then 1 for the bias.
fn inputs(flower: &Flower) -> impl Iterator<Item = f64> {
    flower.features.into_iter().chain([1.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::iris::{self, Data};

    fn flowers() -> Data {
        iris::split(&iris::parse(iris::FILE).unwrap(), 1)
    }

    fn sane() -> Config {
        Config { learning_rate: 0.1, l2: 1e-4, batch: 16, seed: 1 }
    }

    /// What fifty epochs come to: measured on the training part, and on the test part.
    fn run(config: &Config) -> (Measured, Measured) {
        let data = flowers();
        let mut random = Random::new(config.seed);
        let mut model = Model::new(config, &mut random);
        for _ in 0..50 {
            for batch in epoch(&data.train, config.batch, &mut random) {
                model.learn(&batch);
            }
        }
        (model.measure(&data.train), model.measure(&data.test))
    }

    #[test]
    fn fifty_epochs_of_a_sane_run_learn_the_flowers() {
        for seed in 0..20 {
            let (train, test) = run(&Config { seed, ..sane() });
            assert!(train.loss < 0.1 * 3_f64.ln(), "seed {seed}: {train:?}");
            assert!(test.accuracy >= 0.9, "seed {seed}: {test:?}");
            assert!(train.accuracy >= 0.95, "seed {seed}: {train:?}");
        }
    }

    #[test]
    fn a_model_that_does_not_move_stays_near_the_loss_of_guessing() {
        let (train, _) = run(&Config { learning_rate: 0.0, ..sane() });
        assert!((train.loss - 3_f64.ln()).abs() < 0.2, "{train:?}");
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let data = flowers();
        let config = Config { l2: 0.05, ..sane() };
        let model = Model::new(&config, &mut Random::new(1));
        let batch: Vec<&Flower> = data.train.iter().collect();
        let objective = |model: &Model| {
            let squares = model.weights.iter().flat_map(|row| &row[..FEATURES]).map(|w| w * w);
            model.measure(&data.train).loss + config.l2 / 2.0 * squares.sum::<f64>()
        };
        let gradient = model.gradient(&batch);
        for (class, row) in gradient.iter().enumerate() {
            for (input, found) in row.iter().enumerate() {
                let moved = |by: f64| {
                    let mut moved = model.clone();
                    moved.weights[class][input] += by;
                    objective(&moved)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let off = (slope - found).abs();
                assert!(off < 1e-8, "{class}, {input}: {slope} {found}");
            }
        }
    }

    #[test]
    fn the_same_settings_learn_the_same_and_another_seed_does_not() {
        assert_eq!(run(&sane()), run(&sane()));
        assert_ne!(run(&sane()), run(&Config { seed: 2, ..sane() }));
    }

    #[test]
    fn a_slower_rate_and_a_stronger_penalty_both_end_higher() {
        let (end, _) = run(&sane());
        let (slow, _) = run(&Config { learning_rate: 0.001, ..sane() });
        let (strict, _) = run(&Config { l2: 0.1, ..sane() });
        assert!(slow.loss > 2.0 * end.loss && strict.loss > 2.0 * end.loss);
    }

    #[test]
    fn a_run_that_diverges_says_so_and_is_never_right() {
        let (train, test) = run(&Config { learning_rate: 1e9, l2: 1e9, ..sane() });
        assert!(train.loss.is_nan() && test.loss.is_nan());
        assert_eq!((train.accuracy, test.accuracy), (0.0, 0.0));
    }

    #[test]
    fn an_epoch_shows_every_flower_once() {
        let data = flowers();
        for (size, batches) in [(0, 120), (1, 120), (16, 8), (120, 1), (500, 1)] {
            let epoch = epoch(&data.train, size, &mut Random::new(1));
            assert_eq!((epoch.len(), epoch.iter().flatten().count()), (batches, 120), "size {size}");
        }
    }
}
