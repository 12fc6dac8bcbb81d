//! The program as a person meets it: exit codes, errors that help, and a node's beginning.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

use std::path::Path;
use std::process::{Command, Output};

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
    assert!(shown.contains("anchor   equal"), "{shown}");
}

#[test]
fn r1_a_store_that_was_set_back_is_not_served() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(place.join("config.toml"), CONFIG).unwrap();
    done(place, &["ca", "init", "--organization", "acme", "--out", "root"]);
    done(place, &["init", "--config", "config.toml"]);
    let backup = std::fs::read(place.join("data/store.redb")).unwrap();
    done(place, &["user", "key", "anna"]);
    done(place, &SIGN);
    done(place, &INSTALL);
    std::fs::write(place.join("data/store.redb"), backup).unwrap();
    let shown = done(place, &["verify", "--config", "config.toml"]);
    assert!(shown.contains("ROLLBACK_SUSPECTED"), "{shown}");
    let (_, text) = failed(place, &["serve", "--config", "config.toml"]);
    assert!(text.contains("ROLLBACK_SUSPECTED"), "{text}");
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
fn there_are_completions_for_shells() {
    let place = tempfile::tempdir().unwrap();
    assert!(done(place.path(), &["completions", "bash"]).contains("mintmark"));
}
