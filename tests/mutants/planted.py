"""The bugs: where each is planted, and what becomes of the code there."""

from dataclasses import dataclass


@dataclass
class Bug:
    name: str
    file: str
    old: str
    new: str
    loom: bool = False
    # More places of the same bug in the same file.
    also: tuple = ()


PLANTED = [
    # Syncs left out, or in the wrong order.
    Bug(
        "acknowledged as durable without a sync",
        "src/cohort.rs",
        "        if durable {\n            attachment.sync(last, timeout)?;\n        }\n",
        "",
    ),
    Bug(
        "the leader syncs nothing",
        "src/durable.rs",
        ".try_for_each(|number| self.sync_segment(number))",
        ".try_for_each(|_| Ok(()))",
    ),
    Bug(
        "a process alone syncs nothing",
        "src/durable.rs",
        "self.first_sync(durable_seq).and_then(|()| self.sync_all(segments))",
        "self.first_sync(durable_seq).and_then(|()| Ok(drop(segments)))",
    ),
    Bug(
        "the names that lead to a cohort are not synced",
        "src/durable.rs",
        "if durable_seq == 0 { self.home.sync_names() } else { Ok(()) }",
        "Ok(drop(durable_seq))",
    ),
    Bug(
        "a spare's name is not synced",
        "src/ready.rs",
        "spare.sync().and_then(|()| dir.sync())",
        "spare.sync()",
    ),
    Bug(
        "a new segment is named before its identity is synced",
        "src/segment.rs",
        "        file.sync_all()?;\n        let reserved",
        "        let reserved",
    ),
    Bug("a snapshot is not synced", "src/snapshot/write.rs", "        self.file.sync_all()?;\n", ""),
    Bug(
        "a snapshot covers what is not synced",
        "src/compact.rs",
        "    attachment.sync(through, timeout)?;\n",
        "",
    ),
    Bug(
        "the directory is not synced between a snapshot's name and retirement",
        "src/compact.rs",
        "    published?;\n    home.dir.sync()\n",
        "    published\n",
    ),
    Bug(
        "the link of a cut is not synced",
        "src/cut.rs",
        "if let Err(e) = spare.sync() {",
        "if let Err(e) = Ok::<(), Error>(()) {",
    ),
    Bug(
        "what a cut keeps is not synced",
        "src/cut.rs",
        "if let Err(e) = segment.sync(&self.home.dir, &self.home.owner) {",
        "if let Err(e) = Ok::<(), Error>(drop(segment)) {",
    ),
    # Failed syncs believed.
    Bug("a failed sync leaves no mark", "src/durable.rs", "if missing || led.is_err() {", "if missing {"),
    Bug(
        "the missing result of a dead leader counts as success",
        "src/durable.rs",
        "let missing = control.begin_sync();",
        "let missing = control.begin_sync() && false;",
    ),
    Bug(
        "a mark is not looked at",
        "src/cut.rs",
        "Ok(known || self.home.dir.exists(&names::poison(self.scan.place().segment))?)",
        "Ok(known && false)",
    ),
    Bug(
        "records of a failed sync are synced again instead of carried",
        "src/cut.rs",
        "        if self.is_poisoned()? {\n            from = self.carry",
        "        if false {\n            from = self.carry",
    ),
    # Frames believed.
    Bug(
        "the header's CRC does not cover the length",
        "src/format.rs",
        "let sum = crc(&out[..HEADER_CRC_AT], salt);",
        "let sum = crc(&out[4..HEADER_CRC_AT], salt);",
        also=(("crc(&bytes[..HEADER_CRC_AT], salt) != header_crc", "crc(&bytes[4..HEADER_CRC_AT], salt) != header_crc"),),
    ),
    Bug(
        "no salt",
        "src/format.rs",
        "let mut hasher = crc32fast::Hasher::new_with_initial(seed);",
        "let mut hasher = crc32fast::Hasher::new_with_initial(seed & 0);",
    ),
    Bug(
        "a frame's body is not checked",
        "src/format.rs",
        "            && crc(&frame[HEADER..end], 0) == self.body_crc\n",
        "",
    ),
    Bug(
        "a frame of another seq is taken",
        "src/frames.rs",
        "header.first_seq != self.next_seq || !header.body_is_whole(frame)",
        "!header.body_is_whole(frame)",
    ),
    Bug(
        "the rest of the segment is not looked at",
        "src/journal.rs",
        "        self.attached = blank && place",
        "        self.attached = (blank || true) && place",
    ),
    Bug(
        "a block of a snapshot is not checked",
        "src/snapshot/mod.rs",
        "if format::crc(bytes, 0) != block.crc {",
        "if false && format::crc(bytes, 0) != block.crc {",
    ),
    # Seqs and epochs given twice.
    Bug(
        "a cut does not raise the epoch",
        "src/cut.rs",
        "let epoch = self.epoch() + 1 + self.begun()?;",
        "let epoch = self.epoch().max(1) + 0 * self.begun()?;",
    ),
    Bug(
        "an epoch that may have been used is used again",
        "src/cut.rs",
        "let epoch = self.epoch() + 1 + self.begun()?;",
        "let epoch = self.epoch() + 1 + 0 * self.begun()?;",
    ),
    Bug(
        "a restart of the system is not noticed",
        "src/journal.rs",
        "self.home.reach != Reach::Network && then != now",
        "self.home.reach != Reach::Network && then != now && false",
    ),
    Bug(
        "a spare is not looked up again",
        "src/ready.rs",
        "if !spare.has_room(FRAMES_BEGIN + frame_len) {",
        "if false {",
    ),
    # Removed too early.
    Bug(
        "segments are retired that the previous snapshot needs",
        "src/compact.rs",
        "Floor::Seq(previous.head.seq), Access::Read)?;\n    let Some(keep)",
        "Floor::Seq(home.snapshot(names::SNAPSHOT)?.map_or(previous.head.seq, |s| s.head.seq)), Access::Read)?;\n    let Some(keep)",
    ),
    Bug(
        "the old snapshot is not kept",
        "src/compact.rs",
        "    keep_previous(home, &base)?;\n",
        "    if base.damage.is_some() {\n        keep_previous(home, &base)?;\n    }\n",
    ),
    Bug(
        "segments are retired before the snapshot is published",
        "src/compact.rs",
        "    keep_previous(home, &base)?;\n    publish(",
        "    keep_previous(home, &base)?;\n    retire(home)?;\n    publish(",
    ),
    # The lock and the published end.
    Bug(
        "a living owner loses the lock",
        "src/sys/word.rs",
        "if seen == Some(owner) && !is_alive(owner) {",
        "if seen == Some(owner) {",
    ),
    Bug(
        "a dead owner keeps the lock",
        "src/sys/word.rs",
        "if seen == Some(owner) && !is_alive(owner) {",
        "if seen == Some(owner) && !is_alive(owner) && false {",
    ),
    Bug(
        "a forked child keeps its parent's descriptors",
        "src/sys/fork_unix.rs",
        "            unsafe { libc::close(fd) };",
        "            unsafe { libc::close(fd | i32::MIN) };",
    ),
    Bug(
        "nothing says that a frame was begun",
        "src/sys/ends.rs",
        "self.state.store(self.state.load(Ordering::Relaxed) | BEGUN, Ordering::Release);",
        "let _ = self.state.load(Ordering::Relaxed) | BEGUN;",
    ),
    Bug(
        "the end is published before its slot is written",
        "src/sys/ends.rs",
        "        self.slots[selected(next)].store(end);\n        self.state.store(next, Ordering::Release);\n",
        "        self.state.store(next, Ordering::Release);\n        self.slots[selected(next)].store(end);\n",
        loom=True,
    ),
    Bug(
        "a reader believes an end that changed meanwhile",
        "src/sys/ends.rs",
        "if self.state.load(Ordering::Relaxed) >> 1 == state >> 1 {",
        "if true || self.state.load(Ordering::Relaxed) >> 1 == state >> 1 {",
        loom=True,
    ),
    Bug(
        "giving the lock back publishes nothing",
        "src/sys/word.rs",
        "self.0.swap(0, Ordering::Release) & ASLEEP != 0",
        "self.0.swap(0, Ordering::Relaxed) & ASLEEP != 0",
        loom=True,
    ),
]
