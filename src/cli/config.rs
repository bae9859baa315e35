//! The user's own defaults: what the config file says counts where neither the environment nor the command line says otherwise.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::exit::{self, Failure};
use super::input;
use super::options::seconds;
use super::style::Color;

/// Names the file; it must be there then.
const CONFIG_VARIABLE: &str = "TALLYFOLD_CONFIG";
/// Where it is looked for in the user's directory of such files.
const FILE: &str = "tallyfold/config.json";

/// What the file may say; nothing is said where there is none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// As `--store`.
    pub(crate) store: Option<PathBuf>,
    /// As `--timeout`, in seconds.
    timeout: Option<f64>,
    /// As `--color`.
    pub(crate) color: Option<Color>,
    /// The class of lock of new cohorts, as the variable TALLYFOLD_LOCK says it.
    pub(crate) lock: Option<Value>,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// What the file says. Read once, by [`read`].
pub(crate) fn config() -> &'static Config {
    CONFIG.get_or_init(Config::default)
}

/// Reads the file.
///
/// # Errors
/// If it is there and cannot be read or understood, or named and not there.
pub(crate) fn read() -> Result<&'static Config, Failure> {
    if let Some(path) = path()? {
        let refused = |why: &dyn std::fmt::Display| {
            Failure::new(exit::FAILURE, format!("the config file {} is refused: {why}", path.display()))
        };
        let config: Config = serde_json::from_str(&input::read_text(&path)?).map_err(|e| refused(&e))?;
        if let Some(timeout) = config.timeout {
            seconds(&timeout.to_string()).map_err(|e| refused(&format_args!("timeout: {e}")))?;
        }
        let _ = CONFIG.set(config);
    }
    Ok(config())
}

impl Config {
    pub(crate) fn timeout(&self) -> Option<std::time::Duration> {
        self.timeout.and_then(|timeout| seconds(&timeout.to_string()).ok())
    }
}

/// The file named, else the user's if there is one.
fn path() -> Result<Option<PathBuf>, Failure> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named(CONFIG_VARIABLE) {
        return Ok(Some(path));
    }
    // As the XDG Base Directory Specification says.
    let directory = named("XDG_CONFIG_HOME")
        .filter(|directory| directory.is_absolute())
        .or_else(|| named("HOME").map(|home| home.join(".config")));
    Ok(directory.map(|directory| directory.join(FILE)).filter(|path: &PathBuf| Path::exists(path)))
}
