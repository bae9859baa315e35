//! The points of a curve in bounded memory: side by side in bins, of which each keeps its extremes.
//!
//! While there are few points each has a bin of its own. When there are too many, bins get a width, a power of two, and it doubles
//! whenever there are too many again: so the bins are narrower than a dot of the plot, whatever comes and in whichever order, and
//! a single point that stands out is seen.

/// A point: where it lies, and its value.
pub(crate) type Point = (f64, f64);

/// Points that lie close together.
#[derive(Clone, Debug, PartialEq)]
struct Bin {
    /// In widths; while bins have none, where the point lies.
    place: f64,
    /// The leftmost, the lowest, the highest and the rightmost point; none if no value is finite: a gap.
    points: Option<[Point; 4]>,
}

impl Bin {
    fn add(&mut self, other: &Bin) {
        let Some([first, low, high, last]) = other.points else { return };
        self.points = Some(match self.points {
            None => [first, low, high, last],
            Some([my_first, my_low, my_high, my_last]) => [
                if first.0 < my_first.0 { first } else { my_first },
                if low.1 < my_low.1 { low } else { my_low },
                if high.1 > my_high.1 { high } else { my_high },
                if last.0 >= my_last.0 { last } else { my_last },
            ],
        });
    }
}

/// At most `most` bins, in order of their places.
#[derive(Clone, Debug)]
pub(crate) struct Bins {
    most: usize,
    /// 2 to the power of this; none yet while each point has its own bin.
    width: Option<i32>,
    bins: Vec<Bin>,
}

impl Bins {
    /// At least 4.
    pub(crate) fn new(most: usize) -> Bins {
        Bins { most: most.max(4), width: None, bins: Vec::new() }
    }

    /// Adds a point; `y` none: a gap.
    pub(crate) fn add(&mut self, x: f64, y: Option<f64>) {
        let points = y.map(|y| [(x, y); 4]);
        self.put(Bin { place: self.place(x), points });
        while self.bins.len() > self.most {
            self.widen();
        }
    }

    fn place(&self, x: f64) -> f64 {
        match self.width {
            // 0 and -0 are one place.
            None => x + 0.0,
            Some(width) => (x * 2_f64.powi(-width)).floor() + 0.0,
        }
    }

    /// Nearly always at the end.
    fn put(&mut self, bin: Bin) {
        match self.bins.last_mut() {
            Some(last) if last.place < bin.place => {}
            None => {}
            Some(last) if last.place == bin.place => return last.add(&bin),
            Some(_) => {
                let found = self.bins.binary_search_by(|other| other.place.total_cmp(&bin.place));
                match found {
                    Ok(i) => {
                        if let Some(there) = self.bins.get_mut(i) {
                            there.add(&bin);
                        }
                    }
                    Err(i) => self.bins.insert(i, bin),
                }
                return;
            }
        }
        self.bins.push(bin);
    }

    fn widen(&mut self) {
        let first_width = |bins: &[Bin]| {
            let range = bins.last().map_or(0.0, |bin| bin.place) - bins.first().map_or(0.0, |bin| bin.place);
            (range / (self.most / 2) as f64).log2().ceil() as i32
        };
        let (width, factor) = match self.width {
            None => {
                let width = first_width(&self.bins);
                (width, 2_f64.powi(-width))
            }
            Some(width) => (width + 1, 0.5),
        };
        let bins = std::mem::take(&mut self.bins);
        self.width = Some(width);
        for mut bin in bins {
            bin.place = (bin.place * factor).floor() + 0.0;
            self.put(bin);
        }
    }

