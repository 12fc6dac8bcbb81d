//! House rules that can be checked: who depends on whom, how long things are, what must not be
//! said.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

use std::path::{Path, PathBuf};

mod fuzz;
mod layers;
mod shape;
mod words;

/// The root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies below the workspace").to_path_buf()
}

/// Every file of the project with one of these endings, without what builds leave behind.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there are files with {endings:?}");
    found
}

/// A path as people write it.
fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
