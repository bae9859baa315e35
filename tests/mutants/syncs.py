"""Syncs that are left out, come too late, or are believed though they have failed."""

from bug import Bug, crashes, file, unit

# A sync fails, and the next append carries the records: whether there was a sync at all shows first.
FAILED = unit("after_a_failed_sync_the_next_append_by_anybody")
CARRIED = unit("while_the_records_of_a_failed_sync_cannot_be_moved")
NAMES = unit("who_makes_something_durable_first")
NETWORK = unit("nothing_waits_for_a_sync")
QUARANTINE = unit("what_goes_to_quarantine")
NOTHING = "Ok(())"

LEFT_OUT = [
    Bug("a durable append does not sync", "src/cohort.rs", "⟦attachment.sync(last, timeout)?;⟧", "", FAILED),
    Bug(
        "the leader syncs no segment",
        "src/durable.rs",
        ".try_for_each(|number| ⟦self.sync_segment(number)⟧)",
        NOTHING,
        FAILED,
    ),
    Bug(
        "a process alone syncs no segment",
        "src/durable.rs",
        ".and_then(|()| ⟦self.sync_all(segments)⟧)",
        "Ok(drop(segments))",
        FAILED,
    ),
    Bug(
        "the leader syncs the last of several segments only",
        "src/durable.rs",
        "(⟦control.unsynced_from().max(1)⟧..=end.segment)",
        "end.segment",
        **crashes("append to a log", "memory"),
    ),
    Bug(
        "a process alone syncs the last of several segments only",
        "src/durable.rs",
        "⟦segments⟧.into_iter().try_for_each(",
        "segments.into_iter().rev().take(1).collect::<Vec<_>>()",
        **crashes("append to a log"),
    ),
    Bug(
        "who makes something durable first does not sync the cohort's name",
        "src/home.rs",
        '⟦Dir::open(&self.dir.path().join(".."))?.sync()?;⟧',
        "",
        NAMES,
    ),
    Bug(
        "who makes something durable first does not sync the store's name",
        "src/home.rs",
        "Ok(parent) => ⟦parent.sync()⟧,",
        NOTHING,
        NAMES,
    ),
    Bug(
        "a cut that makes something durable first syncs no names",
        "src/cut.rs",
        "⟦self.home.sync_names().map_err(nothing_written)?;⟧",
        "",
        unit("a_cut_that_makes_the_first_record_durable"),
    ),
    Bug(
        "a network file system's first append syncs no names",
        "src/journal.rs",
        "let names = if ⟦self.durable_seq == 0⟧ { self.home.sync_names() }",
        "false",
        NETWORK,
    ),
    Bug(
        "the store's document is not synced before it gets its name",
        "src/store.rs",
        "            ⟦file.sync_all()⟧\n        });",
        NOTHING,
        **crashes("append to a log"),
    ),
    Bug(
        "who makes a store does not sync its name",
        "src/store.rs",
        "⟦Dir::open(parent)?.sync()?;⟧",
        "",
        **crashes("append to a log"),
    ),
    Bug(
        "a cohort gets its name before the store's document is on the medium",
        "src/store.rs",
        "⟦self.dir.sync()?;⟧\n            Ok((made,",
        "",
        unit("a_cohort_has_no_name_on_the_medium"),
    ),
    Bug(
        "the cohort's document is not synced",
        "src/store.rs",
        "⟦document.sync_all()?;⟧",
        "",
        **crashes("append to a log"),
    ),
    Bug(
        "the link of a cohort's first segment is not synced",
        "src/store.rs",
        "⟦first.sync()?;⟧",
        "",
        **crashes("append to a log"),
    ),
    Bug(
        "the names in a new cohort are not synced",
        "src/store.rs",
        "first.sync()?;\n        ⟦dir.sync()⟧",
        NOTHING,
        **crashes("append to a log"),
    ),
    Bug(
        "who makes a cohort does not sync its name",
        "src/store.rs",
        "Ok((made, true)) => {\n                ⟦self.dir.sync()?;⟧",
        "",
        **crashes("append to a log"),
    ),
    Bug(
        "a segment gets its name before its identity is synced",
        "src/segment.rs",
        "⟦file.sync_all()?;⟧\n        let reserved",
        "",
        **crashes("append to a log"),
    ),
    Bug("a spare is not synced", "src/ready.rs", "⟦spare.sync()⟧.and_then(|()| dir.sync())", NOTHING, CARRIED),
    Bug(
        "a spare's name is not synced",
        "src/ready.rs",
        "spare.sync().and_then(|()| ⟦dir.sync()⟧)",
        NOTHING,
        **crashes("append to a log"),
    ),
    Bug(
        "what a cut keeps is not synced",
        "src/cut.rs",
        "if let Err(e) = ⟦segment.sync(&self.home.dir, &self.home.owner)⟧ {",
        "Ok(drop(segment))",
        unit("a_cut_whose_sync_fails"),
    ),
    Bug("records are carried and not synced", "src/cut.rs", "⟦target.sync()?;⟧", "", CARRIED),
    Bug("the link of a cut is not synced", "src/cut.rs", "if let Err(e) = ⟦spare.sync()⟧ {", NOTHING, CARRIED),
    Bug(
        "who appends behind a dead one's cut does not sync its link",
        "src/journal.rs",
        "if let Err(e) = ⟦segment.sync()⟧ {\n            self.mark_poisoned();",
        NOTHING,
        unit("nothing_is_appended_behind_a_cut"),
    ),
    Bug(
        "the last word is not synced",
        "src/durable.rs",
        "⟦self.sync_last_word(wrote, timeout)?;⟧",
        "",
        unit("the_last_word_of_who_detaches"),
    ),
    Bug(
        "an append on a network file system is not synced under the lock",
        "src/journal.rs",
        "names.and_then(|()| ⟦active.segment.sync()⟧)",
        NOTHING,
        unit("trusted_network_locks_sync"),
    ),
    Bug("a rotation on a network file system is not synced under the lock", "src/journal.rs", "⟦spare.sync()?;⟧", "", NETWORK),
    Bug(
        "sealed segments are not synced before they are folded",
        "src/compact.rs",
        "⟦attachment.sync(through, timeout)?;⟧",
        "",
        unit("a_failed_sync_in_a_compaction"),
    ),
    Bug(
        "a snapshot is not synced",
        "src/snapshot/write.rs",
        "⟦self.file.sync_all()?;⟧",
        "",
        **crashes("compact, fold latest"),
    ),
    Bug(
        "the directory is not synced after the new snapshot's rename",
        "src/compact.rs",
        "published?;\n    ⟦home.dir.sync()⟧",
        NOTHING,
        unit("no_segment_retires_before"),
    ),
    Bug(
        "a snapshot's name in quarantine is not synced",
        "src/compact.rs",
        "    ⟦quarantine.sync()?;⟧\n    home.dir.sync()\n",
        "",
        QUARANTINE,
    ),
    Bug(
        "a segment's name in quarantine is not synced",
        "src/retire.rs",
        "⟦quarantine.sync()?;⟧\n            } else {",
        "",
        QUARANTINE,
    ),
]

