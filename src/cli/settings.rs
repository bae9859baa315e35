//! The settings of a new cohort: from flags, from JSON, and from the environment.

use std::path::Path;

use serde_json::{Map, Value, json};
use tallyfold::Settings;

use super::config::config;
use super::exit::{self, Failure};
use super::input;

/// The fold of new cohorts whose settings do not name one.
const DEFAULT_FOLD: &str = "latest";
/// The class of lock of new cohorts whose settings do not name one.
const LOCK_VARIABLE: &str = "TALLYFOLD_LOCK";

/// The settings that `tallyfold create` describes: JSON, or `@` and the name of a file that holds it, with a fold unless it
/// names one itself.
pub(crate) fn from_arguments(given: Option<&str>, fold: Option<&str>) -> Result<Settings, Failure> {
    let text = given.map_or(Ok("{}".to_string()), text)?;
    let settings = Settings::from_json(&completed(&text, fold.unwrap_or(DEFAULT_FOLD))?)?;
    match fold {
        Some(fold) if fold != settings.fold().name() => Err(Failure::new(
            exit::USAGE,
            format!("--fold {fold} and the fold {} of --settings differ", settings.fold().name()),
        )),
        _ => Ok(settings),
    }
}

/// What is given: JSON, or `@` and the name of a file that holds it.
pub(crate) fn text(given: &str) -> Result<String, Failure> {
    match given.strip_prefix('@') {
        Some(path) => input::read_text(Path::new(path)),
        None => Ok(given.to_string()),
    }
}

/// The settings of a cohort that an append makes.
pub(crate) fn of_fold(fold: &str) -> Result<Settings, Failure> {
    from_arguments(None, Some(fold))
}

/// The JSON with what it lacks put behind what it has: so the library sees what the user wrote, and a place it names is right.
fn completed(text: &str, fold: &str) -> Result<String, Failure> {
    let members: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| Failure::new(exit::FAILURE, format!("the settings cannot be taken: {e}")))?;
    let mut more = Vec::new();
    if !members.contains_key("fold") {
        more.push(format!(r#""fold":{}"#, json!({ "kind": fold })));
    }
    if !members.contains_key("lock")
        && let Some(lock) = default_lock()?
    {
        more.push(format!(r#""lock":{lock}"#));
    }
    let joint = if members.is_empty() || more.is_empty() { "" } else { "," };
    Ok(match text.trim_end().strip_suffix('}') {
        Some(text) => format!("{text}{joint}{}}}", more.join(",")),
        None => text.to_string(),
    })
}

/// What the variable says as a JSON string, else what the config file says. It is tried alone, so that what is wrong with it is
/// told of it.
fn default_lock() -> Result<Option<Value>, Failure> {
    let (lock, place) = match (std::env::var_os(LOCK_VARIABLE), &config().lock) {
        (Some(lock), _) => (Value::from(lock.to_string_lossy()), format!("the variable {LOCK_VARIABLE}")),
        (None, Some(lock)) => (lock.clone(), "what the config file says of \"lock\"".to_string()),
        (None, None) => return Ok(None),
    };
    let alone = json!({ "fold": { "kind": "latest" }, "lock": lock }).to_string();
    match Settings::from_json(&alone) {
        Ok(_) => Ok(Some(lock)),
        Err(e) => Err(Failure::new(exit::FAILURE, format!("{place} is refused: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_put_behind_what_the_user_wrote() {
        assert_eq!(completed("{}", "log").unwrap(), r#"{"fold":{"kind":"log"}}"#);
        assert_eq!(
            completed("{ \"durable\":true } \n", "merge").unwrap(),
            r#"{ "durable":true ,"fold":{"kind":"merge"}}"#
        );
        let whole = r#"{"fold":{"kind":"log"},"durable":true}"#;
        assert_eq!(completed(whole, "latest").unwrap(), whole);
        assert!(completed("[]", "latest").is_err());
    }
}
