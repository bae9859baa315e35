//! Fisher's iris flowers: parsed, split into two parts and normalised.
//!
//! 150 flowers are few enough to learn from in milliseconds, and real enough that the curves are not made up.

use crate::cli::random::Random;

/// The table itself; `examples/README.md` says where it is from.
pub(super) const FILE: &str = include_str!("../../../examples/iris.csv");

/// How many measurements there are of each flower.
pub(super) const FEATURES: usize = 4;

/// The first line of the file, which names its columns.
const HEADER: &str = "sepal_length,sepal_width,petal_length,petal_width,species";

/// Of each species, one flower in this many is kept for the test.
const ONE_IN: usize = 5;

/// What a flower is, and what the model learns to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Species {
    Setosa,
    Versicolor,
    Virginica,
}

impl Species {
    /// All species; a species' place in it is `species as usize`.
    pub(super) const ALL: [Species; 3] = [Species::Setosa, Species::Versicolor, Species::Virginica];

    /// The name as the file spells it.
    fn name(self) -> &'static str {
        match self {
            Species::Setosa => "setosa",
            Species::Versicolor => "versicolor",
            Species::Virginica => "virginica",
        }
    }
}

/// One flower.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flower {
    /// Length and width of sepal and petal: in centimetres as parsed, in standard deviations from the mean after [`split`].
    pub(super) features: [f64; FEATURES],
    pub(super) species: Species,
}

/// The flowers to learn from and those to be tested with.
#[derive(Debug, PartialEq)]
pub(super) struct Data {
    /// Four flowers in five of each species: 120 of the whole file.
    pub(super) train: Vec<Flower>,
    /// The rest, never learned from: 30 of the whole file.
    pub(super) test: Vec<Flower>,
}

/// Reads the flowers from the text of the file, or says in which line it goes wrong, and how.
pub(super) fn parse(text: &str) -> Result<Vec<Flower>, String> {
    let mut lines = (1..).zip(text.lines());
    if lines.next().is_none_or(|(_, header)| header != HEADER) {
        return Err(format!("line 1: the header should be \"{HEADER}\""));
    }
    lines.map(|(line, row)| flower(row).map_err(|reason| format!("line {line}: {reason}"))).collect()
}

/// Reads one row, or says what is wrong with it.
fn flower(row: &str) -> Result<Flower, String> {
    let mut cells = row.split(',');
    let mut features = [0.0; FEATURES];
    for feature in &mut features {
        let cell = cells.next().unwrap_or_default();
        *feature = match cell.parse::<f64>() {
            // Rust reads "inf" and "NaN" as numbers, but no flower has such a length.
            Ok(length) if length.is_finite() => length,
            _ => return Err(format!("\"{cell}\" is not a length in centimetres")),
        };
    }
    let name = cells.next().unwrap_or_default();
    let Some(species) = Species::ALL.into_iter().find(|s| s.name() == name) else {
        return Err(format!("\"{name}\" is not a species of this table"));
    };
    match cells.next() {
        None => Ok(Flower { features, species }),
        Some(extra) => Err(format!("\"{extra}\" follows the species, the last column")),
    }
}

/// Splits the flowers by chance, but the same way for the same seed, and normalises them.
///
/// Each species is split by itself, so that a lucky draw cannot make one run's test easier than another's.
pub(super) fn split(flowers: &[Flower], seed: u64) -> Data {
    let mut random = Random::new(seed);
    let mut data = Data { train: Vec::new(), test: Vec::new() };
    for species in Species::ALL {
        let mut same: Vec<Flower> =
            flowers.iter().filter(|flower| flower.species == species).cloned().collect();
        random.shuffle(&mut same);
        let kept_back = same.len() / ONE_IN;
        data.train.extend(same.split_off(kept_back));
        data.test.extend(same);
    }
    normalise(&mut data);
    data
}

