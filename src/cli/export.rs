//! `tallyfold export`: what a cohort holds, for programs that know nothing of tallyfold.

use std::error::Error as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use tallyfold::files::AtomicFile;
use tallyfold::{Cohort, Export, Exported, Exporting, Fold, What};

use super::exit::{self, Failure};
use super::get;
use super::interrupt;
use super::options::Options;
use super::output::{Escaped, Output, say};
use super::progress::Progress;

/// The name that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
state is a row for each entry, with key, seq and the fields of the value; history one for each record still in the journal, with \
seq, time, epoch, key, kind (put, delete or raw) and the fields; points, of a cohort whose fold is series, one for each point \
kept, with key, metric, seq and value. Without --what it is the state, and of a cohort whose fold is log the history.

jsonl is an object on each line, in which the value stands as it was appended. In tables each field of the values has a column: \
whole numbers are 64 bits wide, others doubles; numbers that neither of the two holds are text with all their digits, which is told; \
objects, lists and fields of several types are JSON text; what is missing is null. A field whose name is taken becomes \
value.NAME. In csv null and the empty text are an empty field, and NaN, inf and -inf are numbers.

arrow is the file format (Feather) in a file, and the stream format in a pipe. Parquet and Arrow are not written to a terminal. \
With -o the file is replaced as a whole, when all is written; and what was done is printed.

Examples:
  tallyfold export index --format csv | head -n 3
  tallyfold export index --key-parts run_id,stage --format jsonl | jq -r .run_id
  tallyfold export metrics -o metrics.parquet
  tallyfold export curves --what points -o curves.arrow")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// What to write; without it what the ending of FILE says
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// What the rows are
    #[arg(long, value_name = "ROWS")]
    what: Option<Rows>,

    /// The parts of the keys as columns of their own, with these names
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    key_parts: Vec<String>,

    /// The file to write; - or nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An object on each line
    Jsonl,
    /// A line for each row, below the names of the columns
    Csv,
    /// A table of Apache Parquet
    Parquet,
    /// A table of Apache Arrow
    Arrow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// Entries
    State,
    /// Records
    History,
    /// Points of metrics
    Points,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let path = args.output.as_deref().filter(|path| *path != Path::new(STANDARD_OUTPUT));
    // Who asks every verb for JSON means this one too.
    let given = args.format.or((options.json && path.is_none()).then_some(Format::Jsonl));
    let format = format(given, path)?;
    let cohort = options.cohort(&args.cohort)?;
    // What makes no sense is told before a file is begun.
    let what = what(&cohort, args.what)?;
    export(&cohort, args, what)?;
    let mut out = match path {
        Some(path) => Target::file(path)?,
        None => Target::standard(format)?,
    };
    let temporary = out.temporary();
    let farewell = interrupt::farewell(move || {
        if let Some(path) = temporary {
            remove(&path);
        }
    });
    let exported = write(&cohort, args, what, format, &mut out).and_then(|exported| {
        // From here on it is short, and whole.
        interrupt::check()?;
        Ok((exported, out.end()?))
    });
    drop(farewell);
    let (exported, target) = exported?;
    tell(&cohort, &exported);
    match target {
        Some(path) => print(options, &args.cohort, &exported, &path),
        None => Ok(()),
    }
}

/// As the option or the ending says.
fn format(given: Option<Format>, path: Option<&Path>) -> Result<Format, Failure> {
    if let Some(format) = given {
        return Ok(format);
    }
    let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        "parquet" => Ok(Format::Parquet),
        "arrow" | "feather" | "ipc" => Ok(Format::Arrow),
        _ => Err(Failure::new(
            exit::USAGE,
            "which format? Give --format jsonl, csv, parquet or arrow, or -o a FILE whose name ends so",
        )),
    }
}

fn what(cohort: &Cohort, given: Option<Rows>) -> Result<What, Failure> {
    let log = *cohort.settings().fold() == Fold::Log;
    let name = cohort.name();
    match given {
        None if log => Ok(What::History),
        None => Ok(What::State),
        Some(Rows::State) if log => Err(Failure::new(
            exit::USAGE,
            format!(
                "the cohort {name:?} has no state, for its fold is log: export its records with --what history"
            ),
        )),
        Some(Rows::State) => Ok(What::State),
        Some(Rows::History) => Ok(What::History),
        Some(Rows::Points) if matches!(cohort.settings().fold(), Fold::Series(_)) => Ok(What::Points),
        Some(Rows::Points) => Err(Failure::new(
            exit::USAGE,
            format!(
                "points are what the fold series keeps, and the fold of the cohort {name:?} is {}: --what history has a column for \
                 each metric; or make a cohort that keeps points with `tallyfold refold {name} NEW --fold series`",
                cohort.settings().fold().name()
            ),
        )),
    }
}

