"""What is believed of the journal's bytes, and where it ends."""

from bug import Bug, file, unit

FLIPPED = file("damage", "every_flipped_byte_of_a_cohort")
FORMAT = unit("format::")
DEAD = unit("a_writer_that_dies_at_any_step_of_an_append")

FRAMES = [
    Bug(
        "the header's CRC does not cover the length",
        "src/format.rs",
        "let sum = crc(⟦&out[..HEADER_CRC_AT]⟧, salt);",
        "&out[4..HEADER_CRC_AT]",
        FORMAT,
        also=(("src/format.rs", "crc(⟦&bytes[..HEADER_CRC_AT]⟧, salt) != header_crc", "&bytes[4..HEADER_CRC_AT]"),),
    ),
    Bug("CRCs have no salt", "src/format.rs", "new_with_initial(⟦seed⟧)", "0", FORMAT),
    Bug(
        "the header's CRC is not checked",
        "src/format.rs",
        "⟦crc(&bytes[..HEADER_CRC_AT], salt) != header_crc⟧ {",
        "false",
        FORMAT,
    ),
    Bug("a header of zeros is believed if its CRC fits", "src/format.rs", "if ⟦first_seq == 0⟧ || crc(", "false", FORMAT),
    Bug(
        "a frame's length is believed though the file ends before",
        "src/format.rs",
        "⟦header.frame_len() <= left⟧).then_some(header)",
        "true",
        FORMAT,
    ),
    Bug(
        "a torn frame is adopted: its body's CRC is not checked",
        "src/format.rs",
        "&& ⟦crc(&frame[HEADER..end], 0) == self.body_crc⟧",
        "true",
        FORMAT,
    ),
    Bug("bytes in the padding are not noticed", "src/format.rs", "&& ⟦is_blank(&frame[end..])⟧", "true", FORMAT),
    Bug(
        "a frame of another seq is taken: a gap is not noticed",
        "src/frames.rs",
        "if ⟦header.first_seq != self.next_seq⟧ ||",
        "false",
        file("recover", "a_whole_frame_of_another_seq"),
    ),
    Bug(
        "a gap between two segments is not noticed",
        "src/scan.rs",
        "|| ⟦frames.next_seq() != link.first_seq⟧ {",
        "false",
        unit("a_link_that_leaves_out_a_seq"),
    ),
    Bug(
        "a segment with another end is taken for the one that a link names",
        "src/scan.rs",
        "if ⟦frames.last_crc() != link.previous_crc⟧ ||",
        "false",
        unit("behind_a_segment_that_ends_with_another_frame"),
    ),
    Bug(
        "a segment of another cohort is taken",
        "src/segment.rs",
        "|| ⟦identity.cohort != owner.cohort⟧ {",
        "false",
        file("damage", "a_segment_of_another_cohort"),
    ),
    Bug(
        "a batch is torn: its count is not honoured",
        "src/format.rs",
        "self.first_seq.saturating_add(u64::from(⟦self.count⟧))",
        "self.count.min(1)",
        file("model", "a_log_returns_every_record"),
    ),
    Bug(
        "records of a batch are handed out before the last one is known to make sense",
        "src/cursor.rs",
        "⟦unread.check(body).map_err(|what| self.trail.senseless(header, what))?;⟧\n                    unread.skip_to",
        "",
        unit("no_record_of_a_batch_is_handed_out"),
    ),
    Bug(
        "bytes behind the last record of a batch are not noticed",
        "src/format.rs",
        "if ⟦self.left == 1 && self.at + used != body.len()⟧ {",
        "false",
        unit("bytes_behind_the_last_record"),
    ),
]

ENDS = [
    Bug(
        "W off by one: what was durable is taken for a torn tail",
        "src/recover.rs",
        "if ⟦place.next_seq > durable⟧ {",
        "place.next_seq >= durable",
        FLIPPED,
    ),
    Bug(
        "W off by one: a torn tail is taken for corruption",
        "src/recover.rs",
        "if ⟦place.next_seq > durable⟧ {",
        "place.next_seq > durable + 1",
        file("recover", "a_hole_behind_what_was_durable"),
    ),
    Bug(
        "W leaves out the watermark",
        "src/recover.rs",
        "let mut durable = ⟦watermark.max(scan.durable_seq())⟧;",
        "scan.durable_seq()",
        file("recover", "a_journal_that_ends_below"),
    ),
    Bug(
        "W leaves out the frames behind the place",
        "src/recover.rs",
        "⟦durable = durable.max(linked.segment.durable_behind(place.offset, place.next_seq)?);⟧",
        "",
        file("recover", "a_hole_in_what_a_later_frame"),
    ),
    Bug(
        "W leaves out later segments",
        "src/recover.rs",
        "scan.open(later)? {\n                ⟦durable = durable.max(segment.durable_behind(FRAMES_BEGIN, place.next_seq)?);⟧",
        "",
        unit("a_hole_in_what_a_frame_of_a_later_segment"),
    ),
    Bug(
        "W believes a frame behind the place that calls itself durable",
        "src/segment.rs",
        "&& ⟦header.durable_seq < header.first_seq⟧\n",
        "true",
        unit("a_frame_behind_a_torn_tail"),
    ),
    Bug(
        "in flight is ignored: a frame that a dead writer has begun is not looked for",
        "src/journal.rs",
        "if ⟦!control.ends().is_settled()⟧ || end.segment == 0 {",
        "false",
        DEAD,
    ),
    Bug(
        "nothing says that a frame was begun",
        "src/sys/ends.rs",
        "⟦self.state.store(self.state.load(Ordering::Relaxed) | BEGUN, Ordering::Release);⟧\n        // No store",
        "",
        DEAD,
    ),
    Bug(
        "a whole frame that a dead writer has left is not adopted",
        "src/journal.rs",
        "Step::Frame(_) => ⟦{}⟧\n                Step::Moved if",
        "break Some(self.place())",
        DEAD,
    ),
    Bug(
        "who attaches does not look at the whole rest of the segment",
        "src/journal.rs",
        "self.attached = ⟦blank⟧ && place",
        "true",
        file("recover", "a_hole_ends_the_journal"),
    ),
    Bug(
        "the watermark off by one: a journal that ends one record below it is gone on with",
        "src/journal.rs",
        "⟦place.next_seq > self.home.watermark()?⟧;",
        "place.next_seq >= self.home.watermark()?",
        unit("a_journal_that_ends_one_record_below"),
    ),
    Bug(
        "a restart of the system is not noticed",
        "src/journal.rs",
        "&& ⟦then != now⟧ && then != UNKNOWN",
        "false",
        file("recover", "after_a_restart_of_the_system"),
    ),
    Bug(
        "a seq is given again after a doubt: a cut does not raise the epoch",
        "src/cut.rs",
        "let epoch = ⟦spare.number.max(self.epoch() + 1)⟧;",
        "self.epoch()",
        file("recover", "a_hole_ends_the_journal"),
    ),
    Bug(
        "an epoch that readers may have seen is begun again",
        "src/cut.rs",
        "let epoch = ⟦spare.number.max(self.epoch() + 1)⟧;",
        "self.epoch() + 1",
        unit("an_epoch_that_readers_saw"),
    ),
    Bug(
        "a spare whose file was replaced is begun",
        "src/ready.rs",
        "&& ⟦spare.salt() == named.salt()⟧",
        "true",
        unit("a_link_is_not_written_into_a_spare"),
    ),
]
