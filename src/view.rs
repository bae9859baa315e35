//! Snapshot and tail, merged, at one seq.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::{Bound, Deref};
use std::sync::{Arc, OnceLock};

use crate::attach::Published;
use crate::chain::Floor;
use crate::cursor::{self, Trail};
use crate::error::{Error, Result};
use crate::fold::{Entry, EntryRef, Fold, Slot};
use crate::format::Header;
use crate::home::Home;
use crate::names;
use crate::record::Seq;
use crate::snapshot::{self, Lines, Snapshot};
use crate::tail::{Sorted, Tail};

/// A cohort's state at one seq. It never changes; [`Reader`] gives newer ones.
#[derive(Debug)]
pub struct View {
    home: Arc<Home>,
    base: Option<Snapshot>,
    /// What the records behind the base have made of their keys.
    tail: Tail,
    seq: Seq,
    /// Why the base is not `snapshot.json`, if that was found damaged.
    damage: Option<Error>,
    /// Whether the base is the previous snapshot, so that there is no other to rebuild it from.
    over_previous: bool,
    /// What stands in for the base once a block of it was found damaged.
    rebuilt: OnceLock<(Error, Box<View>)>,
}

impl View {
    /// The seq of the last record in it.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The entry of a key. Reads one block of the snapshot, if any.
    ///
    /// # Errors
    /// `is_corruption` if the snapshot is damaged there and cannot be rebuilt from the previous one and the journal.
    pub fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.get_ref(key)?.map(EntryRef::to_entry))
    }

    /// As [`get`](View::get), without copying the entry.
    ///
    /// # Errors
    /// As [`get`](View::get).
    pub fn get_ref(&self, key: &str) -> Result<Option<EntryRef<'_>>> {
        match self.tail.get(key) {
            Some(slot) => Ok(slot.entry().map(Entry::as_entry_ref)),
            None => self.base_entry(key),
        }
    }

    /// All entries, sorted by the bytes of their keys. None is copied; a key is only where the snapshot has it escaped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// # let runs = store.create("runs", tallyfold::Settings::latest())?;
    /// # runs.append("run-1", &0.5)?; runs.append("run-2", &0.25)?;
    /// let view = runs.view()?;
    /// let mut losses = Vec::new();
    /// for item in view.iter() {
    ///     let (key, entry) = item?;
    ///     losses.push((key, entry.to::<f64>()?));
    /// }
    /// assert_eq!(losses, [("run-1".into(), 0.5), ("run-2".into(), 0.25)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The iterator's items are errors as of [`get`](View::get).
    pub fn iter(&self) -> Iter<'_> {
        self.range_from(Bound::Unbounded)
    }

    /// As [`iter`](View::iter), from the first key that is `key` or comes after it. Reads no block before that.
    ///
    /// # Errors
    /// As [`iter`](View::iter).
    pub fn iter_from(&self, key: &str) -> Iter<'_> {
        self.range_from(Bound::Included(key))
    }

    /// As [`iter`](View::iter), and gives back the memory behind: for whoever goes over a state once.
    pub(crate) fn iter_once(&self) -> Iter<'_> {
        let mut iter = self.iter();
        if let Base::Lines(lines) = iter.base {
            iter.base = Base::Lines(lines.giving_back());
        }
        iter
    }

    /// That a snapshot was damaged, if it was: this view is whole all the same, rebuilt from the previous snapshot and the
    /// journal. The next compaction that has something to fold puts it right, and so does a repair.
    pub fn damage(&self) -> Option<&Error> {
        self.damage.as_ref().or_else(|| self.rebuilt.get().map(|(damage, _)| damage))
    }

    /// How many blocks of the snapshot have been read for this view.
    pub fn blocks_read(&self) -> u64 {
        self.base.as_ref().map_or(0, Snapshot::blocks_read)
    }

    fn base_entry(&self, key: &str) -> Result<Option<EntryRef<'_>>> {
        if let Some((_, view)) = self.rebuilt.get() {
            return view.get_ref(key);
        }
        let Some(base) = &self.base else { return Ok(None) };
        match base.get(key) {
            Err(e) if e.is_corruption() => self.rebuild(e)?.get_ref(key),
            other => other,
        }
    }

    /// The state at the base's watermark by another way: from the previous snapshot and the journal since.
    fn rebuild(&self, damage: Error) -> Result<&View> {
        let Some(base) = &self.base else { return Err(damage) };
        if self.over_previous {
            return Err(damage);
        }
        match Reader::over_previous(&self.home, base.head.seq) {
            Ok(reader) if reader.view.seq == base.head.seq => {
                Ok(&self.rebuilt.get_or_init(|| (damage, Box::new(reader.view))).1)
            }
            _ => Err(damage),
        }
    }

    fn range_from(&self, from: Bound<&str>) -> Iter<'_> {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => "",
        };
        let base = match (&self.rebuilt.get(), &self.base) {
            (Some((_, view)), _) => Base::Rebuilt(Box::new(view.range_from(from))),
            (None, Some(snapshot)) => Base::Lines(snapshot.lines(start)),
            (None, None) => Base::None,
        };
        let tail = self.tail.sorted(start, matches!(from, Bound::Excluded(_))).peekable();
        let excluded = match from {
            Bound::Excluded(key) => Some(key.to_string()),
            _ => None,
        };
        Iter { view: self, base, pending: None, tail, excluded, after: None, ended: false }
    }

    pub(crate) fn base(&self) -> Option<&Snapshot> {
        self.base.as_ref()
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }
}

