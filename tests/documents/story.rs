//! The console blocks of a document, run one after the other as a story.

use std::fmt::Write as _;
use std::path::Path;

use super::documents::{Block, Document, Kind};
use super::shell::Shell;

/// What stands for anything: alone on a line for any lines, in a line for any text.
const ANYTHING: &str = "...";

/// What no command prints, to find where the output of one ends.
const END: char = '\u{1e}';

/// A command, and what it should print.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) expected: Vec<String>,
}

/// Runs all commands of a document in one directory and one shell, and tells how many, or what is not as it stands there.
pub(crate) fn run(shell: &Shell, document: &Document) -> Result<usize, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut steps = Vec::new();
    for block in &document.blocks {
        if let Some(file) = &block.file {
            let content: String = block.lines.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(dir.path().join(file), content)
                .map_err(|e| format!("{}: {file}: {e}", document.name))?;
        }
        if block.kind == Kind::Console {
            steps.extend(self::steps(block).map_err(|e| format!("{}:{e}", document.name))?);
        }
    }
    steps.retain(|step| match shell.lacks(&step.command) {
        Some(missing) => {
            println!(
                "skipped: there is no {missing} here: {}:{}: {}",
                document.name, step.line, step.command
            );
            false
        }
        None => true,
    });
    if steps.is_empty() {
        return Ok(0);
    }
    let printed = outputs(shell, dir.path(), &steps);
    check(&document.name, &steps, &printed).map(|()| steps.len())
}

/// The commands of a block. A line that begins with `$ ` is one, and goes on in lines behind it that begin with `> `.
pub(crate) fn steps(block: &Block) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, text) in (block.line..).zip(&block.lines) {
        match (text.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { line, command: command.to_string(), expected: Vec::new() });
            }
            (None, None) => return Err(format!("{line}: a console block begins with a command: `$ …`")),
            (None, Some(step)) => match text.strip_prefix('>').filter(|_| step.expected.is_empty()) {
                Some(more) => {
                    let _ = write!(step.command, "\n{}", more.strip_prefix(' ').unwrap_or(more));
                }
                None => step.expected.push(text.clone()),
            },
        }
    }
    Ok(steps)
}

/// What each command printed, both streams together as on a terminal, and how it ended.
fn outputs(shell: &Shell, dir: &Path, steps: &[Step]) -> Vec<(String, String)> {
    let mut script = "exec 2>&1\numask 022\n".to_string();
    for step in steps {
        // What comes next may ask for `$?`.
        let quoted = step.command.replace('\'', r"'\''");
        let _ = writeln!(
            script,
            "eval '{quoted}'\n__ended=$?; printf '\\036%s\\036' \"$__ended\"; (exit \"$__ended\")"
        );
    }
    let ended = shell.run(dir, &script);
    let parts: Vec<&str> = ended.out.split(END).collect();
    parts.chunks_exact(2).map(|pair| (pair[0].to_string(), pair[1].to_string())).collect()
}

/// Compares, and tells of every command that is not as it stands there.
fn check(name: &str, steps: &[Step], printed: &[(String, String)]) -> Result<(), String> {
    let mut wrong = String::new();
    for (n, step) in steps.iter().enumerate() {
        let Some((output, code)) = printed.get(n) else {
            let _ = writeln!(wrong, "{name}:{}: {}\n  ended the shell", step.line, step.command);
            break;
        };
        let expected = trimmed(step.expected.iter().map(String::as_str));
        let actual = trimmed(output.lines());
        if !matches(&expected, &actual) {
            let (expected, actual) = (expected.join("\n  "), actual.join("\n  "));
            let _ = writeln!(
                wrong,
                "{name}:{}: {}\n it says\n  {expected}\n and is\n  {actual}",
                step.line, step.command
            );
        }
        let told = steps.get(n + 1).is_some_and(|next| next.command.contains("$?"));
        if code != "0" && !told {
            let _ = writeln!(
                wrong,
                "{name}:{}: {}\n  ended with {code}, which no `echo $?` shows",
                step.line, step.command
            );
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Without the empty lines at both ends, which set blocks apart, and without blanks that nobody sees.
fn trimmed<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let empty = lines.iter().take_while(|line| line.is_empty()).count();
    lines.split_off(empty)
}

/// Whether the lines are as expected.
pub(crate) fn matches(expected: &[&str], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((&ANYTHING, rest)), _) => (0..=actual.len()).any(|skipped| matches(rest, &actual[skipped..])),
        (Some((line, rest)), Some((found, others))) => line_matches(line, found) && matches(rest, others),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let Some((first, rest)) = expected.split_once(ANYTHING) else { return expected == actual };
    let Some(actual) = actual.strip_prefix(first) else { return false };
    (0..=actual.len()).filter(|at| actual.is_char_boundary(*at)).any(|at| line_matches(rest, &actual[at..]))
}