TOO_EARLY = [
    Bug(
        "the leader acknowledges before it syncs",
        "src/durable.rs",
        "⟦let synced = self⟧\n                .first_sync(durable_seq)",
        "control.set_durable(end.next_seq.saturating_sub(1), control.unsynced_from());\n"
        "let synced = self",
        FAILED,
    ),
    Bug(
        "a process alone acknowledges before it syncs",
        "src/durable.rs",
        "⟦(journal.unsynced(), journal.next_seq() - 1, durable_seq)⟧",
        "let (unsynced, written, mut journal) = (journal.unsynced(), journal.next_seq() - 1, journal);\n"
        "journal.synced(written);\n(unsynced, written, durable_seq)",
        FAILED,
    ),
    Bug(
        "a snapshot is renamed before it is synced",
        "src/snapshot/write.rs",
        "⟦self.file.sync_all()?;⟧",
        "",
        also=(
            (
                "src/compact.rs",
                "published?;\n    ⟦home.dir.sync()⟧",
                "home.dir.open_read(names::SNAPSHOT, Names::Several)?.sync_all().and_then(|()| home.dir.sync())",
            ),
        ),
        **crashes("compact, fold latest"),
    ),
    Bug(
        "what is folded retires before the snapshot is published",
        "src/compact.rs",
        "⟦keep_previous(home, &base)?;⟧",
        """keep_previous(home, &base)?;
        for number in home.dir.names()?.iter().filter_map(|name| names::parse_segment(name)) {
            if let Some(Found::Linked(linked)) = Segment::open(&home.dir, number, &home.owner, Access::Read)?
                && linked.link.first_seq <= through
            {
                home.dir.remove(&names::segment(number))?;
            }
        }""",
        **crashes("compact, fold latest"),
    ),
    Bug(
        "the tail is published before the frame is written",
        "src/journal.rs",
        '⟦sys::reached("frame begun");⟧',
        """if let Some(control) = &self.control {
            control.ends().publish(&End {
                segment: place.segment,
                offset: place.offset + header.frame_len(),
                next_seq: header.next_seq(),
                last_crc: header.encode(active.segment.salt()).1,
            });
        }
        sys::reached("frame begun");""",
        unit("a_writer_that_dies_at_any_step_of_an_append"),
    ),
]

