//! What `tallyfold --help` shows: the verbs, by what they are for.

use clap::{Command, Subcommand};

use super::Verb;

/// Every verb that is not hidden stands in one of these.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Write", &["create", "append", "import", "delete", "once", "bundle", "lock"]),
    ("Read", &["get", "ls", "log", "history", "previous", "plot", "export"]),
    ("Look after", &["compact", "mirror", "alter", "refold", "verify", "repair", "backup", "restore"]),
    ("Watch and try", &["stats", "top", "doctor", "stress", "demo"]),
    ("Besides", &["completions"]),
];

/// Where the user's own defaults stand.
const CONFIG: &str = "\
What neither the command line nor the environment says is taken from the config file: the one that
TALLYFOLD_CONFIG names, else ~/.config/tallyfold/config.json, such as
{\"store\":\"/data/store\",\"timeout\":5,\"color\":\"never\",\"lock\":\"file\"}";

/// The template of the whole help, as clap takes it.
pub(crate) fn template() -> String {
    let verbs = Verb::augment_subcommands(Command::new("tallyfold"));
    let shown = verbs.get_subcommands().filter(|verb| !verb.is_hide_set());
    let width = shown.map(|verb| verb.get_name().len()).max().unwrap_or_default();
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        groups.push_str(&format!("{heading}:\n"));
        for name in names {
            let about = verbs.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            groups.push_str(&format!("  {name:width$}  {about}\n"));
        }
        groups.push('\n');
    }
    groups.push_str("`tallyfold VERB --help` explains one, with examples.\n\nEverywhere:\n");
    format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{{options}}\n\n{CONFIG}{{after-help}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_that_is_not_hidden_is_shown_once() {
        let verbs = Verb::augment_subcommands(Command::new("tallyfold"));
        let mut known: Vec<&str> =
            verbs.get_subcommands().filter(|verb| !verb.is_hide_set()).map(Command::get_name).collect();
        let mut shown: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, known);
    }
}
