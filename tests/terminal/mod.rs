//! Commands in a terminal of their own: what they draw, what keys do, and whether they give it back.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::{Fixture, TALLYFOLD, feed, python};

/// What became of a command, and of its terminal.
#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    restored: bool,
    missing: Option<String>,
}

/// Runs the command in a terminal of 80 columns and 24 rows; `None` where that cannot be, with a word about it.
#[track_caller]
pub(crate) fn run(fixture: &Fixture, args: &[&str], steps: Value) -> Option<Ended> {
    let python = python()?;
    if Command::new(python)
        .args(["-c", "import pty, termios; pty.openpty()"])
        .output()
        .is_ok_and(|it| !it.status.success())
    {
        println!("skipped: there are no terminals here");
        return None;
    }
    let drive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/drive.py");
    let mut command = fixture.bare(python, &[drive.as_os_str()]);
    command.arg(TALLYFOLD).args(args).arg("--store").arg(fixture.store());
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    let plan = json!({"rows": 24, "columns": 80, "steps": steps});
    let out = feed(command, plan.to_string().as_bytes()).ok();
    let ended: Ended = serde_json::from_str(&out).expect("what the script prints");
    assert_eq!(ended.missing, None, "{ended:?}");
    Some(ended)
}

impl Ended {
    /// The other screen was left as often as it was entered, the cursor is there, and the modes are those from before.
    #[track_caller]
    pub(crate) fn has_given_back(&self) {
        let count = |what: &str| self.output.matches(what).count();
        assert_eq!((count("\x1b[?1049h"), count("\x1b[?1049l")), (1, 1), "{self:?}");
        let (hidden, shown) = (self.output.rfind("\x1b[?25l"), self.output.rfind("\x1b[?25h"));
        assert!(hidden.is_some() && hidden < shown, "{self:?}");
        assert!(self.restored, "{self:?}");
    }
}
