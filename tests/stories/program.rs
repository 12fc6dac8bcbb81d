//! The program itself, as other processes.
//!
//! The test binary links the program; run again with one environment variable set, it *is* the
//! program. So the tests need no path to a binary that somebody else must have built.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

/// Holds the arguments of the program, one a line.
const ARGUMENTS: &str = "MINTMARK_STORY_ARGUMENTS";

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) answer: Value,
    pub(crate) text: String,
}

/// A host that runs; it stops when this is dropped.
pub(crate) struct Served {
    child: Child,
    _stdin: ChildStdin,
    pub(crate) address: String,
}

/// Not a test: the other processes' way in.
#[test]
fn program() {
    become_program();
}

/// Where this process was started to be the program, it is, and does not return.
pub(crate) fn become_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments = arguments.lines().map(OsString::from);
    let code = mintmark::run(arguments);
    // ExitCode says its number only to the operating system.
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["program::program", "--exact", "--nocapture", "--test-threads=1"]);
    let whole: Vec<&str> = std::iter::once("mintmark").chain(arguments.iter().copied()).collect();
    command.env(ARGUMENTS, whole.join("\n")).env_remove("MINTMARK_CONTEXT");
    command.stderr(Stdio::piped()).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    let mut all = vec!["--json"];
    all.extend_from_slice(arguments);
    let output = command(&all).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = json_in(&stdout).or_else(|| json_in(&stderr)).unwrap_or(Value::Null);
    let code = output.status.code().unwrap_or(-1);
    Ended { code, answer, text: format!("{arguments:?}\n{stdout}\n{stderr}") }
}

/// Runs a command that must succeed; gives what it answers.
pub(crate) fn done(arguments: &[&str]) -> Value {
    let ended = run(arguments);
    assert_eq!(ended.code, 0, "{}", ended.text);
    ended.answer
}

/// Runs a command that must be refused; gives the reason code.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert_ne!(ended.code, 0, "{}", ended.text);
    let reason = find(&ended.answer, "reason");
    reason.unwrap_or_else(|| panic!("no reason: {}", ended.text))
}

/// The first text under this name, at any depth.
pub(crate) fn find(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => fields.values().find_map(|value| find(value, name)),
        },
        Value::Array(values) => values.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// The first whole JSON value in what a process printed; the test harness prints lines of its own
/// around it.
fn json_in(text: &str) -> Option<Value> {
    let start = text.find(['{', '['])?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    values.next()?.ok()
}

/// Starts a host, with these variables in its environment; gives it when clients can connect.
pub(crate) fn serve(config: &Path, environment: &[(&str, &str)]) -> Served {
    let config = config.to_str().unwrap();
    let mut command = command(&["serve", "--config", config, "--stop-with-stdin"]);
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    // Whatever happens now, the process is ended when this is dropped.
    let mut served = Served { child, _stdin: stdin, address: String::new() };
    while served.address.is_empty() {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the host did not start");
        served.address =
            json_in(&line).and_then(|value| find(&value, "listening")).unwrap_or_default();
    }
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    served
}

impl Served {
    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends the host as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