/// See [`View::iter`].
pub struct Iter<'a> {
    view: &'a View,
    base: Base<'a>,
    /// The base's next entry.
    pending: Option<Item<'a>>,
    tail: Peekable<Sorted<'a>>,
    /// The one key that the base may begin with and that is not wanted.
    excluded: Option<String>,
    /// The last line taken from the base: behind its key to go on if the base has to be replaced.
    after: Option<&'a str>,
    ended: bool,
}

type Item<'a> = (Cow<'a, str>, EntryRef<'a>);

enum Base<'a> {
    None,
    Lines(Lines<'a>),
    Rebuilt(Box<Iter<'a>>),
}

impl<'a> Iter<'a> {
    #[inline]
    fn base_next(&mut self) -> Result<Option<Item<'a>>> {
        loop {
            let taken = match &mut self.base {
                Base::None => return Ok(None),
                Base::Rebuilt(iter) => return iter.next().transpose(),
                Base::Lines(lines) => lines.next(),
            };
            match taken {
                None => return Ok(None),
                Some(Ok(line)) => {
                    if self.excluded.take().is_some_and(|excluded| *line.key == *excluded) {
                        continue;
                    }
                    self.after = Some(line.text);
                    return Ok(Some((line.key, line.entry)));
                }
                Some(Err(e)) if e.is_corruption() => {
                    let after = self.after.and_then(snapshot::key).map(|(key, _)| key);
                    let after = after.as_deref().or(self.excluded.as_deref());
                    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                    self.base = Base::Rebuilt(Box::new(self.view.rebuild(e)?.range_from(from)));
                }
                Some(Err(e)) => return Err(e),
            }
        }
    }

    #[inline]
    fn merged_next(&mut self) -> Result<Option<Item<'a>>> {
        // Nothing to merge with: the shortest way, for most views are a snapshot and little else.
        if self.pending.is_none() && self.tail.peek().is_none() {
            return self.base_next();
        }
        loop {
            if self.pending.is_none() {
                self.pending = self.base_next()?;
            }
            let order = match (&self.pending, self.tail.peek()) {
                (_, None) => return Ok(self.pending.take()),
                (None, Some(_)) => Ordering::Greater,
                (Some((base, _)), Some((tail, _))) => (**base).cmp(tail),
            };
            match order {
                Ordering::Less => return Ok(self.pending.take()),
                // The tail has made something newer of this key.
                Ordering::Equal => self.pending = None,
                Ordering::Greater => {
                    if let Some((key, Some(entry))) = self.tail.next() {
                        return Ok(Some((Cow::Borrowed(key), entry.as_entry_ref())));
                    }
                }
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<(Cow<'a, str>, EntryRef<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.merged_next() {
            Ok(Some(item)) => Some(Ok(item)),
            ended => {
                self.ended = true;
                ended.transpose()
            }
        }
    }
}

/// A view that can be brought up to date: it keeps its place in the journal and applies only what is new.
#[derive(Debug)]
pub struct Reader {
    view: View,
    trail: Trail,
    /// The segment that was active when the base was opened: compaction rotates, so while this is it, nothing was folded.
    since: u64,
}

/// Beyond this many bytes in the tail, a reader looks for a newer snapshot to stand on.
const TAIL_BYTES: usize = 16 << 20;

impl Reader {
    /// A reader at the tail, as far as the journal is whole, and what is wrong behind that.
    pub(crate) fn open(home: &Arc<Home>, published: &Published) -> Result<(Reader, Option<Error>)> {
        loop {
            let mut reader = Reader::begin(home, published.clone())?;
            match reader.run(Seq::MAX) {
                Ok(()) => return Ok((reader, None)),
                // Compaction overtook us. The next snapshot covers what is gone.
                Err(e) if e.is_compacted() => {}
                Err(e) if e.is_corruption() => return Ok((reader, Some(e))),
                Err(e) => return Err(e),
            }
        }
    }

    fn begin(home: &Arc<Home>, published: Published) -> Result<Reader> {
        if home.settings.fold == Fold::Log {
            return Reader::on(home, None, None, home.floor()?, published);
        }
        match home.snapshot(names::SNAPSHOT) {
            Ok(Some(snapshot)) => Reader::over(home, Some(snapshot), None, published),
            Err(damage) if damage.is_corruption() => {
                Reader::over(home, home.snapshot(names::SNAPSHOT_PREV)?, Some(damage), published)
            }
            Err(e) => Err(e),
            Ok(None) => match home.snapshot(names::SNAPSHOT_PREV)? {
                None => Reader::over(home, None, None, published),
                Some(previous) => {
                    let missing = Error::corruption("snapshot.json is missing").at(home.dir.path());
                    Reader::over(home, Some(previous), Some(missing), published)
                }
            },
        }
    }

    /// A reader that stops at `until`, if the journal is whole so far.
    pub(crate) fn open_at(home: &Arc<Home>, until: Seq) -> Result<Reader> {
        let mut reader = Reader::begin(home, Published::default())?;
        reader.run(until)?;
        Ok(reader)
    }

    /// The same on the previous snapshot, whatever the newest one is like.
    pub(crate) fn over_previous(home: &Arc<Home>, until: Seq) -> Result<Reader> {
        let mut reader =
            Reader::over(home, home.snapshot(names::SNAPSHOT_PREV)?, None, Published::default())?;
        reader.view.over_previous = true;
        reader.run(until)?;
        Ok(reader)
    }

    pub(crate) fn over(
        home: &Arc<Home>,
        base: Option<Snapshot>,
        damage: Option<Error>,
        published: Published,
    ) -> Result<Reader> {
        let floor = base.as_ref().map_or(0, |snapshot| snapshot.head.seq);
        Reader::on(home, base, damage, Floor::Seq(floor), published)
    }

    fn on(
        home: &Arc<Home>,
        base: Option<Snapshot>,
        damage: Option<Error>,
        floor: Floor,
        published: Published,
    ) -> Result<Reader> {
        let (Floor::Seq(watermark) | Floor::Durable(watermark)) = floor;
        let trail = Trail::begin(home, floor, watermark, published)?;
        let seq = trail.scan().chain().floor;
        let view = View {
            home: Arc::clone(home),
            base,
            tail: Tail::default(),
            seq,
            over_previous: damage.is_some(),
            damage,
            rebuilt: OnceLock::new(),
        };
        let since = trail.scan().chain().active().map_or(0, |active| active.number);
        Ok(Reader { view, trail, since })
    }

    /// Applies what has been appended since. Returns the seq that the view is at now.
    ///
    /// # Errors
    /// `is_corruption` if the journal is damaged: the view stays at the last record before.
    pub fn refresh(&mut self) -> Result<Seq> {
        match self.run(Seq::MAX) {
            Err(e) if e.is_compacted() => self.begin_anew()?,
            other => other?,
        }
        let active = self.trail.scan().place().segment;
        if self.view.tail.bytes() > TAIL_BYTES && active != self.since {
            let watermark = self.view.base.as_ref().map_or(0, |base| base.head.seq);
            if self.view.home.watermark()? > watermark {
                self.begin_anew()?;
            }
            self.since = active;
        }
        Ok(self.view.seq)
    }

    fn begin_anew(&mut self) -> Result<()> {
        let (reader, damage) = Reader::open(&self.view.home, self.trail.published())?;
        if let Some(e) = damage {
            return Err(e);
        }
        if reader.view.seq < self.view.seq {
            return Err(Error::corruption(format!(
                "the journal ends at seq {}, and seq {} was read before",
                reader.view.seq, self.view.seq
            ))
            .at(self.view.home.dir.path())
            .at_seq(reader.view.seq + 1));
        }
        *self = reader;
        Ok(())
    }

    /// Applies frames up to seq `until`.
    pub(crate) fn run(&mut self, until: Seq) -> Result<()> {
        while self.view.seq < until {
            let Some(header) = self.trail.next()? else { break };
            self.apply(&header)?;
        }
        Ok(())
    }

    fn apply(&mut self, header: &Header) -> Result<()> {
        let fold = &self.view.home.settings.fold;
        if *fold != Fold::Log {
            for record in cursor::records(header, &self.trail)? {
                // Frames of the segment that holds the watermark may lie before it.
                if record.seq <= self.view.seq {
                    continue;
                }
                // A key that the tail has already costs no allocation of its own.
                if let Some(applied) = self.view.tail.change(record.key, |slot| fold.apply(slot, &record)) {
                    applied.map_err(|e| self.trail.placed(header, e))?;
                    continue;
                }
                let mut slot = match fold.needs_old() {
                    true => fold.slot(self.view.base_entry(record.key)?)?,
                    false => Slot::Gone,
                };
                fold.apply(&mut slot, &record).map_err(|e| self.trail.placed(header, e))?;
                self.view.tail.add(record.key, slot);
            }
        }
        self.view.seq = self.view.seq.max(header.next_seq() - 1);
        Ok(())
    }

    /// The view as it is now, for good.
    pub fn into_view(self) -> View {
        self.view
    }

    /// Where in the journal this reader is: segment and offset.
    pub(crate) fn position(&self) -> (u64, u64) {
        let place = self.trail.scan().place();
        (place.segment, place.offset)
    }
}

impl Deref for Reader {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}
