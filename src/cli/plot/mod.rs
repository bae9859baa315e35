//! `tallyfold plot`: how a metric goes, as curves in the terminal.

mod axis;
mod bins;
mod curves;
mod draw;
mod field;
mod source;
mod watch;

use std::io::Write;

use ratatui::buffer::Buffer;

use self::curves::{Curves, How, Point};
use self::draw::Plot;
use self::field::Path;
use self::source::{Ask, Source, X};
use super::exit::{self, Failure};
use super::filter::RecordArgs;
use super::options::Options;
use super::output::{Output, say};
use super::style::Style;
use super::{picture, screen};

/// The size where there is no terminal.
const SIZE: (u16, u16) = (100, 25);
/// More columns or rows than any terminal has.
const LARGEST: i64 = 10_000;
/// As many as there are letters.
const MOST_CURVES: u64 = 52;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
METRIC is the field to be drawn: the names that lead to it, joined by dots (outputs.auc; \\. is a dot in a name), or a \
dot alone if the values are numbers themselves. Each key is a curve; where keys are empty, each run_id if records have \
one. --by FIELD makes a curve of each value of other fields. Of a cohort whose fold is series the last points kept are \
drawn, of all others what the records still in the journal say.

However many points there are, the lowest and the highest of each column are seen. NaN and infinities leave gaps. Below \
the plot is what each curve has come to: as it was appended, also with --smooth.

With --json each point is a line, with curve, seq, x and y, and with --watch goes on as they come.

Examples:
  tallyfold plot metrics loss --log-y
  tallyfold plot metrics loss --smooth 0.9 --by run_id,stage
  tallyfold plot curves loss --x count
  tallyfold plot metrics acc --json | jq -c '[.curve, .x, .y]' | head -n 5")]
pub(crate) struct Args {
    /// The cohort's name
    cohort: String,

    /// The field to be drawn
    #[arg(value_parser = Path::parse)]
    metric: Path,

    #[command(flatten)]
    records: RecordArgs,

    /// A curve for each value of these fields, and not for each key
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', value_parser = Path::parse)]
    by: Vec<Path>,

    /// What lies at the bottom: seq, time, count (1, 2, 3, … in each curve) or a field; without it the field step, else seq
    #[arg(long, value_name = "seq|time|count|FIELD", value_parser = X::parse)]
    x: Option<X>,

    /// At most so many curves: those with the newest records
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=MOST_CURVES))]
    curves: u64,

    /// As much room for each power of ten
    #[arg(long)]
    log_y: bool,

    /// Draw a mean in which what came before has this weight, such as 0.9
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    smooth: Option<f64>,

    /// Columns; without it those of the terminal, or 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=LARGEST))]
    width: Option<u16>,

    /// Lines; without it those of the terminal, or 25
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=LARGEST))]
    height: Option<u16>,

    /// Letters and lines of ASCII alone
    #[arg(long)]
    ascii: bool,

    /// Draw it anew as records come, until q or Ctrl-C is pressed
    #[arg(long)]
    watch: bool,
}

fn weight(text: &str) -> Result<f64, String> {
    let weight = text.parse().ok().filter(|weight| (0.0..1.0).contains(weight));
    weight.ok_or_else(|| "it must be a number from 0 to 1, and less than 1".into())
}

impl Args {
    fn how(&self) -> How {
        How { log_y: self.log_y, smooth: self.smooth }
    }

    fn source(&self, options: &Options) -> Result<Source, Failure> {
        let filter = self.records.filter()?;
        let ask = Ask { metric: self.metric.clone(), from: self.records.from, filter, by: self.by.clone() };
        Source::open(options.cohort(&self.cohort)?, ask, self.x.clone())
    }

    fn plot(&self, x: X) -> Plot {
        let mut title = format!("{} of {}", self.metric, self.cohort);
        if self.log_y {
            title.push_str(", on a logarithmic scale");
        }
        if let Some(weight) = self.smooth {
            title.push_str(&format!(", smoothed by {weight}"));
        }
        Plot { title: super::output::Escaped(&title).to_string(), x, log_y: self.log_y, ascii: self.ascii }
    }

    /// At most so many curves.
    fn most(&self) -> usize {
        self.curves as usize
    }
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    match (options.json, args.watch) {
        (true, _) => points(options, args),
        (false, false) => once(options, args),
        (false, true) if screen::is_there() => watch::run(options, args),
        (false, true) => {
            let what = "--watch draws on a terminal, and standard output is none: leave it out for one plot, or add --json \
                        for the points as they come";
            Err(Failure::new(exit::USAGE, what))
        }
    }
}

/// One plot of what there is now.
fn once(options: &Options, args: &Args) -> Result<(), Failure> {
    let (curves, source, read) = read(options, args)?;
    if curves.is_empty() {
        read?;
        return Err(nothing(args, &source));
    }
    let (width, height) = screen::size().map_or(SIZE, |(width, height)| (width, height.saturating_sub(1)));
    let area = draw::size(args.width.unwrap_or(width), args.height.unwrap_or(height));
    let mut buffer = Buffer::empty(area);
    args.plot(source.x()).render(&curves.drawn(), area, &mut buffer);
    let mut out = Output::new();
    out.write_all(picture::text(&buffer, Style::stdout().has_colors()).as_bytes())?;
    out.flush()?;
    for note in notes(&curves, &source) {
        say(note);
    }
    // What was read before damage stays to be seen.
    read
}

