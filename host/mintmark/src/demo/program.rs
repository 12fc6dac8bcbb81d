//! This very program, run as a child: each of a person's steps is a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::narration::Story;
use crate::error::Error;

/// The program, and the folder where it is run.
#[derive(Clone)]
pub(super) struct Program {
    executable: PathBuf,
    place: PathBuf,
}

/// How a command ended.
pub(super) enum Ended {
    /// It was done.
    Done(Value),
    /// It was refused or failed; the error as a program reads it.
    Refused(Value),
}

const BROKEN: &str = "Run the demo again with --dir DIR, and the command by hand in that folder.";

impl Program {
    /// The running program.
    pub(super) fn new(place: &Path) -> Result<Self, Error> {
        let executable = std::env::current_exe();
        let executable = executable.map_err(Error::file("find", Path::new("this program")))?;
        Ok(Self { executable, place: place.to_owned() })
    }

    /// A child that has not been started.
    pub(super) fn child(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.place).args(arguments);
        command.env_remove("MINTMARK_CONTEXT").kill_on_drop(true);
        command
    }

    /// Runs a command with the context of `who`, if any, and says how it ended.
    pub(super) async fn ended(
        &self,
        who: Option<&str>,
        arguments: &[&str],
    ) -> Result<Ended, Error> {
        let mut command = self.child(arguments);
        command.arg("--json").stdin(Stdio::null());
        if let Some(who) = who {
            command.arg("--context").arg(context_of(who));
        }
        let output = command.output().await;
        let output = output.map_err(Error::file("run", &self.executable))?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() {
            return Ok(Ended::Done(answer));
        }
        match answer.get("error") {
            Some(error) => Ok(Ended::Refused(error.clone())),
            // A check with a bad outcome answers what it found.
            None if !answer.is_null() => Ok(Ended::Refused(answer)),
            None => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Error::misfit(format!("`{}` ended badly: {said}", arguments.join(" ")), BROKEN))
            }
        }
    }

    /// Runs a command that is to be done.
    pub(super) async fn quietly(
        &self,
        who: Option<&str>,
        arguments: &[&str],
    ) -> Result<Value, Error> {
        match self.ended(who, arguments).await? {
            Ended::Done(answer) => Ok(answer),
            Ended::Refused(error) => {
                let what = format!("`{}` was refused: {error}", arguments.join(" "));
                Err(Error::misfit(what, BROKEN))
            }
        }
    }

    /// Shows and runs a command that is to be done.
    pub(super) async fn done(
        &self,
        story: &Story,
        who: Option<&str>,
        arguments: &[&str],
    ) -> Result<Value, Error> {
        story.command(who, arguments);
        self.quietly(who, arguments).await
    }

    /// Shows and runs a command that is to be refused; gives the error.
    pub(super) async fn refused(
        &self,
        story: &Story,
        who: Option<&str>,
        arguments: &[&str],
    ) -> Result<Value, Error> {
        story.command(who, arguments);
        match self.ended(who, arguments).await? {
            Ended::Refused(error) => Ok(error),
            Ended::Done(_) => {
                let what = format!("`{}` was not refused", arguments.join(" "));
                Err(Error::misfit(what, BROKEN))
            }
        }
    }
}

/// The context file of somebody: `shenzhen/anna` is Anna in Shenzhen.
pub(super) fn context_of(who: &str) -> String {
    let (cluster, name) = who.split_once('/').unwrap_or(("", who));
    format!("{cluster}/people/{name}.context.toml")
}

/// A fact of a command's answer.
pub(super) fn fact(answer: &Value, name: &str) -> String {
    match answer.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
