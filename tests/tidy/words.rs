//! What must not be said in a file of the project.

use super::{files, relative};

/// Marks of unfinished work, and names that say nothing. Put together here, so that this file does
/// not have them.
fn forbidden() -> Vec<String> {
    let pairs =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("unimpl", "emented!("), ("to", "do!(")];
    let hosts = [("crates", ".io"), ("pypi", ".org"), ("npmjs", ".com")];
    pairs.iter().chain(&hosts).map(|(one, other)| format!("{one}{other}")).collect()
}

#[test]
fn nothing_is_left_unfinished() {
    let forbidden = forbidden();
    for path in files(&[".rs", ".toml", ".wit", ".proto", ".md", "Justfile", "run"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let said = forbidden.iter().find(|word| line.contains(word.as_str()));
            assert_eq!(said, None, "{}:{}", relative(&path), number + 1);
        }
    }
}

#[test]
fn every_crate_takes_the_house_lints() {
    for path in files(&["Cargo.toml"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let takes = text.contains("[workspace]") || text.contains("[lints]\nworkspace = true");
        assert!(takes, "{} does not take the workspace's lints", relative(&path));
    }
}

#[test]
fn no_module_is_named_for_nothing() {
    for path in files(&[".rs"]) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let empty = ["utils", "util", "common", "helpers", "misc"].contains(&name.as_str());
        assert!(!empty, "{} says nothing by its name", relative(&path));
    }
}
