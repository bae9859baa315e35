//! `tallyfold completions`: what a shell needs to complete the command's verbs and options.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::exit::Failure;
use super::output::Output;

const NAME: &str = "tallyfold";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where each shell looks for what this prints, for one user:
  bash        ~/.local/share/bash-completion/completions/tallyfold
  zsh         a file called _tallyfold in a directory of $fpath
  fish        ~/.config/fish/completions/tallyfold.fish
  elvish      the end of ~/.config/elvish/rc.elv
  powershell  the end of the file that $PROFILE names

Examples:
  tallyfold completions bash > tallyfold.bash
  tallyfold completions fish | head -n 3")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // In memory first: the generators panic where they cannot write, and a closed pipe is no failure.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(Arguments::command()), NAME, &mut script);
    let mut out = Output::new();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// The command without the verbs that are not for people.
fn visible(command: Command) -> Command {
    let mut shown =
        Command::new(NAME).version(env!("CARGO_PKG_VERSION")).args(command.get_arguments().cloned());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    shown.subcommands(command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_is_told_every_verb_and_no_hidden_one() {
        let all = Arguments::command();
        assert!(all.get_subcommands().any(Command::is_hide_set), "or nothing is tested here");
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut visible(Arguments::command()), NAME, &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in all.get_subcommands() {
                // "demo" is a part of "demo-worker", but not the other way round.
                assert_eq!(script.contains(verb.get_name()), !verb.is_hide_set(), "{shell}: {verb}");
            }
            assert!(script.contains("--store") || *shell == Shell::Fish, "{shell}");
        }
    }
}
