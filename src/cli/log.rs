//! `tallyfold log`: the records of the journal, in order.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use tallyfold::{Cohort, Cursor, Kind, Record, Seq};

use super::exit::Failure;
use super::options::Options;
use super::output::{Escaped, Output, say};
use super::time::rfc3339;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A record is a line of JSON with seq, time, key and value (or \"deleted\":true, or \"raw\" and the bytes in \
hexadecimal); on a terminal, and without --json, a line to be read.

-n N alone prints the last N records, and with -f goes on behind them. --from SEQ -n N prints the N records from SEQ \
on, and with -f waits until there are so many.

Examples:
  tallyfold log metrics -n 10 -f
  tallyfold log metrics --from 1000 -n 100 | jq .value.loss")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// Only the last N records; with --from, the first N
    #[arg(short, value_name = "N")]
    number: Option<u64>,

    /// Wait at the end for more
    #[arg(short, long)]
    follow: bool,

    /// Begin with this record; one that is folded away is an error that names the first one kept
    #[arg(long, value_name = "SEQ")]
    from: Option<Seq>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let cohort = options.cohort(&args.cohort)?;
    let (cursor, limit) = begin(&cohort, args)?;
    match args.follow {
        true => print(options, cursor.follow(), limit, true),
        false => print(options, cursor, limit, false),
    }
}

/// Prints records, at most so many; `at_once`: each when it is there, for whoever waits for it.
pub(crate) fn print(
    options: &Options,
    mut records: impl Iterator<Item = tallyfold::Result<Record>>,
    limit: Option<u64>,
    at_once: bool,
) -> Result<(), Failure> {
    let line = match options.json || !io::stdout().is_terminal() {
        true => json_line,
        false => readable_line,
    };
    let mut out = Output::new();
    let mut printed = 0;
    while limit.is_none_or(|limit| printed < limit) {
        match records.next() {
            None => break,
            Some(Ok(record)) => out.write_all(line(&record).as_bytes())?,
            Some(Err(e)) => {
                // Everything before the damage, and then what it is.
                out.flush()?;
                return Err(e.into());
            }
        }
        printed += 1;
        if at_once {
            out.flush()?;
        }
    }
    Ok(out.flush()?)
}

/// Where to begin, and how many records to print at most.
fn begin(cohort: &Cohort, args: &Args) -> Result<(Cursor, Option<u64>), Failure> {
    match (args.from, args.number) {
        (Some(from), limit) => Ok((cohort.cursor(from)?, limit)),
        (None, None) => Ok((cursor_at_least(cohort, 1)?, None)),
        (None, Some(number)) => {
            let (last, damaged) = match cohort.last_seq() {
                // The last before the damage. The cursor will meet it too, and tell, if it may go on so far.
                Err(e) if e.is_corruption() => (e.seq().ok_or(e)?.saturating_sub(1), true),
                other => (other?, false),
            };
            let cursor = cursor_at_least(cohort, last.saturating_sub(number) + 1)?;
            Ok((cursor, (!args.follow && !damaged).then_some(number)))
        }
    }
}

/// From `asked` on, or from the first record still there: nobody has asked for it by its number.
fn cursor_at_least(cohort: &Cohort, asked: Seq) -> Result<Cursor, Failure> {
    let mut from = asked;
    loop {
        match cohort.cursor(from) {
            // Compaction may be at it, so perhaps more than once.
            Err(e) if e.is_compacted() && e.seq().is_some_and(|first| first > from) => {
                from = e.seq().unwrap_or(from);
            }
            cursor => {
                if from > asked {
                    say(format!("records before seq {from} are folded away"));
                }
                return Ok(cursor?);
            }
        }
    }
}

/// One JSON object and a newline. The value's text is not touched.
pub(crate) fn json_line(record: &Record) -> String {
    let mut line = format!(
        r#"{{"seq":{},"time":"{}","key":{}"#,
        record.seq(),
        rfc3339(record.time_us()),
        serde_json::Value::from(record.key())
    );
    match (record.kind(), record.json()) {
        (Kind::Delete, _) => line.push_str(r#","deleted":true"#),
        (Kind::Put, Some(json)) => put_value(&mut line, json, record.nonfinite()),
        (Kind::Raw, _) | (Kind::Put, None) => {
            line.push_str(r#","raw":""#);
            push_hex(&mut line, record.bytes());
            line.push('"');
        }
    }
    line.push_str("}\n");
    line
}

/// An entry as an object.
pub(crate) fn entry_line(seq: Seq, key: &str, json: &str, nonfinite: bool) -> String {
    let mut line = format!(r#"{{"seq":{seq},"key":{}"#, serde_json::Value::from(key));
    put_value(&mut line, json, nonfinite);
    line.push('}');
    line
}

/// A value as a member of an object, and what has to be known to read it.
fn put_value(line: &mut String, json: &str, nonfinite: bool) {
    line.push_str(r#","value":"#);
    line.push_str(json);
    if nonfinite {
        line.push_str(r#","nonfinite":true"#);
    }
}

/// One line for people.
fn readable_line(record: &Record) -> String {
    let mut line = format!("{:>8}  {}  ", record.seq(), rfc3339(record.time_us()));
    let key = if record.key().is_empty() { "\"\"" } else { record.key() };
    let _ = write!(line, "{}  ", Escaped(key));
    match (record.kind(), record.json()) {
        (Kind::Delete, _) => line.push_str("deleted"),
        (Kind::Put, Some(json)) => {
            let _ = write!(line, "{}", Escaped(json));
        }
        (Kind::Raw, _) | (Kind::Put, None) => {
            line.push_str("raw ");
            push_hex(&mut line, record.bytes());
        }
    }
    line.push('\n');
    line
}

fn push_hex(line: &mut String, bytes: &[u8]) {
    line.reserve(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
}
