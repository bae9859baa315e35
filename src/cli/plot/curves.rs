//! The curves of a plot, made point by point as they are read.
//!
//! Only so many are drawn, those with the newest records, and which these are is known at the end. So the first few are made while
//! reading; if others turn out to be wanted, all is read once more, for those alone.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use tallyfold::Seq;

use super::bins::Bins;

/// So many are made, whether they will be drawn or not.
const HELD: usize = 64;
/// Others are counted up to this number.
const COUNTED: usize = 1 << 20;
/// More bins than the widest terminal has dots.
const BINS: usize = 4096;
/// What lies beyond is drawn there: differences would be infinite.
const FARTHEST: f64 = 1e300;

/// One point of the curve of this name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point<'a> {
    pub(crate) curve: &'a str,
    pub(crate) seq: Seq,
    pub(crate) x: f64,
    /// As it was appended: perhaps not finite.
    pub(crate) y: f64,
}

/// How points become curves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// What is not positive leaves a gap.
    pub(crate) log_y: bool,
    /// An exponential mean: the weight of what came before, 0 to 1.
    pub(crate) smooth: Option<f64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) count: u64,
    /// Of the points as they were appended.
    pub(crate) last: f64,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) nonfinite: u64,
    pub(crate) not_positive: u64,
    pub(crate) bins: Bins,
    newest: Seq,
    smoothed: Smoothed,
}

/// A mean of all values so far, the later the heavier.
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    /// The weights of the values there are sum up to 1 from the first one on.
    fn add(&mut self, value: f64, before: f64) -> f64 {
        self.sum = self.sum * before + value * (1.0 - before);
        self.weight = self.weight * before + (1.0 - before);
        self.sum / self.weight
    }
}

impl Curve {
    fn new(name: &str) -> Curve {
        Curve {
            name: name.to_string(),
            count: 0,
            last: f64::NAN,
            min: None,
            max: None,
            nonfinite: 0,
            not_positive: 0,
            bins: Bins::new(BINS),
            newest: 0,
            smoothed: Smoothed::default(),
        }
    }

    fn add(&mut self, point: &Point<'_>, how: How) {
        self.count += 1;
        self.newest = point.seq;
        self.last = point.y;
        let mut drawn = None;
        if point.y.is_finite() {
            self.min = Some(self.min.map_or(point.y, |min| min.min(point.y)));
            self.max = Some(self.max.map_or(point.y, |max| max.max(point.y)));
            let y = how.smooth.map_or(point.y, |before| self.smoothed.add(point.y, before));
            if how.log_y && y <= 0.0 {
                self.not_positive += 1;
            } else {
                drawn = Some(y.clamp(-FARTHEST, FARTHEST));
            }
        } else {
            self.nonfinite += 1;
        }
        self.bins.add(point.x.clamp(-FARTHEST, FARTHEST), drawn);
    }
}

/// All that was read.
#[derive(Debug)]
pub(crate) struct Curves {
    how: How,
    /// How many are drawn.
    most: usize,
    held: Vec<Curve>,
    places: HashMap<String, usize>,
    /// No others are made: all is read once more for these.
    settled: bool,
    /// The newest of those that are not held.
    others: Vec<(String, Seq)>,
    counted: HashSet<u64>,
    hasher: RandomState,
}

