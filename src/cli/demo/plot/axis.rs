//! The y axis, logarithmic and with round numbers at both its ends; and the numbers below the plot.

/// Points outside of this are gaps, like infinity.
const DRAWABLE: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// A number below the plot needs so many columns, with the space around it.
const COLUMNS_PER_COUNT: usize = 10;

/// The y axis reaches from one round number to another. They are counted: 0 is 1, 1 is 2, 2 is 5, 3 is 10; -1 is 0.5.
#[derive(Debug, PartialEq)]
pub(super) struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// The shortest axis that has room for all of `points`; `None` if there is none to be drawn.
    pub(super) fn over(points: impl Iterator<Item = f64>) -> Option<Axis> {
        let points: Vec<f64> = points.filter(|point| DRAWABLE.contains(point)).collect();
        let lowest = points.iter().copied().reduce(f64::min)?;
        let highest = points.iter().copied().reduce(f64::max)?;
        let mut low = 3 * (lowest.log10().floor() as i32) - 1;
        while round(low + 1) <= lowest {
            low += 1;
        }
        let mut high = low + 1;
        while round(high) < highest {
            high += 1;
        }
        Some(Axis { low, high })
    }

    /// How far up a point lies, 0 at the bottom and 1 at the top; `None` if it cannot be drawn.
    pub(super) fn place(&self, point: f64) -> Option<f64> {
        let (low, high) = (round(self.low).log10(), round(self.high).log10());
        DRAWABLE.contains(&point).then(|| ((point.log10() - low) / (high - low)).clamp(0.0, 1.0))
    }

    /// Round numbers on the axis, at most `most` of them and `most` at least 2, each with its place.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        // All, else the powers of ten, else some of them.
        let steps = [1].into_iter().chain((3..).step_by(3));
        let on_axis = |step: i32| (self.low..=self.high).filter(move |index| index % step == 0);
        let step = steps.into_iter().find(|step| on_axis(*step).count() <= most).unwrap_or(1);
        let decimals = |index: i32| (-index.div_euclid(3)).max(0) as usize;
        on_axis(step)
            .filter_map(|index| {
                Some((self.place(round(index))?, format!("{:.*}", decimals(index), round(index))))
            })
            .collect()
    }
}

/// The round number of this index.
fn round(index: i32) -> f64 {
    let digit = match index.rem_euclid(3) {
        0 => 1.0,
        1 => 2.0,
        _ => 5.0,
    };
    digit * 10_f64.powi(index.div_euclid(3))
}

/// Points to be numbered below a plot: the first, the last, then those at round distances, as many as have room.
pub(super) fn counts(longest: usize, columns: usize) -> Vec<usize> {
    let most = (columns / COLUMNS_PER_COUNT).max(1);
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_usize.pow(power)));
    // Found long before a power overflows: there are fewer points than bytes of memory.
    let step = steps.into_iter().find(|step| longest / step <= most);
    let between = (1..longest).filter(|point| step.is_some_and(|step| point % step == 0));
    [1, longest].into_iter().chain(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(points: &[f64]) -> Axis {
        Axis::over(points.iter().copied()).unwrap()
    }

    fn labels(points: &[f64], most: usize) -> String {
        let labels: Vec<String> = over(points).ticks(most).into_iter().map(|(_, label)| label).collect();
        labels.join(" ")
    }

    #[test]
    fn the_axis_begins_and_ends_with_a_round_number() {
        for (points, low, high) in [
            ([0.053, 0.98], 0.05, 1.0),
            ([0.05, 1.0], 0.05, 1.0),
            ([0.049, 1.1], 0.02, 2.0),
            ([1.0, 1.0], 1.0, 2.0),
            ([3.0, 3.0], 2.0, 5.0),
            ([1000.0, 999_999.0], 1000.0, 1e6),
        ] {
            let axis = over(&points);
            assert_eq!((round(axis.low), round(axis.high)), (low, high), "{points:?}");
            assert_eq!((axis.place(low), axis.place(high)), (Some(0.0), Some(1.0)));
        }
        assert_eq!(over(&[0.01, 1.0]).place(0.1), Some(0.5));
    }

    #[test]
    fn what_cannot_be_drawn_has_no_place() {
        assert_eq!(Axis::over([f64::NAN, f64::INFINITY, 0.0, -1.0].into_iter()), None);
        assert_eq!(Axis::over([].into_iter()), None);
        let axis = over(&[1.0, f64::NAN, 2.0, f64::NEG_INFINITY]);
        for point in [f64::NAN, f64::INFINITY, 0.0, -1.0, f64::MAX] {
            assert_eq!(axis.place(point), None);
        }
        assert_eq!(axis.place(2.0), Some(1.0));
    }

    #[test]
    fn the_numbers_beside_are_round_and_not_too_many() {
        for (points, most, expected) in [
            ([0.11, 0.93], 5, "0.1 0.2 0.5 1"),
            ([0.04, 1.1], 7, "0.02 0.05 0.1 0.2 0.5 1 2"),
            ([0.04, 1.1], 6, "0.1 1"),
            ([3.0, 3.0], 2, "2 5"),
            ([1e-7, 1.0], 4, "0.000001 0.0001 0.01 1"),
        ] {
            assert_eq!(labels(&points, most), expected, "{points:?}");
        }
    }

    #[test]
    fn any_range_has_at_least_one_number_and_no_more_than_asked_for() {
        for points in [[1e-9, 1e9], [7.0, 7.0], [0.2, 2.1], [19.0, 21.0]] {
            for most in 2..9 {
                let count = over(&points).ticks(most).len();
                assert!((1..=most).contains(&count), "{points:?} {most}: {count}");
            }
        }
    }

    #[test]
    fn the_points_numbered_below_begin_with_the_first_and_the_last() {
        assert_eq!(counts(60, 68), [1, 60, 10, 20, 30, 40, 50]);
        assert_eq!(counts(1000, 60), [1, 1000, 200, 400, 600, 800]);
        assert_eq!(counts(1, 60), [1, 1]);
    }
}
