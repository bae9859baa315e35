"""Folds, snapshots, retirement, and appends with a condition."""

from bug import Bug, file, unit

REPLAY = file("model", "state_is_a_plain_replay")
EITHER = file("compact", "one_snapshot_can_be_lost")

SNAPSHOTS = [
    Bug(
        "a block of a snapshot is not checked",
        "src/snapshot/mod.rs",
        "if ⟦format::crc(bytes, 0) != block.crc⟧ {",
        "false",
        file("compact", "every_flipped_byte_of_a_snapshot"),
    ),
    Bug(
        "a snapshot of another cohort is taken",
        "src/snapshot/mod.rs",
        "if ⟦head.cohort != owner.cohort⟧ ||",
        "false",
        unit("the_snapshot_of_another_cohort"),
    ),
    Bug(
        "no look at the generation before the rename: another's snapshot is replaced",
        "src/compact.rs",
        "if ⟦now.is_some() && now != base.head⟧ {",
        "false",
        unit("a_snapshot_that_another_has_published"),
    ),
    Bug(
        "a compactor does not read back what it has written",
        "src/compact.rs",
        "⟦made.verify()?;⟧",
        "",
        unit("a_snapshot_that_cannot_be_read_back"),
    ),
    Bug(
        "two compact at once",
        "src/compact.rs",
        "let Some(_held) = ⟦lock.try_exclusive()?⟧ else { return Ok(Compaction::Busy) };\n    fold_and_count",
        "match lock.try_exclusive()? { None => return fold_and_count(attachment, timeout, between), held => held }",
        file("compact", "while_another_compacts"),
    ),
    Bug(
        "the previous snapshot is not kept",
        "src/compact.rs",
        "⟦keep_previous(home, &base)?;⟧",
        "if base.damage.is_some() { keep_previous(home, &base)?; }",
        EITHER,
    ),
    Bug(
        "a damaged snapshot is kept as the previous one",
        "src/compact.rs",
        "⟦return quarantine_snapshot(home);⟧",
        "return home.dir.rename(names::SNAPSHOT, names::SNAPSHOT_PREV);",
        file("compact", "every_flipped_byte_of_a_snapshot"),
    ),
    Bug(
        "the watermark off by one: a record more",
        "src/compact.rs",
        "seq: ⟦through⟧,\n    };\n    let temporary",
        "through + 1",
        REPLAY,
    ),
    Bug(
        "the watermark off by one: a record less",
        "src/compact.rs",
        "seq: ⟦through⟧,\n    };\n    let temporary",
        "through - 1",
        REPLAY,
    ),
    Bug(
        "the floor off by one: the record behind the watermark is passed over",
        "src/chain.rs",
        "<= ⟦self.floor.saturating_add(1)⟧ {",
        "self.floor.saturating_add(2)",
        unit("segments_that_hold_one_record_each"),
    ),
    Bug(
        "a fold ignores deletes",
        "src/fold/mod.rs",
        "(Fold::Log, _) | (_, Kind::Delete) => {\n                ⟦*slot = Slot::Gone;⟧",
        "",
        unit("latest_keeps_the_last_put"),
    ),
    Bug(
        "a compaction ignores deletes",
        "src/compact.rs",
        "Some((_, None)) => ⟦{}⟧",
        "writer.copy(&line)?",
        REPLAY,
    ),
    Bug("a merge forgets what the snapshot holds", "src/fold/mod.rs", "⟦matches!(self, Fold::Merge | Fold::Sum | Fold::Top(_) | Fold::Series(_))⟧", "false", REPLAY),
    Bug(
        "a view prefers the snapshot to what came after it",
        "src/view.rs",
        "Ordering::Equal => ⟦self.pending = None⟧,",
        "self.tail.next();",
        REPLAY,
    ),
]

RETIRED = [
    Bug(
        "segments retire that only the previous snapshot needs",
        "src/retire.rs",
        "Floor::Seq(⟦previous.head.seq⟧), Access::Read)?;\n    let Some(needed)",
        "home.watermark()?.max(previous.head.seq)",
        EITHER,
    ),
    Bug(
        "one segment too many retires",
        "src/retire.rs",
        "self.numbers.iter().filter(|number| ⟦**number < keep⟧)",
        "**number <= keep",
        EITHER,
    ),
    Bug(
        "segments retire though all are to be retained",
        "src/retire.rs",
        "if ⟦retain == Retain::All⟧ {",
        "false",
        file("compact", "segments_that_both_snapshots_cover"),
        also=[("src/retire.rs", "Retain::All => ⟦true⟧,", "false")],
    ),
    Bug(
        "cut-off bytes are removed with their segment",
        "src/retire.rs",
        "if ⟦cut⟧ {",
        "false",
        file("recover", "a_hole_in_a_sealed_segment"),
    ),
    Bug(
        "the last frames go with the space behind a sealed segment",
        "src/retire.rs",
        "(⟦next.previous_end.next_multiple_of(PAGE)⟧, segment",
        "next.previous_end / PAGE * PAGE",
        EITHER,
    ),
    Bug(
        "`append_if` does not ask for the last seq",
        "src/cohort.rs",
        "if ⟦head == expected⟧ {",
        "true",
        file("model", "append_if_writes_only"),
    ),
    Bug(
        "`append_if` does not ask for the key's seq",
        "src/cohort.rs",
        "if ⟦found == expected⟧ {",
        "true",
        file("model", "append_if_writes_only"),
    ),
    Bug(
        "`append_if` asks before it has the lock",
        "src/cohort.rs",
        "⟦reader.refresh()?;⟧\n                let found",
        "",
        unit("updates_through_handles_of_their_own"),
    ),
]
