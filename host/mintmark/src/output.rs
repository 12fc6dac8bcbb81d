//! What a command shows: tables for people, JSON for programs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::Error;

/// A command's answer, in both forms.
#[derive(Debug)]
pub(crate) struct Page {
    json: Value,
    text: String,
}

impl Page {
    /// An answer: for programs and for people.
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into() }
    }

    /// An answer of facts, which are the same for both.
    pub(crate) fn facts(facts: &[(&str, Value)]) -> Self {
        let json = facts.iter().map(|(name, value)| (name.replace(' ', "_"), value.clone()));
        let text = facts.iter().map(|(name, value)| (*name, plain(value)));
        Self { json: json.collect(), text: lines(&text.collect::<Vec<_>>()) }
    }

    /// The same with one more fact for programs, and what it says to people.
    pub(crate) fn with(mut self, name: &str, value: Value, text: &str) -> Self {
        self.json[name] = value;
        self.and(text)
    }

    /// No answer: the command has shown all that there is.
    pub(crate) fn none() -> Self {
        Self { json: Value::Null, text: String::new() }
    }

    /// The same with more for people below.
    pub(crate) fn and(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }
}

/// Shows an answer.
pub(crate) fn show(page: &Page, json: bool) -> ExitCode {
    let shown = match (json, &page.json) {
        (_, Value::Null) if page.text.is_empty() => Ok(()),
        (true, value) => writeln!(io::stdout().lock(), "{value}"),
        (false, _) => io::stdout().lock().write_all(page.text.as_bytes()),
    };
    // A reader that went away is no failure of the command's, but nothing was shown either.
    if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shows an error: what happened, why, what to do next.
pub(crate) fn show_error(error: &Error, json: bool) -> ExitCode {
    let mut answer = error_json(error);
    match error {
        Error::Verdict { page, .. } => {
            show(page, json);
            if json {
                return ExitCode::from(error.exit_code());
            }
        }
        Error::Suspect { page, .. } if json => {
            let found = page.json.as_object().into_iter().flatten();
            found.for_each(|(name, value)| answer[name] = value.clone());
        }
        Error::Suspect { page, .. } => {
            show(page, json);
        }
        _ => {}
    }
    // Where the terminal is gone, there is nobody left to tell.
    let _ = if json {
        writeln!(io::stdout().lock(), "{answer}")
    } else {
        io::stderr().lock().write_all(error_text(error).as_bytes())
    };
    ExitCode::from(error.exit_code())
}

fn error_json(error: &Error) -> Value {
    let mut value = json!({
        "message": error.to_string(),
        "reason": error.reason(),
        "next": error.next(),
    });
    if let Error::Refused(failure) = error {
        value["metadata"] = json!(failure.metadata);
        let wait = failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).ok());
        value["retry_after_ms"] = json!(wait.flatten());
    }
    json!({ "error": value })
}

fn error_text(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    if let Error::Refused(failure) = error {
        for (name, value) in &failure.metadata {
            text.push_str(&format!("       {name}: {value}\n"));
        }
        if let Some(wait) = failure.retry_after {
            text.push_str(&format!("       retry after: {} ms\n", wait.as_millis()));
        }
    }
    if let Some(next) = error.next() {
        text.push_str(&format!(" next: {next}\n"));
    }
    text
}

/// A table with a heading; columns are as wide as their widest cell.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let heading: Vec<String> = heading.iter().map(|name| name.to_uppercase()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| safe(cell)).collect()).collect();
    let all = || std::iter::once(&heading).chain(&rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Facts, one a line.
pub(crate) fn lines(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {}\n", safe(value));
    facts.iter().map(line).collect()
}

/// A time for people: RFC 3339, UTC.
pub(crate) fn moment(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "beyond all calendars".to_owned(), |time| time.to_string())
}

/// The word of a protobuf enum's value: `VERDICT_CLEAN_WITH_NOTES` is `clean-with-notes`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', "-")
}

/// The beginning of a digest, enough for people to tell digests apart.
pub(crate) fn short(digest: &[u8]) -> String {
    hex::encode(&digest[..digest.len().min(8)])
}

/// A value without JSON's quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text of others must not steer the terminal.
fn safe(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_not_shown() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["b\u{1b}[2J".to_owned(), "22".into()]];
        let shown = table(&["name", "n"], &rows);
        assert_eq!(shown, "NAME   N\na      1\nb\u{fffd}[2J  22\n");
    }

    #[test]
    fn an_error_says_what_happened_and_what_to_do_next() {
        let text = error_text(&Error::NoContext);
        assert!(text.starts_with("error: no context is given"));
        assert!(text.contains(" next: Give --context FILE"));
        assert_eq!(Error::NoContext.exit_code(), 2);
        let error = error_json(&Error::misfit("it does not fit", "make it fit"));
        assert_eq!(error["error"]["next"], "make it fit");
    }

    #[test]
    fn a_word_is_what_follows_the_prefix() {
        assert_eq!(word("VERDICT_CLEAN_WITH_NOTES", "VERDICT_"), "clean-with-notes");
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(u64::MAX), "beyond all calendars");
    }
}