BELIEVED = [
    Bug(
        "a sync that fails is tried again, and believed",
        "src/segment.rs",
        "⟦self.file.sync_data()⟧.map_err(|e| e.in_segment(self.number))",
        "self.file.sync_data().or_else(|_| self.file.sync_data())",
        FAILED,
    ),
    Bug("a leader whose sync has failed leaves no mark", "src/durable.rs", "missing || ⟦led.is_err()⟧ {", "false", FAILED),
    Bug(
        "a process alone whose sync has failed leaves no mark",
        "src/durable.rs",
        "⟦self.poison(&Patience::of(timeout));⟧",
        "",
        FAILED,
    ),
    Bug(
        "the missing result of a dead leader counts as success",
        "src/durable.rs",
        "let missing = ⟦control.begin_sync()⟧;",
        "control.begin_sync() && false",
        unit("those_who_wait_for_a_sync_whose_leader_is_killed"),
    ),
    Bug(
        "a missing result is forgotten when nobody is left",
        "src/sys/layout_linux.rs",
        "⟦doubt()?;⟧",
        "",
        unit("a_sync_whose_result_is_missing"),
    ),
    Bug(
        "the mark of a failed sync on disk is not looked at",
        "src/cut.rs",
        "Ok(known || ⟦self.home.dir.exists(&names::poison(self.scan.place().segment))?⟧)",
        "false",
        FAILED,
    ),
    Bug(
        "the mark of a failed sync in shared memory is not looked at",
        "src/journal.rs",
        "if ⟦poisoned⟧ { self.cut(self.scan.place()) }",
        "false",
        unit("a_record_that_need_not_be_durable"),
    ),
    Bug(
        "a failure of which another process was told is not noticed",
        "src/durable.rs",
        "|| ⟦self.is_marked_from(from)?⟧ {",
        "false",
        unit("a_sync_that_goes_well_after_another"),
    ),
    Bug(
        "records of a failed sync are synced again instead of carried",
        "src/cut.rs",
        "if ⟦self.is_poisoned()?⟧ {\n            from",
        "false",
        FAILED,
    ),
    Bug(
        "a link leads through a segment of which nothing was synced",
        "src/cut.rs",
        "&& ⟦place.offset == FRAMES_BEGIN⟧\n",
        "false",
        unit("no_link_leads_through"),
    ),
    Bug(
        "a spare that records were carried into is used again",
        "src/ready.rs",
        "Some(left) if ⟦left.is_blank_from(FRAMES_BEGIN)?⟧ =>",
        "true",
        file("recover", "a_spare_that_records_were_being_carried_into"),
    ),
]

REDUNDANT = [
    Bug(
        "the sync of the store's directory when `store.json` is new",
        "src/store.rs",
        "⟦dir.sync()?;⟧\n        let parent",
        "",
        why="who makes a cohort does it before the cohort has a name, and a store without cohorts holds nothing",
        **crashes("append to a log"),
    ),
    Bug(
        "the sync of a new `compact.lock`",
        "src/store.rs",
        "⟦dir.create(names::COMPACT_LOCK)?.sync_all()?;⟧",
        "dir.create(names::COMPACT_LOCK)?;",
        why="it has no content, and its name is synced with the directory",
        **crashes("append to a log"),
    ),
    Bug(
        "the sync of the name of a failed sync's mark, by a leader",
        "src/cut.rs",
        "⟦let _ = attachment.home.dir.sync();⟧",
        "",
        why="a power cut that takes the mark takes the pages too that it warns of",
        **crashes("cuts", "memory"),
    ),
    Bug(
        "the same, by a process alone",
        "src/cut.rs",
        "make_mark(&self.home, &self.tally, self.scan.place().segment);\n        ⟦let _ = self.home.dir.sync();⟧",
        "",
        why="as above",
        **crashes("cuts"),
    ),
    Bug(
        "the sync of the directory with the sealed segments, before a fold",
        "src/compact.rs",
        "⟦home.dir.sync()?;⟧\n    if home.settings.fold == Fold::Log {",
        "",
        why="the name of a segment is synced while it is a spare",
        **crashes("compact"),
    ),
    Bug(
        "the sync of a snapshot every 8 MiB",
        "src/snapshot/write.rs",
        "⟦self.file.sync_data()?;⟧",
        "",
        why="it makes the one at the end shorter, and that covers all",
        **crashes("compact"),
    ),
    Bug(
        "the sync of the directory after the old snapshot's second name",
        "src/compact.rs",
        "home.dir.remove(&second)?;\n    ⟦home.dir.sync()⟧",
        NOTHING,
        why="the one after the new snapshot's rename covers it, and nothing retires before that",
        **crashes("compact"),
    ),
    Bug(
        "the sync of the directory after segments have retired",
        "src/retire.rs",
        "home.dir.remove(&names::poison(number))?;\n        }\n        ⟦home.dir.sync()⟧",
        NOTHING,
        why="segments that come back are removed by the next compaction",
        **crashes("compact"),
    ),
]