fn export<'a>(cohort: &'a Cohort, args: &Args, what: What) -> Result<Export<'a>, Failure> {
    let usage = |e: tallyfold::Error| Failure::new(exit::USAGE, e.to_string());
    Export::of(cohort).what(what).and_then(|export| export.key_parts(&args.key_parts)).map_err(usage)
}

fn write(
    cohort: &Cohort,
    args: &Args,
    what: What,
    format: Format,
    out: &mut Target,
) -> Result<Exported, Failure> {
    let mut progress: Option<(bool, Progress)> = None;
    let mut watch = |step| {
        let (writing, rows, of) = match step {
            Exporting::Types(rows) => (false, rows, None),
            Exporting::Rows(rows, of) => (true, rows, of),
        };
        if progress.as_ref().is_none_or(|(shown, _)| *shown != writing) {
            // The one before is cleared before there is another.
            progress = None;
            progress = Some((writing, Progress::new(if writing { "writing" } else { "looking" }, of)));
        }
        if let Some((_, progress)) = &mut progress {
            progress.at(rows);
        }
        if interrupt::requested() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    };
    let export = export(cohort, args, what)?.watch(&mut watch);
    let exported = match format {
        Format::Jsonl => export.jsonl(&mut *out),
        Format::Csv => export.csv(&mut *out),
        #[cfg(feature = "parquet")]
        Format::Parquet => export.parquet(&mut *out),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => return Err(without("parquet")),
        #[cfg(feature = "arrow")]
        Format::Arrow if out.can_be_read_from_its_end() => export.arrow(&mut *out),
        #[cfg(feature = "arrow")]
        Format::Arrow => export.arrow_stream(&mut *out),
        #[cfg(not(feature = "arrow"))]
        Format::Arrow => return Err(without("arrow")),
    };
    drop(progress);
    exported.map_err(|e| {
        let broken = e.source().and_then(|e| e.downcast_ref::<io::Error>());
        match (interrupt::check(), broken.map(io::Error::kind)) {
            (Err(interrupted), _) => interrupted,
            // Whoever read our output has seen enough: that is no failure.
            (_, Some(io::ErrorKind::BrokenPipe)) => Failure::new(exit::OK, ""),
            _ => Failure::from(e),
        }
    })
}

#[cfg(not(all(feature = "parquet", feature = "arrow")))]
fn without(feature: &str) -> Failure {
    let what = format!("this tallyfold was built without the feature `{feature}`");
    Failure::new(exit::FAILURE, format!("{what}: build it with that, or choose another format"))
}

fn tell(cohort: &Cohort, exported: &Exported) {
    get::warn_of_damage(exported.damage.as_ref());
    if !exported.text_columns.is_empty() {
        say(format!(
            "note: in {:?} these columns are text, with all the digits of numbers that fit neither 64 bits nor a double: {}",
            cohort.name(),
            exported.text_columns.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        ));
    }
}

fn print(options: &Options, cohort: &str, exported: &Exported, path: &Path) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Told<'a> {
        path: &'a Path,
        #[serde(flatten)]
        exported: &'a Exported,
    }
    let mut out = Output::new();
    match options.json {
        true => out.json(&Told { path, exported })?,
        false => {
            let (cohort, path) = (Escaped(cohort), path.display().to_string());
            writeln!(
                out,
                "{cohort}: {} rows up to seq {} in {}",
                exported.rows,
                exported.seq,
                Escaped(&path)
            )?;
        }
    }
    Ok(out.flush()?)
}

/// Where it goes.
enum Target {
    Standard { out: BufWriter<Stdout>, escape: Option<Escape> },
    File(Box<AtomicFile>),
}

impl Target {
    fn standard(format: Format) -> Result<Target, Failure> {
        let out = io::stdout();
        let terminal = out.is_terminal();
        if terminal && matches!(format, Format::Parquet | Format::Arrow) {
            return Err(Failure::new(
                exit::USAGE,
                "this format is nothing for a terminal: name a file with -o, or send it into a pipe",
            ));
        }
        Ok(Target::Standard { out: BufWriter::new(out), escape: terminal.then(Escape::default) })
    }

