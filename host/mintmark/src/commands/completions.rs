//! Completion scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::Value;

use crate::cli::Cli;
use crate::output::Page;

/// Which script.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Writes the script.
pub(crate) fn run(arguments: &Arguments) -> Page {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "mintmark", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Page::new(Value::String(script.clone()), script)
}