/// Gives each feature zero mean and unit variance over the training part.
///
/// The test part is moved and scaled by the same amounts: measured by its own mean, it would tell the model something about
/// itself.
fn normalise(data: &mut Data) {
    let count = data.train.len() as f64;
    for feature in 0..FEATURES {
        let mean = data.train.iter().map(|f| f.features[feature]).sum::<f64>() / count;
        let variance = data.train.iter().map(|f| (f.features[feature] - mean).powi(2)).sum::<f64>() / count;
        for flower in data.train.iter_mut().chain(&mut data.test) {
            flower.features[feature] = (flower.features[feature] - mean) / variance.sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_fifty_flowers_of_each_species() {
        let flowers = parse(FILE).unwrap();
        assert_eq!(flowers.len(), 150);
        for species in Species::ALL {
            assert_eq!(flowers.iter().filter(|f| f.species == species).count(), 50);
        }
    }

    #[test]
    fn known_rows_are_as_published_with_35_and_38_corrected() {
        let flowers = parse(FILE).unwrap();
        for (row, features, species) in [
            (1, [5.1, 3.5, 1.4, 0.2], Species::Setosa),
            (35, [4.9, 3.1, 1.5, 0.2], Species::Setosa),
            (38, [4.9, 3.6, 1.4, 0.1], Species::Setosa),
            (51, [7.0, 3.2, 4.7, 1.4], Species::Versicolor),
            (101, [6.3, 3.3, 6.0, 2.5], Species::Virginica),
            (150, [5.9, 3.0, 5.1, 1.8], Species::Virginica),
        ] {
            assert_eq!(flowers[row - 1], Flower { features, species }, "row {row}");
        }
    }

    #[test]
    fn the_means_of_each_species_are_the_published_ones() {
        let flowers = parse(FILE).unwrap();
        for (species, means) in [
            (Species::Setosa, [5.006, 3.428, 1.462, 0.246]),
            (Species::Versicolor, [5.936, 2.770, 4.260, 1.326]),
            (Species::Virginica, [6.588, 2.974, 5.552, 2.026]),
        ] {
            for (feature, expected) in means.into_iter().enumerate() {
                let same = flowers.iter().filter(|f| f.species == species);
                let mean = same.map(|f| f.features[feature]).sum::<f64>() / 50.0;
                assert!((mean - expected).abs() < 1e-9, "{species:?} {feature}: {mean}");
            }
        }
    }

    #[test]
    fn a_malformed_text_is_refused_with_its_line() {
        let good = "5.1,3.5,1.4,0.2,setosa";
        for (text, message) in [
            (String::new(), "line 1: the header should be"),
            (good.to_string(), "line 1: the header should be"),
            (format!("{HEADER}\n{good}\n5.1,x,1.4,0.2,setosa"), "line 3: \"x\" is not a length"),
            (format!("{HEADER}\nNaN,3.5,1.4,0.2,setosa"), "line 2: \"NaN\" is not a length"),
            (format!("{HEADER}\n\n{good}"), "line 2: \"\" is not a length"),
            (format!("{HEADER}\n5.1,3.5,1.4,0.2"), "line 2: \"\" is not a species"),
            (format!("{HEADER}\n5.1,3.5,1.4,0.2,rose"), "line 2: \"rose\" is not a species"),
            (format!("{HEADER}\n{good},1"), "line 2: \"1\" follows the species"),
        ] {
            let refused = parse(&text).unwrap_err();
            assert!(refused.starts_with(message), "{refused}");
        }
    }

    #[test]
    fn the_split_keeps_every_flower_and_each_species_share() {
        let data = split(&parse(FILE).unwrap(), 1);
        assert_eq!((data.train.len(), data.test.len()), (120, 30));
        for species in Species::ALL {
            assert_eq!(data.test.iter().filter(|f| f.species == species).count(), 10);
        }
    }

    #[test]
    fn the_same_seed_splits_the_same_way_and_another_does_not() {
        let flowers = parse(FILE).unwrap();
        assert_eq!(split(&flowers, 1), split(&flowers, 1));
        assert_ne!(split(&flowers, 1), split(&flowers, 2));
    }

    #[test]
    fn the_training_part_has_zero_mean_and_unit_variance() {
        let train = split(&parse(FILE).unwrap(), 1).train;
        for feature in 0..FEATURES {
            let column: Vec<f64> = train.iter().map(|f| f.features[feature]).collect();
            let mean = column.iter().sum::<f64>() / 120.0;
            let variance = column.iter().map(|x| x * x).sum::<f64>() / 120.0;
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
        }
    }
}
