//! The program as a person meets it: exit codes, errors that help, and a node's beginning.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn mintmark(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mintmark"));
    command.current_dir(place).env_remove("MINTMARK_CONTEXT").args(arguments);
    command.output().unwrap()
}

/// Runs a command that is to be done; gives its answer.
fn done(place: &Path, arguments: &[&str]) -> String {
    let output = mintmark(place, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that is to fail; gives exit code and error.
fn failed(place: &Path, arguments: &[&str]) -> (i32, String) {
    let output = mintmark(place, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const CONFIG: &str = r#"
node = "node-1"
listen = "127.0.0.1:0"
data_dir = "data"
platform_dir = "platform"
[cluster]
organization = "acme"
role = "site"
name = "shenzhen"
[limits]
free_mib_min = 16
"#;

const SIGN: [&str; 9] = [
    "ca",
    "sign-cluster",
    "--ca",
    "root",
    "--csr",
    "shenzhen.csr.pem",
    "--approver",
    "anna=anna.csr.pem",
    "--out=.",
];

const INSTALL: [&str; 13] = [
    "init",
    "--config",
    "config.toml",
    "--root",
    "root.pem",
    "--certificate",
    "shenzhen.ca.pem",
    "--charter",
    "shenzhen.charter",
    "--admin-csr",
    "anna.csr.pem",
    "--admin-name",
    "anna",
];

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_is_right() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(failed(place.path(), &["provision"]).0, 2);
    let (code, text) = failed(place.path(), &["status"]);
    assert_eq!(code, 2);
    assert!(text.contains("--context FILE") && text.contains("MINTMARK_CONTEXT"), "{text}");
    let (code, text) = failed(place.path(), &["init", "--config", "c", "--root", "r"]);
    assert_eq!(code, 2);
    assert!(text.contains("--charter"), "{text}");
}

#[test]
fn errors_are_read_by_programs_too() {
    let place = tempfile::tempdir().unwrap();
    let output = mintmark(place.path(), &["--json", "--context", "none.toml", "status"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("none.toml"));
}

#[test]
fn a_node_begins_with_the_roots_answer_and_not_before() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(place.join("config.toml"), CONFIG).unwrap();
    done(place, &["ca", "init", "--organization", "acme", "--out", "root"]);
    let prepare = ["init", "--config", "config.toml"];
    done(place, &prepare);
    let first = std::fs::read(place.join("shenzhen.csr.pem")).unwrap();
    done(place, &prepare);
    let again = std::fs::read(place.join("shenzhen.csr.pem")).unwrap();
    assert_eq!(first, again, "a repetition gives the same request");

    let (code, text) = failed(place, &["serve", "--config", "config.toml"]);
    assert_eq!(code, 1);
    assert!(text.contains("not installed"), "{text}");

    done(place, &["user", "key", "anna"]);
    done(place, &SIGN);
    let shown = done(place, &INSTALL);
    assert!(shown.contains("anna.context.toml"), "{shown}");
    let (_, text) = failed(place, &INSTALL);
    assert!(text.contains("installed already"), "{text}");
    let shown = done(place, &["verify", "--config", "config.toml"]);
    assert!(shown.contains("anchor        equal"), "{shown}");
}

/// A node that serves until it is dropped.
struct Serving {
    child: Child,
    /// What it said when clients could connect.
    line: serde_json::Value,
}

impl Serving {
    fn start(place: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mintmark"));
        command.current_dir(place).args(["serve", "--config", "config.toml", "--stop-with-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        // The configuration takes any free port; the admin's context has to know which.
        let context = std::fs::read_to_string(place.join("anna.context.toml")).unwrap();
        let rest = context.split_once('\n').unwrap().1;
        assert!(context.starts_with("address"), "{context}");
        let context = format!("address = {}\n{rest}", line["listening"]);
        std::fs::write(place.join("anna.context.toml"), context).unwrap();
        Self { child, line }
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Where a test failed; one that was stopped is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node whose first admin is anna, stopped.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::write(place.join("config.toml"), CONFIG).unwrap();
    done(place, &["ca", "init", "--organization", "acme", "--out", "root"]);
    done(place, &["init", "--config", "config.toml"]);
    done(place, &["user", "key", "anna"]);
    done(place, &SIGN);
    done(place, &INSTALL);
    folder
}

const ANNA: [&str; 2] = ["--context", "anna.context.toml"];

/// The arguments of a command in anna's name.
fn anna<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    ANNA.iter().chain(arguments).copied().collect()
}

#[test]
fn r5_a_store_that_was_set_back_is_served_read_only_and_says_so() {
    let folder = installed();
    let place = folder.path();
    let older = std::fs::read(place.join("data/store.redb")).unwrap();
    Serving::start(place).stop();
    std::fs::write(place.join("data/store.redb"), older).unwrap();
    assert_eq!(suspected(place), "store behind");

    let node = Serving::start(place);
    assert_eq!(node.line["read_only"], true);
    let shown = done(place, &anna(&["status"]));
    assert!(shown.contains("ROLLBACK_SUSPECTED") && shown.contains("mintmark restore"), "{shown}");
    let shown = done(place, &anna(&["ledger", "export", "--out", "rows"]));
    assert!(shown.contains("rows"), "{shown}");
    for refused in [
        &["user", "issue", "--role", "admin", "--name", "anna", "--csr", "anna.csr.pem"][..],
        &["backup", "--out", "backup"],
    ] {
        let (code, text) = failed(place, &anna(refused));
        assert_eq!(code, 1);
        assert!(text.contains("ROLLBACK_SUSPECTED"), "{text}");
    }
    node.stop();
    assert_eq!(suspected(place), "store behind", "nothing was written");
}

const VERIFY: [&str; 3] = ["verify", "--config", "config.toml"];

/// What `verify` says of a store that its anchor does not fit.
fn suspected(place: &Path) -> String {
    let (code, text) = failed(place, &VERIFY);
    assert_eq!(code, 1);
    assert!(text.contains("ROLLBACK_SUSPECTED") && text.contains("next: "), "{text}");
    let output = mintmark(place, &[&["--json"], &VERIFY[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["reason"], "ROLLBACK_SUSPECTED", "{answer}");
    assert!(answer["records"].as_u64().unwrap() > 0, "what was counted is said: {answer}");
    // Who asks for the store alone is told that it is right, and what was not asked.
    let shown = done(place, &[&VERIFY[..], &["--without-anchor"]].concat());
    assert!(shown.contains("not compared") && shown.contains("was not asked"), "{shown}");
    answer["anchor"].as_str().unwrap().to_owned()
}

/// What `verify` says of a store that may be served.
fn trusted(place: &Path) -> serde_json::Value {
    serde_json::from_str(&done(place, &[&["--json"], &VERIFY[..]].concat())).unwrap()
}

#[test]
fn r8_a_store_of_another_history_is_no_match_though_its_commit_has_the_anchors_number() {
    let folder = installed();
    let place = folder.path();
    let (store, anchor) = (place.join("data/store.redb"), place.join("platform/anchor"));
    let begin = (std::fs::read(&store).unwrap(), std::fs::read(&anchor).unwrap());
    let mut ends = Vec::new();
    for _ in 0..2 {
        std::fs::write(&store, &begin.0).unwrap();
        std::fs::write(&anchor, &begin.1).unwrap();
        Serving::start(place).stop();
        let found = trusted(place);
        assert_eq!(found["anchor"], "equal");
        ends.push((found["commit"].clone(), std::fs::read(&store).unwrap()));
    }
    assert_eq!(ends[0].0, ends[1].0, "the control: both ways have as many commits");
    std::fs::write(&store, &ends[0].1).unwrap();
    assert_eq!(suspected(place), "another history");
    let node = Serving::start(place);
    assert_eq!(node.line["read_only"], true);
    node.stop();
    std::fs::write(&store, &ends[1].1).unwrap();
    assert_eq!(trusted(place)["anchor"], "equal");
}

#[test]
fn s1_a_store_ahead_of_its_anchor_is_right_by_one_batch_and_suspect_by_two() {
    let folder = installed();
    let place = folder.path();
    let anchor = place.join("platform/anchor");
    for (acts, read_only) in [(1, false), (2, true)] {
        let node = Serving::start(place);
        let before = std::fs::read(&anchor).unwrap();
        for _ in 0..acts {
            let issue = ["user", "issue", "--role", "admin", "--name", "anna"];
            done(place, &anna(&[&issue[..], &["--csr", "anna.csr.pem"]].concat()));
        }
        assert_ne!(std::fs::read(&anchor).unwrap(), before, "the control: something was anchored");
        drop(node);
        std::fs::write(&anchor, before).unwrap();
        if read_only {
            assert_eq!(suspected(place), "another history");
        } else {
            assert_eq!(trusted(place)["anchor"], "store ahead");
            let shown = done(place, &VERIFY);
            assert!(shown.contains("nothing of that commit was released"), "{shown}");
        }
        let node = Serving::start(place);
        assert_eq!(node.line["read_only"], read_only);
        node.stop();
    }
}

#[test]
fn s13_a_store_that_its_platform_has_never_anchored_is_suspect() {
    let folder = installed();
    let place = folder.path();
    done(place, &["user", "key", "recovery", "--sealing"]);
    let escrow = ["platform", "escrow", "--config", "config.toml", "--out", "escrow"];
    done(place, &[&escrow[..], &["--to", "recovery.sealing.csr.pem"]].concat());
    std::fs::remove_dir_all(place.join("platform")).unwrap();
    let recover = ["platform", "recover", "--config", "config.toml", "--escrow", "escrow"];
    done(place, &[&recover[..], &["--key", "recovery.sealing.key.pem"]].concat());
    assert_eq!(suspected(place), "none");
}

/// Restores `backup` with anna's approval.
fn restored(place: &Path, backup: &str) {
    let restore = ["restore", backup, "--config", "config.toml"];
    let shown = done(place, &[&restore[..], &["--request-out", "request"]].concat());
    assert!(shown.contains("Nothing was changed"), "{shown}");
    let sign = ["approvals", "sign", "--request", "request", "--key", "anna.key.pem"];
    done(place, &[&sign[..], &["--out", "approval"]].concat());
    let carry_out = ["--request", "request", "--approval", "approval"];
    let shown = done(place, &[&restore[..], &carry_out].concat());
    assert!(shown.contains("Nothing is written off"), "{shown}");
    // Its approvals are used up.
    let (code, text) = failed(place, &[&restore[..], &carry_out].concat());
    assert_eq!(code, 1);
    assert!(text.contains("not approved"), "{text}");
}

/// The node serves; gives the epoch of its store.
fn serves(place: &Path) -> u64 {
    let node = Serving::start(place);
    assert_eq!(node.line["read_only"], false);
    let shown = done(place, &anna(&["status"]));
    let epoch = shown.split("epoch ").nth(1).unwrap_or_else(|| panic!("{shown}"));
    let digits = epoch.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let epoch = digits.parse().unwrap();
    node.stop();
    let shown = done(place, &["verify", "--config", "config.toml"]);
    assert!(shown.contains("equal"), "{shown}");
    epoch
}

#[test]
fn s13_a_backup_is_rehearsed_approved_and_restored_here_and_on_other_hardware() {
    let folder = installed();
    let place = folder.path();
    let node = Serving::start(place);
    done(place, &anna(&["backup", "--out", "backup"]));
    let rehearse = ["restore", "backup", "--config", "config.toml", "--verify"];
    let shown = done(place, &rehearse);
    assert!(shown.contains("can be restored"), "while the node runs: {shown}");
    assert!(shown.contains("anchor        not compared"), "{shown}");
    node.stop();
    let left = |place: &Path| std::fs::read_dir(place).unwrap().count();
    let before = left(place);
    let backup = std::fs::read(place.join("backup")).unwrap();
    std::fs::write(place.join("cut"), &backup[..backup.len() - 1]).unwrap();
    let (_, text) = failed(place, &["restore", "cut", "--config", "config.toml", "--verify"]);
    assert!(text.contains("does not end with its last chunk"), "{text}");
    assert_eq!(left(place), before + 1, "a rehearsal leaves nothing behind");

    done(place, &["user", "key", "recovery", "--sealing"]);
    let escrow = ["platform", "escrow", "--config", "config.toml", "--out", "escrow"];
    done(place, &[&escrow[..], &["--to", "recovery.sealing.csr.pem"]].concat());
    std::fs::remove_file(place.join("data/store.redb")).unwrap();
    restored(place, "backup");
    assert_eq!(serves(place), 2);

    // Both directories are lost.
    for lost in ["data", "platform"] {
        std::fs::remove_dir_all(place.join(lost)).unwrap();
    }
    let recover = ["platform", "recover", "--config", "config.toml", "--escrow", "escrow"];
    done(place, &[&recover[..], &["--key", "recovery.sealing.key.pem"]].concat());
    restored(place, "backup");
    let elsewhere = serves(place);
    assert!(elsewhere > 2, "an epoch that no other platform has: {elsewhere}");
    // The store that was replaced is kept.
    restored(place, "backup");
    let kept = std::fs::read_dir(place.join("data")).unwrap();
    let kept = kept.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("store.before-epoch-")
    });
    assert_eq!(kept.count(), 1);
    assert_eq!(serves(place), elsewhere + 1);
}

#[test]
fn s9_a_second_process_on_the_same_data_is_refused_at_once() {
    let folder = installed();
    let place = folder.path();
    let node = Serving::start(place);
    for second in [
        &["serve", "--config", "config.toml"][..],
        &["verify", "--config", "config.toml"],
        &["restore", "backup", "--config", "config.toml", "--request-out", "request"],
    ] {
        let began = std::time::Instant::now();
        let (code, text) = failed(place, second);
        assert_eq!(code, 1);
        assert!(text.contains("in use") && text.contains("stop it first"), "{text}");
        assert!(began.elapsed().as_millis() < 1_000, "{second:?}");
    }
    node.stop();
}

#[test]
fn s8_a_store_that_is_missing_cut_or_another_nodes_is_refused_by_name_and_never_made() {
    let folder = installed();
    let place = folder.path();
    let file = place.join("data/store.redb");
    let whole = std::fs::read(&file).unwrap();
    let serve = ["serve", "--config", "config.toml"];
    let refused = |what: &str| {
        let (code, text) = failed(place, &serve);
        assert_eq!(code, 1);
        assert!(text.contains(what), "{text}");
    };
    std::fs::remove_file(&file).unwrap();
    refused("there is no store");
    assert!(!file.exists(), "nothing is made in its place");
    std::fs::write(&file, b"").unwrap();
    refused("the file is empty");
    std::fs::write(&file, &whole[..whole.len() - 4096]).unwrap();
    refused("damaged");
    let other = installed();
    std::fs::copy(other.path().join("data/store.redb"), &file).unwrap();
    refused("another store");
    std::fs::copy(other.path().join("data/store-id"), place.join("data/store-id")).unwrap();
    refused("secret does not fit");
}

#[test]
fn a_root_of_another_organisation_signs_no_cluster() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(place.join("config.toml"), CONFIG).unwrap();
    done(place, &["ca", "init", "--organization", "evil", "--out", "root"]);
    done(place, &["init", "--config", "config.toml"]);
    done(place, &["user", "key", "anna"]);
    assert_eq!(failed(place, &SIGN).0, 1);
    let (_, text) = failed(place, &["ca", "init", "--organization", "acme", "--out", "root"]);
    assert!(text.contains("not overwritten"), "{text}");
}

#[test]
fn both_bundled_plugins_say_what_they_ask_for() {
    let place = tempfile::tempdir().unwrap();
    for (name, method) in
        [("device-key", "DeviceKey/Provision"), ("entitlement", "Entitlements/Create")]
    {
        let shown = done(place.path(), &["plugin", "inspect", "--bundled", name]);
        assert!(shown.contains(method) && shown.contains("measurement"), "{shown}");
    }
    std::fs::write(place.path().join("no.wasm"), b"\0asm no component").unwrap();
    let (code, text) = failed(place.path(), &["plugin", "inspect", "no.wasm"]);
    assert_eq!(code, 1);
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn p17_an_opened_bundle_of_any_size_is_read_piece_by_piece() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    done(place, &["ca", "init", "--organization", "acme", "--out", "root"]);
    let head = mintmark_exchange::opened::OpenedHead {
        site: "spiffe://acme/site/shenzhen".to_owned(),
        bundle: [1; 32],
        made_at: 1_800_000_000_000,
        grants: Vec::new(),
        directives: Vec::new(),
        closings: Vec::new(),
        lost_heads: Vec::new(),
        restored: false,
    };
    let head = head.encode().unwrap();
    std::fs::write(place.join("large"), &head).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(place.join("large")).unwrap();
    file.set_len(head.len() as u64 + (64 << 30)).unwrap();
    let output = mintmark(place, &["audit", "verify", "large", "--root", "root/root.pem"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("breach") && shown.contains("shenzhen"), "{output:?}");
    for cut in [0, 9, head.len() - 1] {
        std::fs::write(place.join("cut"), &head[..cut]).unwrap();
        let (code, text) = failed(place, &["audit", "verify", "cut", "--root", "root/root.pem"]);
        assert_eq!(code, 1);
        assert!(text.contains("cut short"), "{text}");
    }
}

#[test]
fn there_are_completions_for_shells() {
    let place = tempfile::tempdir().unwrap();
    assert!(done(place.path(), &["completions", "bash"]).contains("mintmark"));
}
