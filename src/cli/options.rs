//! The options that every verb has, and how they lead to a store and its cohorts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tallyfold::{Cohort, Store};

use super::config::Config;
use super::exit::{self, Failure};
use super::output::say;
use super::style::Color;

/// Where the store is unless the command line or the environment says otherwise.
const DEFAULT_STORE: &str = "./tallyfold-store";
/// The longest patience for the lock on the way out, once it was not had in time or the command was interrupted.
const ON_THE_WAY_OUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Options {
    /// The store's directory; without it ./tallyfold-store
    #[arg(long, value_name = "DIR", global = true, env = "TALLYFOLD_STORE", hide_env_values = true)]
    pub(crate) store: Option<PathBuf>,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How long to wait for the lock (such as 0.5); without it as long as the cohort's settings say
    #[arg(
        long,
        value_name = "SECONDS",
        global = true,
        value_parser = seconds,
        env = "TALLYFOLD_TIMEOUT",
        hide_env_values = true
    )]
    pub(crate) timeout: Option<Duration>,

    /// When to print colours; without it on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", global = true)]
    pub(crate) color: Option<Color>,
}

/// A number of seconds as the user writes it.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let refused = || "it must be a number of seconds, 0 or more".to_string();
    let seconds: f64 = text.parse().map_err(|_| refused())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| refused())
}

impl Options {
    /// With what the config file says where nothing else has said it.
    pub(crate) fn completed(self, config: &Config) -> Options {
        Options {
            store: self.store.or_else(|| config.store.clone()),
            timeout: self.timeout.or(config.timeout()),
            color: self.color.or(config.color),
            ..self
        }
    }

    /// Where the store is, or would be.
    pub(crate) fn path(&self) -> &Path {
        self.store.as_deref().unwrap_or(Path::new(DEFAULT_STORE))
    }

    /// The store, which must exist.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open_existing(self.path())?)
    }

    /// The store, made if there is none.
    pub(crate) fn make_store(&self) -> Result<Store, Failure> {
        match Store::open_existing(self.path()) {
            Err(e) if e.is_not_found() => {
                let store = Store::open(self.path())?;
                say(format!("made the store {}", self.path().display()));
                Ok(store)
            }
            other => Ok(other?),
        }
    }

    /// A cohort that must exist, in a store that must exist.
    pub(crate) fn cohort(&self, name: &str) -> Result<Cohort, Failure> {
        Ok(self.patient(self.store()?.cohort(name)?))
    }

    /// The same as [`detach`], before a command ends with `failure`: that one is what counts, and this can only be told besides.
    pub(crate) fn detach_after(&self, cohort: &Cohort, failure: &Failure) {
        let cohort = cohort.clone();
        let again = match failure.code {
            // Whoever holds the lock is not likely to give it back now; and who presses Ctrl-C does not wait.
            exit::LOCK_TIMEOUT | exit::INTERRUPTED => {
                let patience = self.timeout.unwrap_or(ON_THE_WAY_OUT).min(ON_THE_WAY_OUT);
                detach(&cohort.with_timeout(patience))
            }
            _ => detach(&cohort),
        };
        if let Err(besides) = again {
            say(format!("besides, {}", besides.message));
        }
    }

    /// The cohort with the patience asked for.
    pub(crate) fn patient(&self, cohort: Cohort) -> Cohort {
        match self.timeout {
            Some(timeout) => cohort.with_timeout(timeout),
            None => cohort,
        }
    }
}

/// Syncs what was written, before a command ends well.
pub(crate) fn detach(cohort: &Cohort) -> Result<(), Failure> {
    cohort.detach().map_err(|e| {
        let failure = Failure::from(e);
        Failure::new(failure.code, format!("the last sync did not succeed: {}", failure.message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_nothing_that_is_no_time_is_taken() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["", "-1", "NaN", "inf", "1e300", "1s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
