//! The mintmark program: command line, configuration, wiring, demo.
//!
//! The one place that chooses implementations: `assemble` says what a host is made of. Everything
//! else parses what a person or a file says, asks a host over gRPC or a library, and shows the
//! answer. No rule of the business is decided here.

mod assemble;
mod authority;
mod cli;
mod client;
mod commands;
mod config;
mod context;
mod demo;
mod error;
mod files;
mod init;
mod keys;
mod output;
mod pem;
mod restoring;
mod space;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

pub use config::Config;

/// Runs the command line `arguments`, whose first is the program's name.
///
/// Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where the terminal is gone, there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let json = cli.json;
    match cli.run() {
        Ok(page) => output::show(&page, json),
        Err(error) => output::show_error(&error, json),
    }
}