impl Curves {
    pub(crate) fn new(how: How, most: usize) -> Curves {
        Curves {
            how,
            most,
            held: Vec::new(),
            places: HashMap::new(),
            settled: false,
            others: Vec::new(),
            counted: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn add(&mut self, point: &Point<'_>) {
        let place = match self.places.get(point.curve) {
            Some(place) => *place,
            None if !self.settled && self.held.len() < HELD.max(self.most) => {
                self.places.insert(point.curve.to_string(), self.held.len());
                self.held.push(Curve::new(point.curve));
                self.held.len() - 1
            }
            None => return self.add_other(point),
        };
        if let Some(curve) = self.held.get_mut(place) {
            curve.add(point, self.how);
        }
    }

    fn add_other(&mut self, point: &Point<'_>) {
        if self.counted.len() < COUNTED {
            self.counted.insert(self.hasher.hash_one(point.curve));
        }
        if let Some((_, seq)) = self.others.iter_mut().find(|(name, _)| name == point.curve) {
            *seq = point.seq;
            return;
        }
        self.others.push((point.curve.to_string(), point.seq));
        if self.others.len() > self.most {
            let oldest = self.others.iter().enumerate().min_by_key(|(_, (_, seq))| *seq).map(|(i, _)| i);
            self.others.swap_remove(oldest.unwrap_or_default());
        }
    }

    /// Curves in which all has to be read once more, because the newest ones were not made.
    pub(crate) fn to_be_read_again(&self) -> Option<Curves> {
        if self.settled || self.others.is_empty() {
            return None;
        }
        let held = self.held.iter().map(|curve| (curve.newest, &curve.name));
        let mut newest: Vec<(Seq, &String)> =
            held.chain(self.others.iter().map(|(name, seq)| (*seq, name))).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.truncate(self.most);
        let mut again = Curves::new(self.how, self.most);
        for (_, name) in newest {
            again.places.insert(name.clone(), again.held.len());
            again.held.push(Curve::new(name));
        }
        again.settled = true;
        Some(again)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.iter().all(|curve| curve.count == 0)
    }

    /// Those to be drawn, by name.
    pub(crate) fn drawn(&self) -> Vec<&Curve> {
        let mut curves: Vec<&Curve> = self.held.iter().filter(|curve| curve.count > 0).collect();
        curves.sort_unstable_by_key(|curve| std::cmp::Reverse(curve.newest));
        curves.truncate(self.most);
        curves.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        curves
    }

    /// How many there are in all, as text, if not all of them are drawn.
    pub(crate) fn more(&self) -> Option<String> {
        let all = self.held.iter().filter(|curve| curve.count > 0).count() + self.counted.len();
        match self.counted.len() {
            COUNTED.. => Some(format!("more than {COUNTED}")),
            _ => (all > self.most).then(|| all.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(curves: &Curves) -> Vec<&str> {
        curves.drawn().into_iter().map(|curve| curve.name.as_str()).collect()
    }

    fn fill(curves: &mut Curves, names: &[String]) {
        for (i, name) in names.iter().enumerate() {
            let (seq, x) = (i as Seq + 1, i as f64);
            curves.add(&Point { curve: name, seq, x, y: x });
        }
    }

    #[test]
    fn those_with_the_newest_records_are_drawn_in_the_order_of_their_names() {
        let mut curves = Curves::new(How::default(), 2);
        fill(&mut curves, &["c", "a", "b", "c"].map(String::from));
        assert_eq!(names(&curves), ["b", "c"]);
        assert_eq!(curves.more().as_deref(), Some("3"));
        assert!(curves.to_be_read_again().is_none());
    }

    #[test]
    fn of_many_the_newest_are_read_again_and_none_but_those() {
        let mut all: Vec<String> = (0..1000).map(|i| format!("run-{i}")).collect();
        all.push("run-3".to_string());
        let mut curves = Curves::new(How::default(), 3);
        fill(&mut curves, &all);
        let mut again = curves.to_be_read_again().unwrap();
        fill(&mut again, &all);
        assert_eq!(names(&again), ["run-3", "run-998", "run-999"]);
        assert_eq!(again.drawn()[0].count, 2);
        assert_eq!(again.more().as_deref(), Some("1000"));
        assert!(again.to_be_read_again().is_none());
    }

    #[test]
    fn a_curve_knows_its_last_point_and_its_extremes_though_it_is_smoothed() {
        let mut curves = Curves::new(How { smooth: Some(0.5), log_y: false }, 1);
        for (i, y) in [4.0, 0.0, f64::NAN, 1.0].into_iter().enumerate() {
            curves.add(&Point { curve: "", seq: i as Seq + 1, x: i as f64, y });
        }
        let curve = curves.drawn()[0];
        assert_eq!((curve.count, curve.nonfinite, curve.last), (4, 1, 1.0));
        assert_eq!((curve.min, curve.max), (Some(0.0), Some(4.0)));
        // 4; (4 + 2 * 0) / 3; (4 + 2 * 0 + 4 * 1) / 7.
        let drawn: Vec<f64> = curve.bins.lines().concat().iter().map(|point| point.1).collect();
        let expected = [4.0, 4.0 / 3.0, 8.0 / 7.0];
        assert!(drawn.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{drawn:?}");
    }

    #[test]
    fn on_a_logarithmic_scale_what_is_not_positive_is_a_gap_and_counted() {
        let mut curves = Curves::new(How { log_y: true, smooth: None }, 1);
        for (i, y) in [1.0, 0.0, -1.0, 10.0].into_iter().enumerate() {
            curves.add(&Point { curve: "", seq: i as Seq + 1, x: i as f64, y });
        }
        let curve = curves.drawn()[0];
        assert_eq!(curve.not_positive, 2);
        assert_eq!(curve.bins.lines(), [[(0.0, 1.0)], [(3.0, 10.0)]]);
    }
}
