//! How long lines, functions and files may be.

use std::path::Path;

use super::{files, relative};

/// Characters in a line of code.
const LINE_LENGTH_MAX: usize = 100;
/// Lines of a function, from its name to its end.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 600;

/// Golden files are what a generator writes.
fn is_generated(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "generated")
}

fn sources() -> impl Iterator<Item = (String, String)> {
    let paths = files(&[".rs"]).into_iter().filter(|path| !is_generated(path));
    paths.map(|path| (relative(&path), std::fs::read_to_string(&path).unwrap()))
}

/// The part of a file that is not its test module.
fn program(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

#[test]
fn lines_fit_a_screen() {
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let length = line.chars().count();
            assert!(length <= LINE_LENGTH_MAX, "{path}:{}: {length} characters", number + 1);
        }
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in sources() {
        let lines = program(&text).lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path}: {lines} lines");
    }
}

#[test]
fn functions_stay_short() {
    let mut seen = 0;
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(indent) = function_indent(line) else { continue };
            let end = format!("{indent}}}");
            let body = lines[start..].iter().position(|line| *line == end);
            let length = body.map_or(1, |length| length + 1);
            assert!(length <= FUNCTION_LINES_MAX, "{path}:{}: {length} lines", start + 1);
            seen += 1;
        }
    }
    assert!(seen > 500, "only {seen} functions were seen");
}

/// The indentation of a line that begins a function.
fn function_indent(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let indent = &line[..line.len() - code.len()];
    let mut words = code.split_whitespace();
    let is_prefix = |word: &str| word.starts_with("pub") || ["async", "const"].contains(&word);
    let first = words.find(|word| !is_prefix(word))?;
    let whole = code.ends_with('}') || code.ends_with(';');
    (first == "fn" && !whole).then_some(indent)
}
