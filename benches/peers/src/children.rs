//! The processes that a benchmark starts: this program again, with a role. Each answer is a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::tasks::{append, compact, copy};

/// What a child is for; handed to it on its command line.
#[derive(Serialize, Deserialize)]
pub enum Role {
    Append(append::Task),
    Compact(compact::Task),
    Copy(copy::Task),
}

impl Role {
    /// Plays the role that a parent has given, and tells it how that went.
    pub fn play(json: &str) -> Result<()> {
        let told = match serde_json::from_str(json)? {
            Role::Append(task) => task.run(),
            Role::Compact(task) => task.run().and_then(|done| answer(&done)),
            Role::Copy(task) => task.run().and_then(|done| answer(&done)),
        };
        match told {
            Ok(()) => Ok(()),
            Err(e) => say(&Err::<(), String>(e.to_string())),
        }
    }
}

/// Tells the parent something.
pub fn answer(what: &impl Serialize) -> Result<()> {
    say(&Ok::<_, String>(what))
}

fn say<T: Serialize>(what: &std::result::Result<T, String>) -> Result<()> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

/// Children at work. They do not outlive this.
pub struct Children {
    children: Vec<(Child, ChildStdin)>,
    /// Lines by the number of the child; `None` when it says no more.
    lines: Receiver<(usize, Option<String>)>,
}

impl Children {
    pub fn spawn(roles: impl IntoIterator<Item = Role>) -> Result<Children> {
        let (sender, lines) = mpsc::channel();
        let mut children = Children { children: Vec::new(), lines };
        for (number, role) in roles.into_iter().enumerate() {
            let mut child = Command::new(std::env::current_exe()?)
                .args(["--role", &serde_json::to_string(&role)?])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take().ok_or("a child without an input")?;
            let stdout = child.stdout.take().ok_or("a child without an output")?;
            children.children.push((child, stdin));
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                    let _ = sender.send((number, Some(line)));
                }
                let _ = sender.send((number, None));
            });
        }
        Ok(children)
    }

    /// One child alone: what it has to say, once it has ended.
    pub fn result_of<T: DeserializeOwned>(role: Role, patience: Duration) -> Result<T> {
        let mut child = Children::spawn([role])?;
        let result = child.answers(patience)?.pop().ok_or("no answer")?;
        while child.lines.recv_timeout(patience).is_ok_and(|(_, line)| line.is_some()) {}
        Ok(result)
    }

    /// The next answer of each child.
    pub fn answers<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<Vec<T>> {
        let begun = Instant::now();
        let mut answers: Vec<Option<T>> = self.children.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let left = patience.saturating_sub(begun.elapsed());
            let (number, line) =
                self.lines.recv_timeout(left).map_err(|_| format!("no answer within {patience:?}"))?;
            match line {
                Some(line) => {
                    let told: std::result::Result<T, String> = serde_json::from_str(&line)?;
                    answers[number] = Some(told.map_err(|e| format!("process {number}: {e}"))?);
                }
                None if answers[number].is_none() => return Err(format!("process {number} died").into()),
                None => {}
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends each child a line.
    pub fn tell(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        for (_, stdin) in &mut self.children {
            stdin.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

/// Kills those that are still there.
impl Drop for Children {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            let _ = child.kill();
        }
        for (child, _) in &mut self.children {
            let _ = child.wait();
        }
    }
}
