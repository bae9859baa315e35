//! `tallyfold lock`: a command that runs while a lock is held.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tallyfold::files::FileLock;

use super::exit::{self, Failure};
use super::interrupt;
use super::options::Options;
use super::output::say;
use super::progress::Waiting;

/// How long the lock of a file is waited for unless the user says otherwise: as long as that of a cohort by default.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// How shells say that a command could not be run, or is not there.
const CANNOT_RUN: u8 = 126;
const NO_COMMAND: u8 = 127;
/// How they say that a signal has ended it: this, and the signal's number.
const BY_SIGNAL: i32 = 128;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A name is a cohort's; a path, with a slash in it or after --file, is a lock file's. That is the lock file itself, such as \
./a.json.lock for the data in a.json. It is made if it is missing, never written, and stays.

The lock of a cohort is its file user.lock, which is for its users alone: appends, reads and compactions never wait for \
it. It is an flock, as flock(1), FileLock of the library and FileLock of the Python package take on the same file, so all \
of them exclude each other.

The command has our input and output, and its exit code is ours; 128 and the signal's number if a signal ended it. If the lock \
is not had in time it does not run: exit code 4, and the process that has the lock is named. Without --timeout a cohort's \
settings say how long that is, and for a file it is 30 s. Ctrl-C is the command's affair once it runs. The lock ends with \
this process, and is not handed on: what the command leaves running in the background does not keep it. Should this process \
be killed, the command is sent SIGTERM.

Examples:
  tallyfold lock index -- sh -c 'tallyfold get index > state.json'
  tallyfold lock --nonblock ./report.lock -- date || echo 'somebody is at it'
  tallyfold lock --shared --timeout 5 ./report.lock -- head -n 1 rows.jsonl")]
pub(crate) struct Args {
    /// Take what is named for a lock file, though there is no slash in it
    #[arg(long)]
    file: bool,

    /// Share the lock with all others who share it
    #[arg(long)]
    shared: bool,

    /// Do not wait for the lock
    #[arg(long)]
    nonblock: bool,

    /// The cohort's name, or the path of a lock file
    #[arg(value_name = "COHORT|FILE")]
    name: OsString,

    /// The command, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let (path, timeout) = find(options, args)?;
    let timeout = if args.nonblock { Duration::ZERO } else { timeout };
    let lock = take(&path, args.shared, timeout)?;
    // Before the command begins: from then on Ctrl-C is its affair, and the lock is held until it has ended.
    let left = interrupt::left_to_child();
    interrupt::check()?;
    let code = outcome(&args.command);
    drop(left);
    if !lock.is_held() {
        say(format!(
            "the lock file {} was removed or replaced meanwhile: another may have had the lock too; see who does that",
            path.display()
        ));
    }
    drop(lock);
    match code? {
        exit::OK => Ok(()),
        code => Err(Failure::new(code, "")),
    }
}

/// The lock file, and how long to wait for it.
fn find(options: &Options, args: &Args) -> Result<(PathBuf, Duration), Failure> {
    if is_file(args) {
        return Ok((PathBuf::from(&args.name), options.timeout.unwrap_or(FILE_TIMEOUT)));
    }
    let Some(name) = args.name.to_str() else {
        return Err(Failure::new(exit::USAGE, "a cohort's name is UTF-8; for a lock file use --file"));
    };
    let cohort = options.cohort(name).map_err(|failure| match failure.code {
        exit::NOT_FOUND => Failure::new(
            exit::NOT_FOUND,
            format!("{}; for a lock file of that name say ./{name} or --file", failure.message),
        ),
        _ => failure,
    })?;
    Ok((cohort.user_lock()?, cohort.timeout()))
}

fn is_file(args: &Args) -> bool {
    args.file || args.name.as_encoded_bytes().contains(&b'/')
}

fn take(path: &Path, shared: bool, timeout: Duration) -> Result<FileLock, Failure> {
    let _waiting = Waiting::new("waiting for the lock");
    let taken = if shared { FileLock::shared(path, timeout) } else { FileLock::exclusive(path, timeout) };
    taken.map_err(|e| {
        let failure = Failure::from(e);
        Failure::new(failure.code, format!("the command was not run: {}", failure.message))
    })
}

/// Runs the command to its end, and says how a shell would put that.
fn outcome(command: &[OsString]) -> Result<u8, Failure> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::new(exit::USAGE, "which command?"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    tallyfold::process::end_with_parent(&mut command);
    let status = command.status().map_err(|e| cannot_run(program, &e))?;
    Ok(code_of(status))
}

fn cannot_run(program: &OsStr, e: &io::Error) -> Failure {
    let code = if e.kind() == io::ErrorKind::NotFound { NO_COMMAND } else { CANNOT_RUN };
    Failure::new(code, format!("the command {:?} cannot be run: {e}", program.to_string_lossy()))
}

#[cfg(unix)]
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE)
}

#[cfg(not(unix))]
fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_or_the_option_makes_a_name_a_file() {
        let args = |name: &str, file| Args {
            file,
            shared: false,
            nonblock: false,
            name: name.into(),
            command: Vec::new(),
        };
        for (name, file, expected) in [
            ("index", false, false),
            ("a.json.lock", false, false),
            ("./index", false, true),
            ("/tmp/x.lock", false, true),
            ("dir/", false, true),
            ("index", true, true),
        ] {
            assert_eq!(is_file(&args(name, file)), expected, "{name}");
        }
    }
}