    /// The points to be drawn, from left to right: each list is a line without gaps.
    pub(crate) fn lines(&self) -> Vec<Vec<Point>> {
        let mut lines = vec![Vec::new()];
        for bin in &self.bins {
            let Some([first, low, high, last]) = bin.points else {
                lines.push(Vec::new());
                continue;
            };
            let Some(line) = lines.last_mut() else { break };
            let (left, right) = if low.0 <= high.0 { (low, high) } else { (high, low) };
            for point in [first, left, right, last] {
                if line.last() != Some(&point) {
                    line.push(point);
                }
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// The range of what can be drawn: left, right, lowest, highest.
    pub(crate) fn range(&self) -> Option<[f64; 4]> {
        let drawn = || self.bins.iter().filter_map(|bin| bin.points);
        let left = drawn().map(|points| points[0].0).reduce(f64::min)?;
        let right = drawn().map(|points| points[3].0).reduce(f64::max)?;
        let low = drawn().map(|points| points[1].1).reduce(f64::min)?;
        let high = drawn().map(|points| points[2].1).reduce(f64::max)?;
        Some([left, right, low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(most: usize, points: impl IntoIterator<Item = Point>) -> Bins {
        let mut bins = Bins::new(most);
        for (x, y) in points {
            bins.add(x, Some(y).filter(|y| y.is_finite()));
        }
        bins
    }

    #[test]
    fn few_points_are_kept_as_they_are_in_order_of_their_places() {
        let bins = filled(10, [(3.0, 1.0), (1.0, 2.0), (2.0, -1.0), (1.0, 5.0)]);
        assert_eq!(bins.lines(), [[(1.0, 2.0), (1.0, 5.0), (2.0, -1.0), (3.0, 1.0)]]);
        assert_eq!(bins.range(), Some([1.0, 3.0, -1.0, 5.0]));
    }

    #[test]
    fn a_gap_ends_a_line_and_the_next_point_begins_another() {
        let bins = filled(10, [(1.0, 1.0), (2.0, f64::NAN), (3.0, f64::NAN), (4.0, 2.0), (5.0, 3.0)]);
        assert_eq!(bins.lines(), [vec![(1.0, 1.0)], vec![(4.0, 2.0), (5.0, 3.0)]]);
        assert_eq!(filled(10, [(1.0, f64::NAN)]).range(), None);
        assert!(filled(10, [(1.0, f64::NAN)]).lines().is_empty());
    }

    #[test]
    fn of_a_million_points_the_one_that_stands_out_is_kept_and_memory_is_bounded() {
        let wave = |i: i32| (f64::from(i), if i == 654_321 { 99.0 } else { f64::from(i % 7) });
        let bins = filled(256, (0..1_000_000).map(wave));
        assert!(bins.bins.len() <= 256, "{}", bins.bins.len());
        let points: Vec<Point> = bins.lines().concat();
        assert!(points.contains(&(654_321.0, 99.0)));
        assert_eq!((points[0], points.last()), ((0.0, 0.0), Some(&wave(999_999))));
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(bins.range(), Some([0.0, 999_999.0, 0.0, 99.0]));
    }

    #[test]
    fn bins_are_narrower_than_a_part_of_the_range_whatever_comes_in_whichever_order() {
        for scale in [1.0, -1.0, 1e-300, 1e300, 1e-9] {
            // 7919 is prime: every place is visited once, far from the one before.
            let bins = filled(64, (0..5000).map(|i| (f64::from(i * 7919 % 5000) / 5000.0 * scale, 1.0)));
            assert!(bins.bins.len() <= 64 && bins.bins.len() >= 16, "{scale} {}", bins.bins.len());
            let [left, right, ..] = bins.range().unwrap();
            let width = 2_f64.powi(bins.width.unwrap());
            assert!(width <= (right - left) / 8.0, "{scale}: {width}");
        }
    }

    #[test]
    fn places_far_from_all_others_cost_no_more_than_a_bin() {
        let mut bins = filled(64, (0..1000).map(|i| (f64::from(i), 0.0)));
        for x in [-1e300, 1e300, 5e-324] {
            bins.add(x, Some(1.0));
        }
        assert!(bins.bins.len() <= 64);
        assert_eq!(bins.range(), Some([-1e300, 1e300, 0.0, 1.0]));
    }
}
