//! What the processes of a run tell each other, outside of the store: numbers in shared memory. What a worker has noted there
//! is noted even if it is killed the moment after.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tallyfold::Seq;
use tallyfold::process::SharedNumbers;

use super::histogram;
use super::plan::Kind;

/// The numbers before the lanes: lanes, acts of each, the phase, and what readers and the compactor count.
const HEAD: usize = 64;
const LANES: usize = 0;
const ACTS: usize = 1;
const PHASE: usize = 2;
const VIEWS: usize = 3;
const COMPACTIONS: usize = 4;

/// The numbers of a lane before its histograms. Each lane begins at a page, so that no two writers share a cache line.
const READY: usize = 0;
const ACKNOWLEDGED: usize = 1;
const LAST: usize = 2;
const TIMEOUTS: usize = 3;
const UNKNOWN: usize = 4;
const DONE: usize = 5;
const LANE_HEAD: usize = 8;
const LANE: usize = (LANE_HEAD + Kind::ALL.len() * histogram::NUMBERS).next_multiple_of(512);

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Work,
    /// The time is over: nobody begins another act.
    Over,
    /// All writers have ended: readers look once more.
    End,
}

/// See the module.
pub(super) struct Board {
    numbers: SharedNumbers,
}

/// What one writer at a time writes.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    head: &'a [AtomicU64],
    acks: &'a [AtomicU64],
}

impl Board {
    pub(super) fn make(path: &Path, lanes: u64, acts: u64) -> tallyfold::Result<Board> {
        let (many, each) = (lanes as usize, acts as usize);
        let numbers = SharedNumbers::make(path, HEAD + many * LANE + many * each)?;
        numbers[LANES].store(lanes, Ordering::Relaxed);
        numbers[ACTS].store(acts, Ordering::Relaxed);
        Ok(Board { numbers })
    }

    pub(super) fn open(path: &Path) -> tallyfold::Result<Board> {
        Ok(Board { numbers: SharedNumbers::open(path)? })
    }

    fn count_of(&self, at: usize) -> usize {
        self.numbers[at].load(Ordering::Relaxed) as usize
    }

    pub(super) fn lane(&self, lane: u64) -> Lane<'_> {
        let (lanes, acts, lane) = (self.count_of(LANES), self.count_of(ACTS), lane as usize);
        let (head, acks) = (HEAD + lane * LANE, HEAD + lanes * LANE + lane * acts);
        Lane { head: &self.numbers[head..head + LANE], acks: &self.numbers[acks..acks + acts] }
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane<'_>> {
        (0..self.count_of(LANES) as u64).map(|lane| self.lane(lane))
    }

    pub(super) fn phase(&self) -> Phase {
        match self.numbers[PHASE].load(Ordering::Acquire) {
            0 => Phase::Work,
            1 => Phase::Over,
            _ => Phase::End,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.numbers[PHASE].store(phase as u64, Ordering::Release);
    }

    /// The highest seq that anybody has been told.
    pub(super) fn last(&self) -> Seq {
        self.lanes().map(|lane| lane.last()).max().unwrap_or_default()
    }

    pub(super) fn count_view(&self) {
        self.numbers[VIEWS].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn views(&self) -> u64 {
        self.numbers[VIEWS].load(Ordering::Relaxed)
    }

    pub(super) fn count_compaction(&self) {
        self.numbers[COMPACTIONS].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn compactions(&self) -> u64 {
        self.numbers[COMPACTIONS].load(Ordering::Relaxed)
    }
}

impl<'a> Lane<'a> {
    /// Whoever writes in it is attached.
    pub(super) fn set_ready(self) {
        self.head[READY].store(1, Ordering::Release);
    }

    pub(super) fn is_ready(self) -> bool {
        self.head[READY].load(Ordering::Acquire) > 0
    }

    pub(super) fn set_done(self) {
        self.head[DONE].store(1, Ordering::Release);
    }

    pub(super) fn is_done(self) -> bool {
        self.head[DONE].load(Ordering::Acquire) > 0
    }

    /// Notes that act `n` is acknowledged, its last record as `seq`.
    pub(super) fn acknowledge(self, n: u64, seq: Seq) {
        self.acks[n as usize].store(seq, Ordering::Release);
        self.head[LAST].store(seq, Ordering::Release);
        self.head[ACKNOWLEDGED].store(n + 1, Ordering::Release);
    }

    /// What was told as the seq of the last record of an act.
    pub(super) fn ack(self, n: u64) -> Option<Seq> {
        let ack = self.acks.get(n as usize)?.load(Ordering::Acquire);
        (ack > 0).then_some(ack)
    }

    /// How many acts are acknowledged: all before one that is not.
    pub(super) fn acknowledged(self) -> u64 {
        let mut acknowledged = self.head[ACKNOWLEDGED].load(Ordering::Acquire);
        // Who was killed between two notes has noted the seq and not the number.
        while self.ack(acknowledged).is_some() {
            acknowledged += 1;
        }
        acknowledged
    }

    fn last(self) -> Seq {
        self.head[LAST].load(Ordering::Acquire)
    }

    fn count(self, at: usize) {
        self.head[at].store(self.head[at].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn count_timeout(self) {
        self.count(TIMEOUTS);
    }

    pub(super) fn timeouts(self) -> u64 {
        self.head[TIMEOUTS].load(Ordering::Relaxed)
    }

    pub(super) fn count_unknown(self) {
        self.count(UNKNOWN);
    }

    /// How often it was told "written, durability unknown".
    pub(super) fn unknown(self) -> u64 {
        self.head[UNKNOWN].load(Ordering::Relaxed)
    }

    /// The numbers of the histogram for a kind of act.
    pub(super) fn histogram(self, kind: Kind) -> &'a [AtomicU64] {
        let from = LANE_HEAD + kind as usize * histogram::NUMBERS;
        &self.head[from..from + histogram::NUMBERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_in_one_mapping_is_read_in_another_lane_by_lane() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("board");
        let (made, opened) = (Board::make(&path, 3, 100).unwrap(), Board::open(&path).unwrap());
        for n in 0..100 {
            opened.lane(1).acknowledge(n, n + 7);
        }
        opened.lane(2).acknowledge(0, 5);
        // As one that was killed between its two notes has left it.
        opened.lane(2).acks[1].store(6, Ordering::Release);
        assert_eq!(made.lanes().map(Lane::acknowledged).collect::<Vec<_>>(), [0, 100, 2]);
        assert_eq!(
            (made.lane(1).ack(99), made.lane(1).ack(100), made.lane(0).ack(0)),
            (Some(106), None, None)
        );
        assert_eq!(made.last(), 106);
        histogram::count(opened.lane(0).histogram(Kind::Update), std::time::Duration::from_nanos(3));
        assert_eq!((made.lane(0).unknown(), made.lane(1).ack(0)), (0, Some(7)), "a histogram is by itself");
        made.set_phase(Phase::Over);
        assert_eq!(opened.phase(), Phase::Over);
    }
}