/// The curves of what there is now, and what has stopped the reading.
fn read(options: &Options, args: &Args) -> Result<(Curves, Source, Result<(), Failure>), Failure> {
    let mut source = args.source(options)?;
    let mut curves = Curves::new(args.how(), args.most());
    let read = fill(&mut curves, &mut source).map(|_| ());
    let again = match curves.to_be_read_again() {
        Some(again) if read.is_ok() => again,
        _ => return Ok((curves, source, read)),
    };
    curves = again;
    source = args.source(options)?;
    let read = fill(&mut curves, &mut source).map(|_| ());
    Ok((curves, source, read))
}

/// Whether there was anything new.
fn fill(curves: &mut Curves, source: &mut Source) -> Result<bool, Failure> {
    source.read(&mut |point| {
        curves.add(point);
        Ok(())
    })
}

/// What is to be known beside the picture.
fn notes(curves: &Curves, source: &Source) -> Vec<String> {
    let drawn = curves.drawn();
    let told = source.told();
    let nonfinite: u64 = drawn.iter().map(|curve| curve.nonfinite).sum();
    let not_positive: u64 = drawn.iter().map(|curve| curve.not_positive).sum();
    let mut notes = Vec::new();
    if let Some(all) = curves.more() {
        notes.push(format!(
            "{} of {all} curves are drawn, those with the newest records: --key or --curves says which others",
            drawn.len()
        ));
    }
    if nonfinite > 0 {
        notes.push(format!("{nonfinite} points are NaN or infinite: they leave gaps"));
    }
    if not_positive > 0 {
        notes.push(format!("{not_positive} points are not positive: they leave gaps on a logarithmic scale"));
    }
    if told.without_x > 0 {
        let x = source.x().name();
        notes.push(format!("{} records have no number in the field {x}: they are left out", told.without_x));
    }
    if told.dropped > 0 {
        notes.push(format!(
            "{} older points are not drawn: the series keeps the last ones only",
            told.dropped
        ));
    }
    if let Some(first) = told.first {
        notes.push(format!("records before seq {first} are folded away"));
    }
    notes
}

/// That no record has the metric, and what there is instead.
fn nothing(args: &Args, source: &Source) -> Failure {
    let (cohort, metric) = (&args.cohort, &args.metric);
    let told = source.told();
    let what = if told.without_x > 0 {
        format!(
            "the {} records of {cohort:?} with {metric} have no number in the field {}: see --x",
            told.without_x,
            source.x().name()
        )
    } else {
        let names = match source.metrics() {
            Ok(names) => names,
            Err(failure) => return failure,
        };
        let keys = if source.takes_all() { "" } else { " of those asked for" };
        let gone = match told.first {
            Some(first) => format!(" (those before seq {first} are folded away)"),
            None => String::new(),
        };
        let instead = match names.is_empty() {
            true => "no field of those there are is a number".to_string(),
            false => format!("fields that are numbers: {names}"),
        };
        let metric = metric.to_string();
        format!("no record of {cohort:?}{keys} has a number in the field {metric:?}{gone}; {instead}")
    };
    Failure::new(exit::NOT_FOUND, what)
}

/// Each point as a line of JSON; with `--watch` as they come.
fn points(options: &Options, args: &Args) -> Result<(), Failure> {
    let mut source = args.source(options)?;
    let mut out = Output::new();
    let mut found = false;
    let mut after = 0;
    loop {
        let mut newest = after;
        let anew = source.begins_anew();
        let read = source.read(&mut |point| {
            // A series gives all its points each time.
            if !anew || point.seq > after {
                out.write_all(line(point).as_bytes())?;
                found = true;
                newest = newest.max(point.seq);
            }
            Ok(())
        });
        after = newest;
        out.flush()?;
        read?;
        if !args.watch {
            break;
        }
        super::interrupt::sleep(watch::EVERY)?;
    }
    if found { Ok(()) } else { Err(nothing(args, &source)) }
}

fn line(point: &Point<'_>) -> String {
    let number = |value: f64| serde_json::Value::from(value).to_string();
    let (y, flag) = match point.y {
        y if y.is_finite() => (number(y), ""),
        y if y.is_nan() => ("\"NaN\"".to_string(), ",\"nonfinite\":true"),
        y if y > 0.0 => ("\"Infinity\"".to_string(), ",\"nonfinite\":true"),
        _ => ("\"-Infinity\"".to_string(), ",\"nonfinite\":true"),
    };
    let curve = serde_json::Value::from(point.curve);
    // A seq and a time are whole, as other verbs print them.
    let x =
        if point.x.fract() == 0.0 && point.x.abs() < 1e15 { format!("{}", point.x) } else { number(point.x) };
    format!("{{\"curve\":{curve},\"seq\":{},\"x\":{x},\"y\":{y}{flag}}}\n", point.seq)
}
