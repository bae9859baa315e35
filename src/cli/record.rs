//! How records and entries are printed: each a line of JSON for programs, or for people in a line or several.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tallyfold::{EntryRef, Kind, RecordRef, Seq};

use super::exit::{self, Failure};
use super::options::Options;
use super::output::Escaped;
use super::pretty::pretty;
use super::style::Style;
use super::time::rfc3339;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A line of JSON, for programs
    Json,
    /// A line to be read
    Short,
    /// The value over several lines
    Pretty,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FormArgs {
    /// How to print; --json is -o json
    #[arg(short = 'o', long = "output", value_name = "FORM", requires = "cohort")]
    form: Option<Form>,
}

impl FormArgs {
    /// What was asked for, or else `usual`.
    pub(crate) fn form(&self, options: &Options, usual: Form) -> Result<Form, Failure> {
        match (self.form, options.json) {
            (Some(Form::Short | Form::Pretty), true) => Err(Failure::new(
                exit::USAGE,
                "--json is -o json, and another form is asked for: leave out one of the two",
            )),
            (Some(form), _) => Ok(form),
            (None, true) => Ok(Form::Json),
            (None, false) => Ok(usual),
        }
    }
}

/// Prints in a form, to standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) form: Form,
    pub(crate) terminal: bool,
    pub(crate) style: Style,
}

impl Printer {
    pub(crate) fn new(form: Form) -> Printer {
        Printer { form, terminal: io::stdout().is_terminal(), style: Style::stdout() }
    }

    /// For records, which people read on a terminal and programs elsewhere.
    pub(crate) fn of_records(options: &Options, args: &FormArgs) -> Result<Printer, Failure> {
        let usual = if io::stdout().is_terminal() { Form::Short } else { Form::Json };
        Ok(Printer::new(args.form(options, usual)?))
    }

    /// A record, with a newline at the end.
    pub(crate) fn record(&self, record: &RecordRef<'_>) -> String {
        let style = self.style;
        let (seq, time) = (record.seq(), rfc3339(record.time_us()));
        let key = if record.key().is_empty() { "\"\"" } else { record.key() };
        match self.form {
            Form::Json => self.json(json_line(record)),
            Form::Short => {
                let value = match value_of(record) {
                    Value::Deleted => style.red("deleted").to_string(),
                    Value::Json(json) => Escaped(json).to_string(),
                    Value::Raw(bytes) => format!("raw {}", hex(bytes)),
                };
                let seq = style.dim(format_args!("{seq:>8}")).to_string();
                format!("{seq}  {}  {}  {value}\n", style.dim(time), style.bold(Escaped(key)))
            }
            Form::Pretty => {
                let head =
                    format!("{} {seq}  {}  {}", style.dim("seq"), style.dim(time), style.bold(Escaped(key)));
                let note = if record.nonfinite() { "  (with numbers that are not finite)" } else { "" };
                match value_of(record) {
                    Value::Deleted => format!("{head}  {}\n", style.red("deleted")),
                    Value::Json(json) => format!("{head}{note}\n  {}\n", pretty(json, 1, style)),
                    Value::Raw(bytes) => format!("{head}\n  raw {}\n", hex(bytes)),
                }
            }
        }
    }

    /// An entry, with a newline at the end.
    pub(crate) fn entry(&self, key: &str, entry: EntryRef<'_>) -> String {
        let shown = self.style.bold(Escaped(key));
        match self.form {
            Form::Json => {
                let line = entry_line(entry.seq(), key, entry.json(), entry.nonfinite());
                self.json(line + "\n")
            }
            Form::Short => format!("{shown}  {}\n", Escaped(entry.json())),
            Form::Pretty => {
                let seq = self.style.dim(format_args!("seq {}", entry.seq())).to_string();
                let note = if entry.nonfinite() { "  (with numbers that are not finite)" } else { "" };
                format!("{shown}  {seq}{note}\n  {}\n", pretty(entry.json(), 1, self.style))
            }
        }
    }

    /// A line of JSON, as a terminal may see it.
    fn json(&self, line: String) -> String {
        match self.terminal {
            true => line
                .split_inclusive('\n')
                .map(|line| shown(line.trim_end(), true).into_owned() + "\n")
                .collect(),
            false => line,
        }
    }
}

/// JSON as it is; to a terminal with the control characters escaped that JSON lets stand (DEL and U+0080 to U+009F), which means
/// the same.
pub(crate) fn shown(json: &str, terminal: bool) -> Cow<'_, str> {
    match terminal && json.contains(char::is_control) {
        true => Cow::Owned(Escaped(json).to_string()),
        false => Cow::Borrowed(json),
    }
}

enum Value<'a> {
    Deleted,
    Json(&'a str),
    Raw(&'a [u8]),
}

fn value_of<'a>(record: &RecordRef<'a>) -> Value<'a> {
    match (record.kind(), record.json()) {
        (Kind::Delete, _) => Value::Deleted,
        (Kind::Put, Some(json)) => Value::Json(json),
        (Kind::Raw, _) | (Kind::Put, None) => Value::Raw(record.bytes()),
    }
}

/// One JSON object and a newline. The value's text is not touched.
pub(crate) fn json_line(record: &RecordRef<'_>) -> String {
    let mut line = format!(
        r#"{{"seq":{},"time":"{}","key":{}"#,
        record.seq(),
        rfc3339(record.time_us()),
        serde_json::Value::from(record.key())
    );
    match value_of(record) {
        Value::Deleted => line.push_str(r#","deleted":true"#),
        Value::Json(json) => put_value(&mut line, json, record.nonfinite()),
        Value::Raw(bytes) => {
            line.push_str(r#","raw":""#);
            line.push_str(&hex(bytes));
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

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