    fn file(path: &Path) -> Result<Target, Failure> {
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let path = path.display();
            let text = format!("{path} is not a regular file: leave -o away, and send standard output there");
            return Err(Failure::new(exit::FAILURE, text));
        }
        // A directory that is missing is a name mistyped. What there is none of is no store, and no cohort, so it is no such failure.
        let file = AtomicFile::create(path, &tallyfold::files::Options::new().parents(false))
            .map_err(|e| Failure::new(exit::FAILURE, e.to_string()))?;
        // One of a store's own files would end the store.
        let beside = |name| file.target().with_file_name(name).exists();
        let name = file.target().file_name();
        if beside("cohort.json") && beside("lock")
            || beside("store.json") && name == Some("store.json".as_ref())
        {
            let path = file.target().display();
            let text =
                format!("the file would stand among the store's own files [{path}]; name one elsewhere");
            return Err(Failure::new(exit::FAILURE, text));
        }
        Ok(Target::File(Box::new(file)))
    }

    /// What must not be left if nothing comes of it.
    fn temporary(&self) -> Option<PathBuf> {
        match self {
            Target::File(file) => Some(file.path().to_path_buf()),
            Target::Standard { .. } => None,
        }
    }

    /// Whether its reader can go back, as readers of Arrow's file format do.
    #[cfg(feature = "arrow")]
    fn can_be_read_from_its_end(&self) -> bool {
        match self {
            Target::File(_) => true,
            Target::Standard { .. } => standard_output_is_a_file(),
        }
    }

    /// Writes what is left, and puts a file in its place; which one, if it is one.
    fn end(mut self) -> Result<Option<PathBuf>, Failure> {
        self.flush()?;
        match self {
            Target::Standard { .. } => Ok(None),
            Target::File(file) => {
                let path = file.target().to_path_buf();
                file.commit()?;
                Ok(Some(path))
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File(file) => file.write(bytes),
            Target::Standard { out, escape: None } => out.write(bytes).map_err(named),
            Target::Standard { out, escape: Some(escape) } => {
                escape.pass(bytes, out).map(|()| bytes.len()).map_err(named)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // At the end there is a flush of everything, and before it none is needed.
            Target::File(_) => Ok(()),
            Target::Standard { out, .. } => out.flush().map_err(named),
        }
    }
}

/// A full disk is to be told from a full disk of the store.
fn named(e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot write to standard output: {e}"))
}

/// Shows the control characters of text that comes in pieces, as JSON would escape them; but ends of lines are what they are.
#[derive(Default)]
struct Escape {
    /// A control character beyond ASCII has begun: its first byte is held back.
    begun: bool,
}

/// The byte that those from U+0080 to U+009F begin with.
const BEYOND_ASCII: u8 = 0xC2;

impl Escape {
    fn pass(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        for &byte in bytes {
            let begun = std::mem::take(&mut self.begun);
            match byte {
                0x80..=0x9F if begun => write!(out, "\\u00{byte:02x}")?,
                _ => {
                    if begun {
                        out.write_all(&[BEYOND_ASCII])?;
                    }
                    match byte {
                        BEYOND_ASCII => self.begun = true,
                        b'\n' => out.write_all(b"\n")?,
                        0..=0x1F | 0x7F => write!(out, "\\u00{byte:02x}")?,
                        _ => out.write_all(&[byte])?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(all(unix, feature = "arrow"))]
fn standard_output_is_a_file() -> bool {
    use std::os::fd::AsFd;
    let owned = io::stdout().as_fd().try_clone_to_owned();
    owned.and_then(|fd| std::fs::File::from(fd).metadata()).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(all(not(unix), feature = "arrow"))]
fn standard_output_is_a_file() -> bool {
    false
}

#[allow(
    clippy::disallowed_methods,
    reason = "the temporary file of the user's own, when the process ends at once"
)]
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_wherever_a_piece_ends() {
        let text = "a\x1b[31m\tÄ\u{9b}Â\u{7f}\r\n";
        let expected = "a\\u001b[31m\\u0009Ä\\u009bÂ\\u007f\\u000d\n";
        for at in 0..=text.len() {
            let (mut escape, mut out) = (Escape::default(), Vec::new());
            escape.pass(&text.as_bytes()[..at], &mut out).unwrap();
            escape.pass(&text.as_bytes()[at..], &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{at}");
        }
    }

    #[test]
    fn the_ending_of_a_file_says_the_format_and_the_option_counts_more() {
        let of = |given, path: &str| format(given, Some(Path::new(path))).map_err(|failure| failure.code);
        assert_eq!(of(None, "a.b/metrics.CSV"), Ok(Format::Csv));
        assert_eq!(of(None, "x.feather"), Ok(Format::Arrow));
        assert_eq!(of(Some(Format::Jsonl), "x.feather"), Ok(Format::Jsonl));
        assert_eq!(of(None, "x.json"), Err(exit::USAGE));
        assert_eq!(of(None, "csv"), Err(exit::USAGE));
    }
}
