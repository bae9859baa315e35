//! One question, and what the answer was.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Error;

/// What an answer means for many writers, in order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It could not be tried.
    Skipped,
    /// It works, and somebody should know something.
    Warning,
    /// Records could be lost, or writers are refused.
    Unsafe,
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was asked.
    pub check: &'static str,
    /// Of which cohort, if it was about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<String>,
    /// What the answer means.
    pub outcome: Outcome,
    /// The answer, for people.
    pub said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The answer's parts, for programs.
    #[serde(flatten)]
    pub figures: Map<String, Value>,
}

impl Check {
    fn new(check: &'static str, outcome: Outcome, said: impl Into<String>) -> Check {
        Check { check, cohort: None, outcome, said: said.into(), advice: None, figures: Map::new() }
    }

    pub(super) fn ok(check: &'static str, said: impl Into<String>) -> Check {
        Check::new(check, Outcome::Ok, said)
    }

    pub(super) fn skipped(check: &'static str, said: impl Into<String>) -> Check {
        Check::new(check, Outcome::Skipped, said)
    }

    pub(super) fn warning(check: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { advice: Some(advice.into()), ..Check::new(check, Outcome::Warning, said) }
    }

    pub(super) fn not_safe(check: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { advice: Some(advice.into()), ..Check::new(check, Outcome::Unsafe, said) }
    }

    /// It could not be done, so nobody knows.
    pub(super) fn failed(check: &'static str, error: &Error) -> Check {
        if error.is_no_space() {
            let said = "there is no room to try it";
            return Check::not_safe(check, said, "make room, and ask again");
        }
        Check::new(check, Outcome::Unsafe, error.to_string())
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Check {
        self.figures.insert(name.to_string(), value.into());
        self
    }

    pub(super) fn of(mut self, cohort: &str) -> Check {
        self.cohort = Some(cohort.to_string());
        self
    }
}
