//! `strace`: it counts a process's system calls, kills it before one, or makes one fail.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::victim::{ACT, Act, FOLDER};

/// What is done to a process.
#[derive(Clone, Debug)]
pub(crate) struct Injection {
    /// The file whose system calls count; all where there is none.
    on: Option<&'static str>,
    calls: String,
    /// What happens, and before which of these calls, by thread and name.
    effect: Option<(String, u32)>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Traced {
    /// System calls by name, each as often as one thread made it at most.
    pub(crate) calls: BTreeMap<String, u32>,
    pub(crate) was_killed: bool,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) refused: Option<String>,
}

impl Injection {
    /// Only counts, every system call that there is.
    pub(crate) fn none(on: Option<&'static str>) -> Self {
        Self { on, calls: "all".to_owned(), effect: None }
    }

    /// Kills before the n-th call of this name.
    pub(crate) fn kill(on: Option<&'static str>, call: &str, when: u32) -> Self {
        Self { on, calls: call.to_owned(), effect: Some(("signal=KILL".to_owned(), when)) }
    }

    /// The n-th call of this name fails.
    pub(crate) fn error(call: &str, error: &str, when: u32) -> Self {
        Self { on: None, calls: call.to_owned(), effect: Some((format!("error={error}"), when)) }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (effect, when) = self.effect.as_ref().map_or(("none", 0), |(e, when)| (e, *when));
        write!(out, "{effect} before {} number {when} on {:?}", self.calls, self.on)
    }
}

impl Traced {
    /// Runs a site in a process of its own, and traces it from when it is ready.
    ///
    /// # Panics
    /// Where there is no `strace`.
    pub(crate) fn run(folder: &Path, act: Act, injection: &Injection) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["victim::other_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(ACT, act.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the site did not start");
        }
        let log = folder.join("strace.log");
        let mut tracer = attach(&child, folder, &log, injection);
        // It may be killed before it has heard the word.
        let _heard = child.stdin.take().unwrap().write_all(b"go\n");
        let mut said = String::new();
        let _cut = lines.read_to_string(&mut said);
        let status = child.wait().unwrap();
        tracer.wait().unwrap();
        let calls = by_name(&std::fs::read_to_string(&log).unwrap_or_default());
        Self::of(&said, calls, status.signal() == Some(9))
    }

    fn of(said: &str, calls: BTreeMap<String, u32>, was_killed: bool) -> Self {
        let word = |name: &str| {
            // A process that dies while it speaks has not answered.
            let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.filter_map(|line| line.trim_end().strip_prefix(name)).next().map(str::to_owned)
        };
        let answer = word("answered ").map(|hex| {
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            hex.as_bytes().chunks(2).map(byte).collect()
        });
        Self { calls, was_killed, answer, refused: word("refused ") }
    }
}

/// Whether there is an `strace` that may attach itself to a process here.
pub(crate) fn can_trace() -> bool {
    let waiting = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut waiting) = waiting else { return false };
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "-p", &waiting.id().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let attached = traced.is_ok_and(|mut tracer| {
        let mut line = String::new();
        let words = BufReader::new(tracer.stderr.take().unwrap()).read_line(&mut line);
        drop(waiting.stdin.take());
        let ended = tracer.wait();
        words.is_ok() && ended.is_ok() && line.contains("attached")
    });
    drop(waiting.stdin.take());
    let _ended = waiting.wait();
    attached
}

/// Starts the tracer; gives it when it has every thread.
fn attach(child: &Child, folder: &Path, log: &Path, injection: &Injection) -> Child {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", log.to_str().unwrap(), "-p", &child.id().to_string()]);
    command.args(["-e", &format!("trace={}", injection.calls)]);
    if let Some((effect, when)) = &injection.effect {
        command.args(["-e", &format!("inject={}:{effect}:when={when}", injection.calls)]);
    }
    if let Some(on) = injection.on {
        command.args(["-P", folder.join(on).to_str().unwrap()]);
    }
    let mut tracer = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`strace` is there: install it, these tests are nothing without it");
    let mut words = BufReader::new(tracer.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        assert_ne!(words.read_line(&mut line).unwrap(), 0, "strace can not trace");
    }
    std::thread::spawn(move || words.read_to_end(&mut Vec::new()));
    tracer
}

/// An injection counts by thread and by name.
fn by_name(log: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::<(&str, &str), u32>::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        // Else an end, a signal, or the second half of a call that another one interrupted.
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *counts.entry((thread, name)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::<String, u32>::new();
    for ((_, name), count) in counts {
        let so_far = most.entry(name.to_owned()).or_default();
        *so_far = count.max(*so_far);
    }
    most
}
