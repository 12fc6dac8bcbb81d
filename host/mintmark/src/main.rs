//! The program `mintmark`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mintmark::run(std::env::args_os())
}
