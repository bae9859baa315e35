//! The record that everybody appends: a metric point of 102 bytes that says who wrote it, and as which of its records.

use std::ops::Range;

/// Every record has this many bytes.
pub const BYTES: usize = 102;

/// The counter's lower part is in `step`, which has seven digits, its higher part in the three decimals of `ts`.
const STEPS: u64 = 9_000_000;
const FIRST_STEP: u64 = 1_000_000;
const FIRST_DECIMALS: u64 = 123;
const STEP: Range<usize> = 47..54;
const DECIMALS: Range<usize> = 98..101;
const WORKER: Range<usize> = 15..19;

/// The JSON text of one record. Setting another counter costs a copy of a hundred bytes, for every competitor the same.
pub struct Text {
    template: String,
    text: String,
}

impl Text {
    /// The first record of a worker.
    pub fn new(worker: u32) -> Text {
        let template = format!(
            concat!(
                r#"{{"run_id":"run-{:04}","stage":"TRAINING","step":{},"#,
                r#""loss":0.123456,"acc":0.98,"ts":1767871234.{}}}"#
            ),
            worker, FIRST_STEP, FIRST_DECIMALS
        );
        Text { text: template.clone(), template }
    }

    /// As many texts of a worker as a batch has records.
    pub fn batch(worker: u32, records: usize) -> Vec<Text> {
        (0..records).map(|_| Text::new(worker)).collect()
    }

    /// Makes it the text of record `counter`.
    pub fn set(&mut self, counter: u64) {
        self.text.clear();
        self.text.push_str(&self.template[..STEP.start]);
        self.text.extend(digits::<7>(FIRST_STEP + counter % STEPS));
        self.text.push_str(&self.template[STEP.end..DECIMALS.start]);
        self.text.extend(digits::<3>(FIRST_DECIMALS + counter / STEPS));
        self.text.push_str(&self.template[DECIMALS.end..]);
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn digits<const N: usize>(mut number: u64) -> impl Iterator<Item = char> {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits.into_iter().map(char::from)
}

/// Makes these texts the next ones after `from`.
pub fn number(texts: &mut [Text], from: u64) {
    for (text, counter) in texts.iter_mut().zip(from..) {
        text.set(counter);
    }
}

/// Who wrote these bytes as which of its records; `None` unless every byte is as it was written.
pub fn recognise(bytes: &[u8]) -> Option<(u32, u64)> {
    let number = |at| std::str::from_utf8(bytes.get(at)?).ok()?.parse::<u64>().ok();
    let worker = u32::try_from(number(WORKER)?).ok()?;
    let high = number(DECIMALS)?.checked_sub(FIRST_DECIMALS)?;
    let counter = high * STEPS + number(STEP)?.checked_sub(FIRST_STEP)?;
    let mut expected = Text::new(worker);
    expected.set(counter);
    (expected.as_str().as_bytes() == bytes).then_some((worker, counter))
}

/// Counts what is read back against what was acknowledged: every record of a writer must be there once, in its order.
pub struct Tally {
    lanes: Vec<Lane>,
    foreign: u64,
}

struct Lane {
    seen: Vec<bool>,
    next: u64,
    twice: u64,
    disordered: u64,
}

impl Tally {
    /// What each worker has had acknowledged, by its number.
    pub fn new(acknowledged: &[u64]) -> Tally {
        let lane =
            |records: &u64| Lane { seen: vec![false; *records as usize], next: 0, twice: 0, disordered: 0 };
        Tally { lanes: acknowledged.iter().map(lane).collect(), foreign: 0 }
    }

    /// Takes note of one record as it was read.
    pub fn see(&mut self, bytes: &[u8]) {
        let Some((worker, counter)) = recognise(bytes) else {
            self.foreign += 1;
            return;
        };
        let Some(lane) = self.lanes.get_mut(worker as usize) else {
            self.foreign += 1;
            return;
        };
        match lane.seen.get_mut(counter as usize) {
            None => self.foreign += 1,
            Some(seen) if *seen => lane.twice += 1,
            Some(seen) => {
                *seen = true;
                lane.disordered += u64::from(counter < lane.next);
                lane.next = counter + 1;
            }
        }
    }

    /// Nothing, if every record was there once and in order; else what is wrong.
    pub fn verdict(&self) -> Result<(), String> {
        let sum = |of: fn(&Lane) -> u64| self.lanes.iter().map(of).sum::<u64>();
        let lost = sum(|lane| lane.seen.iter().filter(|seen| !**seen).count() as u64);
        let (twice, disordered) = (sum(|lane| lane.twice), sum(|lane| lane.disordered));
        if lost + twice + disordered + self.foreign == 0 {
            return Ok(());
        }
        let all = sum(|lane| lane.seen.len() as u64);
        Err(format!(
            "{lost} of {all} acknowledged records lost, {twice} there twice, {disordered} out of order, {} not as written",
            self.foreign
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(worker: u32, counter: u64) -> Vec<u8> {
        let mut text = Text::new(worker);
        text.set(counter);
        text.as_str().as_bytes().to_vec()
    }

    fn verdict(acknowledged: &[u64], read: &[Vec<u8>]) -> Result<(), String> {
        let mut tally = Tally::new(acknowledged);
        read.iter().for_each(|bytes| tally.see(bytes));
        tally.verdict()
    }

    #[test]
    fn a_record_has_its_length_and_is_recognised() {
        for (worker, counter) in [(0, 0), (42, 1234), (9999, STEPS - 1), (7, STEPS), (7, 876 * STEPS)] {
            let bytes = text(worker, counter);
            assert_eq!(bytes.len(), BYTES);
            assert_eq!(recognise(&bytes), Some((worker, counter)));
            assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn every_flipped_byte_makes_it_another_record_or_none() {
        let bytes = text(7, 77);
        for at in 0..BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_ne!(recognise(&flipped), Some((7, 77)), "byte {at}");
        }
        assert_eq!(recognise(&bytes[..BYTES - 1]), None);
        assert_eq!(recognise(b""), None);
    }

    #[test]
    fn what_is_lost_repeated_garbled_or_out_of_order_is_told() {
        let (a, b, c) = (text(0, 0), text(0, 1), text(1, 0));
        assert_eq!(verdict(&[2, 1], &[a.clone(), c.clone(), b.clone()]), Ok(()));
        let mut garbled = a.clone();
        garbled[BYTES - 1] = b'x';
        for (read, words) in [
            (vec![a.clone(), c.clone()], "1 of 3 acknowledged records lost"),
            (vec![a.clone(), b.clone(), b.clone(), c.clone()], "1 there twice"),
            (vec![b.clone(), a.clone(), c.clone()], "1 out of order"),
            (vec![a.clone(), b.clone(), c.clone(), garbled], "1 not as written"),
            (vec![a.clone(), b.clone(), c.clone(), text(1, 1)], "1 not as written"),
            (vec![a, b, c, text(2, 0)], "1 not as written"),
        ] {
            let told = verdict(&[2, 1], &read).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
