//! Repeatable chance: the same seed gives the same numbers on every machine.

/// The splitmix64 generator of Steele, Lea and Flood (2014).
///
/// Its whole state is one counter, so nearby seeds are as good as distant ones: runs may simply be numbered. It is not for
/// secrets.
pub(crate) struct Random {
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { counter: seed }
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.counter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // An f64 holds 53 bits exactly: with more, rounding could reach 1.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The high half of the product is below `end`. The bias against some numbers is at most end / 2^64: nothing here is
        // long enough for it to show.
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Brings `items` into random order, every order being equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_published_algorithm() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
        assert_eq!(random.bits(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn fractions_stay_in_their_range_and_spread_over_it() {
        let mut random = Random::new(7);
        let drawn: Vec<f64> = (0..10_000).map(|_| random.fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
    }

    #[test]
    fn below_reaches_every_number_and_none_beyond() {
        let mut random = Random::new(3);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn shuffling_keeps_every_item_once() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        Random::new(1).shuffle::<u8>(&mut []);
    }
}
